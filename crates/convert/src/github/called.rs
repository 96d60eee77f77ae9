//! Reusable workflows of the repository: their jobs become jobs of the workflow that calls them.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use longshore_pipeline::{
    SourceFile,
    findings::Findings,
    source::Source,
    tree::{Entry, Kind, Node},
    yaml,
};

use super::super::{
    draft::{Job, Map, Note, Variable},
    entry as entry_of,
    foreign::{self, Lines, boolean, entries, text, text_or_empty, texts},
};
use super::{artifacts, expression::Scope, gates::is_credential, job, step::condition, unknown, value};

/// A workflow that a job calls.
pub(super) struct Called {
    root: Rc<Node>,
    path: String,
    /// Its jobs, and what they are called here.
    names: Vec<(String, String)>,
}

/// The jobs of a called workflow, converted.
pub(super) struct Jobs {
    pub(super) jobs: Vec<Job>,
    pub(super) left_out: Vec<Note>,
    /// Their names here, if all of them were carried over.
    pub(super) names: Option<Vec<String>>,
}

impl Called {
    /// Reads the workflow that a job calls; `None` if it calls none of this repository, or one whose jobs cannot be
    /// written out.
    pub(super) fn read(entry: &Entry, lines: Lines<'_>, taken: &[String], texts: &mut String) -> Option<Self> {
        let uses = text(&entry_of(&entry.value, "uses")?.value)?;
        let path = uses.strip_prefix("./")?;
        if entry_of(&entry.value, "strategy").is_some() {
            return None;
        }
        let content = (lines.files)(path)?;
        let file = SourceFile::new(path, content.as_str());
        let source = Source::new(&file);
        let root = yaml::documents(&mut Findings::new(&source))?.pop()?;
        let on = &entry_of(&root, "on")?.value;
        let is_called = entry_of(on, "workflow_call").is_some()
            || foreign::texts(on).is_some_and(|events| events.iter().any(|event| event == "workflow_call"));
        let jobs = entries(&entry_of(&root, "jobs")?.value)?;
        if !is_called || jobs.is_empty() {
            return None;
        }
        let mut known = taken.to_vec();
        let names = jobs
            .iter()
            .map(|inner| {
                let written = match jobs {
                    [_] => entry.key.clone(),
                    _ => format!("{}-{}", entry.key, inner.key),
                };
                let ours = foreign::unique(&written, &known);
                known.push(ours.clone());
                (inner.key.clone(), ours)
            })
            .collect();
        texts.push_str(&content);
        texts.push('\n');
        Some(Self { root, path: path.to_owned(), names })
    }

