//! Converts `when` of Woodpecker, and `when` and `trigger` of Drone, to an expression and to `on`.

use longshore_pipeline::tree::Entry;

use super::{
    Language, condition,
    draft::{After, Map, Note, Value},
    filters::{Alternative, alternatives, constraint},
    foreign::Lines,
    platform::Platform,
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
    /// When it may have run there, though it does not run here: a filter could not be said.
    pub(super) missed: Option<String>,
    /// The events in which it may have run so, and those in which it runs.
    pub(super) missed_in: Vec<&'static str>,
    pub(super) runs_in: Vec<&'static str>,
    pub(super) paths: Paths,
}

/// The facts that hold for all filters within a pipeline.
#[derive(Debug, Clone, Default)]
pub(super) struct PipelineFacts {
    pub(super) paths: Paths,
    pub(super) platform: Platform,
}

/// The events that filters tell apart.
const EVENTS: [&str; 5] = ["push", "tag", "pull-request", "manual", "schedule"];

impl When {
    /// The result for a step without filters.
    pub(super) fn always() -> Self {
        Self { runs_in: EVENTS.to_vec(), ..Self::default() }
    }

    /// Whether something runs after this in an event in which this is missed.
    pub(super) fn is_missed_before(&self, later: &Self) -> bool {
        later.after != Some(After::Failure) && self.missed_in.iter().any(|event| later.runs_in.contains(event))
    }
}

/// The filters by file that a pipeline's `on` has, which hold for all that is in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Paths {
    push: Vec<String>,
    pull_request: Vec<String>,
}

impl Paths {
    /// Adds to the conditions of a filter which files have to be changed, unless `on` has asked for the same ones
    /// already. Where they are not known, Woodpecker counts such a filter as fulfilled, as we do.
    fn restrict(&self, filter: &mut Alternative, line: u32) {
        if filter.paths.is_empty() {
            return;
        }
        let asks = |event: &str, asked: &[String]| {
            let only_included = !filter.paths.iter().any(|path| path.starts_with('!'));
            let narrower = only_included && asked.iter().all(|path| filter.paths.contains(path));
            let implied = !asked.is_empty() && (*asked == filter.paths || narrower);
            !implied && (filter.events.is_empty() || filter.events.contains(&event))
        };
        let left: Vec<&str> = [("push", &self.push), ("pull-request", &self.pull_request)]
            .into_iter()
            .filter(|(event, asked)| asks(event, asked))
            .map(|(event, _)| event)
            .collect();
        match filter.changed() {
            _ if left.is_empty() => {}
            Ok(condition) => {
                filter.conditions.push(condition);
                filter.simple = false;
            }
            Err(why) => {
                left.iter().for_each(|event| filter.withhold(format!("event.name != '{event}'")));
                filter.notes.push(Note::new(line, "path", format!("{why}: it fits no {}", left.join(" and no "))));
            }
        }
    }
}

/// Adds the note that a pipeline with filters for schedules gets once: the file does not say when they are due.
pub(super) fn note_schedule(line: Option<u32>, head: &mut Map) {
    const WHY: &str = "when it is due stands in the repository's settings there: write `schedule: [{ cron: '0 3 * * *' }]` \
                       into `on` here, beside what else starts it";
    let Some(line) = line else { return };
    let known = head.parts.iter().any(|part| matches!(part, super::draft::Part::Note(note) if note.why == WHY));
    if !known {
        head.note(Note::new(line, "cron", WHY));
    }
}

/// Converts the filters of a step, or of one of several jobs, in a pipeline.
pub(super) fn read(entry: &Entry, language: Language, lines: Lines<'_>, around: &PipelineFacts) -> When {
    let alternatives = alternatives(entry, language, lines, &around.platform);
    let mut when = When::default();
    let (mut parts, mut missed) = (Vec::new(), Vec::new());
    for mut alternative in alternatives {
        when.after = wider(when.after, alternative.after);
        when.schedule = when.schedule.or(alternative.schedule);
        around.paths.restrict(&mut alternative, lines.line_of_key(entry));
        when.notes.append(&mut alternative.notes);
        when.notes.append(&mut alternative.patterns);
        let asked = |event: &&&str| alternative.events.is_empty() || alternative.events.contains(*event);
        for event in EVENTS.iter().filter(asked) {
            let is_missed = alternative.misses(event);
            let events = if is_missed { &mut when.missed_in } else { &mut when.runs_in };
            events.push(*event);
        }
        parts.push(alternative.whole());
        missed.extend(alternative.missed().filter(|_| alternative.after != Some(After::Failure)));
    }
    when.condition = condition::any(&parts).filter(|condition| condition != "true");
    // An event that one filter misses may be in another one.
    let both = when.missed_in.iter().any(|event| when.runs_in.contains(event));
    let unless = condition::any(&parts).filter(|_| both).map(|runs| condition::not(&runs));
    when.missed = condition::any(&missed)
        .and_then(|missed| condition::all(&[missed].into_iter().chain(unless).collect::<Vec<_>>()));
    when
}

