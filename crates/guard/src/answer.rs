//! Rewrites the engine's answers: only the client's own objects, under the names that the client chose, without paths and settings
//! of the host.

use serde_json::{Map, Value, json};

use crate::check::INSTANCE;
use crate::decision::{LineShape, Shape};
use crate::filters::{Filters, matches_name};
use crate::guard::{EngineFacts, Guard};
use crate::image_ref::{ImageName, ImageRef};
use crate::policy::Policy;
use crate::server;
use crate::table::{Port, full_id};
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

/// Further fields for a server, which tells its operator about bad settings.
const SERVER_INFO: [&str; 2] = ["LiveRestoreEnabled", "SystemTime"];

/// The address in the job's sandbox on which published ports listen.
const LOCALHOST: &str = "127.0.0.1";

/// Fields of a container that contain paths of the host.
const HOST_PATHS: [&str; 4] = ["LogPath", "ResolvConfPath", "HostnamePath", "HostsPath"];

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

pub(crate) fn rewrite(guard: &Guard, shape: &Shape, answer: Value) -> Result<Value, String> {
    match shape {
        Shape::Same => Ok(answer),
        Shape::Created => Ok(pick(&answer, &["Id", "Warnings", "Warning"])),
        Shape::Info => Ok(info(guard, &answer)),
        Shape::ServerInfo => Ok(pick(&answer, &[&INFO[..], &SERVER_INFO[..]].concat())),
        Shape::ServersOwn => Ok(servers_own(guard, answer)),
        Shape::Gateways => {
            let gateways = |network: &Value| {
                let configs = network["IPAM"]["Config"].as_array().into_iter().flatten();
                configs.map(|config| pick(config, &["Gateway"])).collect::<Vec<_>>()
            };
            let networks = list(answer)?;
            Ok(networks.iter().map(|network| json!({ "IPAM": { "Config": gateways(network) } })).collect())
        }
        Shape::Unlabelled => Ok(unlabelled(answer)),
        Shape::Container => object(answer).map(|mut container| {
            inspected(guard, &mut container);
            Value::Object(container)
        }),
        Shape::Containers { names, ids, ancestors, networks, volumes, limit } => {
            let mut kept = Vec::new();
            for container in list(answer)? {
                let mut container = object(container)?;
                let Some((id, entry)) =
                    text_of(&container, "Id").and_then(|id| guard.table.containers.get_key_value(id))
                else {
                    continue;
                };
                let wanted = any(names, |name| matches_name(name, &entry.name))
                    && any(ids, |start| id.starts_with(start))
                    && any(ancestors, |image| is_image(guard, &container, image));
                listed(guard, &mut container, &entry.name, &entry.image);
                let wanted = wanted
                    && any(networks, |name| {
                        container
                            .get("NetworkSettings")
                            .and_then(|settings| settings.get("Networks")?.get(name))
                            .is_some()
                    })
                    && any(volumes, |name| {
                        let mounts = container.get("Mounts").and_then(Value::as_array);
                        mounts.is_some_and(|mounts| {
                            mounts.iter().any(|mount| mount["Name"] == *name || mount["Destination"] == *name)
                        })
                    });
                if wanted {
                    kept.push(Value::Object(container));
                }
            }
            kept.truncate(limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX));
            Ok(Value::Array(kept))
        }
        Shape::Exec => match answer.get("ContainerID").and_then(Value::as_str) {
            Some(id) if guard.table.containers.contains_key(id) => Ok(answer),
            _ => Err("the exec is in a container of somebody else".to_owned()),
        },
        Shape::Image => {
            let mut image = object(answer)?;
            for key in ["GraphDriver", "Parent", "Container", "ContainerConfig", "DockerVersion"] {
                image.remove(key);
            }
            name_image(guard, &mut image);
            Ok(Value::Object(image))
        }
        Shape::Images { references } => {
            let mut kept = Vec::new();
            for image in list(answer)? {
                let mut image = object(image)?;
                let id = text_of(&image, "Id").and_then(full_id).unwrap_or_default();
                let known = guard.table.references(&id);
                let wanted = references.is_empty() || known.iter().any(|known| matches_any(references, known));
                if !known.is_empty() && wanted {
                    name_image(guard, &mut image);
                    if let Some(Value::Array(names)) = image.get_mut("RepoTags").filter(|_| !references.is_empty()) {
                        names.retain(|name| name.as_str().is_some_and(|name| matches_any(references, name)));
                    }
                    image.remove("ParentId");
                    kept.push(Value::Object(image));
                }
            }
            Ok(Value::Array(kept))
        }
        Shape::RemovedImage { reference } => {
            let name = reference.as_deref().map(familiar);
            let removed = list(answer)?.into_iter().map(|line| match (line.get("Untagged"), &name) {
                (Some(_), Some(name)) => json!({ "Untagged": name }),
                _ => line,
            });
            Ok(Value::Array(removed.collect()))
        }
        Shape::Network => object(answer).map(|network| Value::Object(network_shown(guard, network))),
        Shape::Networks { names, ids } => {
            let mut kept = Vec::new();
            for network in list(answer)? {
                let network = object(network)?;
                let Some(id) = text_of(&network, "Id").filter(|id| network_name(guard, id).is_some()) else { continue };
                let id = id.to_owned();
                let shown = network_shown(guard, network);
                let name = text_of(&shown, "Name").unwrap_or_default();
                if any(names, |pattern| matches_name(pattern, name)) && any(ids, |start| id.starts_with(start)) {
                    kept.push(Value::Object(shown));
                }
            }
            Ok(Value::Array(kept))
        }
        Shape::Volume => object(answer).map(|volume| Value::Object(volume_shown(guard, volume))),
        Shape::Volumes { names } => {
            let listed = answer.get("Volumes").cloned().unwrap_or_default();
            let mut kept = Vec::new();
            for volume in if listed.is_null() { Vec::new() } else { list(listed)? } {
                let volume = volume_shown(guard, object(volume)?);
                let name = text_of(&volume, "Name").unwrap_or_default();
                if guard.table.volumes.contains(name) && any(names, |pattern| matches_name(pattern, name)) {
                    kept.push(Value::Object(volume));
                }
            }
            Ok(json!({ "Volumes": kept, "Warnings": null }))
        }
    }
}

