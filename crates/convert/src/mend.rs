//! Checks the draft last: writes it out, checks it like any pipeline file, and replaces each refused part with a note
//! that says why, until nothing is refused any more. So the result lints, whatever the source contained.
//!
//! A removal never makes more run than before: a condition becomes `false`, a filter is removed together with its
//! event, and a step that would do something else is removed as a whole.

use longshore_core::{Diagnostic, Severity};

use longshore_pipeline::{Checked, Code, SourceFile, TemplateFiles, check, limits};

use super::{
    ConvertError, DEFAULT_IMAGE,
    draft::{Entry, Item, Map, Note, Part, Value},
    gate,
    writer::{self, Path, Written},
};

/// How many rounds a draft gets before it is given up.
const MAX_ROUNDS: usize = 60;

/// Removes refused parts until the draft lints. Returns the draft and its text.
pub(super) fn mend(mut draft: Map, path: &str) -> Result<(Map, String), ConvertError> {
    for _ in 0..MAX_ROUNDS {
        let written = written(&draft)?;
        let checked = check_text(&written, path);
        if checked.pipelines.len() == 1 {
            return Ok((draft, written.text));
        }
        let errors: Vec<Diagnostic> =
            checked.diagnostics.into_iter().filter(|found| found.severity == Severity::Error).collect();
        cut_refused(&mut draft, &written, &errors);
    }
    let mut rest = Map::default();
    rest.notes([Note::new(1, "all of it", "Longshore does not take what this became; write the pipeline by hand")]);
    rest.set("jobs", placeholder_jobs(), None);
    let text = writer::write(&rest).text;
    Ok((rest, text))
}

fn written(draft: &Map) -> Result<Written, ConvertError> {
    let written = writer::write(draft);
    match written.text.len() {
        size if size > limits::FILE_BYTES => Err(ConvertError::TooLarge(size)),
        _ => Ok(written),
    }
}

fn check_text(written: &Written, path: &str) -> Checked {
    check(&[SourceFile::new(path, written.text.as_str())], &TemplateFiles::new())
}

fn cut_refused(draft: &mut Map, written: &Written, errors: &[Diagnostic]) {
    let mut cuts: Vec<(Path, Cut, String)> = Vec::new();
    for error in errors {
        let Some(path) = written.at(error.span.line, error.span.column) else { continue };
        let keys = keys(draft, path);
        let (depth, cut) = choose_cut(&keys, &error.code);
        let help = error.help.as_deref().map(|help| format!("; {help}")).unwrap_or_default();
        cuts.push((
            path[..depth.clamp(1, path.len())].to_vec(),
            cut,
            format!("Longshore refuses it: {}{help}", error.message),
        ));
    }
    // Outer parts win, each part is cut once, and the last ones are cut first, because a note shifts what comes after
    // it.
    cuts.sort_by(|a, b| a.0.cmp(&b.0));
    let mut outer: Vec<(Path, Cut, String)> = Vec::new();
    for cut in cuts {
        if !outer.last().is_some_and(|last| cut.0.starts_with(&last.0)) {
            outer.push(cut);
        }
    }
    for (path, cut, why) in outer.into_iter().rev() {
        cut_at(draft, &path, cut, &why, 1);
    }
}

const LOST: &str = "the step lost a part of it, and would do something else without that: nothing of it runs until it is written by hand";

/// The replacement for a refused part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// A note.
    Leave,
    /// A note, and its step never runs: it would do something else without it.
    Setting,
    /// A note, and the value `false`.
    False,
    Image,
    ByHand,
    /// Jobs are missing, or the last one is refused.
    Jobs,
    LastJob,
    /// The steps beyond the limit.
    LastSteps,
}

