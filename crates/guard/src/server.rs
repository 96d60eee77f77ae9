//! The policy for the server: it may send what the executor sends, and nothing else.
//!
//! The names of the server's objects start with `longshore-`, which no job can choose (`names`), and tell their kind;
//! their labels name the instance that they belong to. So an attacker who runs code in the server's process reaches
//! only these containers and volumes, no path and no device of the host, and cannot run a program with more rights than
//! a job has.

use std::collections::{BTreeMap, BTreeSet};

use crate::bodies::{NetworkCreate, VolumeContent, VolumeCreate};
use crate::call::{Call, ContainerAction};
use crate::check::{Check, INSTANCE};
use crate::container_call::container_call;
use crate::decision::{Decision, Effect, EngineCall, Forward, LineShape, Local, Reply, Shape};
use crate::filters::Filters;
use crate::guard::Guard;
use crate::image_ref::{ImageName, ImageRef};
use crate::job::{answer, forward};
use crate::job_guard;
use crate::policy::{ServerPolicy, is_reserved};
use crate::refusal::{Judged, refuse};
use crate::server_create::{self, Created};
use crate::server_own::{AGENT, is_agents, is_mountable, is_ours, own_labels, own_network, own_volume};
use crate::table::Container;

/// The repository of the images that jobs have made.
const MADE_IN_JOBS: &str = "longshore-guard/";
/// Returns the instance that a request names, if any.
pub(crate) fn instance_of(call: &Call) -> Option<&str> {
    let labels = match call {
        Call::ContainerCreate { body, .. } => &body.labels,
        Call::NetworkCreate(network) => &network.labels,
        Call::VolumeCreate(volume) => &volume.labels,
        Call::ContainerList { filters, .. } | Call::VolumeList { filters } | Call::NetworkList { filters } => {
            let labels = filters.0.get("label")?;
            return labels.iter().find_map(|label| label.strip_prefix(INSTANCE)?.strip_prefix('='));
        }
        _ => return None,
    };
    labels.get(INSTANCE).map(String::as_str)
}

