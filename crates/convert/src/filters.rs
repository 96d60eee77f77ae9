//! The filters of `when` and `trigger`: events, branches, tags, files, and what only one of the systems has.

use longshore_pipeline::tree::{Entry, Node};

use super::{
    Language,
    changed::{self, Stars},
    condition,
    draft::{After, Note},
    foreign::{Lines, Section, boolean, items, reason, text, texts},
    platform::Platform,
    shell, variables,
};

/// One of several filters, of which one has to match.
#[derive(Debug, Default)]
pub(super) struct Alternative {
    /// Our names of the events; empty if every event matches.
    pub(super) events: Vec<&'static str>,
    pub(super) branches: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) paths: Vec<String>,
    /// Everything that has to be true.
    pub(super) conditions: Vec<String>,
    /// Conditions that exclude events in which it may have run, because `if` cannot express a filter. `false` excludes
    /// all.
    pub(super) withheld: Vec<String>,
    pub(super) after: Option<After>,
    /// Whether `on` can say all of it.
    pub(super) simple: bool,
    pub(super) notes: Vec<Note>,
    /// Notes on patterns, needed only if `if` has to say them.
    pub(super) patterns: Vec<Note>,
    /// The line where it asks for a schedule.
    pub(super) schedule: Option<u32>,
}

/// Notes on filters that `if` cannot express.
const REASONS: &[(&str, &str)] = &[
    (
        "instance",
        "Longshore does not know this server: nothing runs until this line is replaced by a condition in `if`",
    ),
    ("environment", "there are no deployments here: nothing runs until a condition in `if` says when"),
    ("target", "there are no promotions here: nothing runs until a condition in `if` says when"),
];

impl Alternative {
    /// Takes away what nobody can say here: all events, or those for which `unless` is false.
    pub(super) fn withhold(&mut self, unless: impl Into<String>) {
        self.withheld.push(unless.into());
        self.simple = false;
    }

    /// Everything that has to be true here.
    pub(super) fn whole(&self) -> String {
        let parts: Vec<String> = self.conditions.iter().chain(&self.withheld).cloned().collect();
        condition::all(&parts).unwrap_or_else(|| "true".to_owned())
    }

    /// The condition that the changed files fit; the error says what cannot be said. Woodpecker asks whether one of
    /// them is included, and whether one of them, it may be another, is not excluded.
    pub(super) fn changed(&self) -> Result<String, String> {
        let glob = |path: &str| changed::glob(path, Stars::Part);
        let (excluded, included): (Vec<&String>, _) = self.paths.iter().partition(|path| path.starts_with('!'));
        let included: Vec<String> = included.into_iter().map(|path| glob(path)).collect();
        let excluded: Vec<String> = excluded.into_iter().map(|path| glob(path.trim_start_matches('!'))).collect();
        let parts = [(included, changed::any_of as fn(&[String]) -> _), (excluded, changed::any_but)]
            .into_iter()
            .filter(|(patterns, _)| !patterns.is_empty())
            .map(|(patterns, ask)| ask(&patterns))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(condition::all(&parts).unwrap_or_else(|| "true".to_owned()))
    }

    /// Whether an event is among those that are taken away.
    pub(super) fn misses(&self, event: &str) -> bool {
        let not = format!("event.name != '{event}'");
        self.withheld.iter().any(|part| part == "false" || *part == not)
    }

    /// When it may have run there and does not run here; `None` if never.
    pub(super) fn missed(&self) -> Option<String> {
        let withheld: Vec<String> = self.withheld.iter().map(|part| condition::not(part)).collect();
        let parts: Vec<String> = self.conditions.iter().cloned().chain(condition::any(&withheld)).collect();
        condition::all(&parts).filter(|_| !withheld.is_empty())
    }
}

pub(super) fn alternatives(
    entry: &Entry,
    language: Language,
    lines: Lines<'_>,
    platform: &Platform,
) -> Vec<Alternative> {
    items(&entry.value).iter().map(|node| alternative(node, entry, language, lines, platform)).collect()
}

