//! Converts `when` of Woodpecker, and `when` and `trigger` of Drone, to an expression and to `on`.

use longshore_pipeline::tree::{Entry, Node};

use super::{
    Language, condition,
    draft::{After, Map, Note, Value},
    foreign::{Lines, Section, items, reason, text, texts},
    shell, variables,
};

/// The result of converting a filter.
#[derive(Debug, Default)]
pub(super) struct When {
    /// `None` if everything matches.
    pub(super) condition: Option<String>,
    pub(super) after: Option<After>,
    pub(super) notes: Vec<Note>,
    /// The line of a filter that asks for a schedule, whose times stand elsewhere.
    pub(super) schedule: Option<u32>,
}

/// Adds the note that a pipeline with filters for schedules gets once: when one is due does not stand in the file.
pub(super) fn note_schedule(line: Option<u32>, head: &mut Map) {
    const WHY: &str = "when it is due stands in the repository's settings there: write `schedule: [{ cron: '0 3 * * *' }]` \
                       into `on` here, beside what else starts it";
    let Some(line) = line else { return };
    let known = head.parts.iter().any(|part| matches!(part, super::draft::Part::Note(note) if note.why == WHY));
    if !known {
        head.note(Note::new(line, "cron", WHY));
    }
}

/// One of several filters, of which one has to match.
#[derive(Debug, Default)]
struct Alternative {
    /// Our names of the events; empty if every event matches.
    events: Vec<&'static str>,
    branches: Vec<String>,
    tags: Vec<String>,
    paths: Vec<String>,
    /// Everything that has to be true, except filters by file.
    conditions: Vec<String>,
    after: Option<After>,
    /// Whether `on` can say all of it.
    simple: bool,
    notes: Vec<Note>,
    /// Notes on patterns, needed only if `if` has to say them.
    patterns: Vec<Note>,
    /// The line where it asks for a schedule.
    schedule: Option<u32>,
}

/// Notes on filters that `if` cannot express.
const REASONS: &[(&str, &str)] = &[
    (
        "instance",
        "Longshore does not know this server: nothing runs until this line is replaced by a condition in `if`",
    ),
    ("environment", "there are no deployments here: nothing runs until a condition in `if` says when"),
    ("target", "there are no promotions here: nothing runs until a condition in `if` says when"),
    ("local", "`longshore run` knows no such difference: it is taken as fulfilled"),
];

/// Converts the filters of a step, or of one of several jobs.
pub(super) fn read(entry: &Entry, language: Language, lines: Lines<'_>) -> When {
    let alternatives = alternatives(entry, language, lines);
    let mut when = When::default();
    let mut parts = Vec::new();
    for mut alternative in alternatives {
        when.after = wider(when.after, alternative.after);
        when.schedule = when.schedule.or(alternative.schedule);
        if !alternative.paths.is_empty() {
            let why = "`if` does not know which files have changed: it is taken as fulfilled. `on` has `paths` for a whole pipeline";
            alternative.notes.push(Note::new(lines.line_of_key(entry), "path", why));
        }
        when.notes.append(&mut alternative.notes);
        when.notes.append(&mut alternative.patterns);
        parts.push(condition::all(&alternative.conditions).unwrap_or_else(|| "true".to_owned()));
    }
    when.condition = condition::any(&parts).filter(|condition| condition != "true");
    when
}