pub(crate) fn judge(guard: &Guard, policy: &ServerPolicy, call: &Call) -> Judged<Decision> {
    let table = &guard.table;
    match call {
        Call::Ping => Ok(Decision::Answer(Local::Pong)),
        Call::Version => answer(crate::answer::version(&guard.engine)),
        Call::Info => forward(EngineCall::new("GET", "/info"), Reply::Json(Shape::ServerInfo), Effect::None),
        Call::ContainerCreate { name, platform, body } => {
            if !platform.is_empty() {
                return refuse!(Server, "the server may not choose a platform");
            }
            let Created { body, volumes, checks } = server_create::judge(guard, policy, name, body)?;
            let entry = Container { name: name.clone(), image: body.image.clone(), ..Container::default() };
            let call = EngineCall::new("POST", "/containers/create").query("name", name).json(body.write()?);
            let effect = Effect::ContainerCreated { container: entry, volumes, joined: BTreeSet::new() };
            forward_if(checks, call, Reply::Json(Shape::Created), effect)
        }
        Call::ContainerList { all, limit, size, filters } => {
            if limit.is_some() || *size {
                return refuse!(Server, "the server may not list containers in this way");
            }
            let call = EngineCall::new("GET", "/containers/json").flag("all", *all).query("filters", labels(filters)?);
            forward(call, Reply::Json(Shape::ServersOwn), Effect::None)
        }
        Call::Container { container, action } => judge_container(guard, container, action),
        Call::ImageList { filters, .. } => {
            let call = EngineCall::new("GET", "/images/json").query("filters", images_listed(filters)?);
            forward(call, Reply::Json(Shape::Unlabelled), Effect::None)
        }
        Call::ImageInspect { image } => {
            let call = EngineCall::new("GET", format!("/images/{}/json", image));
            forward(call, Reply::Json(Shape::Unlabelled), Effect::None)
        }
        Call::ImageDigest { image, auth } => {
            let mut call = EngineCall::new("GET", format!("/distribution/{}/json", image.familiar()));
            call.credentials = Some(("X-Registry-Auth", auth.to_header()));
            forward(call, Reply::Json(Shape::Same), Effect::None)
        }
        Call::ImagePull { image, platform, auth } => {
            if !platform.is_empty() {
                return refuse!(Server, "the server may not choose a platform");
            }
            if is_reserved(image) {
                return refuse!(
                    Server,
                    "{} is reserved for Longshore's own images, which are never pulled",
                    image.familiar()
                );
            }
            let mut call = EngineCall::new("POST", "/images/create")
                .query("fromImage", image.name())
                .query("tag", image.version());
            call.credentials = Some(("X-Registry-Auth", auth.to_header()));
            forward(call, Reply::Lines(LineShape::Progress), Effect::None)
        }
        Call::ImageImport { changes } => {
            if let Some(change) = changes.iter().find(|change| !is_change(change)) {
                return refuse!(Server, "the agent's image may not be imported with the change {change:?}");
            }
            own_program(guard, changes.iter().find_map(|change| change.strip_prefix("LABEL longshore.agent=")))?;
            let mut call = EngineCall::new("POST", "/images/create").query("fromSrc", "-").program();
            for change in changes {
                call = call.query("changes", change);
            }
            forward(call, Reply::Lines(LineShape::Import), Effect::None)
        }
        Call::ImageTag { image: ImageName::Id(id), target } if is_agent(target) => {
            own_program(guard, target.tag())?;
            if !table.programs.contains(id) {
                return refuse!(
                    Server,
                    "only an image that this guard has imported may be tagged as the agent's image: try again"
                );
            }
            let call = EngineCall::new("POST", format!("/images/sha256:{id}/tag"))
                .query("repo", AGENT)
                .query("tag", target.version());
            forward(call, Reply::Status, Effect::None)
        }
        Call::ImageRemove { image, force: false } => {
            let call = EngineCall::new("DELETE", format!("/images/{image}"));
            let is_ours = match image {
                ImageName::Id(id) => table.programs.contains(id),
                ImageName::Ref { reference, .. } => {
                    is_agent(reference) || reference.familiar().starts_with(MADE_IN_JOBS)
                }
            };
            let replaceable = || Check::Replaceable { image: image.to_string() };
            let checks = (!is_ours).then(replaceable).into_iter().collect();
            forward_if(checks, call, Reply::Json(Shape::Same), Effect::None)
        }
        // The server asks for the host's own addresses, which jobs may not reach.
        Call::NetworkList { filters } if filters.0.is_empty() => {
            forward(EngineCall::new("GET", "/networks"), Reply::Json(Shape::Gateways), Effect::None)
        }
        Call::NetworkList { filters } => {
            let call = EngineCall::new("GET", "/networks").query("filters", labels(filters)?);
            forward(call, Reply::Json(Shape::ServersOwn), Effect::None)
        }
        Call::NetworkInspect { network } => {
            let call = EngineCall::new("GET", format!("/networks/{network}"));
            forward_if(vec![own_network(policy, network)], call, Reply::Json(Shape::Same), Effect::None)
        }
        Call::NetworkCreate(network) => {
            judge_network(policy, network)?;
            let call = EngineCall::new("POST", "/networks/create").json(network.write());
            forward(call, Reply::Json(Shape::Created), Effect::None)
        }
        Call::NetworkRemove { network } => {
            let call = EngineCall::new("DELETE", format!("/networks/{network}"));
            forward_if(vec![own_network(policy, network)], call, Reply::Status, Effect::None)
        }
        Call::VolumeList { filters } => {
            let by_name =
                filters.0.len() == 1 && filters.0.get("name").is_some_and(|names| *names == [format!("{AGENT}-")]);
            let filters = if by_name { filters.write().to_string() } else { labels(filters)? };
            let call = EngineCall::new("GET", "/volumes").query("filters", filters);
            forward(call, Reply::Json(Shape::ServersOwn), Effect::None)
        }
        Call::VolumeCreate(volume) => {
            let mut checks = judge_volume(policy, volume)?;
            // If a volume of this name exists, the engine returns that one.
            checks.extend(own_volume(guard, policy, &volume.name));
            let call = EngineCall::new("POST", "/volumes/create").json(volume.write());
            forward_if(checks, call, Reply::Json(Shape::Volume), Effect::VolumeCreated { name: volume.name.clone() })
        }
        Call::VolumeInspect { volume } if is_ours(volume) => {
            let call = EngineCall::new("GET", format!("/volumes/{volume}"));
            forward_if(own_volume(guard, policy, volume), call, Reply::Json(Shape::Volume), Effect::None)
        }
        Call::VolumeRemove { volume, force: false } if is_ours(volume) => {
            let call = EngineCall::new("DELETE", format!("/volumes/{volume}"));
            let effect = Effect::VolumeRemoved { name: volume.clone() };
            forward_if(own_volume(guard, policy, volume), call, Reply::Status, effect)
        }
        Call::Auth(_)
        | Call::Events { .. }
        | Call::ExecStart { .. }
        | Call::ExecResize { .. }
        | Call::ExecInspect { .. }
        | Call::ImageHistory { .. }
        | Call::ImageTag { .. }
        | Call::ImagePush { .. }
        | Call::ImageRemove { .. }
        | Call::ImageLoad { .. }
        | Call::Build(_)
        | Call::Prune { .. }
        | Call::NetworkConnect { .. }
        | Call::NetworkDisconnect { .. }
        | Call::VolumeInspect { .. }
        | Call::VolumeRemove { .. } => refuse!(Server, "the server may not do this"),
    }
}

