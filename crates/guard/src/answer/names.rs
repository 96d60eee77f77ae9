//! Names and labels as the client knows them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::guard::Guard;
use crate::image_ref::ImageRef;
use crate::policy::Policy;

/// Returns the client's name for a network. The job's own network is what clients know as `bridge`.
pub(crate) fn network_name<'a>(guard: &'a Guard, id: &str) -> Option<&'a str> {
    match &guard.policy {
        Policy::Job(job) if job.network.as_deref() == Some(id) => Some("bridge"),
        Policy::Job(_) => guard.table.networks.get(id).map(String::as_str),
        Policy::Server(_) => None,
    }
}

pub(super) fn unprefixed<'a>(guard: &Guard, name: &'a str) -> &'a str {
    name.strip_prefix(&guard.policy.prefix()).unwrap_or(name)
}

/// Removes our labels.
pub(super) fn without_labels(guard: &Guard, labels: Option<&mut Value>) {
    if let (Policy::Job(_), Some(Value::Object(labels))) = (&guard.policy, labels) {
        labels.retain(|label, _| !label.starts_with("longshore."));
    }
}

pub(super) fn familiar(reference: &str) -> String {
    ImageRef::parse(reference).map_or_else(|_| reference.to_owned(), |reference| reference.familiar())
}

/// Replaces the engine's names of images by the client's.
pub(super) fn renamed(names: &BTreeMap<String, String>, mut line: Value) -> Value {
    if let Some(Value::String(text)) = line.get_mut("stream") {
        for (on_engine, reference) in names {
            *text = text.replace(on_engine, &familiar(reference));
        }
    }
    line
}

/// Rewrites every string of a value with the names that the client knows.
pub(super) fn texts(guard: &Guard, value: Value) -> Value {
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
