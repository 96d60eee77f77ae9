//! Converts a workflow of GitHub Actions. Its machine becomes a container, so an image has to provide what was
//! installed on the machine. The few actions whose work Longshore does itself become keys; all others are left out with
//! a note.

mod actions;
mod artifacts;
mod beside;
mod called;
mod docker;
mod expression;
mod gates;
mod idioms;
mod job;
mod kept;
mod known;
mod local;
mod matrix;
mod on;
mod parts;
mod reports;
mod scripts;
mod setups;
mod step;
mod tokens;
mod tools;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use longshore_pipeline::tree::{Entry, Node};

use super::{
    ConvertError, Language,
    draft::{After, Draft, Map, Note, Value},
    foreign::{self, FORM, Lines, Section, boolean, entries, text, text_or_empty, texts},
    shell,
    variables::{self, Known},
};
use expression::Scope;
pub(super) use parts::is_elsewhere;

const LEFT: &[(&str, &str)] =
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
    let never_starts = inputs.none;
    let texts_read = Rc::new(RefCell::new(String::new()));
    // Each job's name here, and the workflow that it calls.
    let mut ours: Vec<(String, Option<called::Called>)> = Vec::new();
    let mut outputs = BTreeMap::new();
    let own_defaults = super::entry(root, "defaults").is_some();
    for entry in jobs {
        let taken: Vec<String> = ours
            .iter()
            .flat_map(|(name, called)| called.iter().flat_map(called::Called::names).chain(std::iter::once(name)))
            .cloned()
            .collect();
        let found =
            (!own_defaults).then(|| called::Called::read(entry, lines, &taken, &mut texts_read.borrow_mut())).flatten();
        for (output, expression) in found.iter().flat_map(called::Called::outputs) {
            outputs.insert((entry.key.clone(), output), expression);
        }
        ours.push((foreign::unique(&entry.key, &taken), found));
    }
    let outputs = Rc::new(outputs);
    let scope = || Scope {
        workflow: name.as_ref().map(|(name, _)| name.clone()).unwrap_or_default(),
        booleans: inputs.booleans.clone(),
        closed: inputs.closed.clone(),
        inputs: inputs.all.clone(),
        called: Rc::clone(&outputs),
        texts: Rc::clone(&texts_read),
        ..Scope::default()
    };
    let literals = |of: &Node| -> BTreeMap<String, String> {
        let variables = super::entry(of, "env").and_then(|entry| entries(&entry.value)).unwrap_or_default();
        let plain =
            variables.iter().filter_map(|variable| Some((variable.key.clone(), text(&variable.value)?.to_owned())));
        plain.filter(|(_, value)| !value.contains("${{")).collect()
    };
    let uploads = Rc::new(artifacts::uploads(jobs, &scope()));
    let mut before = artifacts::before(jobs);
    let of_group = Scope { of_group: true, ..scope() };
    let shared = scope();
    // Jobs name their secrets, so a variable that holds one is added to every job.
    let mut of_jobs: Vec<(String, String, u32)> = Vec::new();
    let mut lost = BTreeSet::new();
    if let Some(entry) = section.take("env") {
        let mut env = Map::default();
        for variable in entries(&entry.value).unwrap_or_default() {
            match value(variable, &shared) {
                Ok(value) if value.contains("secrets.") || value.contains("build.") => {
                    of_jobs.push((variable.key.clone(), value, lines.line_of_key(variable)));
                }
                Ok(value) => env.set(variable.key.clone(), Value::Text(value), lines.line_of_key(variable)),
                Err(why) => {
                    env.note(lines.note(variable, why));
                    lost.extend((!gates::is_credential(variable)).then(|| variable.key.clone()));
                }
            }
        }
        draft.head.set_filled("env", env, lines.line_of_key(entry));
    }
    if let Some(entry) = section.take("concurrency") {
        concurrency(entry, &of_group, lines, &mut draft.head);
    }
    let mut defaults = Map::default();
    if let Some(entry) = section.take("defaults") {
        run_defaults(entry, lines, &mut defaults);
        draft
            .head
            .parts
            .extend(defaults.parts.iter().filter(|part| !matches!(part, super::draft::Part::Entry(_))).cloned());
        defaults.parts.retain(|part| matches!(part, super::draft::Part::Entry(_)));
    }
    if defaults.get("shell").is_none() && jobs.iter().any(|job| super::entry(&job.value, "container").is_none()) {
        draft.head.remark("scripts ran in `bash -e` there");
        defaults.set("shell", Value::text("bash -e"), None);
    }
    draft.head.set_filled("defaults", defaults, None);

    let mut names: Vec<(String, Vec<String>)> = Vec::new();
    for (entry, (name, called)) in jobs.iter().zip(ours) {
        let before = before.remove(&entry.key).unwrap_or_default();
        let needed = jobs.iter().any(|job| {
            let needs = super::entry(&job.value, "needs").and_then(|needs| texts(&needs.value));
            needs.is_some_and(|needs| needs.contains(&entry.key))
        });
        let mut known = literals(root);
        known.extend(literals(&entry.value));
        let scope = Scope {
            literals: known,
            job: name.clone(),
            uploads: Rc::clone(&uploads),
            lost: lost.clone(),
            before,
            needed,
            ..scope()
        };
        if let Some(called) = called {
            let found = called.jobs(entry, &scope, lines);
            draft.left.extend(found.left);
            // Those that wait for each other have their names already.
            names.extend(found.jobs.iter().map(|job| (job.name.clone(), vec![job.name.clone()])));
            if let Some(all) = found.names {
                names.retain(|(theirs, _)| *theirs != entry.key);
                names.push((entry.key.clone(), all));
            }
            draft.jobs.extend(found.jobs);
            continue;
        }
        match job::read(entry, name.clone(), &scope, &of_jobs, lines, &mut draft.head) {
            Ok(job) => {
                names.push((entry.key.clone(), vec![name]));
                draft.jobs.push(job);
            }
            Err(notes) => draft.left.extend(notes),
        }
    }
    for job in &mut draft.jobs {
        let (line, name) = (job.line, job.name.clone());
        let mut gone = Vec::new();
        let mut needs: Vec<String> = Vec::new();
        for need in std::mem::take(&mut job.needs) {
            match names.iter().find(|(theirs, _)| *theirs == need) {
                Some((_, ours)) if !ours.contains(&name) => {
                    needs.extend(ours.iter().filter(|one| !needs.contains(one)).cloned().collect::<Vec<_>>());
                }
                _ => gone.push(need),
            }
        }
        job.needs = needs;
        for (theirs, artifacts) in std::mem::take(&mut job.takes) {
            for ours in names.iter().filter(|(known, _)| *known == theirs).flat_map(|(_, ours)| ours) {
                job.take(ours, &artifacts);
            }
        }
        job.conditions.extend(inputs.conditions.iter().cloned());
        if !gone.is_empty() {
            job.withhold();
        }
        job.body.notes(gone.into_iter().map(|need| {
            let why = "that job was not carried over, and this one waits for it: nothing runs until `needs` is written by hand";
            Note::new(line, format!("needs: {need}"), why)
        }));
        if never_starts {
            job.conditions = vec!["false".to_owned()];
        }
        // `always()` and similar functions are in the condition itself.
        job.after = After::Success;
    }
    section.leave(lines, &mut draft.head, |key| foreign::reason(LEFT, key));
    let texts_read = texts_read.borrow();
    add_used_variables(root, &texts_read, &mut draft, lines);
    Ok(draft)
}

/// The notes of a mapping.
fn notes_of(map: &Map) -> Vec<Note> {
    map.parts
        .iter()
        .filter_map(|part| match part {
            super::draft::Part::Note(note) => Some(note.clone()),
            super::draft::Part::Entry(_) | super::draft::Part::Remark(_) => None,
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
            section.leave(lines, &mut map, |_| None);
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
