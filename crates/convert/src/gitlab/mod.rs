//! Converts a file of GitLab CI: its jobs, in the order of their stages.

mod artifacts;
mod cache;
mod expression;
mod extend;
mod include;
mod job;
mod order;
mod repeats;
mod rules;
mod scripts;
mod services;
mod times;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use longshore_pipeline::tree::{Entry, Node};

use super::{
    ConvertError,
    draft::{Draft, Map, Note, Value, Variable},
    foreign::{FORM, Lines, Section, boolean, entries, list, text, texts},
    variables,
};
use extend::Jobs;
use order::{LostJob, Staged};
use values::{is_checkout, value_of, variable};

/// Keys of a job that `default`, and in older files the file itself, can have.
const DEFAULTS: &[&str] = &[
    "image",
    "services",
    "before_script",
    "after_script",
    "cache",
    "artifacts",
    "retry",
    "timeout",
    "tags",
    "interruptible",
    "hooks",
    "id_tokens",
    "identity",
];

/// Keys of the file that are not jobs.
const NO_JOBS: &[&str] = &["stages", "variables", "default", "workflow", "include", "spec", "types"];

/// The parts that all jobs of a file share.
pub(super) struct File<'n> {
    pub(super) lines: Lines<'n>,
    pub(super) defaults: BTreeMap<&'n str, &'n Entry>,
    /// Variables of the file, as they are written.
    pub(super) variables: Vec<Variable>,
    /// Whether pull requests start the pipeline.
    pub(super) requests: bool,
    /// Whether something asks for schedules.
    pub(super) schedules: bool,
    /// The condition of `workflow`, which applies to every job.
    pub(super) condition: Option<String>,
    /// The variables that scripts use, for the pipeline's `env`.
    pub(super) wanted: BTreeMap<String, &'static str>,
    pub(super) groups: BTreeSet<String>,
}

pub(super) fn draft(documents: &[Rc<Node>], lines: Lines<'_>) -> Result<Draft, ConvertError> {
    let mut draft = Draft { absent_needs_count: true, ..Draft::default() };
    let root = main_document(documents, lines, &mut draft.head)?;
    let whole = include::resolve(root, lines);
    draft.head.notes(whole.notes.iter().cloned());
    let written = &whole.root;
    let text = format!("{}\n{}", lines.source.text, whole.text);
    let jobs = Jobs::of(written);
    let root = &jobs.resolve_keys(written, &[DEFAULTS, NO_JOBS].concat());
    let Some(section) = Section::read(root) else {
        return Err(ConvertError::NotOne("a file of GitLab CI is a mapping, and this one is not".to_owned()));
    };
    let mut file = File {
        lines,
        defaults: BTreeMap::new(),
        variables: Vec::new(),
        requests: text.contains("merge_request") || text.contains("MERGE_REQUEST"),
        schedules: text.contains("schedule"),
        condition: None,
        wanted: BTreeMap::new(),
        groups: BTreeSet::new(),
    };
    read_defaults(&section, &mut file, &mut draft.head);
    if let Some(entry) = section.take("variables") {
        variables_of(entry, &mut file, &mut draft.head);
    }
    let mut stages: Vec<String> = ["build", "test", "deploy"].map(str::to_owned).to_vec();
    if let Some(entry) = section.take("stages").or_else(|| section.take("types")) {
        stages = texts(&entry.value).unwrap_or_default();
    }
    stages.insert(0, ".pre".to_owned());
    stages.push(".post".to_owned());
    if let Some(entry) = section.take("workflow") {
        workflow(entry, &mut file, &mut draft.head);
    }

    let all = entries(root).unwrap_or_default();
    let (mut staged, lost) = convert_jobs(all, &section, &jobs, &mut file, &mut draft);
    // Hidden jobs exist only to be extended.
    for entry in all.iter().filter(|entry| entry.key.starts_with('.')) {
        section.take(&entry.key);
        if !jobs.is_used(&entry.key) && !is_anchored(entry, lines) {
            draft.left_out.push(lines.note(entry, "no job of this file takes anything over from it"));
        }
    }
    section.note_rest(lines, &mut draft.head, |_| None);
    order::order(&mut staged, &lost, &stages);
    if staged.iter().any(|one| one.bash) {
        draft.head.remark("scripts ran in bash there, where the image has it");
        let mut defaults = Map::default();
        defaults.set("shell", Value::text("bash"), None);
        draft.head.set("defaults", defaults, None);
    }
    draft.jobs = staged.into_iter().map(|one| one.job).collect();
    finish(&file, &mut draft);
    Ok(draft)
}