    /// The names of its jobs here.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.iter().map(|(_, ours)| ours)
    }

    /// The expressions for its outputs.
    pub(super) fn outputs(&self) -> Vec<(String, String)> {
        let of_call = entry_of(&self.root, "on").and_then(|on| entry_of(&on.value, "workflow_call"));
        let outputs = of_call.and_then(|call| entry_of(&call.value, "outputs")).and_then(|all| entries(&all.value));
        let one = |output: &Entry| {
            let written = text(&entry_of(&output.value, "value")?.value)?.trim();
            let inner = written.strip_prefix("${{")?.strip_suffix("}}")?.trim().strip_prefix("jobs.")?;
            let (job, name) = inner.split_once(".outputs.")?;
            let (_, ours) = self.names.iter().find(|(theirs, _)| theirs == job)?;
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            plain.then(|| (output.key.clone(), format!("needs.{ours}.outputs.{name}")))
        };
        outputs.unwrap_or_default().iter().filter_map(one).collect()
    }

    /// Converts its jobs for the job that calls it.
    pub(super) fn jobs(&self, caller: &Entry, scope: &Scope, lines: Lines<'_>) -> Jobs {
        let line = lines.line_of_key(caller);
        let lines = Lines { fixed: Some(line), ..lines };
        let mut notes = Map::default();
        let given = self.given(caller, scope, lines, &mut notes);
        let secrets = secrets(caller, scope, lines, &mut notes);
        let asked = entry_of(&caller.value, "if").map(|entry| condition(entry, scope, lines, &mut notes));
        let needs = entry_of(&caller.value, "needs").and_then(|needs| texts(&needs.value)).unwrap_or_default();
        self.note_other_keys(caller, lines, &mut notes);
        let inner = entry_of(&self.root, "jobs").and_then(|jobs| entries(&jobs.value)).unwrap_or_default();
        let mut of_called = Scope {
            given: Some(given),
            called_secrets: secrets,
            renamed: self.names.iter().cloned().collect(),
            lost: BTreeSet::new(),
            needed: true,
            ..scope.clone()
        };
        let mut env = Vec::new();
        for variable in entry_of(&self.root, "env").and_then(|env| entries(&env.value)).unwrap_or_default() {
            match value(variable, &of_called) {
                Ok(value) => env.push(Variable { name: variable.key.clone(), value, line }),
                Err(why) => {
                    notes.note(lines.note(variable, why));
                    of_called.lost.extend((!is_credential(variable)).then(|| variable.key.clone()));
                }
            }
        }
        of_called.uploads = Rc::new(artifacts::uploads(inner, &of_called));
        let mut before = artifacts::before(inner);
        let mut found = Jobs { jobs: Vec::new(), left_out: Vec::new(), names: Some(Vec::new()) };
        for (entry, (theirs, ours)) in inner.iter().zip(&self.names) {
            let scope =
                Scope { job: ours.clone(), before: before.remove(theirs).unwrap_or_default(), ..of_called.clone() };
            let mut head = Map::default();
            match job::read(&self.with_defaults(entry), ours.clone(), &scope, &env, lines, &mut head) {
                Ok(mut job) => {
                    job.line = line;
                    job.body.remark(format!("from {}", self.path));
                    if head.get("concurrency").is_some() {
                        let why = "a group is the whole pipeline's here, not one job's: write it at the pipeline";
                        job.body.note(Note::new(line, "concurrency", why));
                    }
                    self.connect(&mut job, &needs, asked.as_deref());
                    found.names.iter_mut().for_each(|names| names.push(ours.clone()));
                    found.jobs.push(job);
                }
                Err(notes) => {
                    found.left_out.extend(notes);
                    found.names = None;
                }
            }
        }
        match found.jobs.first_mut() {
            Some(job) => job.body.notes(super::notes_of(&notes)),
            None => found.left_out.extend(super::notes_of(&notes)),
        }
        found
    }

    /// Notes the keys of the job that calls it, and of the workflow itself, that have no counterpart.
    fn note_other_keys(&self, caller: &Entry, lines: Lines<'_>, notes: &mut Map) {
        for entry in entries(&caller.value).unwrap_or_default() {
            if !matches!(entry.key.as_str(), "uses" | "with" | "secrets" | "if" | "needs" | "name" | "permissions") {
                notes.note(lines.note(entry, "a job that calls a workflow has nothing like it here"));
            }
        }
        for entry in entries(&self.root).unwrap_or_default() {
            if !matches!(entry.key.as_str(), "name" | "on" | "jobs" | "env" | "defaults" | "permissions" | "run-name") {
                notes.note(lines.note(entry, "it is the called workflow's, and a pipeline has its own"));
            }
        }
    }

    /// Renames what a job needs and takes. The jobs that start first get the needs and the `if` of the job that calls
    /// the workflow.
    fn connect(&self, job: &mut Job, needs: &[String], condition: Option<&str>) {
        let is_first = job.needs.is_empty();
        job.needs = std::mem::take(&mut job.needs)
            .into_iter()
            .map(|need| self.name_of(&need).unwrap_or(need))
            .chain(needs.iter().filter(|_| is_first).cloned())
            .collect();
        job.takes = std::mem::take(&mut job.takes)
            .into_iter()
            .filter_map(|(job, names)| Some((self.name_of(&job)?, names)))
            .collect();
        if let Some(condition) = condition.filter(|condition| is_first && *condition != "true") {
            job.conditions.insert(0, condition.to_owned());
        }
    }

    fn name_of(&self, theirs: &str) -> Option<String> {
        self.names.iter().find(|(known, _)| known == theirs).map(|(_, ours)| ours.clone())
    }

    /// The values of its inputs, as expressions.
    fn given(&self, caller: &Entry, scope: &Scope, lines: Lines<'_>, notes: &mut Map) -> BTreeMap<String, String> {
        let of_call = entry_of(&self.root, "on").and_then(|on| entry_of(&on.value, "workflow_call"));
        let inputs = of_call.and_then(|call| entry_of(&call.value, "inputs")).and_then(|all| entries(&all.value));
        let with = entry_of(&caller.value, "with").and_then(|with| entries(&with.value)).unwrap_or_default();
        let mut given = BTreeMap::new();
        for input in inputs.unwrap_or_default() {
            let field = |key: &str| entry_of(&input.value, key);
            let kind = field("type").and_then(|kind| text(&kind.value)).unwrap_or("string");
            let set = with.iter().find(|setting| setting.key == input.key);
            let written = match set {
                Some(setting) => text_or_empty(&setting.value),
                None => field("default").and_then(|default| text_or_empty(&default.value)),
            };
            let plain = set.or(field("default")).filter(|entry| match kind {
                "boolean" => boolean(&entry.value).is_some(),
                "number" => foreign::number(&entry.value).is_some(),
                _ => false,
            });
            let value = match (plain, written) {
                (Some(entry), _) => Ok(text(&entry.value).unwrap_or_default().to_lowercase()),
                (None, Some(written)) => scope.value(written),
                (None, None) => Ok(if kind == "boolean" { "false" } else { "''" }.to_owned()),
            };
            match value {
                Ok(value) => drop(given.insert(input.key.to_lowercase(), value)),
                Err(what) => notes.note(lines.note(set.unwrap_or(input), unknown(&what))),
            }
        }
        given
    }

    /// A job with the defaults of its workflow.
    fn with_defaults(&self, entry: &Entry) -> Entry {
        let (Some(defaults), Kind::Map(own)) = (entry_of(&self.root, "defaults"), &entry.value.kind) else {
            return entry.clone();
        };
        if own.iter().any(|entry| entry.key == "defaults") {
            return entry.clone();
        }
        let all = own.iter().chain(std::iter::once(defaults)).cloned().collect();
        let value = Node { place: entry.value.place, kind: Kind::Map(all), weight: entry.value.weight };
        Entry { value: Rc::new(value), ..entry.clone() }
    }
}

/// The secrets that the called workflow gets, as expressions; `None` if it has all of the caller's.
fn secrets(caller: &Entry, scope: &Scope, lines: Lines<'_>, notes: &mut Map) -> Option<BTreeMap<String, String>> {
    let Some(entry) = entry_of(&caller.value, "secrets") else { return Some(BTreeMap::new()) };
    let Some(given) = entries(&entry.value) else {
        return (text(&entry.value) != Some("inherit")).then(BTreeMap::new);
    };
    let mut found = BTreeMap::new();
    for secret in given {
        match text(&secret.value).ok_or_else(|| foreign::FORM.to_owned()).and_then(|written| scope.value(written)) {
            Ok(value) => drop(found.insert(secret.key.clone(), value)),
            Err(what) => notes.note(lines.note(secret, unknown(&what))),
        }
    }
    Some(found)
}