/// Converts the filters of a whole pipeline to `on`. A filter that `on` cannot express becomes the condition.
pub(super) fn triggers(
    entry: &Entry,
    language: Language,
    lines: Lines<'_>,
    platform: &Platform,
    head: &mut Map,
) -> When {
    let line = lines.line_of_key(entry);
    let mut alternatives = alternatives(entry, language, lines, platform);
    let paths =
        Paths { push: common_paths(&alternatives, "push"), pull_request: common_paths(&alternatives, "pull-request") };
    alternatives.iter_mut().for_each(|one| paths.restrict(one, line));
    // `on` filters pushes and pull requests by their branches, but not starts by hand.
    let by_hand =
        fitting(&alternatives, "manual", language).iter().any(|one| !one.branches.is_empty() || !one.tags.is_empty());
    let On { mut on, mut exact, everything } = On::new(&alternatives, &paths, language, line);
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
    let parts = alternatives.iter().map(Alternative::whole);
    let whole = condition::any(&parts.collect::<Vec<_>>()).unwrap_or_else(|| "true".to_owned());
    let patterns: Vec<Note> = alternatives.iter().flat_map(|one| one.patterns.iter().cloned()).collect();
    if exact && by_hand && !patterns.is_empty() {
        // The condition, which is less exact than `on`, counts only for starts by hand.
        let for_all_others = ["event.name != 'manual'".to_owned(), whole];
        when.condition = condition::any(&for_all_others);
        when.notes.extend(patterns);
    } else if !exact || by_hand {
        when.condition = Some(whole);
        when.notes.extend(patterns);
    }
    when.condition = when.condition.filter(|condition| condition != "true");
    when.paths = paths;
    when
}

/// The filters that an event may pass.
fn fitting<'f>(alternatives: &'f [Alternative], event: &str, language: Language) -> Vec<&'f Alternative> {
    // Drone compares a tag with the filter for branches too, and a tag has no branch.
    let fits = |one: &&Alternative| language != Language::Drone || event != "tag" || !only_branches(one);
    let asked = alternatives.iter().filter(|one| one.events.is_empty() || one.events.contains(&event));
    asked.filter(fits).collect()
}

/// The filters of a whole pipeline as `on`.
struct On {
    on: Map,
    /// Whether it says all that the filters say.
    exact: bool,
    /// Whether everything starts the pipeline, as it does without `on`.
    everything: bool,
}

impl On {
    fn new(alternatives: &[Alternative], paths: &Paths, language: Language, line: u32) -> Self {
        const STARTS: [&str; 4] = ["push", "tag", "pull-request", "manual"];
        let fitting = |event: &str| fitting(alternatives, event, language);
        let everything =
            STARTS.iter().all(|event| fitting(event).iter().any(|one| one.whole() == "true" && one.paths.is_empty()));
        if everything {
            return Self { on: Map::default(), exact: true, everything };
        }
        let mut exact = alternatives.iter().all(|alternative| alternative.simple);
        let mut joined = |lists: Vec<&Vec<String>>| {
            let joined = join_patterns(&lists);
            exact &= lists.iter().all(|list| **list == joined);
            joined
        };
        let or_all = |patterns: Vec<String>| if patterns.is_empty() { vec!["**".to_owned()] } else { patterns };
        let (pushes, tags, requests) = (fitting("push"), fitting("tag"), fitting("pull-request"));
        let (mut push, mut pull_request, mut on) = (Map::default(), Map::default(), Map::default());
        if !pushes.is_empty() {
            let branches = or_all(joined(pushes.iter().map(|one| &one.branches).collect()));
            push.set("branches", Value::texts(branches), line);
        }
        if !tags.is_empty() {
            push.set("tags", Value::texts(or_all(joined(tags.iter().map(|one| &one.tags).collect()))), line);
        }
        if !pushes.is_empty() {
            push.set_filled("paths", Value::texts(&paths.push), line);
        }
        if !push.is_empty() {
            on.set("push", push, line);
        }
        if !requests.is_empty() {
            let branches = joined(requests.iter().map(|one| &one.branches).collect());
            pull_request.set_filled("branches", Value::texts(branches), line);
            pull_request.set_filled("paths", Value::texts(&paths.pull_request), line);
            if requests.iter().any(|one| one.conditions.iter().any(|part| part.contains("== 'closed'"))) {
                pull_request.set("types", Value::texts(["opened", "synchronize", "reopened", "closed"]), line);
            }
            on.set("pull-request", pull_request, line);
        }
        if !fitting("manual").is_empty() {
            on.set("manual", Map::default(), line);
        }
        Self { on, exact, everything }
    }
}

/// Joins the patterns of several filters for one event. Unless all of them have patterns, everything matches: the list
/// is empty.
fn join_patterns(lists: &[&Vec<String>]) -> Vec<String> {
    let first = lists.first().map(|list| (*list).clone()).unwrap_or_default();
    if lists.iter().all(|list| **list == first) {
        return first;
    }
    if lists.iter().any(|list| list.is_empty() || list.iter().any(|pattern| pattern.starts_with('!'))) {
        return Vec::new();
    }
    let mut joined: Vec<String> = lists.iter().copied().flatten().cloned().collect();
    joined.sort();
    joined.dedup();
    joined
}

/// Returns the filter by file that all filters for an event have in common; empty if they differ.
fn common_paths(alternatives: &[Alternative], event: &str) -> Vec<String> {
    let mut all = alternatives.iter().filter(|one| one.events.is_empty() || one.events.contains(&event));
    let first = all.next().map(|one| one.paths.clone()).unwrap_or_default();
    let said = first.iter().all(|path| longshore_pipeline::is_path_pattern(path));
    if said && all.all(|one| one.paths == first) { first } else { Vec::new() }
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