fn alternative(node: &Node, of: &Entry, language: Language, lines: Lines<'_>, platform: &Platform) -> Alternative {
    let mut found = Alternative { simple: true, ..Alternative::default() };
    let Some(section) = Section::read(node) else {
        let why = "this form of it is not understood: nothing runs until `if` says when";
        found.notes.push(Note::new(lines.line_of(node.place), of.key.clone(), why));
        found.withhold("false");
        return found;
    };
    if let Some(entry) = section.take("event") {
        events(entry, &mut found, lines);
    }
    if let Some(entry) = section.take("branch") {
        branch(entry, language, lines, &mut found);
    }
    if let Some(entry) = section.take("tag") {
        let mut of_tag = Vec::new();
        found.tags = constraint(entry, "event.tag", language, lines, &mut found, &mut of_tag);
        found.conditions.append(&mut of_tag);
    }
    for (key, value) in [("ref", "event.ref"), ("repo", "repo.name"), ("action", "event.action")] {
        if let Some(entry) = section.take(key) {
            let mut conditions = Vec::new();
            constraint(entry, value, language, lines, &mut found, &mut conditions);
            found.conditions.append(&mut conditions);
            found.simple = false;
        }
    }
    if let Some(entry) = section.take("path") {
        paths(entry, &mut found, lines);
    }
    if let Some(entry) = section.take("status") {
        found.after = Some(outcome(entry));
    }
    if let Some(entry) = section.take("cron") {
        cron(entry, language, lines, &mut found);
    }
    if let Some(entry) = section.take("matrix") {
        let values = super::foreign::entries(&entry.value).unwrap_or_default();
        found.conditions.extend(values.iter().map(|axis| match text(&axis.value) {
            Some(value) => format!("matrix.{} == {}", super::foreign::name(&axis.key), condition::quote(value)),
            None => "false".to_owned(),
        }));
        found.simple = false;
    }
    if let Some(entry) = section.take("platform") {
        platform.restrict(entry, language, lines, &mut found);
    }
    if let Some(entry) = section.take("local")
        && boolean(&entry.value) != Some(true)
    {
        // Builds of a server have a page, and builds of `longshore run` do not.
        found.conditions.push("build.url != null".to_owned());
        found.simple = false;
    }
    if let Some(entry) = section.take("evaluate") {
        evaluate(entry, language, lines, &mut found);
    }
    for entry in section.rest() {
        let why = reason(REASONS, &entry.key).unwrap_or("this filter is not known: nothing runs until `if` says when");
        found.notes.push(lines.note(entry, why));
        found.withhold("false");
    }
    found
}

fn branch(entry: &Entry, language: Language, lines: Lines<'_>, found: &mut Alternative) {
    let is_woodpecker = language == Language::Woodpecker;
    let only_tags = found.events == ["tag"] && is_woodpecker;
    let tags_have_no_branch = is_woodpecker && (found.events.is_empty() || found.events.contains(&"tag"));
    let mut conditions = Vec::new();
    found.branches = constraint(entry, "event.branch", language, lines, found, &mut conditions);
    if let Some(condition) = condition::all(&conditions).filter(|_| !only_tags) {
        let of_tags = tags_have_no_branch.then(|| "event.name == 'tag'".to_owned());
        let alternatives: Vec<String> = of_tags.into_iter().chain([condition]).collect();
        found.conditions.extend(condition::any(&alternatives));
    }
}

/// Reads `status`: after which outcomes of the steps before it runs.
fn outcome(entry: &Entry) -> After {
    let (include, exclude) = lists(entry);
    let has = |word: &str| match include.is_empty() {
        true => !exclude.is_empty() && !exclude.iter().any(|found| found == word),
        false => include.iter().any(|found| found == word),
    };
    match (has("success"), has("failure")) {
        (true, true) => After::Either,
        (false, true) => After::Failure,
        _ => After::Success,
    }
}

fn evaluate(entry: &Entry, language: Language, lines: Lines<'_>, found: &mut Alternative) {
    found.simple = false;
    match text(&entry.value).and_then(|text| translate_expression(text, language)) {
        Some(condition) => found.conditions.push(condition),
        None => {
            let why = "this expression could not be translated: nothing runs until `if` says the same";
            found.notes.push(lines.note(entry, why));
            found.withhold("false");
        }
    }
}

