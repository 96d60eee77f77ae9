//! Containers, one or a list, and execs in them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::images::is_image;
use super::names::{network_name, unprefixed, without_labels};
use super::{any, list, object, text_of};
use crate::filters::matches_name;
use crate::guard::Guard;
use crate::policy::Policy;
use crate::table::{Port, Protocol};

/// The address in the job's sandbox on which published ports listen.
const LOCALHOST: &str = "127.0.0.1";

/// Fields of a container that contain paths of the host.
const HOST_PATHS: [&str; 4] = ["LogPath", "ResolvConfPath", "HostnamePath", "HostsPath"];

/// What a list of containers is narrowed down to. An empty filter matches all.
pub(super) struct Wanted<'a> {
    pub(super) names: &'a [String],
    pub(super) ids: &'a [String],
    pub(super) ancestors: &'a [String],
    pub(super) networks: &'a [String],
    pub(super) volumes: &'a [String],
    pub(super) limit: Option<u32>,
}

/// Rewrites one container.
pub(super) fn container(guard: &Guard, answer: Value) -> Result<Value, String> {
    object(answer).map(|mut container| {
        inspected(guard, &mut container);
        Value::Object(container)
    })
}

/// Rewrites a list of containers, reduced to the client's own that are wanted.
pub(super) fn containers(guard: &Guard, wanted: &Wanted<'_>, answer: Value) -> Result<Value, String> {
    let mut kept = Vec::new();
    for container in list(answer)? {
        let mut container = object(container)?;
        let Some((id, entry)) = text_of(&container, "Id").and_then(|id| guard.table.containers.get_key_value(id))
        else {
            continue;
        };
        let is_named = any(wanted.names, |name| matches_name(name, &entry.name))
            && any(wanted.ids, |start| id.starts_with(start))
            && any(wanted.ancestors, |image| is_image(guard, &container, image));
        // Networks and volumes are compared by the names that the client knows.
        listed(guard, &mut container, &entry.name, &entry.image);
        if is_named
            && any(wanted.networks, |name| is_on_network(&container, name))
            && any(wanted.volumes, |name| has_mount(&container, name))
        {
            kept.push(Value::Object(container));
        }
    }
    kept.truncate(wanted.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX));
    Ok(Value::Array(kept))
}

/// Checks that an exec is in one of the client's containers.
pub(super) fn exec(guard: &Guard, answer: Value) -> Result<Value, String> {
    match answer.get("ContainerID").and_then(Value::as_str) {
        Some(id) if guard.table.containers.contains_key(id) => Ok(answer),
        _ => Err("the exec is in a container of somebody else".to_owned()),
    }
}

fn is_on_network(container: &Map<String, Value>, name: &str) -> bool {
    container.get("NetworkSettings").and_then(|settings| settings.get("Networks")?.get(name)).is_some()
}

fn has_mount(container: &Map<String, Value>, name: &str) -> bool {
    let mounts = container.get("Mounts").and_then(Value::as_array);
    mounts.is_some_and(|mounts| mounts.iter().any(|mount| mount["Name"] == *name || mount["Destination"] == *name))
}

fn inspected(guard: &Guard, container: &mut Map<String, Value>) {
    for key in HOST_PATHS {
        if container.contains_key(key) {
            container.insert(key.to_owned(), json!(""));
        }
    }
    container.remove("GraphDriver");
    let name = text_of(container, "Name").unwrap_or_default().trim_start_matches('/');
    let name = format!("/{}", unprefixed(guard, name));
    container.insert("Name".to_owned(), json!(name));
    let image = text_of(container, "Id").and_then(|id| guard.table.containers.get(id)).map(|entry| entry.image.clone());
    if let Some(Value::Object(config)) = container.get_mut("Config") {
        without_labels(guard, config.get_mut("Labels"));
        if let Some(image) = image {
            config.insert("Image".to_owned(), json!(image));
        }
    }
    health_shown(guard, container);
    ports_shown(guard, container);
    if let Some(Value::Object(host)) = container.get_mut("HostConfig") {
        host.insert("CgroupParent".to_owned(), json!(""));
        network_mode(guard, host);
        if let Some(Value::Array(mounts)) = host.get_mut("Mounts") {
            mounts.iter_mut().for_each(|mount| mount_shown(guard, mount));
        }
    }
    networks_and_mounts(guard, container);
}

/// Shows the health of a container as its last probe has found it. The engine calls one that runs unhealthy from when it
/// was paused until its next probe, and the guard pauses those that files are copied into or out of.
fn health_shown(guard: &Guard, container: &mut Map<String, Value>) {
    let (Policy::Job(_), Some(state)) = (&guard.policy, container.get_mut("State")) else { return };
    let runs = state["Running"] == true;
    let Some(health) = state.get_mut("Health").filter(|_| runs) else { return };
    // What probes have found unhealthy has failed some.
    if health["Status"] == "unhealthy" && health["FailingStreak"] == 0 {
        let last = health["Log"].as_array().and_then(|probes| probes.last());
        health["Status"] = json!(if last.is_some_and(|probe| probe["ExitCode"] == 0) { "healthy" } else { "starting" });
    }
}

