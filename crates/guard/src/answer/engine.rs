//! What a client may know of the engine itself.

use serde_json::{Value, json};

use super::pick;
use crate::facts::EngineFacts;
use crate::guard::Guard;
use crate::target::OLDEST_API;

/// The fields of the engine's `/info` that are passed on.
const INFO: [&str; 24] = [
    "Architecture",
    "BridgeNfIp6tables",
    "BridgeNfIptables",
    "CgroupDriver",
    "CgroupVersion",
    "CpuCfsPeriod",
    "CpuCfsQuota",
    "CPUSet",
    "CPUShares",
    "DefaultRuntime",
    "Driver",
    "ExperimentalBuild",
    "IPv4Forwarding",
    "KernelMemory",
    "LoggingDriver",
    "MemTotal",
    "MemoryLimit",
    "NCPU",
    "OSType",
    "OomKillDisable",
    "PidsLimit",
    "SecurityOptions",
    "ServerVersion",
    "SwapLimit",
];

/// Further fields for a server, which tells its operator about bad settings, and learns where images are kept.
const SERVER_INFO: [&str; 3] = ["DriverStatus", "LiveRestoreEnabled", "SystemTime"];

/// The guard's name in its answer to `/version`.
pub const PLATFORM: &str = "Longshore guard";

/// Returns the answer to `/version`.
pub(crate) fn version(engine: &EngineFacts) -> Value {
    let api = format!("1.{}", engine.api);
    let oldest = format!("1.{OLDEST_API}");
    json!({
        "Platform": { "Name": PLATFORM },
        "Version": engine.version,
        "ApiVersion": api,
        "MinAPIVersion": oldest,
        "Os": engine.os,
        "Arch": engine.arch,
        "GitCommit": "",
        "GoVersion": "",
        "KernelVersion": "",
        "BuildTime": "",
        "Components": [{
            "Name": "Engine",
            "Version": engine.version,
            "Details": { "ApiVersion": api, "MinAPIVersion": oldest, "Os": engine.os, "Arch": engine.arch },
        }],
    })
}

pub(super) fn info(guard: &Guard, engine: &Value) -> Value {
    let mut info = pick(engine, &INFO);
    let own = json!({
        "ID": guard.policy.client(),
        "Name": "longshore-guard",
        "OperatingSystem": "Longshore guard",
        "Containers": guard.table.containers.len(),
        "Images": guard.table.images.len(),
        "IndexServerAddress": "https://index.docker.io/v1/",
        "Swarm": { "LocalNodeState": "inactive" },
        "Plugins": { "Volume": ["local"], "Network": ["bridge", "null"], "Log": ["json-file", "local", "none"] },
        "Warnings": null,
    });
    if let (Value::Object(info), Value::Object(own)) = (&mut info, own) {
        info.extend(own);
    }
    info
}

/// Rewrites `/info` for a server.
pub(super) fn server_info(engine: &Value) -> Value {
    pick(engine, &[&INFO[..], &SERVER_INFO[..]].concat())
}
