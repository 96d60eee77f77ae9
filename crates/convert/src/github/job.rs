//! Converts one job of a workflow.

use longshore_core::ImageRef;
use longshore_pipeline::tree::Entry;

use super::super::{
    DEFAULT_IMAGE,
    draft::{Item, Job, Map, Note, Part, Value},
    foreign::{self, FORM, Lines, Section, entries, list, text, texts},
};
use super::{
    actions, concurrency,
    expression::Scope,
    parts::{container, services, strategy},
    run_defaults,
    step::{Reader, condition, continue_on_error, timeout},
    unknown, value,
};

const LEFT: &[(&str, &str)] = &[
    ("permissions", "jobs get no token of the forge"),
    ("environment", "there are no environments: where somebody has to agree, write `approval`"),
    ("snapshot", "Longshore has nothing like it"),
];

/// Reads a job. `env` are variables of the workflow that every job gets for itself; `head` receives what concerns the
/// whole pipeline.
pub(super) fn read(
    entry: &Entry,
    name: String,
    scope: &Scope,
    env: &[(String, String, u32)],
    lines: Lines<'_>,
    head: &mut Map,
) -> Result<Job, Note> {
    let line = lines.line_of_key(entry);
    let Some(section) = Section::read(&entry.value) else { return Err(lines.note(entry, FORM)) };
    if let Some(uses) = section.peek("uses") {
        return Err(lines.note(
            entry,
            format!(
                "it comes from {}, which is another file: write it out, or make a template with `use`",
                text(&uses.value).unwrap_or("a workflow")
            ),
        ));
    }
    let Some(steps) = section.take("steps").and_then(|entry| list(&entry.value).map(|list| (entry, list))) else {
        return Err(lines.note(entry, "it has no steps"));
    };
    let mut body = Map::default();
    if name != entry.key {
        body.remark(format!("it was called `{}`", entry.key));
    }
    if let Some(shown) = section.take("name").and_then(|entry| text(&entry.value)) {
        body.remark(shown.replace(['\n', '\r'], " "));
    }
    let mut job = Job { name, line, ..Job::default() };
    let runs_on = section.take("runs-on");
    let machine = runs_on.map(|entry| texts(&entry.value).unwrap_or_default()).unwrap_or_default();
    let foreign_machine =
        |word: &str| ["windows", "macos", "win-", "mac-"].iter().any(|other| word.to_lowercase().starts_with(other));
    if machine.iter().any(|word| foreign_machine(word)) {
        return Err(
            lines.note(entry, format!("it runs on {}, and jobs run in containers on Linux", machine.join(", ")))
        );
    }
    let setups: Vec<(String, Option<String>, usize)> = steps
        .1
        .iter()
        .enumerate()
        .filter_map(|(at, step)| {
            let uses = entries(step)?.iter().find(|entry| entry.key == "uses")?;
            let with = entries(step)?.iter().find(|entry| entry.key == "with");
            let (image, axis) = actions::setup(text(&uses.value)?, with, scope)?;
            (axis.is_some() || image.contains("${{") || ImageRef::parse(&image).is_ok()).then_some((image, axis, at))
        })
        .collect();
    let os_axis = machine.iter().find_map(|word| {
        let axis = word.trim().strip_prefix("${{")?.strip_suffix("}}")?.trim().strip_prefix("matrix.")?;
        axis.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_').then(|| axis.to_owned())
    });
    if let Some(entry) = section.take("strategy") {
        strategy(entry, os_axis.as_deref(), setups.first().and_then(|(_, axis, _)| axis.as_deref()), lines, &mut body);
    }
    let mut of_job = Map::default();
    for (name, value, line) in env {
        if value.contains("secrets.") {
            // This job has to name the secret, too.
            let _ = scope.text(value);
        }
        of_job.set(name.as_str(), Value::text(value.as_str()), *line);
    }
    let env_line = section.take("env").map(|entry| {
        for variable in entries(&entry.value).unwrap_or_default() {
            match value(variable, scope) {
                Ok(value) => of_job.set(variable.key.clone(), Value::Text(value), lines.line_of_key(variable)),
                Err(why) => of_job.note(lines.note(variable, why)),
            }
        }
        lines.line_of_key(entry)
    });
    let mut shell = None;
    let mut set_up = None;
    match section.take("container") {
        Some(entry) => {
            container(entry, scope, lines, &mut body, &mut of_job);
            shell = Some("sh -e".to_owned());
        }
        None => match setups.first() {
            Some((image, _, at)) => {
                body.remark(format!(
                    "the image has what the machine was given by an action; it was {}",
                    machine.join(", ")
                ));
                body.set("image", Value::text(image.as_str()), runs_on.map(|entry| lines.line_of_key(entry)));
                set_up = Some(*at);
            }
            None => {
                let machine = if machine.is_empty() { "a machine".to_owned() } else { machine.join(", ") };
                body.remark(format!(
                    "{DEFAULT_IMAGE} stands in for {machine}: choose an image that has what the steps need"
                ));
                body.set("image", Value::text(DEFAULT_IMAGE), runs_on.map(|entry| lines.line_of_key(entry)));
            }
        },
    }
    if let Some(entry) = section.take("needs") {
        job.needs = texts(&entry.value).unwrap_or_default();
    }
    if let Some(entry) = section.take("if") {
        job.conditions.push(condition(entry, scope, lines, &mut body));
    }
    if let Some(entry) = section.take("services") {
        let services = services(entry, scope, lines);
        body.set_filled("services", services, lines.line_of_key(entry));
    }
    timeout(section.take("timeout-minutes"), lines, &mut body);
    continue_on_error(section.take("continue-on-error"), scope, lines, &mut body);
    if let Some(entry) = section.take("concurrency") {
        if head.get("concurrency").is_none() {
            head.remark("a group is the whole pipeline's here, not one job's");
            concurrency(
                entry,
                &Scope { planned: true, workflow: scope.workflow.clone(), job: scope.job.clone(), ..Scope::default() },
                lines,
                head,
            );
        } else {
            body.note(lines.note(entry, "a group is the whole pipeline's, and it has one"));
        }
    }
    let mut defaults = Map::default();
    if let Some(entry) = section.take("defaults") {
        run_defaults(entry, lines, &mut defaults);
        body.parts.extend(defaults.parts.iter().filter(|part| !matches!(part, Part::Entry(_))).cloned());
    }
    if let Some(Value::Text(own)) = defaults.get("shell") {
        shell = Some(own.clone());
    }
    let directory = match defaults.get("working-directory") {
        Some(Value::Text(directory)) => Some(directory.clone()),
        _ => None,
    };
    body.set("checkout", Value::plain(false), None);
    let mut written = Vec::new();
    for (at, node) in steps.1.iter().enumerate() {
        let mut reader =
            Reader { scope, lines, job: &mut body, shell: shell.as_deref(), directory: directory.as_deref() };
        match reader.step(node, set_up == Some(at)) {
            Some(item) => written.push(item),
            None => continue,
        }
    }
    match written.iter().any(|item| matches!(item, Item::Value(_))) {
        true => body.set("steps", Value::List(written), lines.line_of_key(steps.0)),
        false => return Err(lines.note(entry, "none of its steps could be carried over: they all use actions")),
    }
    if matches!(body.get("checkout"), Some(Value::Plain(word)) if word == "true") {
        body.parts.retain(|part| !matches!(part, Part::Entry(entry) if entry.key == "checkout"));
    }
    if let Some(entry) = section.take("outputs") {
        let mut outputs = Map::default();
        for output in entries(&entry.value).unwrap_or_default() {
            match text(&output.value)
                .ok_or_else(|| FORM.to_owned())
                .and_then(|written| scope.text(written).map_err(|what| unknown(&what)))
            {
                Ok(value) => outputs.set(foreign::name(&output.key), Value::Text(value), lines.line_of_key(output)),
                Err(why) => outputs.note(lines.note(output, why)),
            }
        }
        body.set_filled("outputs", outputs, lines.line_of_key(entry));
    }
    section.leave(lines, &mut body, |key| foreign::reason(LEFT, key));
    body.set_filled("env", of_job, env_line);
    let secrets = scope.secrets.borrow().clone();
    body.set_filled("secrets", Value::texts(secrets), None);
    job.body = body;
    Ok(job)
}
