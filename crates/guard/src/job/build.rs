//! The build of an image.

use std::collections::BTreeMap;

use serde_json::json;

use super::images::{check_platform, registry_of};
use super::networks::network_of;
use crate::call::Build;
use crate::decision::{Context, Decision, Effect, EngineCall, Forward, LineShape, Reply};
use crate::guard::Guard;
use crate::host_config::NetworkMode;
use crate::policy::{JobPolicy, unreserved};
use crate::refusal::{Judged, refuse};

/// The memory that a build may use.
const BUILD_MEMORY: i64 = 2 << 30;

pub(super) fn judge_build(guard: &Guard, policy: &JobPolicy, build: &Build, nonce: &str) -> Judged<Decision> {
    if !policy.build {
        return refuse!(Build, "building images is not allowed in this job");
    }
    check_platform(guard, &build.platform)?;
    let network = match build.network.as_str() {
        "" | "default" | "bridge" => match &policy.network {
            Some(network) => NetworkMode::Named(network.clone()),
            None => NetworkMode::None,
        },
        "none" => NetworkMode::None,
        other => NetworkMode::Named(network_of(guard, policy, other)?.to_owned()),
    };
    let network = match &network {
        NetworkMode::Named(id) => id.as_str(),
        NetworkMode::None | NetworkMode::Default | NetworkMode::Container(_) => "none",
    };
    // A built image always gets a name on the engine, because only names are ever removed.
    let mut references: BTreeMap<String, String> =
        build.tags.iter().map(|tag| (tag.to_string(), policy.engine_image(&tag.to_string()))).collect();
    if build.tags.iter().any(|tag| tag.tag().is_none()) {
        return refuse!(Build, "an image that is built cannot be named by a digest");
    }
    if references.is_empty() {
        let made_up = format!("{}-guard/unnamed:{nonce}", crate::names::RESERVED);
        references.insert(made_up.clone(), policy.engine_image(&made_up));
    }
    let args: BTreeMap<_, _> =
        build.args.iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value))).collect();
    let labels = unreserved(build.labels.clone())?;
    let memory = policy.budget.memory.min(BUILD_MEMORY);
    let written_as = format!(".longshore-{nonce}");
    let mut call = EngineCall::new("POST", "/build").query("dockerfile", format!(".longshore-{nonce}"));
    for kept_as in references.values() {
        call = call.query("t", kept_as);
    }
    let mut call = call
        // No cached layer of another build is used, and nothing but the image is left of this one.
        .flag("nocache", true)
        .flag("rm", true)
        .flag("forcerm", true)
        .flag("q", build.quiet)
        .query("networkmode", network)
        .query("memory", memory.to_string())
        .query("memswap", memory.to_string())
        .query("cpuperiod", "100000")
        .query("cpuquota", (policy.budget.nano_cpus / 10_000).to_string())
        .query("cgroupparent", policy.cgroup_parent.as_deref().unwrap_or_default())
        // Not our own labels: the builder makes a layer of each, and the image has the scope from its first
        // instruction.
        .query("labels", if labels.is_empty() { String::new() } else { json!(labels).to_string() })
        .query("buildargs", if args.is_empty() { String::new() } else { json!(args).to_string() })
        .query("target", &build.target)
        .query("platform", &build.platform)
        .query("version", "1")
        .tar();
    let registries = build.registries.iter().filter(|(server, _)| policy.registries.contains(&registry_of(server)));
    let registries = registries.map(|(server, auth)| (server.clone(), auth.clone())).collect();
    call.credentials = Some(("X-Registry-Config", crate::registry_auth::registry_config_header(&registries)));
    let effect = Effect::ImagesMade { references, kept: true };
    Ok(Decision::Forward(Box::new(Forward {
        call,
        reply: Reply::Lines(LineShape::Progress),
        effect,
        checks: Vec::new(),
        build: Some(Box::new(Context { build: build.clone(), written_as })),
    })))
}
