//! One job of a workflow, and its steps.

use std::rc::Rc;

use super::super::{
    super::{
        image,
        tree::{Entry, Node},
    },
    DEFAULT_IMAGE,
    draft::{Item, Job, Map, Note, Part, Value},
    foreign::{self, FORM, Lines, Section, boolean, entries, items, list, number, text, texts},
};
use super::{
    actions::{self, Became},
    concurrency,
    expression::Scope,
    run_defaults, shell_of, unknown, value,
};

const LEFT: &[(&str, &str)] = &[
    ("permissions", "jobs get no token of the forge"),
    ("environment", "there are no environments: where somebody has to agree, write `approval`"),
    ("snapshot", "Longshore has nothing like it"),
];

/// Reads a job; `env` are variables of the workflow that every job has for itself, `head` gets what is the whole pipeline's.
pub(super) fn read(
    entry: &Entry,
    name: String,
    scope: &Scope,
    env: &[(String, String, u32)],
    lines: Lines<'_>,
    head: &mut Map,
) -> Result<Job, Note> {
    let line = lines.key(entry);
    let Some(section) = Section::of(&entry.value) else { return Err(lines.note(entry, FORM)) };
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
            (axis.is_some() || image.contains("${{") || image::complaint(&image).is_none()).then_some((image, axis, at))
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
            // Its secret has to be named by this job, too.
            let _ = scope.text(value);
        }
        of_job.set(name.as_str(), Value::text(value.as_str()), *line);
    }
    let env_line = section.take("env").map(|entry| {
        for variable in entries(&entry.value).unwrap_or_default() {
            match value(variable, scope) {
                Ok(value) => of_job.set(variable.key.clone(), Value::Text(value), lines.key(variable)),
                Err(why) => of_job.note(lines.note(variable, why)),
            }
        }
        lines.key(entry)
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
                body.set("image", Value::text(image.as_str()), runs_on.map(|entry| lines.key(entry)));
                set_up = Some(*at);
            }
            None => {
                let machine = if machine.is_empty() { "a machine".to_owned() } else { machine.join(", ") };
                body.remark(format!(
                    "{DEFAULT_IMAGE} stands in for {machine}: choose an image that has what the steps need"
                ));
                body.set("image", Value::text(DEFAULT_IMAGE), runs_on.map(|entry| lines.key(entry)));
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
        body.set_filled("services", services, lines.key(entry));
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
        true => body.set("steps", Value::List(written), lines.key(steps.0)),
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
                Ok(value) => outputs.set(foreign::name(&output.key), Value::Text(value), lines.key(output)),
                Err(why) => outputs.note(lines.note(output, why)),
            }
        }
        body.set_filled("outputs", outputs, lines.key(entry));
    }
    section.leave(lines, &mut body, |key| foreign::reason(LEFT, key));
    body.set_filled("env", of_job, env_line);
    let secrets = scope.secrets.borrow().clone();
    body.set_filled("secrets", Value::texts(secrets), None);
    job.body = body;
    Ok(job)
}

/// A condition; where it cannot be said, nothing runs.
fn condition(entry: &Entry, scope: &Scope, lines: Lines<'_>, into: &mut Map) -> String {
    match text(&entry.value).ok_or_else(|| FORM.to_owned()).and_then(|written| scope.condition(written)) {
        Ok(condition) if !condition.is_empty() => condition,
        Ok(_) => "true".to_owned(),
        Err(what) => {
            into.note(
                lines.note(entry, format!("`{what}` cannot be said in `if`: nothing runs until it is written by hand")),
            );
            "false".to_owned()
        }
    }
}

fn timeout(entry: Option<&Entry>, lines: Lines<'_>, into: &mut Map) {
    let Some(entry) = entry else { return };
    match number(&entry.value).filter(|minutes| *minutes > 0) {
        Some(minutes) => into.set("timeout", Value::Text(format!("{}m", minutes.min(24 * 60))), lines.key(entry)),
        None => into.note(lines.note(entry, "write a time: `timeout: 30m`")),
    }
}

fn continue_on_error(entry: Option<&Entry>, scope: &Scope, lines: Lines<'_>, into: &mut Map) {
    let Some(entry) = entry else { return };
    if let Some(flag) = boolean(&entry.value) {
        into.set("continue-on-error", Value::plain(flag), lines.key(entry));
        return;
    }
    match text(&entry.value).ok_or_else(|| FORM.to_owned()).and_then(|written| scope.condition(written)) {
        Ok(condition) => {
            let plain = condition.strip_prefix("matrix.").is_some_and(|rest| !rest.contains(' '));
            let condition = if plain { format!("{condition} == 'true'") } else { condition };
            into.set("continue-on-error", Value::Text(format!("${{{{ {condition} }}}}")), lines.key(entry));
        }
        Err(what) => into.note(lines.note(entry, unknown(&what))),
    }
}

