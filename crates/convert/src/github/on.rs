//! Converts `on` of a workflow.

use std::collections::BTreeSet;

use longshore_pipeline::tree::{Entry, Node};

use super::super::{
    draft::{Item, Map, Note, Value},
    foreign::{self, FORM, Lines, Section, boolean, entries, items, text, texts},
};

/// Events that start nothing here, and why.
const LEFT: &[(&str, &str)] = &[
    ("workflow_call", "a workflow that others use is a template here: write its job into a file and `use` it"),
    ("release", "there is no such event: write `push: { tags: [...] }` if a release has a tag"),
    ("repository_dispatch", "a start from outside is one by hand: `POST /api/v1/repos/{id}/builds`"),
    ("workflow_run", "a pipeline starts no other one: put the jobs into one file and write `needs`"),
    ("merge_group", "there is no merge queue"),
];

/// Inputs of a manual start, by their type.
#[derive(Debug, Clone, Default)]
pub(super) struct Inputs {
    pub(super) booleans: BTreeSet<String>,
    pub(super) all: BTreeSet<String>,
    /// All inputs except free texts.
    pub(super) closed: BTreeSet<String>,
    /// Whether nothing that starts the workflow could be carried over.
    pub(super) none: bool,
}

/// Reads `on` into the head, and returns its inputs.
pub(super) fn read(entry: &Entry, lines: Lines<'_>, head: &mut Map) -> Inputs {
    let mut on = Map::default();
    let mut found = Inputs::default();
    match entries(&entry.value) {
        Some(events) => {
            for event in events {
                one(&event.key, Some(&event.value), event, lines, &mut on, &mut found);
            }
        }
        None => {
            for word in texts(&entry.value).unwrap_or_default() {
                one(&word, None, entry, lines, &mut on, &mut found);
            }
        }
    }
    if on.is_empty() {
        on.remark("nothing that starts it could be carried over: it starts by hand only");
        found.none = true;
        on.set("manual", Map::default(), None);
    }
    head.set("on", on, lines.line_of_key(entry));
    found
}

fn one(event: &str, node: Option<&Node>, entry: &Entry, lines: Lines<'_>, on: &mut Map, found: &mut Inputs) {
    let line = lines.line_of_key(entry);
    let section = node.and_then(Section::read);
    match event {
        "push" => {
            let mut push = Map::default();
            if let Some(section) = section {
                filters(&section, &["branches", "tags"], lines, &mut push);
            }
            on.set("push", push, line);
        }
        "pull_request" | "pull_request_target" => {
            let mut request = Map::default();
            if event == "pull_request_target" {
                on.remark(
                    "pull requests from forks never get secrets, whatever the event is called; what is checked out is the \
                     pull request, and not its target as there",
                );
            }
            if let Some(section) = section {
                if let Some(entry) = section.take("types") {
                    types(entry, lines, &mut request);
                    if request.get("types").is_none() {
                        on.notes(super::notes_of(&request));
                        return;
                    }
                }
                filters(&section, &["branches"], lines, &mut request);
            }
            match on.get("pull-request") {
                None => on.set("pull-request", request, line),
                Some(other) if *other == Value::Map(request) => {}
                Some(_) => on.note(Note::new(
                    line,
                    event,
                    "there is one event for pull requests here, which has other filters",
                )),
            }
        }
        "schedule" => {
            let mut list = Vec::new();
            for item in node.and_then(foreign::list).unwrap_or_default() {
                let Some(section) = Section::read(item) else { continue };
                let mut schedule = Map::default();
                for key in ["cron", "timezone"] {
                    if let Some(entry) = section.take(key) {
                        match text(&entry.value) {
                            Some(text) => schedule.set(key, Value::text(text.trim()), lines.line_of_key(entry)),
                            None => schedule.note(lines.note(entry, FORM)),
                        }
                    }
                }
                section.leave(lines, &mut schedule, |_| None);
                list.push(Item::Value(schedule.into()));
            }
            on.set_filled("schedule", Value::List(list), line);
        }
        "workflow_dispatch" => {
            let mut manual = Map::default();
            if let Some(entry) = section.as_ref().and_then(|section| section.take("inputs")) {
                let mut inputs = Map::default();
                for one in entries(&entry.value).unwrap_or_default() {
                    input(one, lines, &mut inputs, found);
                }
                manual.set_filled("inputs", inputs, lines.line_of_key(entry));
            }
            on.set("manual", manual, line);
        }
        _ => {
            let why = foreign::reason(LEFT, event).unwrap_or("Longshore has no such event");
            on.note(Note::new(line, event, why));
        }
    }
}

