//! Events of the engine.

use serde_json::{Map, Value, json};

use super::names::{familiar, network_name};
use super::text_of;
use crate::filters::Filters;
use crate::guard::Guard;
use crate::table::full_id;

/// Rewrites an event. `None` if it is not about an own object.
pub(super) fn event(guard: &Guard, filters: &Filters, mut event: Map<String, Value>) -> Option<Map<String, Value>> {
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