fn strategy(entry: &Entry, os: Option<&str>, version: Option<&str>, lines: Lines<'_>, body: &mut Map) {
    let Some(section) = Section::of(&entry.value) else {
        body.note(lines.note(entry, FORM));
        return;
    };
    let mut matrix = Map::default();
    let linux = |value: &str| !["windows", "macos"].iter().any(|other| value.to_lowercase().starts_with(other));
    if let Some(axes) = section.take("matrix") {
        let Some(found) = entries(&axes.value) else {
            body.note(lines.note(axes, "a matrix is written out: an expression cannot make one"));
            return;
        };
        for axis in found {
            let line = lines.key(axis);
            if matches!(axis.key.as_str(), "include" | "exclude") {
                let mut combinations = Vec::new();
                for item in items(&axis.value) {
                    let mut combination = Map::default();
                    for value in entries(item).unwrap_or_default() {
                        match text(&value.value) {
                            Some(text) => {
                                combination.set(foreign::name(&value.key), Value::text(text), lines.key(value))
                            }
                            None => matrix.note(lines.note(value, "the values of a matrix are texts")),
                        }
                    }
                    let elsewhere = combination.entries().any(|entry| {
                        Some(entry.key.as_str()) == os && matches!(&entry.value, Value::Text(value) if !linux(value))
                    });
                    if elsewhere {
                        if axis.key == "include" {
                            combinations.push(Item::Note(Note::new(
                                lines.of(item.place),
                                "include",
                                "jobs run in containers on Linux",
                            )));
                        }
                    } else if !combination.is_empty() {
                        combinations.push(Item::Value(combination.into()));
                    }
                }
                matrix.set_filled(&axis.key, Value::List(combinations), line);
                continue;
            }
            let values = list(&axis.value)
                .map(|list| list.iter().map(|item| text(item).map(str::to_owned)).collect::<Option<Vec<_>>>());
            let Some(Some(mut values)) = values else {
                matrix.note(lines.note(axis, "the values of a matrix are texts, written out"));
                continue;
            };
            if os == Some(axis.key.as_str()) && values.iter().any(|value| !linux(value)) {
                let others: Vec<&str> = values.iter().filter(|value| !linux(value)).map(String::as_str).collect();
                matrix.note(lines.note(axis, format!("jobs run in containers on Linux: {} went", others.join(", "))));
                values.retain(|value| linux(value));
                if values.is_empty() {
                    values.push("linux".to_owned());
                }
            }
            if version == Some(axis.key.as_str()) {
                values = values.into_iter().map(|value| actions::tag(&value).unwrap_or(value)).collect();
            }
            let mut seen = std::collections::HashSet::new();
            values.retain(|value| seen.insert(value.clone()));
            matrix.set_filled(&foreign::name(&axis.key), Value::texts(values), line);
        }
    }
    if let Some(flag) = section.take("fail-fast") {
        match boolean(&flag.value) {
            Some(value) => matrix.set("fail-fast", Value::plain(value), lines.key(flag)),
            None => matrix.note(lines.note(flag, "it is `true` or `false`")),
        }
    }
    if let Some(most) = section.take("max-parallel") {
        match number(&most.value) {
            Some(value) => matrix.set("max-parallel", Value::plain(value), lines.key(most)),
            None => matrix.note(lines.note(most, "it is a number")),
        }
    }
    section.leave(lines, &mut matrix, |_| None);
    body.set_filled("matrix", matrix, lines.key(entry));
}

fn container(entry: &Entry, scope: &Scope, lines: Lines<'_>, body: &mut Map, env: &mut Map) {
    let section = Section::of(&entry.value);
    let written = section
        .as_ref()
        .and_then(|section| section.take("image"))
        .and_then(|entry| text(&entry.value))
        .or_else(|| text(&entry.value));
    match written.ok_or_else(|| FORM.to_owned()).and_then(|written| scope.text(written).map_err(|what| unknown(&what)))
    {
        Ok(image) => body.set("image", Value::Text(image), lines.key(entry)),
        Err(why) => {
            body.note(lines.note(entry, format!("{why}; {DEFAULT_IMAGE} stands in")));
            body.set("image", Value::text(DEFAULT_IMAGE), None);
        }
    }
    let Some(section) = section else { return };
    if let Some(entry) = section.take("env") {
        for variable in entries(&entry.value).unwrap_or_default() {
            match value(variable, scope) {
                Ok(value) => env.set(variable.key.clone(), Value::Text(value), lines.key(variable)),
                Err(why) => env.note(lines.note(variable, why)),
            }
        }
    }
    section.leave(lines, body, |key| match key {
        "options" => Some("write `resources` and `user`"),
        "credentials" => Some("credentials for registries are the server's"),
        "volumes" => Some("`cache` keeps files between builds"),
        "ports" => Some("not needed: a container's ports are its own"),
        _ => None,
    });
}