fn judge_container(guard: &Guard, reference: &str, action: &ContainerAction) -> Judged<Decision> {
    let (id, _) = guard.table.container(reference)?;
    let call = container_call(id, action);
    match action {
        ContainerAction::Inspect { size: false } => forward(call, Reply::Json(Shape::Same), Effect::None),
        ContainerAction::Start { .. } | ContainerAction::Kill { .. } => forward(call, Reply::Status, Effect::None),
        ContainerAction::Wait { .. } => forward(call, Reply::Stream, Effect::None),
        ContainerAction::Attach(_) => forward(call, Reply::Hijack, Effect::None),
        ContainerAction::ArchiveGet { .. } => forward(call, Reply::Files, Effect::None),
        ContainerAction::Remove { .. } => forward(call, Reply::Status, Effect::ContainerRemoved { id: id.to_owned() }),
        ContainerAction::Inspect { .. }
        | ContainerAction::Top { .. }
        | ContainerAction::Logs(_)
        | ContainerAction::Stats { .. }
        | ContainerAction::Changes
        | ContainerAction::Resize(_)
        | ContainerAction::Stop { .. }
        | ContainerAction::Restart { .. }
        | ContainerAction::Pause
        | ContainerAction::Unpause
        | ContainerAction::Rename { .. }
        | ContainerAction::Update(_)
        | ContainerAction::ArchiveInfo { .. }
        | ContainerAction::ArchivePut { .. }
        | ContainerAction::Export
        | ContainerAction::Exec(_) => refuse!(Server, "the server may not do this with a container"),
    }
}

fn forward_if(checks: Vec<Check>, call: EngineCall, reply: Reply, effect: Effect) -> Judged<Decision> {
    Ok(Decision::Forward(Box::new(Forward { call, reply, effect, checks, build: None })))
}