/// Returns how many components of the path to a refused part are cut at, and how.
fn choose_cut(keys: &[String], code: &str) -> (usize, Cut) {
    let key = |at: usize| keys.get(at).map_or("", String::as_str);
    let all = keys.len();
    match (key(0), all) {
        ("jobs", 1) if code == Code::Empty.as_str() => (1, Cut::Jobs),
        ("jobs", 1) => (1, Cut::LastJob),
        ("on", 1) => (1, Cut::ByHand),
        ("on", _) if key(1) == "manual" && all >= 4 => (4, Cut::Leave),
        ("on", _) if key(1) == "schedule" && all >= 3 => (3, Cut::Leave),
        ("on", _) => (2, Cut::Leave),
        ("concurrency", _) if all == 1 || key(1) == "group" => (1, Cut::Leave),
        ("jobs", 2) if code == Code::MissingImage.as_str() => (2, Cut::Image),
        ("jobs", 2) => (2, Cut::Leave),
        ("jobs", _) => match key(2) {
            "image" => (3, Cut::Image),
            "if" => (3, Cut::False),
            "steps" if all == 3 && code == Code::TooManySteps.as_str() => (3, Cut::LastSteps),
            "steps" if all == 3 => (2, Cut::Leave),
            "steps" => match key(4) {
                "if" => (5, Cut::False),
                "env" | "with" if all > 5 => (6, Cut::Setting),
                "name" | "id" | "timeout" | "retry" | "continue-on-error" | "env" => (5, Cut::Leave),
                _ => (4, Cut::Leave),
            },
            "matrix" if matches!(key(3), "include" | "exclude") && all > 4 => (5, Cut::Leave),
            "services" if matches!(key(4), "env") && all > 5 => (6, Cut::Leave),
            "services" | "cache" | "artifacts" if all > 3 => (4, Cut::Leave),
            _ => (all, Cut::Leave),
        },
        _ => (all, Cut::Leave),
    }
}

/// The mapping or list that a path continues in.
enum Inside<'m> {
    Map(&'m Map),
    List(&'m [Item]),
    Nothing,
}

impl<'m> Inside<'m> {
    fn of(value: &'m Value) -> Self {
        match value {
            Value::Map(map) => Self::Map(map),
            Value::List(items) => Self::List(items),
            Value::Text(_) | Value::Plain(_) | Value::Script(_) => Self::Nothing,
        }
    }
}

/// Returns the keys along a path; a list's items have none.
fn keys(draft: &Map, path: &[usize]) -> Vec<String> {
    let mut at = Inside::Map(draft);
    let mut found = Vec::new();
    for step in path {
        let (key, value) = match at {
            Inside::Map(map) => match map.parts.get(*step) {
                Some(Part::Entry(entry)) => (entry.key.clone(), &entry.value),
                _ => return found,
            },
            Inside::List(items) => match items.get(*step) {
                Some(Item::Value(value)) => (String::new(), value),
                _ => return found,
            },
            Inside::Nothing => return found,
        };
        found.push(key);
        at = Inside::of(value);
    }
    found
}

/// Cuts the part at a path; `line` is the source line of the nearest part around it that has one.
fn cut_at(map: &mut Map, path: &[usize], cut: Cut, why: &str, line: u32) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() && cut == Cut::Leave && replace_by_notes(map, *first) {
        return;
    }
    let Some(part) = map.parts.get_mut(*first) else { return };
    let Part::Entry(entry) = part else { return };
    let line = entry.line.unwrap_or(line);
    match rest.is_empty() {
        true => {
            let note = Note::new(line, entry.key.clone(), why);
            match replacement(entry, cut) {
                Some(()) => map.parts.insert(*first, Part::Note(note)),
                None => {
                    let mut notes = vec![note];
                    notes_within(&entry.value, &mut notes);
                    map.parts.splice(*first..=*first, notes.into_iter().map(Part::Note));
                }
            }
        }
        false if entry.key == "needs" && rest.len() == 1 => {
            // A job that does not wait for another one that it needs would run more often than before.
            if let Value::List(items) = &mut entry.value {
                apply_in_list(items, rest, cut, why, "needs", line);
            }
            map.note(Note::new(
                line,
                "needs",
                "it waits for a job that was not carried over: nothing runs until `needs` is written by hand",
            ));
            map.set("if", Value::text("false"), None);
        }
        false if cut == Cut::Setting && rest.len() == 1 => {
            let key = entry.key.clone();
            if let Value::Map(inner) = &mut entry.value {
                cut_at(inner, rest, Cut::Leave, why, line);
            }
            map.note(Note::new(line, key, LOST));
            map.set("if", Value::text("false"), None);
        }
        false => match &mut entry.value {
            Value::Map(inner) => cut_at(inner, rest, cut, why, line),
            Value::List(items) => apply_in_list(items, rest, cut, why, &entry.key, line),
            Value::Text(_) | Value::Plain(_) | Value::Script(_) => {}
        },
    }
}

