//! The policy for a job with Docker: it may do anything with its own objects, and nothing with others.

mod build;
mod containers;
mod images;
mod networks;
mod volumes;

use serde_json::json;

use self::build::judge_build;
use self::containers::{create_container, judge_container, list_containers};
pub(crate) use self::images::{check_names_left, pull_call, registry_of, tag_call};
use self::images::{list_images, load_images, pull_image, push_image, remove_image, tag_image};
pub(crate) use self::networks::network_of;
use self::networks::{connect_network, create_network, disconnect_network, list_networks};
use self::volumes::{create_volume, list_volumes};
use crate::call::Call;
use crate::decision::{Decision, Effect, EngineCall, Forward, LineShape, Local, Reply, Shape};
use crate::guard::Guard;
use crate::policy::JobPolicy;
use crate::prune;
use crate::refusal::{Judged, refuse};
use crate::registry_auth::RegistryAuth;

pub(crate) fn forward(call: EngineCall, reply: Reply, effect: Effect) -> Judged<Decision> {
    Ok(Decision::Forward(Box::new(Forward { call, reply, effect, checks: Vec::new(), build: None })))
}

pub(crate) fn answer(body: serde_json::Value) -> Judged<Decision> {
    Ok(Decision::Answer(Local::Json { status: 200, body }))
}

pub(crate) fn judge(guard: &Guard, policy: &JobPolicy, call: &Call, nonce: &str) -> Judged<Decision> {
    let table = &guard.table;
    match call {
        Call::Ping => Ok(Decision::Answer(Local::Pong)),
        Call::Version => answer(crate::answer::version(&guard.engine)),
        Call::Info => forward(EngineCall::new("GET", "/info"), Reply::Json(Shape::Info), Effect::None),
        Call::Auth(auth) => log_in(policy, auth),
        Call::Events { since, until, filters } => {
            let call = EngineCall::new("GET", "/events")
                .query("since", since)
                .query("until", until)
                .query("filters", r#"{"type":["container","network","volume","image"]}"#);
            forward(call, Reply::Lines(LineShape::Events(filters.clone())), Effect::None)
        }
        Call::ContainerCreate { name, platform, body } => {
            create_container(guard, policy, (name, platform, nonce), body)
        }
        Call::ContainerList { all, limit, size, filters } => list_containers(policy, (*all, *limit, *size), filters),
        Call::Container { container, action } => judge_container(guard, policy, container, action),
        Call::ExecStart { exec, body } => {
            let id = table.exec(exec)?;
            let reply = if body.detach { Reply::Status } else { Reply::Hijack };
            forward(EngineCall::new("POST", format!("/exec/{id}/start")).json(body.write()), reply, Effect::None)
        }
        Call::ExecResize { exec, size } => {
            let call = EngineCall::new("POST", format!("/exec/{}/resize", table.exec(exec)?));
            let call = call.query("h", size.height.to_string()).query("w", size.width.to_string());
            forward(call, Reply::Status, Effect::None)
        }
        Call::ExecInspect { exec } => {
            let call = EngineCall::new("GET", format!("/exec/{}/json", table.exec(exec)?));
            forward(call, Reply::Json(Shape::Exec), Effect::None)
        }
        Call::ImageList { all, digests, filters } => list_images(*all, *digests, filters),
        Call::ImageInspect { image } => {
            let (id, _) = table.image(image)?;
            forward(
                EngineCall::new("GET", format!("/images/sha256:{id}/json")),
                Reply::Json(Shape::Image),
                Effect::None,
            )
        }
        Call::ImageHistory { image } => {
            let (id, _) = table.image(image)?;
            let call = EngineCall::new("GET", format!("/images/sha256:{id}/history"));
            forward(call, Reply::Json(Shape::History), Effect::None)
        }
        Call::ImageDigest { .. } => {
            refuse!(Route, "digests of names are not looked up at registries here: pull the image")
        }
        Call::ImagePull { image, platform, auth } => pull_image(guard, policy, image, platform, auth),
        Call::ImageImport { .. } => refuse!(Image, "importing images is not allowed: build them"),
        Call::ImageTag { image, target } => tag_image(guard, policy, image, target),
        Call::ImagePush { image, auth } => push_image(guard, policy, image, auth),
        Call::ImageRemove { image, .. } => remove_image(guard, image),
        Call::ImageLoad { quiet } => load_images(policy, *quiet),
        Call::Prune { kind, filters } => prune::judge(guard, policy, *kind, filters),
        Call::Build(build) => judge_build(guard, policy, build, nonce),
        Call::NetworkList { filters } => list_networks(filters),
        Call::NetworkInspect { network } => {
            let id = network_of(guard, policy, network)?;
            forward(EngineCall::new("GET", format!("/networks/{id}")), Reply::Json(Shape::Network), Effect::None)
        }
        Call::NetworkCreate(network) => create_network(guard, policy, network),
        Call::NetworkConnect { network, body } => connect_network(guard, policy, network, body),
        Call::NetworkDisconnect { network, body } => disconnect_network(guard, policy, network, body),
        Call::NetworkRemove { network } => {
            let id = table.network(network)?.to_owned();
            forward(EngineCall::new("DELETE", format!("/networks/{id}")), Reply::Status, Effect::NetworkRemoved { id })
        }
        Call::VolumeList { filters } => list_volumes(policy, filters),
        Call::VolumeCreate(volume) => create_volume(guard, policy, volume, nonce),
        Call::VolumeInspect { volume } => {
            let name = policy.engine_name(table.volume(volume)?);
            forward(EngineCall::new("GET", format!("/volumes/{name}")), Reply::Json(Shape::Volume), Effect::None)
        }
        Call::VolumeRemove { volume, force } => {
            let name = table.volume(volume)?.to_owned();
            let call =
                EngineCall::new("DELETE", format!("/volumes/{}", policy.engine_name(&name))).flag("force", *force);
            forward(call, Reply::Status, Effect::VolumeRemoved { name })
        }
    }
}

/// The client keeps the credentials and sends them with each pull. The engine is not asked: it would call the registry
/// from the host.
fn log_in(policy: &JobPolicy, auth: &RegistryAuth) -> Judged<Decision> {
    let server = registry_of(auth.server());
    if policy.registries.contains(&server) {
        return answer(json!({ "Status": "Login Succeeded", "IdentityToken": "" }));
    }
    refuse!(Registry, "the registry {server} is not allowed here")
}
