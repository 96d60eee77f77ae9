//! Converts a workflow of GitHub Actions. Its machine becomes a container, so an image has to provide what was
//! installed on the machine. The few actions whose work Longshore does itself become keys; all others are left out with
//! a note.

mod actions;
mod artifacts;
mod background_steps;
mod called;
mod docker;
mod expression;
mod gates;
mod idioms;
mod job;
mod known;
mod local;
mod machine;
mod matrix;
mod on;
mod parts;
mod reports;
mod scripts;
mod setups;
mod step;
mod tokens;
mod tool_caches;
mod tools;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use longshore_pipeline::tree::{Entry, Node};

use super::{
    ConvertError, Language,
    draft::{After, Draft, Job, Map, Note, Part, Value, Variable},
    foreign::{self, FORM, Lines, Section, boolean, entries, text, text_or_empty, texts},
    shell,
    variables::{self, Known},
};
use called::Called;
use expression::Scope;
pub(super) use parts::is_other_system;

const NOT_CARRIED_OVER: &[(&str, &str)] =
    &[("permissions", "jobs get no token of the forge"), ("run-name", "a build is named by its commit")];

pub(super) fn draft(root: &Node, lines: Lines<'_>) -> Result<Draft, ConvertError> {
    let Some(section) = Section::read(root) else { return Err(ConvertError::NotOne("it is not a mapping".to_owned())) };
    let jobs = section.take("jobs").and_then(|entry| entries(&entry.value));
    let Some(jobs) = jobs else {
        return Err(ConvertError::NotOne("a workflow of GitHub Actions has `jobs`, and this file has none".to_owned()));
    };
    let mut draft = Draft::default();
    let name = section.take("name").map(|entry| (text(&entry.value).unwrap_or_default().replace('/', "-"), entry));
    if let Some((name, entry)) = &name
        && !name.trim().is_empty()
    {
        draft.head.set("name", Value::text(name.trim()), lines.line_of_key(entry));
    }
    let inputs = match section.take("on") {
        Some(entry) => on::read(entry, lines, &mut draft.head),
        None => on::Inputs::default(),
    };
    let texts_read = Rc::new(RefCell::new(String::new()));
    let has_defaults = super::entry(root, "defaults").is_some();
    let named_jobs = name_jobs(jobs, has_defaults, lines, &mut texts_read.borrow_mut());
    let mut called_outputs = BTreeMap::new();
    for job in &named_jobs {
        for (output, expression) in job.called.iter().flat_map(Called::outputs) {
            called_outputs.insert((job.entry.key.clone(), output), expression);
        }
    }
    let scope = Scope {
        workflow: name.map(|(name, _)| name).unwrap_or_default(),
        booleans: inputs.booleans.clone(),
        closed: inputs.closed.clone(),
        inputs: inputs.all.clone(),
        called: Rc::new(called_outputs),
        texts: Rc::clone(&texts_read),
        ..Scope::default()
    };
    let uploads = Rc::new(artifacts::uploads(jobs, &scope.clone()));
    let env = section
        .take("env")
        .map(|entry| WorkflowEnv::read(entry, &scope.clone(), lines, &mut draft.head))
        .unwrap_or_default();
    if let Some(entry) = section.take("concurrency") {
        concurrency(entry, &Scope { of_group: true, ..scope.clone() }, lines, &mut draft.head);
    }
    workflow_defaults(section.take("defaults"), jobs, lines, &mut draft.head);
    let scope = Scope { uploads, lost: env.lost, ..scope };
    let our_names = convert_jobs(root, &named_jobs, &scope, &env.of_jobs, lines, &mut draft);
    for job in &mut draft.jobs {
        job.conditions.extend(inputs.conditions.iter().cloned());
        resolve_needs(job, &our_names);
        if inputs.none {
            job.conditions = vec!["false".to_owned()];
        }
        // `always()` and similar functions are in the condition itself.
        job.after = After::Success;
    }
    section.note_rest(lines, &mut draft.head, |key| foreign::reason(NOT_CARRIED_OVER, key));
    add_used_variables(root, &texts_read.borrow(), &mut draft, lines);
    Ok(draft)
}