/// Collects the notes in a value, which are kept when the value is removed.
fn notes_within(value: &Value, notes: &mut Vec<Note>) {
    match value {
        Value::Map(map) => map.parts.iter().for_each(|part| match part {
            Part::Note(note) => notes.push(note.clone()),
            Part::Entry(entry) => notes_within(&entry.value, notes),
            Part::Remark(_) => {}
        }),
        Value::List(items) => items.iter().for_each(|item| match item {
            Item::Note(note) => notes.push(note.clone()),
            Item::Value(value) => notes_within(value, notes),
        }),
        Value::Text(_) | Value::Plain(_) | Value::Script(_) => {}
    }
}

/// If an entry contains only notes, puts them in its place and returns true.
fn replace_by_notes(map: &mut Map, at: usize) -> bool {
    let Some(Part::Entry(entry)) = map.parts.get(at) else { return false };
    let notes: Vec<Part> = match &entry.value {
        Value::Map(inner) if inner.is_empty() => inner.parts.clone(),
        Value::List(items) => {
            let note = |item: &Item| match item {
                Item::Note(note) => Some(Part::Note(note.clone())),
                Item::Value(_) => None,
            };
            items.iter().map(note).collect::<Option<_>>().unwrap_or_default()
        }
        Value::Map(_) | Value::Text(_) | Value::Plain(_) | Value::Script(_) => Vec::new(),
    };
    let found = !notes.is_empty();
    if found {
        map.parts.splice(at..=at, notes);
    }
    found
}

fn apply_in_list(items: &mut Vec<Item>, path: &[usize], cut: Cut, why: &str, of: &str, line: u32) {
    let Some((first, rest)) = path.split_first() else { return };
    let others = items
        .iter()
        .enumerate()
        .any(|(at, item)| at != *first && matches!(item, Item::Value(step) if !gate::is_stand_in(step)));
    let followed =
        items.iter().skip(*first + 1).any(|item| matches!(item, Item::Value(step) if !gate::is_stand_in(step)));
    let Some(item) = items.get_mut(*first) else { return };
    let Item::Value(value) = item else { return };
    let line = match &*value {
        Value::Map(map) => map.entries().find_map(|entry| entry.line).unwrap_or(line),
        Value::Text(_) | Value::Plain(_) | Value::Script(_) | Value::List(_) => line,
    };
    match (rest.is_empty(), &mut *value) {
        (true, value) => {
            let what = shown(value).map_or_else(|| format!("an entry of {of}"), |shown| format!("{shown} of {of}"));
            let mut notes = vec![Note::new(line, what, why)];
            notes_within(value, &mut notes);
            let gate = match value {
                Value::Map(step) if of == "steps" && others => gate_of(&notes[0], step),
                Value::Map(_) | Value::Text(_) | Value::Plain(_) | Value::Script(_) | Value::List(_) => None,
            };
            let gate = gate.map(|step| Item::Value(step.into()));
            items.splice(*first..=*first, notes.into_iter().map(Item::Note).chain(gate));
        }
        (false, Value::Map(inner)) => {
            let before = inner.clone();
            cut_at(inner, rest, cut, why, line);
            let never = |step: &Map| step.get("if") == Some(&Value::text("false"));
            if of == "steps" && never(inner) && !never(&before) && followed {
                let what = shown(value).unwrap_or_else(|| "a step".to_owned());
                // Its id stays the step's own, and a condition that is refused is dropped.
                let step = Map { parts: before.parts.into_iter().filter(|part| is_kept(part, cut)).collect() };
                let gate = gate_of(&Note::new(line, what, why), &step);
                if let Some(gate) = gate {
                    items.insert(*first + 1, Item::Value(gate.into()));
                }
            }
        }
        (false, Value::List(inner)) => apply_in_list(inner, rest, cut, why, of, line),
        (false, Value::Text(_) | Value::Plain(_) | Value::Script(_)) => {}
    }
}

