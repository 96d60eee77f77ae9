//! What the server may do: what the executor asks for, and no more.
//!
//! The names of the server's objects start with `longshore-`, which no job can choose (`names`), and say what they are. Whoever
//! runs code in the server's process reaches no other container, no volume but those, no path and no device of the host.

use std::collections::BTreeMap;

use crate::call::{Call, ContainerAction};
use crate::container::ContainerCreate;
use crate::decision::{Decision, Effect, EngineCall, Forward, LineShape, Local, OnlyOwn, Reply, Shape};
use crate::filters::Filters;
use crate::guard::{Guard, container_call};
use crate::host_config::{LogDriver, NetworkMode, Sharing};
use crate::image_ref::{ImageName, ImageRef};
use crate::job::{answer, forward};
use crate::mounts::Source;
use crate::policy::ServerPolicy;
use crate::refusal::{Judged, refuse};
use crate::table::Container;

/// The repository of the agent's images, and the start of the names of its volumes.
const AGENT: &str = "longshore-agent";
/// The most that root may have in a job's container.
const CAPABILITIES: [&str; 9] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID"];
const SYSCTL: &str = "net.ipv6.conf.lo.disable_ipv6";
/// Where memory is mounted: over the folder of secrets.
const SECRETS: &str = "/longshore/secrets";
const LABEL_INSTANCE: &str = "longshore.instance";