/// A job of the workflow, its name here, and the workflow that it calls.
struct NamedJob<'n> {
    entry: &'n Entry,
    name: String,
    called: Option<Called>,
}

/// Names the jobs of a workflow, and reads the workflows that they call into `texts_read`. A workflow with `defaults`
/// cannot have the jobs of another one.
fn name_jobs<'n>(
    jobs: &'n [Entry],
    has_defaults: bool,
    lines: Lines<'_>,
    texts_read: &mut String,
) -> Vec<NamedJob<'n>> {
    let mut named: Vec<NamedJob<'n>> = Vec::new();
    for entry in jobs {
        let taken: Vec<String> = named
            .iter()
            .flat_map(|job| job.called.iter().flat_map(Called::names).chain(std::iter::once(&job.name)))
            .cloned()
            .collect();
        let called = if has_defaults { None } else { Called::read(entry, lines, &taken, texts_read) };
        named.push(NamedJob { entry, name: foreign::unique(&entry.key, &taken), called });
    }
    named
}

/// The variables of a workflow that are not in the `env` of the pipeline.
#[derive(Default)]
struct WorkflowEnv {
    /// Jobs name their secrets, so a variable that holds one is added to every job.
    of_jobs: Vec<Variable>,
    /// The names of those that could not be carried over.
    lost: BTreeSet<String>,
}

impl WorkflowEnv {
    /// Converts `env` of a workflow. `head` gets the variables that all jobs can share.
    fn read(entry: &Entry, scope: &Scope, lines: Lines<'_>, head: &mut Map) -> Self {
        let mut read = Self::default();
        let mut env = Map::default();
        for variable in entries(&entry.value).unwrap_or_default() {
            let line = lines.line_of_key(variable);
            match value(variable, scope) {
                Ok(value) if value.contains("secrets.") || value.contains("build.") => {
                    read.of_jobs.push(Variable { name: variable.key.clone(), value, line });
                }
                Ok(value) => env.set(variable.key.clone(), Value::Text(value), line),
                Err(why) => {
                    env.note(lines.note(variable, why));
                    read.lost.extend((!gates::is_credential(variable)).then(|| variable.key.clone()));
                }
            }
        }
        head.set_filled("env", env, lines.line_of_key(entry));
        read
    }
}

/// Converts `defaults` of a workflow, and adds the shell that scripts on a machine have without them.
fn workflow_defaults(entry: Option<&Entry>, jobs: &[Entry], lines: Lines<'_>, head: &mut Map) {
    let mut defaults = Map::default();
    if let Some(entry) = entry {
        run_defaults(entry, lines, &mut defaults);
        let (set, notes): (Vec<Part>, Vec<Part>) =
            std::mem::take(&mut defaults.parts).into_iter().partition(|part| matches!(part, Part::Entry(_)));
        defaults.parts = set;
        head.parts.extend(notes);
    }
    if defaults.get("shell").is_none() && jobs.iter().any(|job| super::entry(&job.value, "container").is_none()) {
        head.remark("scripts ran in `bash -e` there");
        defaults.set("shell", Value::text("bash -e"), None);
    }
    head.set_filled("defaults", defaults, None);
}

/// The jobs that became of each job of the workflow: one, or those of the workflow that it calls.
type OurNames = Vec<(String, Vec<String>)>;

