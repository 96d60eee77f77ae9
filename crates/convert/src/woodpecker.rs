//! Converts a workflow of Woodpecker to one job.

use longshore_pipeline::tree::{Entry, Kind, Node};

use super::{
    ConvertError, Language, condition,
    containers::Containers,
    draft::{After, Draft, Item, Job, Map, Note, Value},
    foreign::{self, FORM, Lines, Section, boolean, entries, items, list, number, text, texts},
    platform::{self, Platform},
    plugin::SecretNames,
    when,
};

const NOT_CARRIED_OVER: &[(&str, &str)] = &[
    ("workspace", "the workspace is /longshore/workspace, and `CI_WORKSPACE` says so"),
    ("platform", "write `runs-on` with labels of the servers"),
];

pub(super) fn draft(root: &Node, lines: Lines<'_>) -> Result<Draft, ConvertError> {
    let mut draft = Draft { absent_needs_count: true, ..Draft::default() };
    job(root, "build", None, lines, &mut SecretNames::default(), &mut draft)?;
    Ok(draft)
}

/// Adds the job that a workflow becomes to a draft. `others` are the workflows that become jobs of the same pipeline,
/// with their names there and here.
pub(super) fn job(
    root: &Node,
    name: &str,
    others: Option<&[(String, String)]>,
    lines: Lines<'_>,
    secrets: &mut SecretNames,
    draft: &mut Draft,
) -> Result<(), ConvertError> {
    let Some(section) = Section::read(root) else { return Err(ConvertError::NotOne("it is not a mapping".to_owned())) };
    let Some(steps) = section.take("steps").or_else(|| section.take("pipeline")) else {
        return Err(ConvertError::NotOne("a workflow of Woodpecker has `steps`, and this file has none".to_owned()));
    };
    let mut job = Job { name: name.to_owned(), line: lines.line_of_key(steps), ..Job::default() };
    let mut containers = Containers::new(Language::Woodpecker, lines);
    containers.legacy = steps.key == "pipeline";
    containers.followed = others.is_some();
    containers.secret_names = std::mem::take(secrets);
    containers.secret_names.collect(root);
    // `variables` exists only for its anchors.
    section.take("variables");
    containers.around.platform = Platform::of_workflow(root);
    if let Some(entry) = section.take("when") {
        let when = match others {
            None => when::triggers(entry, Language::Woodpecker, lines, &containers.around.platform, &mut draft.head),
            Some(_) => when::read(entry, Language::Woodpecker, lines, &containers.around),
        };
        draft.head.notes(when.notes);
        job.conditions.extend(when.condition);
        job.exact_if = when.missed.as_deref().map(condition::not);
        containers.schedule = when.schedule;
        containers.around.paths = when.paths;
    }
    for key in ["branches", "branch"] {
        if let Some(entry) = section.take(key) {
            let when = when::branches(entry, Language::Woodpecker, lines);
            draft.head.notes(when.notes);
            job.conditions.extend(when.condition);
        }
    }
    if let Some(entry) = section.take("depends_on").filter(|entry| !items(&entry.value).is_empty()) {
        needs(entry, others.unwrap_or_default(), lines, &mut job);
    }
    for key in ["labels", "platform"] {
        if let Some(entry) = section.take(key)
            && !labels(entry, root, &mut job.body, lines)
        {
            draft.left_out.push(lines.note(entry, NOT_LINUX));
            *secrets = containers.secret_names;
            return Ok(());
        }
    }
    if let Some(entry) = section.take("runs_on") {
        let words = texts(&entry.value).unwrap_or_default();
        if words.iter().any(|word| word == "failure") {
            job.after = if words.iter().any(|word| word == "success") { After::Either } else { After::Failure };
        }
    }
    if let Some(entry) = section.take("matrix") {
        let (matrix, axes) = matrix(entry, lines);
        job.body.set_filled("matrix", matrix, lines.line_of_key(entry));
        containers.axes = axes;
    }
    clone(&section, &mut job.body, lines);
    if let Some(entry) = section.take("services") {
        containers.services(&entry.value, &mut job, lines.line_of_key(entry));
    }
    containers.steps(&steps.value, &mut job, lines.line_of_key(steps));
    containers.finish(&mut job, &mut draft.head);
    section.note_rest(lines, &mut draft.head, |key| foreign::reason(NOT_CARRIED_OVER, key));
    draft.jobs.push(job);
    *secrets = containers.secret_names;
    Ok(())
}

/// Converts `depends_on`. `others` are the workflows that become jobs of the same pipeline.
fn needs(entry: &Entry, others: &[(String, String)], lines: Lines<'_>, job: &mut Job) {
    for need in texts(&entry.value).unwrap_or_default() {
        match others.iter().find(|(theirs, _)| *theirs == need) {
            Some((_, ours)) => job.needs.push(ours.clone()),
            None => {
                job.body.note(Note::new(lines.line_of_key(entry), format!("depends_on: {need}"), OTHER_FILES));
                job.withhold();
            }
        }
    }
}

const OTHER_FILES: &str = "it waits for workflows of other files, and pipelines of several files run at the same time: nothing \
                           runs until the jobs stand in one file, with `needs`";

pub(super) const NOT_LINUX: &str = "it runs on another system than Linux, and jobs run in containers on Linux";