fn judge_network(policy: &ServerPolicy, network: &NetworkCreate) -> Judged<()> {
    own_labels(policy, &network.labels)?;
    let is_instances = network.name.strip_prefix("longshore-").is_some_and(|instance| policy.is_own(instance));
    let is_jobs = network.name.starts_with("longshore-docker-") && is_ours(&network.name);
    if network.internal || !(is_instances || is_jobs) {
        return refuse!(Server, "{:?} is not a name for a network of the server", network.name);
    }
    let options = if is_instances { isolated() } else { BTreeMap::new() };
    if network.options != options {
        return refuse!(Server, "a network of the server may not have these options");
    }
    match network.subnets.iter().find(|subnet| !is_instances || !policy.subnets.contains(subnet)) {
        Some(subnet) => refuse!(
            Server,
            "the guard does not know the subnet {subnet}: start it with the same LONGSHORE_NETWORK_SUBNET as the server"
        ),
        None => Ok(()),
    }
}

/// Judges a volume. The layers of an overlay have to be the folders of the server's own volumes.
fn judge_volume(policy: &ServerPolicy, volume: &VolumeCreate) -> Judged<Vec<Check>> {
    own_labels(policy, &volume.labels)?;
    if !is_mountable(&volume.name) || is_agents(&volume.name) {
        return refuse!(Server, "{:?} is not a name for a volume of the server", volume.name);
    }
    if volume.content != VolumeContent::Plain && volume.name.starts_with(job_guard::VOLUMES) {
        return refuse!(Server, "the volume of a guard's socket may have no options");
    }
    let layers = volume.content.layers().into_iter().map(|place| {
        let name = place.strip_suffix("/_data").and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        if !is_mountable(name) || is_agents(name) || name.starts_with(job_guard::VOLUMES) {
            return refuse!(Volume, "{place} is not the folder of one of the server's volumes");
        }
        Ok(Check::Volume { name: name.to_owned(), instances: policy.instances(), place: Some(place.clone()) })
    });
    layers.collect()
}

/// Checks that the agent's image is made of the guard's own program.
fn own_program(guard: &Guard, hash: Option<&str>) -> Judged<()> {
    if hash == Some(guard.host.program.as_str()) {
        return Ok(());
    }
    refuse!(Server, "the guard and the server are different versions of Longshore: start both from the same image")
}

fn images_listed(filters: &Filters) -> Judged<String> {
    let one = |key: &str| match filters.0.get(key).map(Vec::as_slice) {
        Some([value]) if filters.0.len() == 1 => Some(value.as_str()),
        _ => None,
    };
    let scope = format!("{}=", crate::SCOPE_LABEL);
    let is_known = one("reference").is_some_and(|name| name == AGENT || name.starts_with(MADE_IN_JOBS))
        || one("label").is_some_and(|label| label.starts_with(&scope));
    if is_known {
        return Ok(filters.write().to_string());
    }
    refuse!(Server, "the server may list only the agent's images and those that jobs have made")
}

fn is_agent(image: &ImageRef) -> bool {
    image.registry == "docker.io" && image.repository == format!("library/{AGENT}") && image.tag().is_some_and(is_hash)
}

fn is_hash(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn isolated() -> BTreeMap<String, String> {
    BTreeMap::from([("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())])
}

/// Checks that a list is filtered by our labels.
fn labels(filters: &Filters) -> Judged<String> {
    let ours = |label: &String| label == INSTANCE || label.starts_with("longshore.");
    match filters.0.get("label") {
        Some(labels) if filters.0.len() == 1 && labels.iter().all(ours) => Ok(filters.write().to_string()),
        _ => refuse!(Server, "the server may list only what carries its labels"),
    }
}

/// Whether a change may be made to the agent's image: labels of ours, and the program that it runs.
fn is_change(change: &str) -> bool {
    let label = change
        .strip_prefix("LABEL longshore.")
        .is_some_and(|rest| rest.split_once('=').is_some_and(|(key, value)| is_plain(key) && is_plain(value)));
    label || change == r#"ENTRYPOINT ["/.longshore/longshore"]"#
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}
