//! What objects take in the engine's lists. A list has the labels, commands, ports and mounts of all containers, and
//! its readers accept only a limited length.

use serde_json::Value;

/// The most that a container may take, not counting what it has from its image, and the most that an image may take for
/// each of its containers.
pub(crate) const MOST_LISTED: usize = 64 << 10;
/// The most that all containers of a job may take, including what they have from their images.
pub(crate) const MOST_LISTED_OF_JOB: usize = 1 << 20;
/// What the engine writes beside each text: quotes, and the other fields of a port or a mount.
const BESIDE: usize = 40;

/// Returns the most bytes that a text takes as JSON, however it is written.
pub(crate) fn text_length(text: &str) -> usize {
    let length = |c: char| match c {
        c if c.is_control() => 6,
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => 6,
        '"' | '\\' => 2,
        c => c.len_utf8(),
    };
    text.chars().map(length).sum()
}

/// Returns what all texts of a value take, keys among them.
pub(crate) fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => BESIDE + text_length(text),
        Value::Array(items) => items.iter().map(length).sum(),
        Value::Object(entries) => entries.iter().map(|(key, value)| BESIDE + text_length(key) + length(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Returns what a container takes that is created with this body. Variables are in no list.
pub(crate) fn container(body: &Value) -> usize {
    length(body) - length(&body["Env"])
}

/// Returns what each container takes that has these settings of an image.
pub(crate) fn image(config: &Value) -> usize {
    ["Labels", "Cmd", "Entrypoint", "ExposedPorts", "Volumes"].iter().map(|key| length(&config[key])).sum()
}
