//! The server's guard: what the executor asks for is let through, and nothing that would make code in the server's
//! process more than the executor.

mod builder;
mod executor;
mod job_guard;
mod layers;
mod own_objects;

use longshore_guard::{Check, Guard, Host, Policy, Table};

use crate::world::*;

const POLICY: &str = r#"{"server":{"instance":"abc123"}}"#;
const LABELS: &str = r#"{"longshore.instance":"abc123","longshore.kind":"job"}"#;

/// Where the engine keeps volumes.
const VOLUMES: &str = "/var/lib/docker/volumes";

fn server() -> Guard {
    with(POLICY)
}

fn with(policy: &str) -> Guard {
    let host = Host { program: "0123456789ab".into(), socket: Some("/run/docker.sock".into()) };
    let mut guard = Guard::new(Policy::parse(policy).unwrap(), facts(41), Table::default()).on_host(host);
    let forward = ask(&guard, "POST", "/containers/create?name=longshore-sandbox-abc123-00ff", &sandbox("")).unwrap();
    guard.settle(&forward.effect, true, Some(OWN));
    guard
}

fn sandbox(host: &str) -> String {
    format!(
        r#"{{"Image":"longshore-agent:0123456789ab","Entrypoint":["/.longshore/longshore","sandbox"],"Cmd":[],"User":"65534:65534","Labels":{LABELS},
        "HostConfig":{{"NetworkMode":"longshore-abc123","AutoRemove":true,"Init":false,"Sysctls":{{"net.ipv6.conf.lo.disable_ipv6":"0"}},"ReadonlyRootfs":true,
        "CapDrop":["ALL"],"SecurityOpt":["no-new-privileges"],"PidsLimit":32,"Memory":67108864,"MemorySwap":67108864,"IpcMode":"private",
        "LogConfig":{{"Type":"none"}}{host}}}}}"#
    )
}

fn job(more: &str) -> String {
    format!(
        r#"{{"Image":"sha256:{IMAGE}","Entrypoint":["/.longshore/longshore","agent","--marker","00"],"Cmd":[],"User":"0","WorkingDir":"/","OpenStdin":true,
        "StdinOnce":false,"Tty":false,"Healthcheck":{{"Test":["NONE"]}},"Labels":{LABELS},"HostConfig":{{"NetworkMode":"container:{OWN}","Mounts":[
        {{"Type":"volume","Source":"longshore-agent-0123456789ab","Target":"/.longshore","ReadOnly":true,"VolumeOptions":{{"NoCopy":true,"Labels":{LABELS}}}}},
        {{"Type":"volume","Source":"longshore-job-abc-1","Target":"/longshore","VolumeOptions":{{"NoCopy":true,"Labels":{LABELS},"DriverConfig":{{"Name":"local","Options":{{"size":"1000"}}}}}}}}],
        "Tmpfs":{{"/longshore/secrets":"rw,noexec,nosuid,nodev,size=32m,mode=0711"}},"LogConfig":{{"Type":"none"}},"AutoRemove":false,"Init":false,"Privileged":false,
        "IpcMode":"private","CapDrop":["ALL"],"CapAdd":["CHOWN","SETUID"],"SecurityOpt":["no-new-privileges"],"PidsLimit":4096,"Memory":1000000,"MemorySwap":1000000,
        "StorageOpt":{{"size":"1000"}}{more}}}}}"#
    )
}

fn volume(name: &str, place: Option<&str>) -> Check {
    let instances = vec!["abc123".to_owned(), "doctor".to_owned()];
    Check::Volume { name: name.to_owned(), instances, place: place.map(str::to_owned) }
}