/// Converts the labels of a workflow's server. Returns whether they ask for Linux, or for no system.
fn labels(entry: &Entry, root: &Node, body: &mut Map, lines: Lines<'_>) -> bool {
    let mut linux = true;
    // The processor that a platform has; a text of the matrix stands for one of several.
    let arch = |written: &str| match platform::variable(written) {
        Some(axis) => platform::architecture(&foreign::name(axis), &platform::values(root, axis)),
        None => written.rsplit_once('/').filter(|(system, _)| *system == "linux").map(|(_, arch)| arch.to_owned()),
    };
    let mut labels = match body.get("runs-on") {
        Some(Value::Map(labels)) => labels.clone(),
        _ => Map::default(),
    };
    match &entry.value.kind {
        Kind::Map(entries) => {
            for label in entries {
                match (label.key.as_str(), text(&label.value)) {
                    ("platform", Some(written)) => match arch(written) {
                        Some(arch) => labels.set("arch", Value::Text(arch), lines.line_of_key(label)),
                        None => linux = written.contains('*'),
                    },
                    ("repo" | "hostname" | "backend", _) => {
                        labels.note(lines.note(label, "servers are chosen by labels of their own"))
                    }
                    (key, Some(value)) => labels.set(foreign::name(key), Value::text(value), lines.line_of_key(label)),
                    (_, None) => labels.note(lines.note(label, FORM)),
                }
            }
        }
        Kind::Scalar(_) | Kind::List(_) => match text(&entry.value).and_then(arch) {
            Some(arch) => labels.set("arch", Value::Text(arch), lines.line_of_key(entry)),
            None => linux = text(&entry.value).is_none_or(|text| text.contains('*')),
        },
    }
    body.set_filled("runs-on", labels, lines.line_of_key(entry));
    linux
}

/// Converts the matrix, and returns it with the names of its values.
fn matrix(entry: &Entry, lines: Lines<'_>) -> (Map, Vec<String>) {
    let mut matrix = Map::default();
    let mut axes: Vec<String> = Vec::new();
    for axis in entries(&entry.value).unwrap_or_default() {
        let line = lines.line_of_key(axis);
        if axis.key == "include" {
            let mut combinations = Vec::new();
            for item in list(&axis.value).unwrap_or_default() {
                let mut combination = Map::default();
                for value in entries(item).unwrap_or_default() {
                    match text(&value.value) {
                        Some(text) => {
                            let name = foreign::name(&value.key);
                            if !axes.contains(&name) {
                                axes.push(name.clone());
                            }
                            combination.set(name, Value::text(text), lines.line_of_key(value));
                        }
                        None => matrix.note(lines.note(value, FORM)),
                    }
                }
                combinations.push(Item::Value(combination.into()));
            }
            matrix.set_filled("include", Value::List(combinations), line);
            continue;
        }
        match texts(&axis.value) {
            Some(mut values) if !values.is_empty() => {
                let mut seen = std::collections::HashSet::new();
                values.retain(|value| seen.insert(value.clone()));
                axes.push(foreign::name(&axis.key));
                matrix.set(foreign::name(&axis.key), Value::texts(values), line);
            }
            _ => matrix.note(lines.note(axis, FORM)),
        }
    }
    if !matrix.is_empty() {
        // There, the workflows of a matrix are independent of each other.
        matrix.set("fail-fast", Value::plain(false), None);
    }
    (matrix, axes)
}

/// Converts `clone` and `skip_clone`.
pub(super) fn clone(section: &Section<'_>, body: &mut Map, lines: Lines<'_>) {
    if let Some(entry) = section.take("skip_clone")
        && boolean(&entry.value) == Some(true)
    {
        body.set("checkout", Value::plain(false), lines.line_of_key(entry));
    }
    let Some(entry) = section.take("clone") else { return };
    let line = lines.line_of_key(entry);
    let mut checkout = Map::default();
    let mut read = |node: &Node, notes: &mut Vec<Note>| {
        for setting in entries(node).unwrap_or_default() {
            let at = lines.line_of_key(setting);
            match (setting.key.as_str(), text(&setting.value)) {
                ("depth", Some(_)) if number(&setting.value).is_some() => {
                    checkout.set("depth", Value::plain(number(&setting.value).unwrap_or(1)), at);
                }
                ("partial", _) => {}
                ("lfs", _) => checkout.set("lfs", Value::plain(boolean(&setting.value) == Some(true)), at),
                ("recursive", _) => checkout.set("submodules", Value::plain(boolean(&setting.value) == Some(true)), at),
                _ => notes.push(lines.note(setting, "`checkout` has `depth`, `submodules` and `lfs`")),
            }
        }
    };
    let mut notes = Vec::new();
    let mut off = false;
    for part in entries(&entry.value).unwrap_or_default() {
        match part.key.as_str() {
            "disable" => off = boolean(&part.value) == Some(true),
            "depth" => read(&entry.value, &mut Vec::new()),
            "git" => {
                for inner in entries(&part.value).unwrap_or_default() {
                    match inner.key.as_str() {
                        "settings" => read(&inner.value, &mut notes),
                        "image" => {}
                        _ => notes.push(lines.note(inner, "Longshore checks out by itself")),
                    }
                }
            }
            _ => notes.push(lines.note(part, "Longshore checks out by itself")),
        }
    }
    match list(&entry.value) {
        Some(items) => {
            for item in items {
                for inner in entries(item).unwrap_or_default() {
                    match inner.key.as_str() {
                        "settings" => read(&inner.value, &mut notes),
                        "name" | "image" => {}
                        _ => notes.push(lines.note(inner, "Longshore checks out by itself")),
                    }
                }
            }
        }
        None if entries(&entry.value).is_none() => notes.push(lines.note(entry, FORM)),
        None => {}
    }
    body.notes(notes);
    if off {
        body.set("checkout", Value::plain(false), line);
    } else {
        body.set_filled("checkout", checkout, line);
    }
}
