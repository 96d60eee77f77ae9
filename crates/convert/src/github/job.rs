//! Converts one job of a workflow.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use longshore_pipeline::tree::{Entry, Node};

use super::super::{
    draft::{Item, Job, Map, Note, Part, Value, Variable},
    foreign::{self, FORM, Lines, Section, entries, list, text, texts},
    gate,
};
use super::{
    background_steps::BackgroundSteps,
    concurrency,
    expression::Scope,
    gates::is_credential,
    machine,
    matrix::{self, Matrix, strategy},
    parts::{container, services},
    run_defaults,
    setups::{self, Setup},
    step::{Reader, condition, continue_on_error, timeout},
    tool_caches::cache_ids,
    unknown, value,
};

const NOT_CARRIED_OVER: &[(&str, &str)] =
    &[("permissions", "jobs get no token of the forge"), ("snapshot", "Longshore has nothing like it")];

/// Reads a job. `env` are variables of the workflow that every job gets for itself; `head` receives what concerns the
/// whole pipeline. The error says why there is no job, note by note.
pub(super) fn read(
    entry: &Entry,
    name: String,
    scope: &Scope,
    env: &[Variable],
    lines: Lines<'_>,
    head: &mut Map,
) -> Result<Job, Vec<Note>> {
    let line = lines.line_of_key(entry);
    let left_out = |why: String| vec![lines.note(entry, why)];
    let Some(section) = Section::read(&entry.value) else { return Err(left_out(FORM.to_owned())) };
    if let Some(uses) = section.peek("uses") {
        return Err(left_out(format!(
            "it comes from {}, which is another file: write it out, or make a template with `use`",
            text(&uses.value).unwrap_or("a workflow")
        )));
    }
    let steps = section.take("steps").and_then(|entry| Some((lines.line_of_key(entry), list(&entry.value)?)));
    let Some((steps_line, steps)) = steps else {
        return Err(left_out("it has no steps".to_owned()));
    };
    let mut body = named_there(entry, &name, &section);
    let mut job = Job { name, line, ..Job::default() };
    let runs_on = section.take("runs-on");
    let machine = runs_on.map(|entry| texts(&entry.value).unwrap_or_default()).unwrap_or_default();
    machine::check_machine(entry, &machine, lines, &mut job, &mut body).map_err(left_out)?;
    let scope = &Scope {
        flags: section.peek("strategy").map(matrix::flags).unwrap_or_default(),
        caches: cache_ids(steps),
        secrets: RefCell::default(),
        outputs: RefCell::default(),
        takes: RefCell::default(),
        ..scope.clone()
    };
    let setup = find_setup(steps, scope, lines);
    let machines = machine::axes_of(&machine.join(" "));
    let tool = setup.as_ref().map(|(_, setup)| setup);
    let matrix = read_matrix(section.take("strategy"), &machines, tool, lines, &mut body)
        .map_err(|why| left_out(why).into_iter().chain(super::notes_of(&body)).collect::<Vec<_>>())?;
    if matrix.lost {
        job.withhold();
    }
    let axes = (!matrix.lost).then(|| keys_of(&body));
    let mut scope = Scope { axes, ..scope.clone() };
    let (mut of_job, env_line) = read_env(section.take("env"), env, &mut scope, lines);
    let scope = &scope;
    let mut script = Script::default();
    let mut set_up = None;
    match section.take("container") {
        Some(entry) => {
            container(entry, scope, lines, &mut body, &mut of_job);
            script = Script { shell: Some("sh -e".to_owned()), is_root: false, ..script };
        }
        None => set_up = machine::image_of_machine(setup, matrix.image, (runs_on, &machine), lines, &mut body),
    }
    if let Some(entry) = runs_on {
        machine::labels(entry, &machine, &machines, lines, &mut body);
    }
    conditions(&section, scope, lines, &mut job, &mut body);
    services_and_limits(&section, scope, lines, head, &mut body);
    if let Some(entry) = section.take("defaults") {
        script.read_defaults(entry, lines, &mut body);
    }
    let written = write_steps(steps, &script, set_up, scope, lines, &mut body);
    let written = with_a_step(written).map_err(|notes| {
        left_out("none of its steps could be carried over".to_owned()).into_iter().chain(notes).collect::<Vec<_>>()
    })?;
    body.set("steps", Value::List(written), steps_line);
    if let Some(entry) = section.take("outputs") {
        body.set_filled("outputs", outputs(entry, scope, lines), lines.line_of_key(entry));
    }
    section.note_rest(lines, &mut body, |key| foreign::reason(NOT_CARRIED_OVER, key));
    body.set_filled("env", of_job, env_line);
    add_secrets(&mut body);
    job.takes = scope.takes.take().into_iter().map(|(job, names)| (job, names.into_iter().collect())).collect();
    job.body = body;
    Ok(job)
}