/// Converts the names of schedules. Here, schedules have no names: their `cron` identifies them.
fn cron(entry: &Entry, language: Language, lines: Lines<'_>, found: &mut Alternative) {
    let (include, exclude) = lists(entry);
    found.schedule = Some(lines.line_of_key(entry));
    let named = !include.is_empty() && !include.iter().any(|name| name.trim_matches('*').is_empty());
    let mut fits = None;
    if named {
        let names: Vec<String> =
            include.iter().map(|name| format!("event.cron == {}", condition::quote(name))).collect();
        fits = condition::any(&names);
        let why = "schedules have no names here: write the schedule's `cron` in the place of its name, into `if`";
        found.notes.push(lines.note(entry, why));
    }
    // Woodpecker asks for the name at schedules alone, Drone at every event.
    let every = language == Language::Drone || found.events.iter().all(|event| *event == "schedule");
    if every {
        found.conditions.push("event.name == 'schedule'".to_owned());
        found.simple = false;
    }
    if let Some(fits) = fits {
        let of_others = (!every).then(|| "event.name != 'schedule'".to_owned());
        found.conditions.extend(condition::any(&of_others.into_iter().chain([fits]).collect::<Vec<_>>()));
        found.simple = false;
    }
    if !exclude.is_empty() || !list_is_written(entry) {
        let why = "schedules have no names here: it fits none until `if` compares `event.cron`";
        found.notes.push(lines.note(entry, why));
        found.withhold("event.name != 'schedule'");
    }
    if found.events.is_empty() {
        found.events.push("schedule");
    }
}

fn events(entry: &Entry, found: &mut Alternative, lines: Lines<'_>) {
    let (include, exclude) = lists(entry);
    let mut conditions = Vec::new();
    for word in &include {
        let event = match word.as_str() {
            "push" => "push",
            "tag" => "tag",
            "pull_request" | "pull-request" if lines.source.text.contains("pull_request_closed") => {
                // The closing of a pull request is another event there, and one of the same name here.
                found.events.push("pull-request");
                conditions.push("(event.name == 'pull-request' && event.action != 'closed')".to_owned());
                continue;
            }
            "pull_request" | "pull-request" => "pull-request",
            "pull_request_closed" => {
                found.events.push("pull-request");
                found.simple = false;
                conditions.push("(event.name == 'pull-request' && event.action == 'closed')".to_owned());
                continue;
            }
            "cron" => {
                found.schedule = Some(lines.line_of_key(entry));
                "schedule"
            }
            "manual" | "custom" => "manual",
            _ => {
                let why = format!("Longshore has no event `{word}`: it starts nothing");
                found.notes.push(lines.note(entry, why));
                continue;
            }
        };
        found.events.push(event);
        conditions.push(format!("event.name == '{event}'"));
    }
    for word in exclude {
        let event = match word.as_str() {
            "pull_request" => "pull-request",
            "cron" => "schedule",
            "custom" => "manual",
            word => word,
        };
        found.conditions.push(format!("event.name != {}", condition::quote(event)));
        found.simple = false;
    }
    if include.is_empty() {
        if !list_is_written(entry) {
            found.notes.push(lines.note(entry, "this form of it is not understood: nothing runs until `if` says when"));
            found.withhold("false");
        }
        return;
    }
    if found.events.is_empty() {
        found.events.push("none");
        found.simple = false;
    }
    found.conditions.push(condition::any(&conditions).unwrap_or_else(|| "false".to_owned()));
}

/// Whether a filter is written in a form of which `lists` reads something.
pub(super) fn list_is_written(entry: &Entry) -> bool {
    let (include, exclude) = lists(entry);
    !include.is_empty() || !exclude.is_empty() || entry.value.is_null()
}