/// Converts the jobs of a workflow and of those that it calls. Returns their names here.
fn convert_jobs(
    root: &Node,
    jobs: &[NamedJob<'_>],
    scope: &Scope,
    env: &[Variable],
    lines: Lines<'_>,
    draft: &mut Draft,
) -> OurNames {
    let mut our_names: OurNames = Vec::new();
    let mut before = artifacts::before(jobs.iter().map(|job| job.entry));
    for NamedJob { entry, name, called } in jobs {
        let needed = jobs.iter().any(|job| {
            let needs = super::entry(&job.entry.value, "needs").and_then(|needs| texts(&needs.value));
            needs.is_some_and(|needs| needs.contains(&entry.key))
        });
        let mut literals = literals(root);
        literals.extend(self::literals(&entry.value));
        let before = before.remove(&entry.key).unwrap_or_default();
        let scope = Scope { literals, job: name.clone(), before, needed, ..scope.clone() };
        if let Some(called) = called {
            let found = called.jobs(entry, &scope, lines);
            draft.left_out.extend(found.left_out);
            // Those that wait for each other have their names already.
            our_names.extend(found.jobs.iter().map(|job| (job.name.clone(), vec![job.name.clone()])));
            if let Some(all) = found.names {
                our_names.retain(|(theirs, _)| *theirs != entry.key);
                our_names.push((entry.key.clone(), all));
            }
            draft.jobs.extend(found.jobs);
            continue;
        }
        match job::read(entry, name.clone(), &scope, env, lines, &mut draft.head) {
            Ok(job) => {
                our_names.push((entry.key.clone(), vec![name.clone()]));
                draft.jobs.push(job);
            }
            Err(notes) => draft.left_out.extend(notes),
        }
    }
    our_names
}

/// Returns the variables of a workflow or a job whose values are literals.
fn literals(of: &Node) -> BTreeMap<String, String> {
    let variables = super::entry(of, "env").and_then(|entry| entries(&entry.value)).unwrap_or_default();
    let plain = variables.iter().filter_map(|variable| Some((variable.key.clone(), text(&variable.value)?.to_owned())));
    plain.filter(|(_, value)| !value.contains("${{")).collect()
}

/// Replaces the names of jobs in the `needs` of a job, and in what it takes over, by those that they have here. A job
/// that waits for one that was not carried over never runs.
fn resolve_needs(job: &mut Job, our_names: &OurNames) {
    let (mut lost, mut needs): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for need in std::mem::take(&mut job.needs) {
        match our_names.iter().find(|(theirs, _)| *theirs == need) {
            Some((_, ours)) if !ours.contains(&job.name) => {
                needs.extend(ours.iter().filter(|one| !needs.contains(one)).cloned().collect::<Vec<_>>());
            }
            _ => lost.push(need),
        }
    }
    job.needs = needs;
    for (theirs, artifacts) in std::mem::take(&mut job.takes) {
        for ours in our_names.iter().filter(|(known, _)| *known == theirs).flat_map(|(_, ours)| ours) {
            job.take(ours, &artifacts);
        }
    }
    if !lost.is_empty() {
        job.withhold();
    }
    let line = job.line;
    job.body.notes(lost.into_iter().map(|need| {
        let why =
            "that job was not carried over, and this one waits for it: nothing runs until `needs` is written by hand";
        Note::new(line, format!("needs: {need}"), why)
    }));
}

/// The notes of a mapping.
fn notes_of(map: &Map) -> Vec<Note> {
    map.parts
        .iter()
        .filter_map(|part| match part {
            Part::Note(note) => Some(note.clone()),
            Part::Entry(_) | Part::Remark(_) => None,
        })
        .collect()
}

/// The value of a variable.
fn value(variable: &Entry, scope: &Scope) -> Result<String, String> {
    if foreign::variable(&variable.key).as_ref() != Some(&variable.key) {
        return Err("no shell can use a variable of this name".to_owned());
    }
    let written = text_or_empty(&variable.value).ok_or_else(|| FORM.to_owned())?;
    scope.text(written).map_err(|what| unknown(&what))
}

/// The note for a value that an expression refers to and Longshore does not know.
fn unknown(what: &str) -> String {
    match what {
        "secrets.GITHUB_TOKEN" | "github.token" => {
            "jobs get no token of the forge: make one, and name it in `secrets`".to_owned()
        }
        what if what.starts_with("vars.") => {
            format!("`{what}` stands in the repository's settings there: write its value")
        }
        what => format!("`{what}` is not known here: write its value"),
    }
}

fn concurrency(entry: &Entry, scope: &Scope, lines: Lines<'_>, head: &mut Map) {
    let line = lines.line_of_key(entry);
    let mut map = Map::default();
    let group = match Section::read(&entry.value) {
        Some(section) => {
            if let Some(cancel) = section.take("cancel-in-progress") {
                let written = text(&cancel.value).unwrap_or_default();
                match (boolean(&cancel.value), scope.text(written)) {
                    (Some(cancel_it), _) => {
                        map.set("cancel-in-progress", Value::plain(cancel_it), lines.line_of_key(cancel))
                    }
                    (None, Ok(text)) => map.set("cancel-in-progress", Value::Text(text), lines.line_of_key(cancel)),
                    (None, Err(what)) => map.note(lines.note(cancel, unknown(&what))),
                }
            }
            let group = section.take("group").and_then(|entry| text(&entry.value)).map(str::to_owned);
            section.note_rest(lines, &mut map, |_| None);
            group
        }
        None => text(&entry.value).map(str::to_owned),
    };
    match group.map(|group| scope.text(&group)) {
        Some(Ok(group)) => {
            map.set("group", Value::Text(group), line);
            map.arrange(&["group", "cancel-in-progress"]);
            head.set("concurrency", map, line);
        }
        Some(Err(what)) => head.note(lines.note(entry, unknown(&what))),
        None => head.note(lines.note(entry, FORM)),
    }
}

/// Converts `defaults: run` to keys of `defaults` here and of steps.
fn run_defaults(entry: &Entry, lines: Lines<'_>, into: &mut Map) {
    for part in entries(&entry.value).unwrap_or_default() {
        if part.key != "run" {
            into.note(lines.note(part, "only scripts have defaults"));
            continue;
        }
        for setting in entries(&part.value).unwrap_or_default() {
            match (setting.key.as_str(), text(&setting.value)) {
                ("shell", Some(written)) => match shell_of(written) {
                    Some(shell) => into.set("shell", Value::text(shell), lines.line_of_key(setting)),
                    None => into.note(lines.note(setting, "this shell is not one of the image's")),
                },
                ("working-directory", Some(written)) => {
                    into.set("working-directory", Value::text(written), lines.line_of_key(setting))
                }
                _ => into.note(lines.note(setting, FORM)),
            }
        }
    }
}

/// Converts a shell of GitHub: a word, or a program with `{0}` for the script's file.
fn shell_of(written: &str) -> Option<String> {
    match written.trim() {
        "cmd" | "powershell" => None,
        "pwsh" => Some("pwsh -File".to_owned()),
        "python" => Some("python3".to_owned()),
        shell => {
            let shell = shell.strip_suffix("{0}").map_or(shell, str::trim);
            (!shell.contains(['{', '$'])).then(|| shell.to_owned())
        }
    }
}

/// Sets the variables of GitHub that scripts use to what Longshore has in their place.
fn add_used_variables(root: &Node, others: &str, draft: &mut Draft, lines: Lines<'_>) {
    let mut of_jobs = Vec::new();
    let mut env = match draft.head.get("env") {
        Some(Value::Map(env)) => env.clone(),
        _ => Map::default(),
    };
    for name in shell::names(lines.source.text).union(&shell::names(others)).cloned().collect::<Vec<_>>() {
        match variables::known(Language::GitHub, &name) {
            Known::Expression(expression) => {
                let value = Value::Text(variables::written(expression));
                match variables::is_planned(expression) {
                    true if env.get(&name).is_none() => env.set(name, value, None),
                    true => {}
                    false => of_jobs.push((name, value)),
                }
            }
            Known::Missing
                if !matches!(name.as_str(), "GITHUB_OUTPUT" | "GITHUB_ENV" | "GITHUB_PATH" | "GITHUB_STEP_SUMMARY") =>
            {
                let at = lines
                    .source
                    .text
                    .find(&format!("${name}"))
                    .or_else(|| lines.source.text.find(&format!("${{{name}")));
                let place = longshore_pipeline::source::Place::new(
                    at.unwrap_or(root.place.start),
                    at.unwrap_or(root.place.start) + 1,
                );
                draft.head.note(Note::new(lines.line_of(place), format!("${name}"), "Longshore does not set it"));
            }
            Known::Missing | Known::Given | Known::NotSet => {}
        }
    }
    draft.head.set_filled("env", env, None);
    for job in &mut draft.jobs {
        let mut env = match job.body.get("env") {
            Some(Value::Map(env)) => env.clone(),
            _ => Map::default(),
        };
        for (name, value) in &of_jobs {
            if env.get(name).is_none() {
                env.set(name.as_str(), value.clone(), None);
            }
        }
        job.body.set_filled("env", env, None);
    }
}
