//! Converts `runs-on`: the machine of a job becomes an image and labels of servers.

use longshore_pipeline::tree::Entry;

use super::super::{
    DEFAULT_IMAGE,
    draft::{Item, Job, Map, Note, Value},
    foreign::Lines,
};
use super::{
    parts::{self, is_other_system},
    setups::Setup,
};

/// Checks that a job runs on Linux. The error says why there is no job.
pub(super) fn check_machine(
    entry: &Entry,
    machine: &[String],
    lines: Lines<'_>,
    job: &mut Job,
    body: &mut Map,
) -> Result<(), String> {
    let elsewhere = |machine: String| Err(format!("it runs on {machine}, and jobs run in containers on Linux"));
    if machine.iter().any(|word| !word.contains("${{") && is_other_system(word)) {
        return elsewhere(machine.join(", "));
    }
    let chosen: Vec<&str> = machine.iter().flat_map(|word| parts::machines_of(word)).collect();
    match chosen.iter().filter(|label| is_other_system(label)).count() {
        0 => {}
        all if all == chosen.len() => return elsewhere(chosen.join(" or ")),
        _ => {
            body.note(lines.note(entry, "some of its machines run another system than Linux: nothing runs until `if` says when it is one of Linux"));
            job.withhold();
        }
    }
    Ok(())
}

/// Chooses the image of a job that runs on a machine: that of the action that sets its tool up, or the default. Returns
/// the action, with its place among the steps.
pub(super) fn image_of_machine(
    setup: Option<(usize, Setup)>,
    image_axis: Option<&'static str>,
    (runs_on, machine): (Option<&Entry>, &[String]),
    lines: Lines<'_>,
    body: &mut Map,
) -> Option<(usize, Setup)> {
    let line = runs_on.map(|entry| lines.line_of_key(entry));
    let Some((at, setup)) = setup else {
        let machine = if machine.is_empty() { "a machine".to_owned() } else { machine.join(", ") };
        body.remark(format!("{DEFAULT_IMAGE} stands in for {machine}: choose an image that has what the steps need"));
        body.set("image", Value::text(DEFAULT_IMAGE), line);
        return None;
    };
    body.remark(format!("the image has what the machine was given by an action; it was {}", machine.join(", ")));
    let image = match (&setup.axis, image_axis) {
        (Some((axis, tool)), Some(image)) => {
            format!("${{{{ matrix.{image} || format('{}:{{0}}{}', matrix.{axis}) }}}}", tool.image, tool.behind)
        }
        _ => setup.image.clone(),
    };
    body.set("image", Value::Text(image), line);
    Some((at, setup))
}

/// The axes of the matrix that the name of a machine is made of.
pub(super) fn axes_of(machine: &str) -> Vec<String> {
    machine
        .split("matrix.")
        .skip(1)
        .map(|rest| {
            let end =
                rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))).unwrap_or(rest.len());
            rest[..end].replace('.', "_")
        })
        .collect()
}

/// Converts the labels of a machine that say what it has to be.
pub(super) fn labels(entry: &Entry, machine: &[String], axes: &[String], lines: Lines<'_>, body: &mut Map) {
    let line = lines.line_of_key(entry);
    let mut labels = Map::default();
    for word in machine {
        let lower = word.to_lowercase();
        match lower.as_str() {
            "arm64" | "aarch64" => labels.set("arch", Value::text("arm64"), line),
            "x64" | "amd64" | "linux" | "self-hosted" => {}
            word if word.starts_with("ubuntu") && word.ends_with("-arm") => {
                labels.set("arch", Value::text("arm64"), line)
            }
            word if word.starts_with("ubuntu") => {}
            _ if word.contains("${{") => {
                if let [axis] = axes
                    && arms(body, axis)
                {
                    let arch = format!("${{{{ ends-with(matrix.{axis}, '-arm') && 'arm64' || 'amd64' }}}}");
                    labels.set("arch", Value::Text(arch), line);
                }
            }
            _ => labels.note(Note::new(
                line,
                word.as_str(),
                "write `runs-on` with labels of the servers: labels have values",
            )),
        }
    }
    if machine.is_empty() {
        labels.note(lines.note(entry, "write `runs-on` with labels of the servers: labels have values"));
    }
    body.set_filled("runs-on", labels, line);
}

/// Whether a value of an axis is a machine with an ARM processor.
fn arms(body: &Map, axis: &str) -> bool {
    fn has(value: &Value, axis: &str, within: bool) -> bool {
        match value {
            Value::Text(text) => within && text.ends_with("-arm"),
            Value::Plain(_) | Value::Script(_) => false,
            Value::List(items) => {
                items.iter().any(|item| matches!(item, Item::Value(value) if has(value, axis, within)))
            }
            Value::Map(map) => map.entries().any(|entry| has(&entry.value, axis, within || entry.key == axis)),
        }
    }
    body.get("matrix").is_some_and(|matrix| has(matrix, axis, false))
}
