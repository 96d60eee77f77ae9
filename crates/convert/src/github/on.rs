//! Converts `on` of a workflow.

use std::{collections::BTreeSet, rc::Rc};

use longshore_pipeline::tree::{Entry, Node};

use super::super::{
    condition,
    draft::{Item, Map, Note, Value},
    foreign::{self, FORM, Lines, Section, boolean, entries, items, text, texts},
};

/// Events that start nothing here, and why.
const NOT_CARRIED_OVER: &[(&str, &str)] = &[
    ("workflow_call", "a workflow that others use is a template here: write its job into a file and `use` it"),
    ("repository_dispatch", "a start from outside is one by hand: `POST /api/v1/repos/{id}/builds`"),
    ("workflow_run", "a pipeline starts no other one: put the jobs into one file and write `needs`"),
];

/// The actions on a release; without `types`, all of them count.
const RELEASES: &[&str] = &["published", "unpublished", "created", "edited", "deleted", "prereleased", "released"];

/// Inputs of a manual start, by their type.
#[derive(Debug, Clone, Default)]
pub(super) struct Inputs {
    pub(super) booleans: BTreeSet<String>,
    pub(super) all: BTreeSet<String>,
    /// All inputs except free texts.
    pub(super) closed: BTreeSet<String>,
    /// Whether nothing that starts the workflow could be carried over.
    pub(super) none: bool,
    /// The condition that an event must meet besides `on`.
    pub(super) conditions: Vec<String>,
}