/// Converts the filters of a whole pipeline to `on`. What `on` cannot say becomes the condition. `paths` can only be in
/// `on`.
pub(super) fn triggers(entry: &Entry, language: Language, lines: Lines<'_>, head: &mut Map) -> When {
    const EVENTS: [&str; 4] = ["push", "tag", "pull-request", "manual"];
    let line = lines.line_of_key(entry);
    let alternatives = alternatives(entry, language, lines);
    let of = |event: &str| -> Vec<&Alternative> {
        // Drone compares a tag with the filter for branches too, and a tag has no branch.
        let fits = |one: &&Alternative| language != Language::Drone || event != "tag" || !only_branches(one);
        let asked = alternatives.iter().filter(|one| one.events.is_empty() || one.events.contains(&event));
        asked.filter(fits).collect()
    };
    let mut exact = alternatives.iter().all(|alternative| alternative.simple);
    // `on` filters pushes and pull requests by their branches, but not starts by hand.
    let by_hand = of("manual").iter().any(|one| !one.branches.is_empty() || !one.tags.is_empty());
    let (mut push, mut pull_request, mut on) = (Map::default(), Map::default(), Map::default());
    let mut any = |lists: Vec<&Vec<String>>| -> Vec<String> {
        // Filters of one event are joined only if all of them have patterns; otherwise everything matches.
        let first = lists.first().map(|list| (*list).clone()).unwrap_or_default();
        if lists.iter().all(|list| **list == first) {
            return first;
        }
        exact = false;
        if lists.iter().any(|list| list.is_empty() || list.iter().any(|pattern| pattern.starts_with('!'))) {
            return Vec::new();
        }
        let mut joined: Vec<String> = lists.into_iter().flatten().cloned().collect();
        joined.sort();
        joined.dedup();
        joined
    };
    let all = |patterns: Vec<String>| if patterns.is_empty() { vec!["**".to_owned()] } else { patterns };
    let pushes = of("push");
    if !pushes.is_empty() {
        push.set("branches", Value::texts(all(any(pushes.iter().map(|one| &one.branches).collect()))), line);
    }
    let tags = of("tag");
    if !tags.is_empty() {
        push.set("tags", Value::texts(all(any(tags.iter().map(|one| &one.tags).collect()))), line);
    }
    let paths = any(pushes.iter().map(|one| &one.paths).collect());
    if !paths.is_empty() {
        push.set("paths", Value::texts(paths), line);
    }
    let requests = of("pull-request");
    if !requests.is_empty() {
        let branches = any(requests.iter().map(|one| &one.branches).collect());
        pull_request.set_filled("branches", Value::texts(branches), line);
        let paths = any(requests.iter().map(|one| &one.paths).collect());
        pull_request.set_filled("paths", Value::texts(paths), line);
        if requests.iter().any(|one| one.conditions.iter().any(|part| part.contains("== 'closed'"))) {
            pull_request.set("types", Value::texts(["opened", "synchronize", "reopened", "closed"]), line);
        }
    }
    let everything =
        EVENTS.iter().all(|event| of(event).iter().any(|one| one.conditions.is_empty() && one.paths.is_empty()));
    if everything {
        exact = true;
    } else {
        if !push.is_empty() {
            on.set("push", push, line);
        }
        if !requests.is_empty() {
            on.set("pull-request", pull_request, line);
        }
        if !of("manual").is_empty() {
            on.set("manual", Map::default(), line);
        }
    }
    let mut when = When::default();
    for alternative in &alternatives {
        when.after = wider(when.after, alternative.after);
        when.schedule = when.schedule.or(alternative.schedule);
        when.notes.extend(alternative.notes.iter().cloned());
    }
    if on.is_empty() && !everything {
        // A pipeline without `on` would start at every push.
        on.remark("nothing that starts it could be carried over: it starts by hand only");
        on.set("manual", Map::default(), None);
        exact = false;
    }
    head.set_filled("on", on, line);
    let parts = alternatives.iter().map(|one| condition::all(&one.conditions).unwrap_or_else(|| "true".to_owned()));
    let whole = condition::any(&parts.collect::<Vec<_>>()).unwrap_or_else(|| "true".to_owned());
    let patterns: Vec<Note> = alternatives.iter().flat_map(|one| one.patterns.iter().cloned()).collect();
    if exact && by_hand && !patterns.is_empty() {
        // What `if` says less exactly than `on` counts for starts by hand alone.
        let for_all_others = ["event.name != 'manual'".to_owned(), whole];
        when.condition = condition::any(&for_all_others);
        when.notes.extend(patterns);
    } else if !exact || by_hand {
        when.condition = Some(whole);
        when.notes.extend(patterns);
    }
    when.condition = when.condition.filter(|condition| condition != "true");
    when
}

/// Whether it names branches that it wants, and not only such that it does not want.
fn only_branches(alternative: &Alternative) -> bool {
    alternative.branches.iter().any(|pattern| !pattern.starts_with('!'))
}

/// Converts `branches` of a whole pipeline, as older files have it: a filter that tags pass.
pub(super) fn branches(entry: &Entry, language: Language, lines: Lines<'_>) -> When {
    let mut found = Alternative { simple: true, ..Alternative::default() };
    let mut conditions = Vec::new();
    constraint(entry, "event.branch", language, lines, &mut found, &mut conditions);
    let filter = condition::all(&conditions).unwrap_or_else(|| "true".to_owned());
    let condition = condition::any(&["event.name == 'tag'".to_owned(), filter]).filter(|condition| condition != "true");
    found.notes.append(&mut found.patterns);
    When { condition, notes: found.notes, ..When::default() }
}

fn wider(a: Option<After>, b: Option<After>) -> Option<After> {
    match (a, b) {
        (Some(a), Some(b)) if a != b => Some(After::Either),
        (a, b) => a.or(b),
    }
}

fn alternatives(entry: &Entry, language: Language, lines: Lines<'_>) -> Vec<Alternative> {
    items(&entry.value).iter().map(|node| alternative(node, entry, language, lines)).collect()
}

