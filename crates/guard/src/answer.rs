//! Rewrites the engine's answers: only the client's own objects, under the names that the client chose, without paths
//! and settings of the host.

mod containers;
mod engine;
mod events;
mod images;
mod names;
mod networks;
mod volumes;

use serde_json::{Map, Value, json};

use self::containers::Wanted;
pub use self::engine::PLATFORM;
pub(crate) use self::engine::version;
pub(crate) use self::names::{network_name, text};
use crate::check::INSTANCE;
use crate::decision::{LineShape, Shape};
use crate::guard::Guard;
use crate::policy::Policy;
use crate::server_own;

pub(crate) fn rewrite(guard: &Guard, shape: &Shape, answer: Value) -> Result<Value, String> {
    match shape {
        Shape::Same => Ok(answer),
        Shape::Created => Ok(pick(&answer, &["Id", "Warnings", "Warning"])),
        Shape::Info => Ok(engine::info(guard, &answer)),
        Shape::ServerInfo => Ok(engine::server_info(&answer)),
        Shape::ServersOwn => Ok(servers_own(guard, answer)),
        Shape::Addresses => networks::addresses(answer),
        Shape::Unlabelled => Ok(images::unlabelled(answer)),
        Shape::Container => containers::container(guard, answer),
        Shape::Containers { names, ids, ancestors, networks, volumes, limit } => {
            let wanted = Wanted { names, ids, ancestors, networks, volumes, limit: *limit };
            containers::containers(guard, &wanted, answer)
        }
        Shape::Exec => containers::exec(guard, answer),
        Shape::Image => images::image(guard, answer),
        Shape::History => images::history(guard, answer),
        Shape::Images { references } => images::images(guard, references, answer),
        Shape::RemovedImage { reference } => images::removed(reference.as_deref(), answer),
        Shape::Network => networks::network(guard, answer),
        Shape::Networks { names, ids } => networks::networks(guard, names, ids, answer),
        Shape::Volume => volumes::volume(guard, answer),
        Shape::Volumes { names } => volumes::volumes(guard, names, &answer),
    }
}

pub(crate) fn rewrite_line(guard: &Guard, shape: &LineShape, line: Value) -> Option<Value> {
    match shape {
        LineShape::Progress | LineShape::Import => Some(names::texts(guard, line)),
        LineShape::Loaded(names) => Some(names::renamed(names, line)),
        LineShape::Events(filters) => events::event(guard, filters, object(line).ok()?).map(Value::Object),
    }
}

/// Reduces a list to the server's own objects: those with the label of its instance.
fn servers_own(guard: &Guard, mut answer: Value) -> Value {
    let Policy::Server(policy) = &guard.policy else { return Value::Null };
    let is_own = |object: &Value| object["Labels"][INSTANCE].as_str().is_some_and(|instance| policy.is_own(instance));
    let is_ours = |name: &Value| name.as_str().is_some_and(|name| server_own::is_ours(name.trim_start_matches('/')));
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