/// Returns the document with the jobs. A header before it, which makes the file a component, becomes a note.
fn main_document<'n>(
    documents: &'n [Rc<Node>],
    lines: Lines<'_>,
    head: &mut Map,
) -> Result<&'n Rc<Node>, ConvertError> {
    let is_header = |node: &Node| entries(node).is_some_and(|entries| matches!(entries, [one] if one.key == "spec"));
    match documents {
        [one] => Ok(one),
        [header, one] if is_header(header) => {
            let why = "the file was a component: write `$[[ inputs.x ]]` out, or make a template with `use`";
            let entry = entries(header).and_then(|entries| entries.first());
            head.notes(entry.map(|entry| lines.note(entry, why)));
            Ok(one)
        }
        [] => Err(ConvertError::NotOne("the file has nothing in it".to_owned())),
        _ => Err(ConvertError::NotOne("a file of GitLab CI is one document with jobs".to_owned())),
    }
}

/// Reads what all jobs have unless they say something else.
fn read_defaults<'n>(section: &Section<'n>, file: &mut File<'n>, head: &mut Map) {
    let lines = file.lines;
    for key in DEFAULTS {
        if let Some(entry) = section.take(key) {
            file.defaults.insert(key, entry);
        }
    }
    if let Some(entry) = section.take("default") {
        for inner in entries(&entry.value).unwrap_or_default() {
            match DEFAULTS.iter().find(|key| **key == inner.key) {
                Some(key) => drop(file.defaults.insert(key, inner)),
                None => head.note(lines.note(inner, "this key of `default` is not known")),
            }
        }
    }
    // One note here instead of one at every job.
    head.notes(file.defaults.iter().filter_map(|(key, entry)| Some(lines.note(entry, job::why_left_out(key)?))));
}

/// Converts the jobs of the file. Returns those that were carried over, and those that were not and that others wait
/// for.
fn convert_jobs(
    entries: &[Entry],
    section: &Section<'_>,
    jobs: &Jobs<'_>,
    file: &mut File<'_>,
    draft: &mut Draft,
) -> (Vec<Staged>, Vec<LostJob>) {
    let (mut staged, mut lost): (Vec<Staged>, Vec<LostJob>) = (Vec::new(), Vec::new());
    let is_job = |key: &str| !key.starts_with('.') && !NO_JOBS.contains(&key) && !DEFAULTS.contains(&key);
    for entry in entries.iter().filter(|entry| is_job(&entry.key)) {
        section.take(&entry.key);
        let taken: Vec<String> = staged.iter().map(|one| one.job.name.clone()).collect();
        let mut missing = Vec::new();
        let expanded = jobs.expand(&entry.value, &mut missing);
        match job::read(entry, &expanded, file, &taken) {
            Ok(mut one) => {
                note_missing_templates(entry, missing, file.lines, &mut one);
                staged.push(one);
            }
            Err(note) => {
                lost.extend(LostJob::of(&entry.key, &expanded, note.line));
                draft.left_out.push(note);
            }
        }
    }
    (staged, lost)
}

/// Notes the jobs that a job extends and that are not in the file. They may have had rules, so a job without rules of
/// its own never runs.
fn note_missing_templates(entry: &Entry, missing: Vec<String>, lines: Lines<'_>, staged: &mut Staged) {
    let has_rules = ["rules", "only", "except"].iter().any(|key| super::entry(&entry.value, key).is_some());
    if !missing.is_empty() && !has_rules {
        staged.job.withhold();
    }
    let why = match has_rules {
        true => "there is no such job in this file: write out what it says",
        false => {
            "there is no such job in this file, and it may say when this one runs: nothing runs until what it says is \
             written out"
        }
    };
    let line = lines.line_of_key(super::entry(&entry.value, "extends").unwrap_or(entry));
    for name in missing {
        staged.job.body.note(Note::new(line, format!("extends: {name}"), why));
    }
}

/// Returns whether an entry has an anchor that an alias refers to: then it is part of the mapping with the alias.
fn is_anchored(entry: &Entry, lines: Lines<'_>) -> bool {
    let text = lines.source.text;
    let Some(written) = text.get(entry.key_place.end..entry.value.place.end.max(entry.key_place.end)) else {
        return false;
    };
    written.match_indices('&').any(|(at, _)| {
        let name = &written[at + 1..];
        let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).unwrap_or(name.len());
        end > 0 && text.contains(&format!("*{}", &name[..end]))
    })
}

