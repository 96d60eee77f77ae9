//! Networks.

use serde_json::{Map, Value, json};

use super::names::{network_name, without_labels};
use super::{any, list, object, pick, text_of};
use crate::filters::matches_name;
use crate::guard::Guard;
use crate::policy::Policy;

/// Rewrites one network.
pub(super) fn network(guard: &Guard, answer: Value) -> Result<Value, String> {
    object(answer).map(|network| Value::Object(shown(guard, network)))
}

/// Rewrites a list of networks, reduced to the client's own that match the filters.
pub(super) fn networks(guard: &Guard, names: &[String], ids: &[String], answer: Value) -> Result<Value, String> {
    let mut kept = Vec::new();
    for network in list(answer)? {
        let network = object(network)?;
        let Some(id) = text_of(&network, "Id").filter(|id| network_name(guard, id).is_some()) else { continue };
        let id = id.to_owned();
        let network = shown(guard, network);
        let name = text_of(&network, "Name").unwrap_or_default();
        if any(names, |pattern| matches_name(pattern, name)) && any(ids, |start| id.starts_with(start)) {
            kept.push(Value::Object(network));
        }
    }
    Ok(Value::Array(kept))
}

/// Reduces a list of networks to their addresses.
pub(super) fn addresses(answer: Value) -> Result<Value, String> {
    let addresses = |network: &Value| {
        let configs = network["IPAM"]["Config"].as_array().into_iter().flatten();
        configs.map(|config| pick(config, &["Gateway", "Subnet"])).collect::<Vec<_>>()
    };
    let networks = list(answer)?;
    Ok(networks.iter().map(|network| json!({ "IPAM": { "Config": addresses(network) } })).collect())
}

fn shown(guard: &Guard, mut network: Map<String, Value>) -> Map<String, Value> {
    let Policy::Job(_) = &guard.policy else { return network };
    let id = text_of(&network, "Id").unwrap_or_default();
    let name = network_name(guard, id).unwrap_or_default().to_owned();
    network.insert("Name".to_owned(), json!(name));
    // The host has that address, where nothing of the job answers. Clients that look for published ports there use
    // `localhost` without it.
    let configs = network.get_mut("IPAM").and_then(|ipam| ipam.get_mut("Config")).and_then(Value::as_array_mut);
    for config in configs.into_iter().flatten().filter_map(Value::as_object_mut) {
        config.remove("Gateway");
    }
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