/// Returns the first action that sets a tool up, with its place among the steps.
fn find_setup(steps: &[Rc<Node>], scope: &Scope, lines: Lines<'_>) -> Option<(usize, Setup)> {
    steps.iter().enumerate().find_map(|(at, step)| {
        let uses = super::super::entry(step, "uses")?;
        let with = super::super::entry(step, "with");
        Some((at, setups::read(uses, with, scope, lines)?))
    })
}

/// Begins the body of a job with remarks on the names that it had.
fn named_there(entry: &Entry, name: &str, section: &Section<'_>) -> Map {
    let mut body = Map::default();
    if name != entry.key {
        body.remark(format!("it was called `{}`", entry.key));
    }
    if let Some(shown) = section.take("name").and_then(|entry| text(&entry.value)) {
        body.remark(shown.replace(['\n', '\r'], " "));
    }
    body
}

/// Reads the matrix of a job. The error says why there is no job.
fn read_matrix(
    strategy_entry: Option<&Entry>,
    machines: &[String],
    setup: Option<&Setup>,
    lines: Lines<'_>,
    body: &mut Map,
) -> Result<Matrix, String> {
    let Some(entry) = strategy_entry else { return Ok(Matrix::default()) };
    let version = setup.and_then(|setup| setup.axis.as_ref()).map(|(axis, tool)| (axis.as_str(), *tool));
    let matrix = strategy(entry, machines, version, lines, body);
    if matrix.elsewhere {
        return Err("none of its combinations runs in a container on Linux".to_owned());
    }
    Ok(matrix)
}

/// Converts what a job waits for: other jobs, its condition, and somebody who agrees.
fn conditions(section: &Section<'_>, scope: &Scope, lines: Lines<'_>, job: &mut Job, body: &mut Map) {
    if let Some(entry) = section.take("needs") {
        job.needs = texts(&entry.value).unwrap_or_default();
    }
    if let Some(entry) = section.take("if") {
        let known = body.parts.len();
        let condition = condition(entry, scope, lines, body);
        // A note means that the condition is not complete.
        if body.parts.len() > known {
            job.exact_if = Some("false".to_owned());
        }
        job.conditions.extend(Some(condition).filter(|condition| condition != "true"));
    }
    if let Some(entry) = section.take("environment") {
        let why = "whether somebody has to agree stands in the repository's settings there: here somebody always has to. Take \
                   `approval` out where nobody did";
        body.note(lines.note(entry, why));
        body.set("approval", Value::Text(format!("Run {}?", job.name)), None);
    }
}

/// Converts the services of a job, its timeout, whether it may fail, and its group.
fn services_and_limits(section: &Section<'_>, scope: &Scope, lines: Lines<'_>, head: &mut Map, body: &mut Map) {
    if let Some(entry) = section.take("services") {
        let services = services(entry, scope, lines);
        body.set_filled("services", services, lines.line_of_key(entry));
    }
    timeout(section.take("timeout-minutes"), lines, body);
    continue_on_error(section.take("continue-on-error"), scope, lines, body);
    if let Some(entry) = section.take("concurrency") {
        group(entry, scope, lines, head, body);
    }
}

/// Names the secrets that the job uses. A secret that only something left out had does not belong to the job.
fn add_secrets(body: &mut Map) {
    let mut named = BTreeSet::new();
    body.entries().for_each(|entry| secrets_in(&entry.value, &mut named));
    body.set_filled("secrets", Value::secrets(named), None);
}

/// How the scripts of a job run.
struct Script {
    shell: Option<String>,
    directory: Option<String>,
    /// The images that stand in for a machine run everything as root.
    is_root: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self { shell: None, directory: None, is_root: true }
    }
}

impl Script {
    /// Reads `defaults`. `body` gets the notes.
    fn read_defaults(&mut self, entry: &Entry, lines: Lines<'_>, body: &mut Map) {
        let mut defaults = Map::default();
        run_defaults(entry, lines, &mut defaults);
        body.parts.extend(defaults.parts.iter().filter(|part| !matches!(part, Part::Entry(_))).cloned());
        if let Some(Value::Text(shell)) = defaults.get("shell") {
            self.shell = Some(shell.clone());
        }
        if let Some(Value::Text(directory)) = defaults.get("working-directory") {
            self.directory = Some(directory.clone());
        }
    }
}

/// Converts the steps of a job. `set_up` stands in for the step at its place.
fn write_steps(
    steps: &[Rc<Node>],
    script: &Script,
    mut set_up: Option<(usize, Setup)>,
    scope: &Scope,
    lines: Lines<'_>,
    body: &mut Map,
) -> Vec<Item> {
    body.set("checkout", Value::plain(false), None);
    let (mut written, mut background) = (Vec::new(), BackgroundSteps::default());
    for (at, node) in steps.iter().enumerate() {
        let mut reader = Reader {
            scope,
            lines,
            job: body,
            background: &mut background,
            shell: script.shell.as_deref(),
            directory: script.directory.as_deref(),
            is_root: script.is_root,
            all: steps,
            depth: 0,
            followed: scope.needed,
        };
        let stands_in = set_up.as_mut().filter(|(of, _)| *of == at).map(|(_, setup)| setup);
        written.extend(reader.step(node, stands_in));
    }
    written.extend(background.end());
    if matches!(body.get("checkout"), Some(Value::Plain(word)) if word == "true") {
        // A job has a checkout without this key.
        body.parts.retain(|part| !matches!(part, Part::Entry(entry) if entry.key == "checkout"));
    }
    written
}