fn filters(section: &Section<'_>, kinds: &[&str], lines: Lines<'_>, into: &mut Map) {
    for kind in kinds.iter().copied().chain(["paths"]) {
        if let Some(entry) = section.take(kind) {
            let patterns = patterns(entry, lines, into);
            into.set_filled(kind, Value::texts(patterns), lines.line_of_key(entry));
        }
        let ignore = format!("{kind}-ignore");
        let Some(entry) = section.take(&ignore) else { continue };
        let patterns = patterns(entry, lines, into);
        if kind == "paths" {
            into.set_filled("paths-ignore", Value::texts(patterns), lines.line_of_key(entry));
        } else {
            let excluded = std::iter::once("**".to_owned()).chain(patterns.iter().map(|pattern| format!("!{pattern}")));
            into.set_filled(kind, Value::texts(excluded), lines.line_of_key(entry));
        }
    }
    section.leave(lines, into, |_| Some("this filter is not known"));
}

/// GitHub's patterns have `+`, which globs do not.
fn patterns(entry: &Entry, lines: Lines<'_>, into: &mut Map) -> Vec<String> {
    let found = texts(&entry.value).unwrap_or_default();
    found
        .into_iter()
        .map(|pattern| {
            let ours = pattern.replace("]+", "]*").trim_start_matches("./").to_owned();
            if ours.contains("]*") && pattern.contains("]+") {
                into.note(Note::new(
                    lines.line_of_key(entry),
                    pattern.as_str(),
                    format!("`+` means nothing in a glob: `{ours}` fits more"),
                ));
            }
            if pattern.contains('?') {
                let why = "`?` made the character before it optional there, and is any one character here";
                into.note(Note::new(lines.line_of_key(entry), pattern.as_str(), why));
            }
            ours
        })
        .collect()
}

fn types(entry: &Entry, lines: Lines<'_>, request: &mut Map) {
    const OURS: &[&str] = &[
        "opened",
        "synchronize",
        "reopened",
        "closed",
        "edited",
        "labeled",
        "unlabeled",
        "ready-for-review",
        "converted-to-draft",
    ];
    let (mut known, mut other) = (Vec::new(), Vec::new());
    for word in texts(&entry.value).unwrap_or_default() {
        let ours = word.replace('_', "-");
        if OURS.contains(&ours.as_str()) { known.push(ours) } else { other.push(word) }
    }
    for word in other {
        request.note(Note::new(lines.line_of_key(entry), word, "this starts nothing here"));
    }
    request.set_filled("types", Value::texts(known), lines.line_of_key(entry));
}

fn input(entry: &Entry, lines: Lines<'_>, inputs: &mut Map, found: &mut Inputs) {
    let mut input = Map::default();
    found.all.insert(entry.key.clone());
    let Some(section) = Section::read(&entry.value) else {
        inputs.set(entry.key.clone(), input, lines.line_of_key(entry));
        return;
    };
    let kind = section.take("type").and_then(|entry| text(&entry.value)).unwrap_or("string");
    let ours = match kind {
        "boolean" | "number" | "choice" => kind,
        _ => "string",
    };
    if !matches!(kind, "string" | "boolean" | "number" | "choice") {
        input.remark(format!("it was of the type `{kind}`"));
    }
    if ours == "boolean" {
        found.booleans.insert(entry.key.clone());
    }
    if ours != "string" {
        found.closed.insert(entry.key.clone());
    }
    input.set("type", Value::text(ours), lines.line_of_key(entry));
    if let Some(options) = section.take("options") {
        let mut options: Vec<String> =
            items(&options.value).iter().filter_map(|item| text(item)).map(str::to_owned).collect();
        options.dedup();
        input.set_filled("options", Value::texts(options), lines.line_of_key(entry));
    }
    if let Some(default) =
        section.take("default").and_then(|entry| text(&entry.value)).filter(|text| !text.is_empty() || ours == "string")
    {
        input.set("default", Value::text(default), lines.line_of_key(entry));
    }
    if let Some(description) = section.take("description").and_then(|entry| text(&entry.value)) {
        input.set("description", Value::text(description), lines.line_of_key(entry));
    }
    if let Some(required) = section.take("required").and_then(|entry| boolean(&entry.value)) {
        input.set("required", Value::plain(required), lines.line_of_key(entry));
    }
    section.leave(lines, &mut input, |_| None);
    inputs.set(entry.key.clone(), input, lines.line_of_key(entry));
}