/// Reads the variables of the file.
fn variables_of(entry: &Entry, file: &mut File<'_>, head: &mut Map) {
    for variable in entries(&entry.value).unwrap_or_default() {
        match value_of(variable) {
            Some(value) => {
                let line = file.lines.line_of_key(variable);
                file.variables.push(Variable { name: variable.key.clone(), value, line });
            }
            None => head.note(file.lines.note(variable, FORM)),
        }
    }
}

fn workflow(entry: &Entry, file: &mut File<'_>, head: &mut Map) {
    let lines = file.lines;
    let Some(section) = Section::read(&entry.value) else {
        head.note(lines.note(entry, FORM));
        return;
    };
    if let Some(name) = section.take("name") {
        match text(&name.value).filter(|text| !text.contains(['$', '/'])) {
            Some(text) => head.set("name", Value::text(text.trim()), lines.line_of_key(name)),
            None => head.note(lines.note(name, "a pipeline's name is fixed")),
        }
    }
    if let Some(rules) = section.take("rules") {
        let known = file.known();
        let around = expression::FileContext { variable: &known, requests: file.requests, unknown_runs: false };
        let runs = rules::rules(rules, &around, lines);
        head.notes(runs.notes);
        drop(known);
        file.condition = runs.condition;
    }
    section.note_rest(lines, head, |key| match key {
        "auto_cancel" => Some("write `concurrency: { group: '${{ event.branch }}', cancel-in-progress: true }`"),
        _ => None,
    });
}

impl File<'_> {
    /// Looks up the values of the file's variables, as far as they are plain.
    pub(super) fn known(&self) -> impl Fn(&str) -> Option<String> + use<> {
        let plain: BTreeMap<String, String> = self
            .variables
            .iter()
            .filter(|variable| !variable.value.contains('$'))
            .map(|variable| (variable.name.clone(), variable.value.clone()))
            .collect();
        move |name| plain.get(name).cloned()
    }
}

/// Adds what concerns the whole pipeline: `on`, `env`, `concurrency`.
fn finish(file: &File<'_>, draft: &mut Draft) {
    let mut on = Map::default();
    on.set("push", Map::default(), None);
    if file.requests {
        on.set("pull-request", Map::default(), None);
    }
    on.set("manual", Map::default(), None);
    if file.schedules {
        on.remark("schedules stand in the project's settings there: write `schedule: [{ cron: '0 3 * * *' }]` here");
    }
    draft.head.set("on", on, None);
    let mut env = Map::default();
    for written in file.variables.iter().filter(|variable| !is_checkout(&variable.name)) {
        match variable(written, &file.variables, &[]) {
            Ok((name, value)) => env.set(name, value, written.line),
            Err(why) => env.note(Note::new(written.line, written.name.as_str(), why)),
        }
    }
    for (name, expression) in &file.wanted {
        if env.get(name).is_none() && variables::is_planned(expression) {
            env.set(name.as_str(), Value::Text(variables::written(expression)), None);
        }
    }
    draft.head.set_filled("env", env, None);
    match file.groups.iter().collect::<Vec<_>>().as_slice() {
        [] => {}
        [one] => {
            draft.head.remark("a group is the whole pipeline's here, not one job's");
            draft.head.set("concurrency", Value::text(one.as_str()), None);
        }
        several => draft.head.remark(format!(
            "one pipeline has one group, and the jobs named {}: write `concurrency` by hand",
            longshore_pipeline::suggest::listed(several.iter().map(|name| name.as_str()))
        )),
    }
    if file.condition.as_ref().is_some_and(|condition| condition == "false") {
        draft.head.remark("no rule of `workflow` could be carried over, so that no job runs: write `on` and take the `if` of the jobs out");
    }
}

/// Whether `inherit` lets a job take over a key.
pub(super) fn inherits(entry: Option<&Entry>, what: &str, key: &str) -> bool {
    let found = entry
        .and_then(|entry| entries(&entry.value))
        .and_then(|entries| entries.iter().find(|entry| entry.key == what));
    match found {
        None => true,
        Some(found) => match list(&found.value) {
            Some(_) => texts(&found.value).unwrap_or_default().iter().any(|name| name == key),
            None => boolean(&found.value) != Some(false),
        },
    }
}