pub(crate) fn judge(guard: &Guard, policy: &ServerPolicy, call: &Call) -> Judged<Decision> {
    let table = &guard.table;
    match call {
        Call::Ping => Ok(Decision::Answer(Local::Pong)),
        Call::Version => answer(crate::answer::version(&guard.engine)),
        Call::Info => forward(EngineCall::new("GET", "/info"), Reply::Json(Shape::Info), Effect::None),
        Call::ContainerCreate { name, platform, body } => {
            if !platform.is_empty() {
                return refuse!(Server, "a platform is not asked for");
            }
            let (body, volumes) = judge_create(guard, policy, name, body)?;
            let entry =
                Container { name: name.clone(), image: body.image.clone(), mounts: true, ..Container::default() };
            let call = EngineCall::new("POST", "/containers/create").query("name", name).json(body.write()?);
            let only_own = only_own(guard, policy, &volumes);
            let effect = Effect::ContainerCreated { container: entry, volumes };
            forward_own(call, Reply::Json(Shape::Created), effect, only_own)
        }
        Call::ContainerList { all, limit, size, filters } => {
            if limit.is_some() || *size {
                return refuse!(Server, "lists are not asked for so");
            }
            let call = EngineCall::new("GET", "/containers/json").flag("all", *all).query("filters", labels(filters)?);
            forward(
                call,
                Reply::Json(Shape::Containers {
                    names: Vec::new(),
                    ids: Vec::new(),
                    ancestors: Vec::new(),
                    networks: Vec::new(),
                    volumes: Vec::new(),
                    limit: None,
                }),
                Effect::None,
            )
        }
        Call::Container { container, action } => {
            let (id, _) = table.container(container)?;
            let call = container_call(id, action);
            match action {
                ContainerAction::Inspect { size: false } => forward(call, Reply::Json(Shape::Container), Effect::None),
                ContainerAction::Start { .. } | ContainerAction::Kill { .. } => {
                    forward(call, Reply::Status, Effect::None)
                }
                ContainerAction::Wait { .. } => forward(call, Reply::Stream, Effect::None),
                ContainerAction::Attach(_) => forward(call, Reply::Hijack, Effect::None),
                ContainerAction::ArchiveGet { .. } => forward(call, Reply::Files, Effect::None),
                ContainerAction::Remove { .. } => {
                    forward(call, Reply::Status, Effect::ContainerRemoved { id: id.to_owned() })
                }
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
                | ContainerAction::Exec(_) => refuse!(Server, "the executor does not ask this of a container"),
            }
        }
        Call::ImageList { filters, .. } => {
            let of_agents = filters.0.len() == 1 && filters.0.get("reference").is_some_and(|names| *names == [AGENT]);
            if !of_agents {
                return refuse!(Server, "only the agent's images are listed");
            }
            let call = EngineCall::new("GET", "/images/json").query("filters", filters.write().to_string());
            forward(call, Reply::Json(Shape::Same), Effect::None)
        }
        Call::ImageInspect { image } => {
            let call = EngineCall::new("GET", format!("/images/{}/json", image));
            forward(call, Reply::Json(Shape::Same), Effect::None)
        }
        Call::ImagePull { image, platform, auth } => {
            if !platform.is_empty() {
                return refuse!(Server, "a platform is not asked for");
            }
            let mut call = EngineCall::new("POST", "/images/create")
                .query("fromImage", image.name())
                .query("tag", image.version());
            call.credentials = Some(("X-Registry-Auth", auth.to_header()));
            forward(call, Reply::Lines(LineShape::Progress), Effect::None)
        }
        Call::ImageImport { changes } => {
            if let Some(change) = changes.iter().find(|change| !is_change(change)) {
                return refuse!(Server, "the agent's image is not imported with {change:?}");
            }
            let mut call = EngineCall::new("POST", "/images/create").query("fromSrc", "-").tar();
            for change in changes {
                call = call.query("changes", change);
            }
            forward(call, Reply::Lines(LineShape::Progress), Effect::None)
        }
        Call::ImageTag { image: ImageName::Id(id), target } if is_agent(target) => {
            let call = EngineCall::new("POST", format!("/images/sha256:{id}/tag"))
                .query("repo", AGENT)
                .query("tag", target.version());
            forward(call, Reply::Status, Effect::None)
        }
        Call::ImageRemove { image: ImageName::Ref { reference, .. }, force: false } if is_agent(reference) => {
            let call = EngineCall::new("DELETE", format!("/images/{}", reference.familiar()));
            forward(call, Reply::Json(Shape::Same), Effect::None)
        }
        Call::NetworkList { filters } => {
            let call = EngineCall::new("GET", "/networks").query("filters", labels(filters)?);
            forward(call, Reply::Json(Shape::Networks { names: Vec::new(), ids: Vec::new() }), Effect::None)
        }
        Call::NetworkInspect { network } if is_network(network) => {
            forward(EngineCall::new("GET", format!("/networks/{network}")), Reply::Json(Shape::Same), Effect::None)
        }
        Call::NetworkCreate(network) if network.name == own_network(policy) => {
            own_labels(policy, &network.labels)?;
            if network.ipv6 || network.internal || network.options != isolated() {
                return refuse!(Server, "the network is not made so");
            }
            let call = EngineCall::new("POST", "/networks/create").json(network.write());
            forward(call, Reply::Json(Shape::Created), Effect::NetworkCreated { name: network.name.clone() })
        }
        Call::NetworkRemove { network } if is_network(network) => {
            forward(EngineCall::new("DELETE", format!("/networks/{network}")), Reply::Status, Effect::None)
        }
        Call::VolumeList { filters } => {
            let by_name =
                filters.0.len() == 1 && filters.0.get("name").is_some_and(|names| *names == [format!("{AGENT}-")]);
            let filters = if by_name { filters.write().to_string() } else { labels(filters)? };
            let call = EngineCall::new("GET", "/volumes").query("filters", filters);
            forward(call, Reply::Json(Shape::Volumes { names: Vec::new() }), Effect::None)
        }
        Call::VolumeCreate(volume) if is_volume(&volume.name) => {
            own_labels(policy, &volume.labels)?;
            let call = EngineCall::new("POST", "/volumes/create").json(volume.write());
            forward(call, Reply::Json(Shape::Volume), Effect::VolumeCreated { name: volume.name.clone() })
        }
        Call::VolumeInspect { volume } if is_volume(volume) => {
            forward(EngineCall::new("GET", format!("/volumes/{volume}")), Reply::Json(Shape::Volume), Effect::None)
        }
        Call::VolumeRemove { volume, force: false } if is_volume(volume) => {
            let call = EngineCall::new("DELETE", format!("/volumes/{volume}"));
            let only_own = only_own(guard, policy, std::slice::from_ref(volume));
            forward_own(call, Reply::Status, Effect::VolumeRemoved { name: volume.clone() }, only_own)
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
        | Call::Build(_)
        | Call::NetworkInspect { .. }
        | Call::NetworkCreate(_)
        | Call::NetworkConnect { .. }
        | Call::NetworkDisconnect { .. }
        | Call::NetworkRemove { .. }
        | Call::VolumeCreate(_)
        | Call::VolumeInspect { .. }
        | Call::VolumeRemove { .. } => refuse!(Server, "the executor does not ask this"),
    }
}

fn forward_own(call: EngineCall, reply: Reply, effect: Effect, only_own: Option<OnlyOwn>) -> Judged<Decision> {
    Ok(Decision::Forward(Box::new(Forward { call, reply, effect, only_stopped: None, only_own, build: None })))
}

/// Another server on this engine may have volumes of such names. The agent's are everybody's.
fn only_own(guard: &Guard, policy: &ServerPolicy, volumes: &[String]) -> Option<OnlyOwn> {
    let is_unknown = |name: &&String| !name.starts_with(AGENT) && !guard.table.volumes.contains(*name);
    let volumes: Vec<String> = volumes.iter().filter(is_unknown).cloned().collect();
    let label = LABEL_INSTANCE;
    (!volumes.is_empty()).then(|| OnlyOwn { volumes, label, value: policy.instance.clone() })
}

/// Judges a container: a job's, a sandbox, or the one that brings the agent to its volume.
fn judge_create(
    guard: &Guard,
    policy: &ServerPolicy,
    name: &str,
    asked: &ContainerCreate,
) -> Judged<(ContainerCreate, Vec<String>)> {
    if !is_ours(name) {
        return refuse!(Server, "{name:?} is not what a container of the server is called");
    }
    own_labels(policy, &asked.labels)?;
    let mut body = asked.clone();
    body.image = ImageName::parse(&asked.image)?.to_string();
    let host = &mut body.host;
    let mut volumes = Vec::new();
    for mount in &host.mounts {
        match &mount.source {
            Source::Volume { name, subpath } if is_volume(name) && subpath.is_empty() => {
                own_labels(policy, &mount.labels)?;
                volumes.push(name.clone());
            }
            Source::Volume { .. } | Source::Anonymous | Source::Path(_) | Source::Socket(_) | Source::Tmpfs { .. } => {
                return refuse!(Server, "a container of the server mounts the server's volumes alone");
            }
        }
    }
    host.network = match &host.network {
        NetworkMode::None => NetworkMode::None,
        NetworkMode::Container(id) => NetworkMode::Container(guard.table.container(id)?.0.to_owned()),
        NetworkMode::Named(network) if *network == own_network(policy) => NetworkMode::Named(network.clone()),
        NetworkMode::Named(_) | NetworkMode::Default => {
            return refuse!(Server, "a container of the server is on the server's network, a sandbox's, or none");
        }
    };
    let is_refused = !body.networks.is_empty()
        || !host.links.is_empty()
        || !host.volumes_from.is_empty()
        || !host.published.is_empty()
        || host.publish_all
        || !host.extra_hosts.is_empty()
        || host.ipc != Sharing::Own
        || host.pid != Sharing::Own
        || host.cap_add.iter().any(|name| !CAPABILITIES.contains(&name.as_str()))
        || host.sysctls.iter().any(|(name, value)| name != SYSCTL || value != "0")
        || host.tmpfs.keys().any(|path| path != SECRETS)
        || host.restarts > 0;
    if is_refused {
        return refuse!(Server, "the executor does not make a container so");
    }
    // The container that fills the agent's volume runs our own program, once, without a network; all others drop everything.
    let is_filling = host.network == NetworkMode::None && name.starts_with(AGENT);
    let is_confined = host.no_new_privileges && host.cap_drop.iter().any(|name| name == "ALL");
    if !is_filling && !is_confined {
        return refuse!(Server, "a container of the server drops all capabilities, and gets no new privileges");
    }
    host.log = LogDriver::None;
    Ok((body, volumes))
}

fn is_agent(image: &ImageRef) -> bool {
    image.registry == "docker.io" && image.repository == format!("library/{AGENT}") && image.tag().is_some_and(is_hash)
}

fn is_hash(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_ours(name: &str) -> bool {
    name.starts_with("longshore-")
        && !name.starts_with("longshore-guard-")
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// A volume of a job, of the doctor, or the agent's.
fn is_volume(name: &str) -> bool {
    is_ours(name)
        && (name.starts_with("longshore-job-")
            || name.starts_with("longshore-doctor-")
            || name.strip_prefix("longshore-agent-").is_some_and(is_hash))
}

fn own_network(policy: &ServerPolicy) -> String {
    format!("longshore-{}", policy.instance)
}

/// A network of any server's on this engine: those that are left by others are removed too.
fn is_network(name: &str) -> bool {
    is_ours(name)
}

fn isolated() -> BTreeMap<String, String> {
    BTreeMap::from([("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())])
}

fn own_labels(policy: &ServerPolicy, labels: &BTreeMap<String, String>) -> Judged<()> {
    match labels.get(LABEL_INSTANCE) {
        Some(instance) if *instance == policy.instance => Ok(()),
        _ => refuse!(Server, "what the server makes carries the label {LABEL_INSTANCE} of its instance"),
    }
}

/// The filters of a list: by our labels.
fn labels(filters: &Filters) -> Judged<String> {
    let ours = |label: &String| label == LABEL_INSTANCE || label.starts_with("longshore.");
    match filters.0.get("label") {
        Some(labels) if filters.0.len() == 1 && labels.iter().all(ours) => Ok(filters.write().to_string()),
        _ => refuse!(Server, "only what carries the server's labels is listed"),
    }
}

/// A change of the agent's image: labels of ours, and the program that it runs.
fn is_change(change: &str) -> bool {
    let label = change
        .strip_prefix("LABEL longshore.")
        .is_some_and(|rest| rest.split_once('=').is_some_and(|(key, value)| is_plain(key) && is_plain(value)));
    label || change == r#"ENTRYPOINT ["/.longshore/longshore"]"#
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}
