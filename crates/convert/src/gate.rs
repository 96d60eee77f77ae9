//! The stand-in for a step that could not be carried over and that others come after: a step that fails. The later
//! steps ran only if that step had succeeded, so none of them runs here until somebody writes the step by hand, or
//! removes its stand-in.

use super::draft::{Map, Note, Value};

/// The prefix of a stand-in's name.
const NAME: &str = "not carried over: ";

/// Whether a step stands in for a lost one.
pub(super) fn is_stand_in(step: &Value) -> bool {
    let Value::Map(step) = step else { return false };
    matches!(step.get("name"), Some(Value::Text(name)) if name.starts_with(NAME))
}

/// Returns the stand-in for a lost step, with its id and its condition. `note` says which step was lost.
pub(super) fn stand_in(note: &Note, id: Option<&str>, condition: Option<&str>) -> Map {
    let what: String = note.what.chars().filter(|c| !c.is_control()).take(100).collect();
    let what = what.replace("${{", "$ {{");
    let mut step = Map::default();
    step.set("name", Value::Text(format!("{NAME}{what}")), None);
    if let Some(id) = id {
        step.set("id", Value::text(id), None);
    }
    if let Some(condition) = condition.filter(|condition| *condition != "true") {
        step.set("if", Value::text(condition), None);
    }
    let message =
        format!("line {}, {what}: write what it did, or take this step out if nothing after it needs it", note.line);
    step.set("shell", Value::text("sh"), None);
    step.set("run", Value::Script(format!("echo '{}' >&2\nexit 1", message.replace('\'', "`"))), None);
    step
}

/// The note on a variable without which a step would do something else.
pub(super) const LOST_VARIABLE: &str =
    "the step would do something else without this variable: nothing of it runs until its value is written by hand";

/// Whether a step with this condition runs although a step before it has failed.
pub(super) fn runs_after_failures(condition: &str) -> bool {
    ["failure()", "always()", "cancelled()"].iter().any(|asks| condition.contains(asks))
}