/// Whether the filter is empty or one of its values matches.
fn any(wanted: &[String], matches: impl Fn(&str) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(|text| matches(text))
}

fn object(value: Value) -> Result<Map<String, Value>, String> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err("the engine's answer is not an object".to_owned()),
    }
}

fn list(value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err("the engine's answer is not a list".to_owned()),
    }
}

fn text_of<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn pick(value: &Value, keys: &[&str]) -> Value {
    let picked = keys.iter().filter_map(|key| Some(((*key).to_owned(), value.get(key)?.clone())));
    Value::Object(picked.collect())
}

fn familiar(reference: &str) -> String {
    ImageRef::parse(reference).map_or_else(|_| reference.to_owned(), |reference| reference.familiar())
}

fn info(guard: &Guard, engine: &Value) -> Value {
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

/// Reduces a list to the server's own objects: those with the label of its instance.
fn servers_own(guard: &Guard, mut answer: Value) -> Value {
    let Policy::Server(policy) = &guard.policy else { return Value::Null };
    let is_own = |object: &Value| object["Labels"][INSTANCE].as_str().is_some_and(|instance| policy.is_own(instance));
    let is_ours = |name: &Value| name.as_str().is_some_and(|name| server::is_ours(name.trim_start_matches('/')));
    match &mut answer {
        Value::Object(volumes) => {
            if let Some(Value::Array(listed)) = volumes.get_mut("Volumes") {
                listed.retain_mut(|volume| {
                    let own = is_own(volume) && is_ours(&volume["Name"]);
                    let agents = volume["Name"].as_str().is_some_and(|name| name.starts_with("longshore-agent-"));
                    if agents && !own {
                        volume["Labels"] = json!({});
                    }
                    own || agents
                });
            }
        }
        Value::Array(listed) => {
            listed.retain(|object| is_own(object) && (is_ours(&object["Name"]) || is_ours(&object["Names"][0])));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    answer
}

/// Clears the values of labels that look like ours: they could name other instances.
fn unlabelled(mut answer: Value) -> Value {
    let clear = |labels: Option<&mut Value>| {
        if let Some(Value::Object(labels)) = labels {
            let ours = labels.iter_mut().filter(|(name, _)| name.starts_with("longshore."));
            ours.for_each(|(_, value)| *value = json!(""));
        }
    };
    match &mut answer {
        Value::Array(images) => images.iter_mut().for_each(|image| clear(image.get_mut("Labels"))),
        image => {
            clear(image.get_mut("Config").and_then(|config| config.get_mut("Labels")));
            clear(image.get_mut("ContainerConfig").and_then(|config| config.get_mut("Labels")));
        }
    }
    answer
}

/// Returns the client's name for a network. The job's own network is what clients know as `bridge`.
pub(crate) fn network_name<'a>(guard: &'a Guard, id: &str) -> Option<&'a str> {
    match &guard.policy {
        Policy::Job(job) if job.network.as_deref() == Some(id) => Some("bridge"),
        Policy::Job(_) => guard.table.networks.get(id).map(String::as_str),
        Policy::Server(_) => None,
    }
}

fn unprefixed<'a>(guard: &Guard, name: &'a str) -> &'a str {
    name.strip_prefix(&guard.policy.prefix()).unwrap_or(name)
}

