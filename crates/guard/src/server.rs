//! The policy for the server: it may send what the executor sends, and nothing else.
//!
//! The names of the server's objects start with `longshore-`, which no job can choose (`names`), and tell their kind;
//! their labels name the instance that they belong to. So an attacker who runs code in the server's process reaches
//! only these containers and volumes, no path and no device of the host, and cannot run a program with more rights than
//! a job has.

mod images;

use std::collections::{BTreeMap, BTreeSet};

use self::images::{import_agent, is_agent, list_images, look_up_digest, pull_image, remove_image, tag_agent};
use crate::bodies::{NetworkCreate, VolumeContent, VolumeCreate};
use crate::call::{Call, ContainerAction};
use crate::check::{Check, INSTANCE};
use crate::container::ContainerCreate;
use crate::container_call::container_call;
use crate::decision::{Decision, Effect, EngineCall, Forward, Local, Reply, Shape};
use crate::filling::names_of_layers;
use crate::filters::Filters;
use crate::guard::Guard;
use crate::image_ref::ImageName;
use crate::job::{answer, forward};
use crate::policy::ServerPolicy;
use crate::refusal::{Judged, refuse};
use crate::server_create::{self, Created};
use crate::server_own::{
    AGENT, is_made_in_job, is_mountable, is_of_socket, is_ours, is_writable, own_labels, own_network, own_volume,
};
use crate::table::Container;

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
    match call {
        Call::Ping => Ok(Decision::Answer(Local::Pong)),
        Call::Version => answer(crate::answer::version(&guard.engine)),
        Call::Info => forward(EngineCall::new("GET", "/info"), Reply::Json(Shape::ServerInfo), Effect::None),
        Call::ContainerCreate { name, platform, body } => create_container(guard, policy, name, platform, body),
        Call::ContainerList { all, limit, size, filters } => {
            if limit.is_some() || *size {
                return refuse!(Server, "the server may not list containers in this way");
            }
            let call = EngineCall::new("GET", "/containers/json").flag("all", *all).query("filters", labels(filters)?);
            forward(call, Reply::Json(Shape::ServersOwn), Effect::None)
        }
        Call::Container { container, action } => judge_container(guard, container, action),
        Call::ImageList { filters, .. } => list_images(filters),
        Call::ImageInspect { image } => {
            let call = EngineCall::new("GET", format!("/images/{}/json", image));
            forward(call, Reply::Json(Shape::Unlabelled), Effect::None)
        }
        Call::ImageDigest { image, auth } => look_up_digest(image, auth),
        Call::ImagePull { image, platform, auth } => pull_image(image, platform, auth),
        Call::ImageImport { changes } => import_agent(guard, changes),
        Call::ImageTag { image: ImageName::Id(id), target } if is_agent(target) => tag_agent(guard, id, target),
        Call::ImageRemove { image, force: false } => remove_image(guard, image),
        // The server asks for the host's own addresses, which jobs may not reach, and for subnets that are free.
        Call::NetworkList { filters } if filters.0.is_empty() => {
            forward(EngineCall::new("GET", "/networks"), Reply::Json(Shape::Addresses), Effect::None)
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
        Call::VolumeList { filters } => list_volumes(filters),
        Call::VolumeCreate(volume) => create_volume(guard, policy, volume),
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

fn create_container(
    guard: &Guard,
    policy: &ServerPolicy,
    name: &str,
    platform: &str,
    body: &ContainerCreate,
) -> Judged<Decision> {
    if !platform.is_empty() {
        return refuse!(Server, "the server may not choose a platform");
    }
    let Created { body, volumes, written, filled, checks } = server_create::judge(guard, policy, name, body)?;
    let container =
        Container { name: name.to_owned(), image: body.image.clone(), volumes: written, ..Container::default() };
    let call = EngineCall::new("POST", "/containers/create").query("name", name).json(body.write()?);
    let effect = Effect::ContainerCreated { container, volumes, filled, joined: BTreeSet::new() };
    forward_if(checks, call, Reply::Json(Shape::Created), effect)
}

fn judge_container(guard: &Guard, reference: &str, action: &ContainerAction) -> Judged<Decision> {
    let (id, own) = guard.table.container(reference)?;
    let call = container_call(id, action);
    match action {
        // That job's guard relies on being the only one that starts it: while it copies files, for instance.
        ContainerAction::Start { .. } | ContainerAction::Attach(_) if is_made_in_job(&own.name) => {
            refuse!(Server, "the server may only end and remove what a job has started")
        }
        ContainerAction::Inspect { size: false } => forward(call, Reply::Json(Shape::Same), Effect::None),
        ContainerAction::Start { .. } => forward(call, Reply::Status, Effect::ContainerStarted { id: id.to_owned() }),
        ContainerAction::Kill { .. } => forward(call, Reply::Status, Effect::None),
        ContainerAction::Wait { .. } => forward(call, Reply::Stream, Effect::None),
        ContainerAction::Attach(_) => forward(call, Reply::Hijack, Effect::None),
        ContainerAction::ArchiveGet { .. } => {
            forward_if(guard.judge_reading(reference, action)?, call, Reply::Files, Effect::None)
        }
        ContainerAction::Export => {
            forward_if(guard.judge_reading(reference, action)?, call, Reply::Stream, Effect::None)
        }
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
    let setting = if is_instances { "LONGSHORE_NETWORK_SUBNET" } else { "LONGSHORE_DOCKER_SUBNET" };
    let is_known = |subnet: &String| match is_instances {
        true => policy.subnets.contains(subnet),
        false => policy.has_job_subnet(subnet),
    };
    match network.subnets.iter().find(|subnet| !is_known(subnet)) {
        Some(subnet) => refuse!(
            Server,
            "the guard does not know the subnet {subnet}: start it with the same {setting} as the server"
        ),
        None => Ok(()),
    }
}

fn list_volumes(filters: &Filters) -> Judged<Decision> {
    let by_name = filters.0.len() == 1 && filters.0.get("name").is_some_and(|names| *names == [format!("{AGENT}-")]);
    let filters = if by_name { filters.write().to_string() } else { labels(filters)? };
    let call = EngineCall::new("GET", "/volumes").query("filters", filters);
    forward(call, Reply::Json(Shape::ServersOwn), Effect::None)
}

fn create_volume(guard: &Guard, policy: &ServerPolicy, volume: &VolumeCreate) -> Judged<Decision> {
    let mut checks = judge_volume(policy, volume)?;
    // If a volume of this name exists, the engine returns that one.
    checks.extend(own_volume(guard, policy, &volume.name));
    let call = EngineCall::new("POST", "/volumes/create").json(volume.write());
    let effect = Effect::VolumeCreated { name: volume.name.clone(), layers: names_of_layers(&volume.content) };
    forward_if(checks, call, Reply::Json(Shape::Volume), effect)
}

/// Judges a volume. The layers of an overlay have to be the folders of the server's own volumes.
fn judge_volume(policy: &ServerPolicy, volume: &VolumeCreate) -> Judged<Vec<Check>> {
    own_labels(policy, &volume.labels)?;
    let may_be_made = is_writable(&volume.name) || (is_mountable(&volume.name) && is_of_socket(&volume.name));
    if !may_be_made {
        return refuse!(Server, "{:?} is not a name for a volume of the server", volume.name);
    }
    if volume.content != VolumeContent::Plain && is_of_socket(&volume.name) {
        return refuse!(Server, "the volume of a guard's socket may have no options");
    }
    let layers = volume.content.layers().into_iter().map(|place| {
        let name = place.strip_suffix("/_data").and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        if !is_writable(name) {
            return refuse!(Volume, "{place} is not the folder of one of the server's volumes");
        }
        Ok(Check::Volume { name: name.to_owned(), instances: policy.instances(), place: Some(place.clone()) })
    });
    layers.collect()
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