fn services(entry: &Entry, scope: &Scope, lines: Lines<'_>) -> Map {
    let mut services = Map::default();
    for one in entries(&entry.value).unwrap_or_default() {
        let Some(section) = Section::of(&one.value) else {
            services.note(lines.note(one, FORM));
            continue;
        };
        let image = section.take("image").and_then(|entry| text(&entry.value)).map(|written| scope.text(written));
        let mut service = Map::default();
        match image {
            Some(Ok(image)) => service.set("image", Value::Text(image), lines.key(one)),
            Some(Err(what)) => {
                services.note(lines.note(one, unknown(&what)));
                continue;
            }
            None => {
                services.note(lines.note(one, "it has no image"));
                continue;
            }
        }
        if let Some(entry) = section.take("env") {
            let mut env = Map::default();
            for variable in entries(&entry.value).unwrap_or_default() {
                match value(variable, scope) {
                    Ok(value) => env.set(variable.key.clone(), Value::Text(value), lines.key(variable)),
                    Err(why) => env.note(lines.note(variable, why)),
                }
            }
            service.set_filled("env", env, lines.key(entry));
        }
        if let Some(entry) = section.take("options") {
            match text(&entry.value).and_then(health) {
                Some(command) => {
                    let mut ready = Map::default();
                    ready.set("exec", Value::Text(command), lines.key(entry));
                    service.set("ready", ready, lines.key(entry));
                }
                None => service.note(lines.note(entry, "write `ready` for a health check")),
            }
        }
        if let Some(entry) = section.take("ports") {
            let moved = texts(&entry.value).unwrap_or_default().into_iter().find(|port| {
                port.split_once(':').is_some_and(|(outer, inner)| outer != inner.split('/').next().unwrap_or(inner))
            });
            let why = match moved {
                Some(port) => format!("it answers on the port that it opens itself, behind the `:` of {port}"),
                None => "not needed: it answers at `localhost` and by its name on the ports that it opens".to_owned(),
            };
            service.note(lines.note(entry, why));
        }
        section.leave(lines, &mut service, |key| match key {
            "credentials" => Some("credentials for registries are the server's"),
            "volumes" => Some("a service's files go with it"),
            _ => None,
        });
        services.set(foreign::name(&one.key).to_lowercase().replace('_', "-"), service, lines.key(one));
    }
    services
}

/// The command of `--health-cmd`.
fn health(options: &str) -> Option<String> {
    let rest = options.split("--health-cmd").nth(1)?.trim_start_matches(['=', ' ']);
    let command = match rest.chars().next()? {
        quote @ ('"' | '\'') => rest[1..].split(quote).next()?,
        _ => rest.split_whitespace().next()?,
    };
    (!command.trim().is_empty()).then(|| command.trim().to_owned())
}

struct Reader<'r, 's> {
    scope: &'r Scope,
    lines: Lines<'s>,
    job: &'r mut Map,
    shell: Option<&'r str>,
    directory: Option<&'r str>,
}

