//! Volumes.

use serde_json::{Map, Value, json};

use super::names::{unprefixed, without_labels};
use super::{any, list, object, text_of};
use crate::filters::matches_name;
use crate::guard::Guard;
use crate::policy::Policy;

/// Rewrites one volume.
pub(super) fn volume(guard: &Guard, answer: Value) -> Result<Value, String> {
    object(answer).map(|volume| Value::Object(shown(guard, volume)))
}

/// Rewrites a list of volumes, reduced to the client's own that match the filter.
pub(super) fn volumes(guard: &Guard, names: &[String], answer: &Value) -> Result<Value, String> {
    let listed = answer.get("Volumes").cloned().unwrap_or_default();
    let mut kept = Vec::new();
    for volume in if listed.is_null() { Vec::new() } else { list(listed)? } {
        let volume = shown(guard, object(volume)?);
        let name = text_of(&volume, "Name").unwrap_or_default();
        if guard.table.volumes.contains(name) && any(names, |pattern| matches_name(pattern, name)) {
            kept.push(Value::Object(volume));
        }
    }
    Ok(json!({ "Volumes": kept, "Warnings": null }))
}

fn shown(guard: &Guard, mut volume: Map<String, Value>) -> Map<String, Value> {
    let Policy::Job(_) = &guard.policy else { return volume };
    let name = unprefixed(guard, text_of(&volume, "Name").unwrap_or_default()).to_owned();
    volume.insert("Name".to_owned(), json!(name));
    volume.insert("Mountpoint".to_owned(), json!(""));
    without_labels(guard, volume.get_mut("Labels"));
    volume
}