/// Reads the variables of a job behind those `of_workflow`. Returns them with the line of `env`. `scope` learns which
/// of them are lost.
fn read_env(env: Option<&Entry>, of_workflow: &[Variable], scope: &mut Scope, lines: Lines<'_>) -> (Map, Option<u32>) {
    let mut variables = Map::default();
    for Variable { name, value, line } in of_workflow {
        variables.set(name.as_str(), Value::text(value.as_str()), *line);
    }
    for variable in env.and_then(|entry| entries(&entry.value)).unwrap_or_default() {
        match value(variable, scope) {
            Ok(value) => {
                scope.lost.remove(&variable.key);
                variables.set(variable.key.clone(), Value::Text(value), lines.line_of_key(variable));
            }
            Err(why) => {
                variables.note(lines.note(variable, why));
                scope.lost.extend((!is_credential(variable)).then(|| variable.key.clone()));
            }
        }
    }
    (variables, env.map(|entry| lines.line_of_key(entry)))
}

/// Returns what the steps became if there is a step among it, and else its notes.
fn with_a_step(written: Vec<Item>) -> Result<Vec<Item>, Vec<Note>> {
    if written.iter().any(|item| matches!(item, Item::Value(step) if !gate::is_stand_in(step))) {
        return Ok(written);
    }
    let notes = written.into_iter().filter_map(|item| match item {
        Item::Note(note) => Some(note),
        Item::Value(_) => None,
    });
    Err(notes.collect())
}

/// Makes the job's group that of the pipeline, if it has none.
fn group(entry: &Entry, scope: &Scope, lines: Lines<'_>, head: &mut Map, body: &mut Map) {
    if head.get("concurrency").is_some() {
        body.note(lines.note(entry, "a group is the whole pipeline's, and it has one"));
        return;
    }
    head.remark("a group is the whole pipeline's here, not one job's");
    let names = Scope { of_group: true, workflow: scope.workflow.clone(), job: scope.job.clone(), ..Scope::default() };
    concurrency(entry, &names, lines, head);
    // A newer build would cancel more than this job, and before it comes to its own.
    if let Some(Value::Map(group)) = head.get("concurrency")
        && let Some(cancel) = super::super::entry(&entry.value, "cancel-in-progress")
        && group.get("cancel-in-progress").is_some_and(|cancel| *cancel != Value::plain(false))
    {
        let mut group = group.clone();
        group.parts.retain(|part| !matches!(part, Part::Entry(entry) if entry.key == "cancel-in-progress"));
        group.note(lines.note(cancel, "a newer build would cancel all of this one, and not only the job: it waits"));
        head.set("concurrency", group, lines.line_of_key(entry));
    }
}

fn outputs(entry: &Entry, scope: &Scope, lines: Lines<'_>) -> Map {
    let mut outputs = Map::default();
    for output in entries(&entry.value).unwrap_or_default() {
        let written = text(&output.value).ok_or_else(|| FORM.to_owned());
        match written.and_then(|written| scope.text(written).map_err(|what| unknown(&what))) {
            Ok(value) => outputs.set(foreign::name(&output.key), Value::Text(value), lines.line_of_key(output)),
            Err(why) => outputs.note(lines.note(output, why)),
        }
    }
    outputs
}

/// Collects the secrets that expressions in a value refer to.
fn secrets_in(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Text(text) | Value::Plain(text) | Value::Script(text) => {
            for inner in text.split("${{").skip(1).filter_map(|rest| rest.split("}}").next()) {
                for behind in inner.split("secrets.").skip(1) {
                    let end = behind.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(behind.len());
                    found.insert(behind[..end].to_owned());
                }
            }
        }
        Value::Map(map) => map.entries().for_each(|entry| secrets_in(&entry.value, found)),
        Value::List(items) => items.iter().for_each(|item| match item {
            Item::Value(value) => secrets_in(value, found),
            Item::Note(_) => {}
        }),
    }
}

/// The keys that the combinations of a matrix have.
fn keys_of(body: &Map) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let Some(Value::Map(matrix)) = body.get("matrix") else { return found };
    for entry in matrix.entries() {
        match (entry.key.as_str(), &entry.value) {
            ("include", Value::List(items)) => items.iter().for_each(|item| {
                if let Item::Value(Value::Map(combination)) = item {
                    found.extend(combination.entries().map(|entry| entry.key.clone()));
                }
            }),
            ("exclude" | "fail-fast" | "max-parallel", _) => {}
            (key, _) => drop(found.insert(key.to_owned())),
        }
    }
    found
}