/// Fills in the published ports: those that the client asked for, and those that listen.
fn ports_shown(guard: &Guard, container: &mut Map<String, Value>) {
    let id = text_of(container, "Id").unwrap_or_default();
    let Some(entry) = guard.table.containers.get(id).filter(|entry| entry.publish_all || !entry.published.is_empty())
    else {
        return;
    };
    let asked = |port: &Port| match port.asked {
        None => String::new(),
        Some((first, last)) if first == last => first.to_string(),
        Some((first, last)) => format!("{first}-{last}"),
    };
    let by_port = |shown: &dyn Fn(&Port) -> Option<Value>| {
        let mut all: BTreeMap<(u16, Protocol), Vec<Value>> = BTreeMap::new();
        for port in &entry.published {
            all.entry((port.container, port.protocol)).or_default().extend(shown(port));
        }
        let name = |(port, protocol): (u16, Protocol)| format!("{port}/{}", protocol.as_str());
        all.into_iter().map(move |(port, shown)| (name(port), Value::Array(shown)))
    };
    if let Some(Value::Object(host)) = container.get_mut("HostConfig") {
        let bindings = by_port(&|port| Some(json!({ "HostIp": "", "HostPort": asked(port) })));
        host.insert("PortBindings".to_owned(), Value::Object(bindings.collect()));
        host.insert("PublishAllPorts".to_owned(), json!(entry.publish_all));
    }
    if let Some(Value::Object(settings)) = container.get_mut("NetworkSettings") {
        let listening =
            by_port(&|port| port.bound.map(|bound| json!({ "HostIp": LOCALHOST, "HostPort": bound.to_string() })));
        let ports = settings.entry("Ports").or_insert_with(|| json!({}));
        if let Value::Object(ports) = ports {
            ports.extend(listening.filter(|(_, shown)| shown.as_array().is_some_and(|shown| !shown.is_empty())));
        }
    }
    if let Some(Value::Array(ports)) = container.get_mut("Ports") {
        for port in entry.published.iter().filter(|port| port.bound.is_some()) {
            let kind = port.protocol.as_str();
            let is_it = |shown: &Value| shown["PrivatePort"] == port.container && shown["Type"] == kind;
            ports.retain(|shown| !is_it(shown) || !shown["PublicPort"].is_null());
            ports.push(
                json!({ "IP": LOCALHOST, "PrivatePort": port.container, "PublicPort": port.bound, "Type": kind }),
            );
        }
    }
}

fn listed(guard: &Guard, container: &mut Map<String, Value>, name: &str, image: &str) {
    ports_shown(guard, container);
    container.insert("Names".to_owned(), json!([format!("/{name}")]));
    container.insert("Image".to_owned(), json!(image));
    without_labels(guard, container.get_mut("Labels"));
    if let Some(Value::Object(host)) = container.get_mut("HostConfig") {
        network_mode(guard, host);
    }
    networks_and_mounts(guard, container);
}

fn network_mode(guard: &Guard, host: &mut Map<String, Value>) {
    let shown = text_of(host, "NetworkMode").and_then(|mode| network_name(guard, mode)).map(str::to_owned);
    if let Some(shown) = shown {
        host.insert("NetworkMode".to_owned(), json!(shown));
    }
}

fn networks_and_mounts(guard: &Guard, container: &mut Map<String, Value>) {
    if let Some(Value::Array(mounts)) = container.get_mut("Mounts") {
        mounts.iter_mut().for_each(|mount| mount_shown(guard, mount));
    }
    let Policy::Job(_) = &guard.policy else { return };
    let Some(Value::Object(settings)) = container.get_mut("NetworkSettings") else { return };
    settings.remove("SandboxKey");
    let Some(Value::Object(networks)) = settings.get_mut("Networks") else { return };
    let shown: Map<String, Value> = std::mem::take(networks)
        .into_iter()
        .map(|(name, end)| {
            let id = end.get("NetworkID").and_then(Value::as_str).unwrap_or_default();
            let name = network_name(guard, id).map_or_else(|| unprefixed(guard, &name).to_owned(), str::to_owned);
            (name, end)
        })
        .collect();
    let bridge = shown.get("bridge").cloned();
    *networks = shown;
    // Clients look here for a container's address on the default network.
    if let Some(bridge) = bridge {
        for key in ["IPAddress", "Gateway", "MacAddress"] {
            if let Some(value) = bridge.get(key) {
                settings.insert(key.to_owned(), value.clone());
            }
        }
    }
}

fn mount_shown(guard: &Guard, mount: &mut Value) {
    let (Policy::Job(job), Value::Object(mount)) = (&guard.policy, mount) else { return };
    let on_engine = ["Name", "Source"].iter().find_map(|key| text_of(mount, key)).unwrap_or_default().to_owned();
    if let Some(socket) = job.socket.as_ref().filter(|socket| socket.host == on_engine) {
        mount.insert("Source".to_owned(), json!(socket.paths.first()));
        return;
    }
    if let Some(place) = job.places.iter().find(|place| place.volume == on_engine) {
        mount.insert("Type".to_owned(), json!("bind"));
        mount.insert("Source".to_owned(), json!(place.path));
        mount.remove("Name");
        mount.remove("VolumeOptions");
        return;
    }
    let name = unprefixed(guard, &on_engine).to_owned();
    if mount.contains_key("Name") {
        mount.insert("Name".to_owned(), json!(name));
        mount.insert("Source".to_owned(), json!(""));
    } else if mount.contains_key("Source") {
        mount.insert("Source".to_owned(), json!(name));
    }
    if let Some(Value::Object(options)) = mount.get_mut("VolumeOptions") {
        without_labels(guard, options.get_mut("Labels"));
    }
}
