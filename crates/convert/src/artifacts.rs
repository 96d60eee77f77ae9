//! Artifacts that jobs hand on to jobs that need them.

use super::draft::{Item, Map, Value};

/// The name of an artifact that has none of its own.
const DEFAULT: &str = "artifacts";

/// The names of a job's artifacts.
pub(super) fn names(job: &Map) -> Vec<String> {
    let Some(Value::List(items)) = job.get("artifacts") else { return Vec::new() };
    let name = |item: &Item| match item {
        Item::Value(Value::Map(artifact)) => Some(match artifact.get("name") {
            Some(Value::Text(name)) => name.clone(),
            _ => DEFAULT.to_owned(),
        }),
        Item::Value(_) | Item::Note(_) => None,
    };
    items.iter().filter_map(name).collect()
}