/// Whether the stand-in after a step that never runs has this part of the step, too.
fn is_kept(part: &Part, cut: Cut) -> bool {
    match part {
        Part::Entry(entry) => entry.key != "id" && (cut != Cut::False || entry.key != "if"),
        Part::Note(_) | Part::Remark(_) => false,
    }
}

/// The stand-in for a step that is cut.
fn gate_of(note: &Note, step: &Map) -> Option<Map> {
    let text_of = |key: &str| match step.get(key) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let gates = step.get("continue-on-error").is_none() && !text_of("if").is_some_and(gate::runs_after_failures);
    gates.then(|| gate::stand_in(note, text_of("id"), text_of("if")))
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) | Value::Plain(text) | Value::Script(text) => {
            Some(text.lines().next()?.chars().take(60).collect())
        }
        Value::Map(map) => map.entries().next().and_then(|entry| shown(&entry.value)),
        Value::List(_) => None,
    }
}

/// Replaces an entry's value with a valid one; `None` if the entry is only removed.
fn replacement(entry: &mut Entry, cut: Cut) -> Option<()> {
    match cut {
        Cut::Leave | Cut::Setting => return None,
        Cut::False => entry.value = Value::text("false"),
        Cut::ByHand => entry.value = Value::text("manual"),
        Cut::Image if entry.key == "image" => entry.value = Value::text(DEFAULT_IMAGE),
        Cut::Image => match &mut entry.value {
            Value::Map(job) => job.parts.insert(
                0,
                Part::Entry(Entry { key: "image".to_owned(), value: Value::text(DEFAULT_IMAGE), line: None }),
            ),
            _ => return None,
        },
        Cut::Jobs => entry.value = placeholder_with_notes(&entry.value),
        Cut::LastSteps => {
            let Value::List(items) = &mut entry.value else { return None };
            let mut steps = 0;
            for item in items.iter_mut() {
                let Item::Value(value) = item else { continue };
                steps += 1;
                if steps > limits::STEPS {
                    let line = match value {
                        Value::Map(step) => step.entries().find_map(|entry| entry.line),
                        Value::Text(_) | Value::Plain(_) | Value::Script(_) | Value::List(_) => None,
                    };
                    let what = shown(value).unwrap_or_else(|| "a step".to_owned());
                    let why = format!("one step too many: beyond the limit of {} in a job", limits::STEPS);
                    *item = Item::Note(Note::new(line.or(entry.line).unwrap_or(1), what, why));
                }
            }
        }
        Cut::LastJob => match &mut entry.value {
            Value::Map(jobs) if jobs.entries().count() > 1 => {
                let last = jobs.parts.iter().rposition(|part| matches!(part, Part::Entry(_)))?;
                if let Some(Part::Entry(job)) = jobs.parts.get(last) {
                    let note = Note::new(job.line.unwrap_or(1), job.key.clone(), "it is one job too many");
                    jobs.parts[last] = Part::Note(note);
                }
            }
            value => *value = placeholder_with_notes(value),
        },
    }
    Some(())
}

/// The job that stands in for all jobs, with the notes that say why these were removed.
fn placeholder_with_notes(jobs: &Value) -> Value {
    let mut notes = Vec::new();
    notes_within(jobs, &mut notes);
    let mut placeholder = placeholder_jobs();
    placeholder.notes(notes);
    placeholder.into()
}

/// A job that never runs, because a pipeline has at least one job.
pub(super) fn placeholder_jobs() -> Map {
    let mut step = Map::default();
    step.set("run", Value::text("true"), None);
    let mut job = Map::default();
    job.remark("none of the source's jobs could be carried over: this one stands in for them and never runs");
    job.set("image", Value::text(DEFAULT_IMAGE), None);
    job.set("if", Value::text("false"), None);
    job.set("steps", Value::List(vec![Item::Value(step.into())]), None);
    let mut jobs = Map::default();
    jobs.set("nothing", job, None);
    jobs
}