/// Removes our labels.
fn without_labels(guard: &Guard, labels: Option<&mut Value>) {
    if let (Policy::Job(_), Some(Value::Object(labels))) = (&guard.policy, labels) {
        labels.retain(|label, _| !label.starts_with("longshore."));
    }
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
        let mut all: std::collections::BTreeMap<u16, Vec<Value>> = std::collections::BTreeMap::new();
        for port in &entry.published {
            all.entry(port.container).or_default().extend(shown(port));
        }
        all.into_iter().map(|(port, shown)| (format!("{port}/tcp"), Value::Array(shown)))
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
            ports.retain(|shown| shown["PrivatePort"] != port.container || !shown["PublicPort"].is_null());
            ports.push(
                json!({ "IP": LOCALHOST, "PrivatePort": port.container, "PublicPort": port.bound, "Type": "tcp" }),
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
    let shown = text_of(host, "NetworkMode").and_then(|mode| guard_job_network(guard, mode));
    if let Some(shown) = shown {
        host.insert("NetworkMode".to_owned(), json!(shown));
    }
}

fn guard_job_network(guard: &Guard, id: &str) -> Option<String> {
    match &guard.policy {
        Policy::Job(_) => network_name(guard, id).map(str::to_owned),
        Policy::Server(_) => None,
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

/// Replaces an image's names by those that the client knows.
fn name_image(guard: &Guard, image: &mut Map<String, Value>) {
    let Policy::Job(_) = &guard.policy else { return };
    let id = text_of(image, "Id").and_then(full_id).unwrap_or_default();
    let names = guard.table.references(&id);
    let shown: Vec<String> =
        names.iter().filter(|name| !name.starts_with("longshore-guard/")).map(|name| familiar(name)).collect();
    image.insert("RepoTags".to_owned(), json!(shown.iter().filter(|name| !name.contains('@')).collect::<Vec<_>>()));
    let digests: Vec<&String> = shown.iter().filter(|name| name.contains('@')).collect();
    image.insert("RepoDigests".to_owned(), json!(digests));
    if let Some(Value::Object(config)) = image.get_mut("Config") {
        without_labels(guard, config.get_mut("Labels"));
    }
    without_labels(guard, image.get_mut("Labels"));
}

fn is_image(guard: &Guard, container: &Map<String, Value>, wanted: &str) -> bool {
    let id = text_of(container, "ImageID").and_then(full_id);
    ImageName::parse(wanted)
        .and_then(|name| guard.table.image(&name).map(|(id, _)| id.to_owned()))
        .is_ok_and(|wanted| Some(wanted) == id)
}

fn matches_any(patterns: &[String], reference: &str) -> bool {
    patterns.iter().any(|pattern| matches_reference(pattern, reference))
}

fn matches_reference(pattern: &str, reference: &str) -> bool {
    if let Ok(parsed) = ImageRef::parse(reference) {
        let wanted = ImageRef::parse(pattern);
        // Without a tag, a pattern matches all tags of the repository.
        let whole = wanted.as_ref().is_ok_and(|wanted| *wanted == parsed);
        let bare = !pattern.rsplit('/').next().unwrap_or_default().contains([':', '@']);
        let repository = wanted.is_ok_and(|wanted| bare && wanted.name() == parsed.name());
        let starred = pattern.split_once('*').is_some_and(|(start, end)| {
            let name = parsed.familiar();
            name.starts_with(start) && name.ends_with(end)
        });
        return whole || repository || starred;
    }
    false
}

fn network_shown(guard: &Guard, mut network: Map<String, Value>) -> Map<String, Value> {
    let Policy::Job(_) = &guard.policy else { return network };
    let id = text_of(&network, "Id").unwrap_or_default();
    let name = network_name(guard, id).unwrap_or_default().to_owned();
    network.insert("Name".to_owned(), json!(name));
    without_labels(guard, network.get_mut("Labels"));
    if let Some(Value::Object(containers)) = network.get_mut("Containers") {
        containers.retain(|id, _| guard.table.containers.contains_key(id));
        for (id, end) in containers.iter_mut() {
            if let (Some(entry), Value::Object(end)) = (guard.table.containers.get(id), end) {
                end.insert("Name".to_owned(), json!(entry.name));
            }
        }
    }
    network
}

fn volume_shown(guard: &Guard, mut volume: Map<String, Value>) -> Map<String, Value> {
    let Policy::Job(_) = &guard.policy else { return volume };
    let name = unprefixed(guard, text_of(&volume, "Name").unwrap_or_default()).to_owned();
    volume.insert("Name".to_owned(), json!(name));
    volume.insert("Mountpoint".to_owned(), json!(""));
    without_labels(guard, volume.get_mut("Labels"));
    volume
}

pub(crate) fn rewrite_line(guard: &Guard, shape: &LineShape, line: Value) -> Option<Value> {
    match shape {
        LineShape::Progress | LineShape::Import => Some(texts(guard, line)),
        LineShape::Events(filters) => event(guard, filters, object(line).ok()?).map(Value::Object),
    }
}

/// Rewrites every string of a value with the names that the client knows.
fn texts(guard: &Guard, value: Value) -> Value {
    match value {
        Value::String(string) => Value::String(text(guard, &string)),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| texts(guard, item)).collect()),
        Value::Object(entries) => {
            Value::Object(entries.into_iter().map(|(key, value)| (key, texts(guard, value))).collect())
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

pub(crate) fn text(guard: &Guard, message: &str) -> String {
    let prefix = guard.policy.prefix();
    if prefix.is_empty() || !message.contains("longshore") {
        return message.to_owned();
    }
    let mut text = message.replace(&prefix, "");
    for (reference, image) in &guard.table.images {
        if let Some(kept_as) = &image.kept_as {
            text = text.replace(kept_as.as_str(), &familiar(reference));
        }
    }
    text
}

/// Rewrites an event. `None` if it is not about an own object.
fn event(guard: &Guard, filters: &Filters, mut event: Map<String, Value>) -> Option<Map<String, Value>> {
    let kind = text_of(&event, "Type")?.to_owned();
    let id = event.get("Actor")?.get("ID")?.as_str()?.to_owned();
    let shown = match kind.as_str() {
        "container" => guard.table.containers.get(&id).map(|entry| (id.clone(), entry.name.clone()))?,
        "network" => network_name(guard, &id).map(|name| (id.clone(), name.to_owned()))?,
        "volume" => {
            let name = id.strip_prefix(&guard.policy.prefix()).filter(|name| guard.table.volumes.contains(*name))?;
            (name.to_owned(), name.to_owned())
        }
        "image" => {
            let images = &guard.table.images;
            let own = |(_, image): &(&String, &crate::table::Image)| {
                image.kept_as.as_deref() == Some(&id) || full_id(&id).as_ref() == Some(&image.id)
            };
            let (reference, _) = images.iter().find(own)?;
            (familiar(reference), familiar(reference))
        }
        _ => return None,
    };
    let wanted = |key: &str, matches: &dyn Fn(&str) -> bool| {
        filters.0.get(key).is_none_or(|values| values.iter().any(|value| matches(value)))
    };
    let action = text_of(&event, "Action").unwrap_or_default().to_owned();
    let is_this = |of: &'static str| {
        let (kind, shown, id) = (kind.clone(), shown.clone(), id.clone());
        move |value: &str| kind == of && (value == shown.1 || (value.len() >= 6 && id.starts_with(value)))
    };
    let is_wanted = wanted("type", &|value| value == kind)
        && wanted("event", &|value| action == value || action.starts_with(&format!("{value}:")))
        && wanted("container", &is_this("container"))
        && wanted("network", &is_this("network"))
        && wanted("volume", &is_this("volume"))
        && wanted("image", &is_this("image"));
    let attributes = event.get_mut("Actor")?.get_mut("Attributes")?.as_object_mut()?;
    let has_labels = filters.0.get("label").is_none_or(|labels| {
        labels.iter().all(|label| match label.split_once('=') {
            Some((key, value)) => text_of(attributes, key) == Some(value),
            None => attributes.contains_key(label),
        })
    });
    if !is_wanted || !has_labels {
        return None;
    }
    attributes.retain(|key, _| !key.starts_with("longshore."));
    attributes.insert("name".to_owned(), json!(shown.1));
    if kind == "container" {
        let image = guard.table.containers.get(&id).map(|entry| entry.image.clone()).unwrap_or_default();
        attributes.insert("image".to_owned(), json!(image));
        event.insert("from".to_owned(), json!(image));
    }
    event["Actor"]["ID"] = json!(shown.0);
    if event.contains_key("id") {
        event.insert("id".to_owned(), json!(shown.0));
    }
    Some(event)
}