fn alternative(node: &Node, of: &Entry, language: Language, lines: Lines<'_>) -> Alternative {
    let mut found = Alternative { simple: true, ..Alternative::default() };
    let Some(section) = Section::read(node) else {
        let why = "this form of it is not understood: nothing runs until `if` says when";
        found.notes.push(Note::new(lines.line_of(node.place), of.key.clone(), why));
        found.conditions.push("false".to_owned());
        found.simple = false;
        return found;
    };
    if let Some(entry) = section.take("event") {
        events(entry, &mut found, lines);
    }
    let tags_have_no_branch =
        language == Language::Woodpecker && (found.events.is_empty() || found.events.contains(&"tag"));
    if let Some(entry) = section.take("branch") {
        let only_tags = found.events == ["tag"] && language == Language::Woodpecker;
        let mut of_branch = Vec::new();
        let patterns = constraint(entry, "event.branch", language, lines, &mut found, &mut of_branch);
        found.branches = patterns;
        if let Some(condition) = condition::all(&of_branch).filter(|_| !only_tags) {
            let alternatives =
                if tags_have_no_branch { vec!["event.name == 'tag'".to_owned(), condition] } else { vec![condition] };
            found.conditions.extend(condition::any(&alternatives));
        }
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
        let (include, exclude) = lists(entry);
        let has = |word: &str| match include.is_empty() {
            true => !exclude.is_empty() && !exclude.iter().any(|found| found == word),
            false => include.iter().any(|found| found == word),
        };
        found.after = Some(match (has("success"), has("failure")) {
            (true, true) => After::Either,
            (false, true) => After::Failure,
            _ => After::Success,
        });
    }
    if let Some(entry) = section.take("cron") {
        let why = "schedules have no names here: it is taken for every schedule; compare `event.cron` in `if`";
        found.notes.push(lines.note(entry, why));
        found.schedule = Some(lines.line_of_key(entry));
        // Woodpecker asks for the name at schedules alone, Drone at every event.
        if found.events.is_empty() || language == Language::Drone {
            found.conditions.push("event.name == 'schedule'".to_owned());
            found.simple = false;
        }
        if found.events.is_empty() {
            found.events.push("schedule");
        }
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
        let words = texts(&entry.value).unwrap_or_default();
        let linux = words.iter().any(|word| word.starts_with("linux") || word.starts_with('*'));
        let why = "`runs-on` chooses servers by their labels; it is taken as fulfilled for Linux";
        found.notes.push(lines.note(entry, why));
        if !linux {
            found.conditions.push("false".to_owned());
            found.simple = false;
        }
    }
    if let Some(entry) = section.take("evaluate") {
        found.simple = false;
        match text(&entry.value).and_then(|text| translate_expression(text, language)) {
            Some(condition) => found.conditions.push(condition),
            None => {
                let why = "this expression could not be translated: nothing runs until `if` says the same";
                found.notes.push(lines.note(entry, why));
                found.conditions.push("false".to_owned());
            }
        }
    }
    for entry in section.rest() {
        let why = reason(REASONS, &entry.key).unwrap_or("this filter is not known: nothing runs until `if` says when");
        found.notes.push(lines.note(entry, why));
        if entry.key != "local" {
            found.conditions.push("false".to_owned());
            found.simple = false;
        }
    }
    found
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
            found.conditions.push("false".to_owned());
            found.simple = false;
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
fn list_is_written(entry: &Entry) -> bool {
    let (include, exclude) = lists(entry);
    !include.is_empty() || !exclude.is_empty() || entry.value.is_null()
}

/// The included and the excluded patterns.
fn lists(entry: &Entry) -> (Vec<String>, Vec<String>) {
    match Section::read(&entry.value) {
        Some(section) => {
            let list = |key: &str| section.take(key).and_then(|entry| texts(&entry.value)).unwrap_or_default();
            (list("include"), list("exclude"))
        }
        None => (texts(&entry.value).unwrap_or_default(), Vec::new()),
    }
}

/// Converts a filter over one value to its conditions, and to the patterns that `on` takes.
fn constraint(
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
        found.simple = false;
        conditions.push("false".to_owned());
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
            Some((condition, None)) => condition,
            Some((condition, Some(more))) => {
                let why = format!("`if` takes it for `{condition}`, which fits {more}, too");
                found.patterns.push(Note::new(lines.line_of_key(entry), pattern, why));
                condition
            }
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
            found
                .notes
                .push(lines.note(entry, "`paths` has nothing like it: where changes are not known, everything fits"));
        }
    }
    if found.paths.is_empty() {
        found.notes.push(lines.note(entry, "this form of it is not understood: it is taken as fulfilled"));
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