/// Reads `on` into the head, and returns its inputs.
pub(super) fn read(entry: &Entry, lines: Lines<'_>, head: &mut Map) -> Inputs {
    let mut on = Map::default();
    let mut found = Inputs::default();
    match entries(&entry.value) {
        Some(events) => {
            for event in events {
                trigger(&event.key, Some(&event.value), event, lines, &mut on, &mut found);
            }
        }
        None => {
            for word in texts(&entry.value).unwrap_or_default() {
                trigger(&word, None, entry, lines, &mut on, &mut found);
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

fn trigger(event: &str, node: Option<&Node>, entry: &Entry, lines: Lines<'_>, on: &mut Map, found: &mut Inputs) {
    let line = lines.line_of_key(entry);
    let section = node.and_then(Section::read);
    match event {
        "push" => {
            let mut push = Map::default();
            if let Some(section) = section {
                filters(&section, ("push", &["branches", "tags"]), lines, &mut push, &mut found.conditions);
            }
            on.set("push", push, line);
        }
        "pull_request" | "pull_request_target" => pull_request(event, section, line, lines, on, &mut found.conditions),
        "schedule" => {
            let items = node.and_then(foreign::list).unwrap_or_default();
            on.set_filled("schedule", Value::List(schedules(items, lines)), line);
        }
        "release" => release(section, line, lines, on),
        "merge_group" => match section.as_ref().and_then(|section| section.take("branches")) {
            Some(branches) => on.note(lines.note(branches, "`merge-group` has no filters: nothing of it starts this")),
            None => on.set("merge-group", Map::default(), line),
        },
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
            let why = foreign::reason(NOT_CARRIED_OVER, event).unwrap_or("Longshore has no such event");
            on.note(Note::new(line, event, why));
        }
    }
}

fn pull_request(
    event: &str,
    section: Option<Section<'_>>,
    line: u32,
    lines: Lines<'_>,
    on: &mut Map,
    conditions: &mut Vec<String>,
) {
    let mut request = Map::default();
    if event == "pull_request_target" {
        on.remark(
            "pull requests from forks never get secrets, whatever the event is called; what is checked out is the pull \
             request, and not its target as there",
        );
    }
    if let Some(section) = section {
        if let Some(entry) = section.take("types") {
            types(entry, REQUESTS, lines, &mut request);
            if request.get("types").is_none() {
                on.notes(super::notes_of(&request));
                return;
            }
        }
        filters(&section, ("pull-request", &["branches"]), lines, &mut request, conditions);
    }
    match on.get("pull-request") {
        None => on.set("pull-request", request, line),
        Some(other) if *other == Value::Map(request) => {}
        Some(_) => {
            on.note(Note::new(line, event, "there is one event for pull requests here, which has other filters"));
        }
    }
}

fn schedules(items: &[Rc<Node>], lines: Lines<'_>) -> Vec<Item> {
    let mut list = Vec::new();
    for section in items.iter().filter_map(|item| Section::read(item)) {
        let mut schedule = Map::default();
        for key in ["cron", "timezone"] {
            if let Some(entry) = section.take(key) {
                match text(&entry.value) {
                    Some(text) => schedule.set(key, Value::text(text.trim()), lines.line_of_key(entry)),
                    None => schedule.note(lines.note(entry, FORM)),
                }
            }
        }
        section.note_rest(lines, &mut schedule, |_| None);
        list.push(Item::Value(schedule.into()));
    }
    list
}

fn release(section: Option<Section<'_>>, line: u32, lines: Lines<'_>, on: &mut Map) {
    let mut release = Map::default();
    match section.as_ref().and_then(|section| section.take("types")) {
        Some(entry) => {
            types(entry, RELEASES, lines, &mut release);
            if release.get("types").is_none() {
                on.notes(super::notes_of(&release));
                return;
            }
        }
        None => release.set("types", Value::texts(RELEASES.iter().copied()), None),
    }
    on.set("release", release, line);
}

/// Reads the filters of an event. `conditions` receives what globs cannot say.
fn filters(
    section: &Section<'_>,
    (event, kinds): (&str, &[&str]),
    lines: Lines<'_>,
    into: &mut Map,
    conditions: &mut Vec<String>,
) {
    let of_kind = |kind: &str, fits: String| {
        let event = if kind == "tags" { "tag" } else { event };
        condition::any(&[format!("event.name != '{event}'"), fits]).unwrap_or_default()
    };
    for kind in kinds.iter().copied().chain(["paths"]) {
        if let Some(entry) = section.take(kind) {
            let (patterns, fits) = patterns(entry, kind, false, lines, into);
            into.set_filled(kind, Value::texts(patterns), lines.line_of_key(entry));
            conditions.extend(fits.map(|fits| of_kind(kind, fits)));
        }
        let ignore = format!("{kind}-ignore");
        let Some(entry) = section.take(&ignore) else { continue };
        let (patterns, fits) = patterns(entry, kind, true, lines, into);
        conditions.extend(fits.map(|fits| of_kind(kind, fits)));
        if kind == "paths" {
            into.set_filled("paths-ignore", Value::texts(patterns), lines.line_of_key(entry));
        } else {
            let excluded = std::iter::once("**".to_owned()).chain(patterns.iter().map(|pattern| format!("!{pattern}")));
            into.set_filled(kind, Value::texts(excluded), lines.line_of_key(entry));
        }
    }
    section.note_rest(lines, into, |_| Some("this filter is not known"));
}

/// Converts patterns over names or files. In GitHub's patterns, `+` and `?` repeat the character before them, which
/// globs cannot say. Where a pattern of names has one, the glob fits more, and the condition that is returned the same;
/// a pattern of files fits less.
fn patterns(
    entry: &Entry,
    kind: &str,
    ignores: bool,
    lines: Lines<'_>,
    into: &mut Map,
) -> (Vec<String>, Option<String>) {
    let found = texts(&entry.value).unwrap_or_default();
    let repeats = |pattern: &str| pattern.contains('?') || pattern.contains('+');
    let files = kind == "paths";
    let mut ours = Vec::new();
    for pattern in &found {
        let pattern = pattern.trim_start_matches("./");
        if !repeats(pattern) {
            ours.push(pattern.to_owned());
            continue;
        }
        let wider = repeated(pattern, "*", "*");
        if !files {
            ours.push(wider);
            continue;
        }
        let glob = if ignores || pattern.starts_with('!') { wider } else { repeated(pattern, "", "") };
        let why = format!("a glob has no `?` and `+` for the character before it: `{glob}` starts less");
        into.note(Note::new(lines.line_of_key(entry), pattern, why));
        ours.push(glob);
    }
    if files || !found.iter().any(|pattern| repeats(pattern)) {
        return (ours, None);
    }
    let value = if kind == "tags" { "event.tag" } else { "event.branch" };
    let regular: Option<Vec<String>> = found
        .iter()
        .map(
            |pattern| {
                if pattern.starts_with('!') { None } else { condition::regex_of(pattern, condition::Repeats::Before) }
            },
        )
        .map(|regex| regex.map(|regex| condition::matches(value, &regex)))
        .collect();
    let fits = regular.and_then(|regular| condition::any(&regular)).unwrap_or_else(|| {
        into.note(lines.note(entry, "patterns with `?` or `+` beside such with `!` cannot be said: nothing fits them"));
        if ignores { "true" } else { "false" }.to_owned()
    });
    (ours, Some(if ignores { condition::not(&fits) } else { fits }))
}

/// Replaces what repeats a character, with the character's class before it, by something else.
fn repeated(pattern: &str, plus: &str, question: &str) -> String {
    let mut out = String::new();
    for c in pattern.chars() {
        if !matches!(c, '+' | '?') {
            out.push(c);
            continue;
        }
        let begins = if out.ends_with(']') { out.rfind('[') } else { out.char_indices().next_back().map(|(at, _)| at) };
        if c == '?' || !plus.is_empty() {
            out.truncate(begins.unwrap_or_default());
        }
        out.push_str(if c == '?' { question } else { plus });
    }
    out
}

/// The actions on a pull request.
const REQUESTS: &[&str] = &[
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

fn types(entry: &Entry, known_types: &[&str], lines: Lines<'_>, into: &mut Map) {
    let (mut known, mut other) = (Vec::new(), Vec::new());
    for word in texts(&entry.value).unwrap_or_default() {
        let ours = word.replace('_', "-");
        if known_types.contains(&ours.as_str()) { known.push(ours) } else { other.push(word) }
    }
    for word in other {
        into.note(Note::new(lines.line_of_key(entry), word, "this starts nothing here"));
    }
    into.set_filled("types", Value::texts(known), lines.line_of_key(entry));
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
    section.note_rest(lines, &mut input, |_| None);
    inputs.set(entry.key.clone(), input, lines.line_of_key(entry));
}