impl Reader<'_, '_> {
    /// A step; nothing where the job has what it did. `set_up`: the job's image does its work.
    fn step(&mut self, node: &Rc<Node>, set_up: bool) -> Option<Item> {
        let (scope, lines) = (self.scope, self.lines);
        let line = lines.of(node.place);
        let Some(section) = Section::of(node) else { return Some(Item::Note(Note::new(line, "a step", FORM))) };
        let uses = section.take("uses");
        if let Some(uses) = uses.filter(|_| set_up) {
            self.job.remark(format!("{} is what the image is chosen by", actions::shown(uses)));
            return None;
        }
        let mut body = Map::default();
        let mut env = Map::default();
        let env_line = section.take("env").map(|entry| {
            for variable in entries(&entry.value).unwrap_or_default() {
                match value(variable, scope) {
                    Ok(value) => env.set(variable.key.clone(), Value::Text(value), lines.key(variable)),
                    Err(why) => env.note(lines.note(variable, why)),
                }
            }
            lines.key(entry)
        });
        let when = section.take("if").map(|entry| (condition(entry, scope, lines, &mut body), lines.key(entry)));
        let with = section.take("with");
        if let Some(uses) = uses {
            let asked = when.as_ref().map(|(condition, _)| condition.as_str());
            match actions::read(uses, with, asked, scope, lines, self.job) {
                Became::Done => return None,
                Became::Left(note) => return Some(Item::Note(note)),
                Became::Step(step) => body.parts.extend(step.parts),
            }
        }
        if let Some((name, entry)) = section.take("name").and_then(|entry| Some((text(&entry.value)?, entry))) {
            let planned =
                Scope { planned: true, workflow: scope.workflow.clone(), job: scope.job.clone(), ..Scope::default() };
            match planned.text(name) {
                Ok(name)
                    if !name.contains("steps.")
                        && !name.contains("env.")
                        && !name.contains("needs.")
                        && !name.trim().is_empty() =>
                {
                    body.set("name", Value::text(name.replace(['\n', '\r'], " ").trim()), lines.key(entry));
                }
                _ => body.note(lines.note(entry, "a step's name has to be known when the build is planned")),
            }
        }
        if let Some((id, entry)) = section.take("id").and_then(|entry| Some((text(&entry.value)?, entry))) {
            body.set("id", Value::text(id), lines.key(entry));
        }
        if let Some((condition, line)) = when {
            body.set("if", Value::Text(condition), line);
        }
        timeout(section.take("timeout-minutes"), lines, &mut body);
        continue_on_error(section.take("continue-on-error"), scope, lines, &mut body);
        let directory =
            section.take("working-directory").and_then(|entry| Some((text(&entry.value)?, Some(lines.key(entry)))));
        match directory.or_else(|| self.directory.map(|directory| (directory, None))) {
            Some((written, line)) if uses.is_none() => match scope.text(written) {
                Ok(directory) => body.set("working-directory", Value::Text(directory), line),
                Err(what) => {
                    return Some(Item::Note(Note::new(
                        line.unwrap_or_else(|| lines.of(node.place)),
                        "working-directory",
                        unknown(&what),
                    )));
                }
            },
            _ => {}
        }
        let written_shell = section.take("shell").and_then(|entry| Some((text(&entry.value)?, Some(lines.key(entry)))));
        let mut plain = true;
        match written_shell.or_else(|| self.shell.map(|shell| (shell, None))) {
            Some((written, at)) if uses.is_none() => match shell_of(written) {
                Some(shell) => {
                    plain = ["sh", "bash"]
                        .iter()
                        .any(|known| shell.split_whitespace().next().is_some_and(|word| word.ends_with(known)));
                    body.set("shell", Value::Text(shell), at);
                }
                None => {
                    return Some(Item::Note(Note::new(
                        line,
                        "shell",
                        format!("there is no `{written}` in a container on Linux"),
                    )));
                }
            },
            _ => {}
        }
        match section.take("run").map(|entry| (text(&entry.value), entry)) {
            Some((Some(written), entry)) => {
                let written = outputs(written);
                let filled = match plain {
                    true => scope.script(&written, &mut env),
                    false => scope.text(&written),
                };
                match filled {
                    Ok(script) => body.set("run", Value::Script(script), lines.key(entry)),
                    Err(what) => return Some(Item::Note(lines.note(entry, unknown(&what)))),
                }
                if written.contains("::set-output") || written.contains("::set-env") {
                    body.note(lines.note(
                        entry,
                        "`::set-output` does nothing: write `echo \"name=value\" >> \"$LONGSHORE_OUTPUT\"`",
                    ));
                }
            }
            Some((None, entry)) => return Some(Item::Note(lines.note(entry, FORM))),
            None if uses.is_none() => return Some(Item::Note(Note::new(line, "a step", "it has no `run`"))),
            None => {}
        }
        section.leave(lines, &mut body, |_| None);
        body.set_filled("env", env, env_line);
        body.arrange(&[
            "name",
            "id",
            "image",
            "if",
            "env",
            "shell",
            "working-directory",
            "timeout",
            "continue-on-error",
            "run",
            "entrypoint",
            "command",
        ]);
        Some(Item::Value(body.into()))
    }
}

/// The files that a script writes to, by our names.
fn outputs(script: &str) -> String {
    script
        .replace("GITHUB_OUTPUT", "LONGSHORE_OUTPUT")
        .replace("GITHUB_ENV", "LONGSHORE_ENV")
        .replace("GITHUB_PATH", "LONGSHORE_PATH")
        .replace("GITHUB_STEP_SUMMARY", "LONGSHORE_SUMMARY")
}