/// The included and the excluded patterns.
pub(super) fn lists(entry: &Entry) -> (Vec<String>, Vec<String>) {
    match Section::read(&entry.value) {
        Some(section) => {
            let list = |key: &str| section.take(key).and_then(|entry| texts(&entry.value)).unwrap_or_default();
            (list("include"), list("exclude"))
        }
        None => (texts(&entry.value).unwrap_or_default(), Vec::new()),
    }
}

/// Converts a filter over one value to its conditions, and to the patterns that `on` takes.
pub(super) fn constraint(
    entry: &Entry,
    value: &str,
    language: Language,
    lines: Lines<'_>,
    found: &mut Alternative,
    conditions: &mut Vec<String>,
) -> Vec<String> {
    let (include, exclude) = lists(entry);
    if !list_is_written(entry) {
        found.notes.push(lines.note(entry, "this form of it is not understood: nothing runs until `if` says when"));
        found.withhold("false");
        return Vec::new();
    }
    let mut patterns = Vec::new();
    let one = |pattern: &str, found: &mut Alternative| -> String {
        let variable = pattern.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        if let Some(expression) = variable.and_then(|name| variables::expression(language, name)) {
            found.simple = false;
            return format!("{value} == {expression}");
        }
        if value == "event.ref" && pattern.starts_with("refs/pull/") && pattern.contains('*') {
            return "event.name == 'pull-request'".to_owned();
        }
        match condition::glob(value, pattern) {
            Some(condition) => condition,
            None => {
                let why = "this pattern cannot be said in `if`: nothing fits it until that is written by hand";
                found.patterns.push(Note::new(lines.line_of_key(entry), pattern, why));
                "false".to_owned()
            }
        }
    };
    let included: Vec<String> = include.iter().map(|pattern| one(pattern, found)).collect();
    conditions.extend(condition::any(&included));
    for pattern in &exclude {
        let excluded = one(pattern, found);
        conditions.push(condition::not(&excluded));
    }
    if found.simple {
        patterns.extend(include);
        patterns.extend(exclude.iter().map(|pattern| format!("!{pattern}")));
    }
    patterns
}

fn paths(entry: &Entry, found: &mut Alternative, lines: Lines<'_>) {
    let section = Section::read(&entry.value);
    let (include, exclude) = lists(entry);
    found.paths = include.into_iter().chain(exclude.into_iter().map(|pattern| format!("!{pattern}"))).collect();
    for path in &mut found.paths {
        *path = path.trim_start_matches("./").to_owned();
    }
    for key in ["ignore_message", "on_empty"] {
        if let Some(entry) = section.as_ref().and_then(|section| section.peek(key)) {
            found.notes.push(lines.note(
                entry,
                "`changed()` and `paths` have nothing like it: where changes are not known, everything fits",
            ));
        }
    }
    if found.paths.is_empty() {
        found.notes.push(lines.note(entry, "this form of it is not understood: nothing runs until `if` says when"));
        found.withhold("false");
    }
}

/// Translates the expressions of Woodpecker that we have as well: `NAME == "text"`, joined by `&&` and `||`.
fn translate_expression(source: &str, language: Language) -> Option<String> {
    if source.contains(['(', '[', '{', '|']) && !source.contains("||") {
        return None;
    }
    let alternatives = source.split("||").map(|part| {
        let parts = part.split("&&").map(|part| {
            let (left, operator, right) = ["==", "!="].iter().find_map(|operator| {
                part.split_once(operator).map(|(left, right)| (left.trim(), *operator, right.trim()))
            })?;
            let quote = right.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            let literal = right.strip_prefix(quote)?.strip_suffix(quote)?;
            if left == "CI_PIPELINE_EVENT" {
                let event = match literal {
                    "pull_request" => "pull-request",
                    "cron" => "schedule",
                    word => word,
                };
                return Some(format!("event.name {operator} {}", condition::quote(event)));
            }
            let expression = variables::expression(language, left)?;
            (shell::names(literal).is_empty() && expression != "event.number" && expression != "build.number")
                .then(|| format!("{expression} {operator} {}", condition::quote(literal)))
        });
        condition::all(&parts.collect::<Option<Vec<_>>>()?)
    });
    condition::any(&alternatives.collect::<Option<Vec<_>>>()?)
}
