//! Converts one job of GitLab CI.

use std::{collections::BTreeSet, rc::Rc};

use longshore_core::ImageRef;
use longshore_pipeline::tree::{Entry, Node};

use super::super::{
    DEFAULT_IMAGE, Language, condition,
    draft::{Item, Job, Map, Note, Value},
    foreign::{self, FORM, Section, boolean, entries, items, list, number, text, texts},
    shell,
    variables::{self, Known},
};
use super::{
    DEFAULTS, File, expression,
    extend::unresolved,
    inherits,
    keep::{self, unknown},
    order::{Need, Staged},
    rules,
    values::{COMMIT_BRANCH, fill, is_checkout, value_of, variable},
};

const NOT_PUBLISHED: &str = "pages are not published: write a step that does";

const LEFT: &[(&str, &str)] = &[
    ("tags", "write `runs-on` with labels of the servers: labels have values"),
    ("environment", "there are no environments: the build and its log say what was deployed"),
    ("coverage", "nothing is read out of the log"),
    (
        "interruptible",
        "write `concurrency: { group: '${{ event.branch }}', cancel-in-progress: true }` at the pipeline",
    ),
    ("release", "write a step that calls the forge's API"),
    ("secrets", "secrets are kept by the server: name them in `secrets`"),
    ("id_tokens", "jobs get no tokens of the server"),
    ("identity", "jobs get no tokens of the server"),
    ("hooks", "write it as the first step"),
    ("start_in", "nothing is delayed here"),
    ("pages", NOT_PUBLISHED),
    ("publish", NOT_PUBLISHED),
    ("dast_configuration", "Longshore has nothing like it"),
    ("manual_confirmation", "`approval` asks"),
];

/// The reason why a key of a job is never carried over; `None` for all other keys.
pub(super) fn left(key: &str) -> Option<&'static str> {
    foreign::reason(LEFT, key)
}

pub(super) fn read(entry: &Entry, whole: &Rc<Node>, file: &mut File<'_>, taken: &[String]) -> Result<Staged, Note> {
    let lines = file.lines;
    let line = lines.line_of_key(entry);
    let Some(section) = Section::read(whole) else {
        return Err(lines.note(entry, "this is neither a job nor a key that is known"));
    };
    for (key, why) in [
        ("trigger", "a pipeline starts no other one: put its jobs into a file of `.longshore/`"),
        ("run", "steps of GitLab are not known here: write them as `steps`"),
    ] {
        if section.peek(key).is_some() {
            return Err(lines.note(entry, format!("`{key}`: {why}")));
        }
    }
    let inherit = section.take("inherit");
    let default = |key: &'static str| file.defaults.get(key).copied().filter(|_| inherits(inherit, "default", key));
    let take =
        |key: &'static str| section.take(key).or_else(|| DEFAULTS.contains(&key).then(|| default(key)).flatten());
    section.take("extends");

    let mut body = Map::default();
    let name = foreign::unique(&entry.key, taken);
    if name != entry.key {
        body.remark(format!("it was called `{}`", entry.key));
    }
    if entry.key == "pages" && section.peek("pages").is_none() {
        body.note(Note::new(line, "pages", NOT_PUBLISHED));
    }
    let mut job = Job { name, line, ..Job::default() };
    let axes = section.take("parallel").map(|entry| keep::parallel(entry, lines, &mut body)).unwrap_or_default();

    let mut own: Vec<(String, String, u32)> = file.variables.clone();
    if let Some(list) =
        inherit.filter(|_| file.variables.iter().any(|(name, ..)| !inherits(inherit, "variables", name)))
    {
        body.note(lines.note(list, "variables of the file are every job's"));
    }
    let mut env = Map::default();
    let variables_line = section.take("variables").map(|entry| {
        for variable in entries(&entry.value).unwrap_or_default() {
            match value_of(variable) {
                Some(value) => own.push((variable.key.clone(), value, lines.line_of_key(variable))),
                None => env.note(lines.note(variable, FORM)),
            }
        }
        lines.line_of_key(entry)
    });
    for (name, value, at) in own[file.variables.len()..].iter().filter(|(name, ..)| !is_checkout(name)) {
        match variable(name, value, &own, &axes) {
            Ok((name, value)) => env.set(name, value, *at),
            Err(why) => env.note(Note::new(*at, name.as_str(), why)),
        }
    }
    for axis in &axes {
        if let Some(variable) = foreign::variable(axis).filter(|variable| variable == axis && env.get(axis).is_none()) {
            env.set(variable, Value::Text(format!("${{{{ matrix.{axis} }}}}")), None);
        }
    }
    if let Some(entry) = section.peek("parallel")
        && let Some(total) = number(&entry.value)
    {
        env.set("CI_NODE_TOTAL", Value::Text(total.to_string()), lines.line_of_key(entry));
    }
    let stage = section
        .take("stage")
        .or_else(|| section.take("type"))
        .and_then(|entry| text(&entry.value))
        .unwrap_or("test")
        .to_owned();
    // The job's own name is known in texts, and set only where a script uses it.
    let mut named = own.clone();
    for (name, value) in [("CI_JOB_NAME", &entry.key), ("CI_JOB_NAME_SLUG", &job.name), ("CI_JOB_STAGE", &stage)] {
        if own.iter().all(|(known, ..)| known != name) {
            named.push((name.to_owned(), value.replace('$', "$$").replace("{{", "{ {"), line));
        }
    }
    let filler = |written: &str| fill(written, &named, &axes);

    image_of(take("image"), &filler, lines, &mut body);
    let mut docker = false;
    let all_env: Vec<(String, Value)> =
        own.iter().filter_map(|(name, value, _)| variable(name, value, &own, &axes).ok()).collect();
    if let Some(entry) = take("services") {
        let services = keep::services(entry, &filler, &all_env, lines, &mut docker);
        body.set_filled("services", services, lines.line_of_key(entry));
    }
    if docker {
        body.set("docker", Value::plain(true), None);
    }

    let runs = {
        let known = |name: &str| {
            own.iter()
                .rev()
                .find(|(known, value, _)| known == name && !value.contains('$'))
                .map(|(_, value, _)| value.clone())
        };
        let around = expression::FileContext { variable: &known, requests: file.requests };
        let (only, except) = (section.take("only"), section.take("except"));
        match section.take("rules") {
            Some(entry) => rules::rules(entry, &around, lines),
            None => rules::refs(only, except, &around, lines),
        }
    };
    let before_rules = |name: &str| {
        let found = own.iter().rev().find(|(known, ..)| known == name);
        found.map(|(_, value, _)| fill(value, &own, &axes).unwrap_or_else(|_| "${{".to_owned()))
    };
    let mut runs = runs;
    let mut aside = false;
    if let Some(entry) = section.take("when") {
        let word = text(&entry.value).unwrap_or("on_success").to_owned();
        if word == "never" {
            runs.condition = Some("false".to_owned());
        } else if !runs.by_hand {
            rules::apply_when(&[word], lines.line_of_key(entry), &mut runs);
            // Somebody may start it by hand, and no job waits for it.
            aside = runs.by_hand && section.peek("rules").is_none();
        }
    }
    body.notes(std::mem::take(&mut runs.notes));
    job.after = runs.after;
    job.conditions.extend(file.condition.clone().into_iter().chain(runs.condition.take()));
    if let Some(all) = condition::all(&job.conditions) {
        job.conditions = vec![all];
    }
    if runs.by_hand {
        body.set("approval", Value::Text(format!("Run {}?", job.name)), line);
    }
    let of_job = section.take("allow_failure").and_then(|entry| keep::allow_failure(entry, lines, &mut body));
    // What the rules say of it wins.
    let may_fail = runs.may_fail.or(of_job);
    aside &= may_fail != Some(false);
    if may_fail == Some(true) {
        body.set("continue-on-error", Value::plain(true), line);
    }

    if let Some(entry) = take("timeout") {
        match text(&entry.value).and_then(keep::seconds) {
            Some(seconds) => body.set("timeout", Value::Text(keep::duration(seconds)), lines.line_of_key(entry)),
            None => body.note(lines.note(entry, FORM)),
        }
    }
    if let Some(entry) = take("retry") {
        keep::retry(entry, lines, &mut body);
    }
    if let Some(entry) = take("cache") {
        let caches = keep::cache(entry, &filler, lines, &mut body);
        body.set_filled("cache", caches, lines.line_of_key(entry));
    }
    if let Some(entry) = take("artifacts") {
        keep::artifacts(entry, &filler, lines, &mut body);
    }
    if let Some(entry) = section.take("resource_group") {
        match text(&entry.value).map(filler) {
            Some(Ok(group)) if !group.contains("${{") => drop(file.groups.insert(group)),
            _ => body.note(lines.note(entry, "write `concurrency` at the pipeline")),
        }
    }
    checkout(&own, &mut body);

    for (name, at, value) in runs.variable_values(&filler, &before_rules) {
        match value {
            Ok(expression) => env.set(name, Value::Text(variables::written(&expression)), at),
            Err(why) => env.note(Note::new(at, name, why)),
        }
    }
    let bash = !matches!(body.get("image"), Some(Value::Text(image)) if shell::has_no_bash(image));
    let mut script = |key: &'static str| take(key).map(|entry| (script_lines(entry, lines, &mut body), entry));
    let mut steps = Vec::new();
    let before = script("before_script");
    let main = script("script");
    let after = script("after_script")
        .map(|(lines, entry)| (lines.join("\n"), entry))
        .filter(|(script, _)| !script.trim().is_empty());
    let Some((main, from)) = main else {
        return Err(lines.note(entry, "it has no `script`"));
    };
    if main.iter().all(|line| line.trim().is_empty()) {
        return Err(lines.note(entry, "its script is not in this file"));
    }
    let before = before.map(|(lines, _)| lines).unwrap_or_default();
    let main = before.into_iter().chain(main).collect::<Vec<_>>().join("\n");
    let both = format!("{main}\n{}", after.as_ref().map(|(script, _)| script.as_str()).unwrap_or_default());
    let of_rules = runs.variables.iter().map(|variable| variable.name.as_str());
    let set =
        own.iter().map(|(name, ..)| name.as_str()).chain(axes.iter().map(String::as_str)).chain(of_rules).collect();
    add_used_variables(&both, &set, file, &mut env, &mut body, lines.line_of_key(from));
    for (name, value) in [("CI_JOB_NAME", &entry.key), ("CI_JOB_STAGE", &stage)] {
        if shell::names(&both).contains(name) && env.get(name).is_none() {
            env.set(name, Value::text(value.replace("${{", "$ {{")), None);
        }
    }
    steps.push(Item::Value(step(&main, bash, lines.line_of_key(from)).into()));
    if let Some((script, entry)) = after {
        let mut last = step(&script, bash, lines.line_of_key(entry));
        last.set("if", Value::text("always()"), None);
        last.set("continue-on-error", Value::plain(true), None);
        last.arrange(&["if", "continue-on-error", "shell", "run"]);
        steps.push(Item::Value(last.into()));
    }
    body.set("steps", Value::List(steps), lines.line_of_key(from));
    body.set_filled("env", env, variables_line);

    let dependencies = section.take("dependencies").and_then(|entry| texts(&entry.value));
    let needs = section.take("needs").map(|entry| needs(entry, lines.line_of_key(entry), &mut body, lines));
    for key in DEFAULTS {
        if let Some((entry, why)) = section.take(key).zip(left(key)) {
            body.note(lines.note(entry, why));
        }
    }
    section.leave(lines, &mut body, left);
    job.body = body;
    Ok(Staged { theirs: entry.key.clone(), stage, needs, dependencies, aside, bash, job })
}

/// The lines of a script, without references that name nothing in this file, which get a note.
fn script_lines(entry: &Entry, lines: foreign::Lines<'_>, body: &mut Map) -> Vec<String> {
    fn collect(node: &Node, entry: &Entry, lines: foreign::Lines<'_>, body: &mut Map, found: &mut Vec<String>) {
        if let Some(line) = text(node) {
            found.push(line.to_owned());
        } else if let Some(inner) = list(node) {
            inner.iter().for_each(|node| collect(node, entry, lines, body, found));
        } else if let Some(reference) = unresolved(node) {
            let why = "there is no such job in this file: write out what it says";
            body.note(Note::new(lines.line_of(node.place), reference, why));
        } else if let Some(inner) = texts(node) {
            found.extend(inner);
        } else {
            body.note(Note::new(lines.line_of(node.place), entry.key.as_str(), FORM));
        }
    }
    let mut found = Vec::new();
    collect(&entry.value, entry, lines, body, &mut found);
    found
}

/// The step for a script. GitLab runs it in bash where the image has it, with `pipefail` in any shell that knows it.
fn step(script: &str, bash: bool, line: u32) -> Map {
    let mut step = Map::default();
    let mut script = script.to_owned();
    if !bash {
        step.set("shell", Value::text("sh"), None);
        if script.replace("||", "").contains('|') {
            script.insert_str(0, "set -o pipefail\n");
        }
    }
    step.set("run", Value::Script(script), line);
    step
}

fn image_of(entry: Option<&Entry>, fill: keep::Fill<'_>, lines: foreign::Lines<'_>, body: &mut Map) {
    let Some(entry) = entry else {
        body.remark(format!("it names no image, and had the runner's: {DEFAULT_IMAGE} stands in"));
        body.set("image", Value::text(DEFAULT_IMAGE), None);
        return;
    };
    let section = Section::read(&entry.value);
    let written = section
        .as_ref()
        .and_then(|section| section.take("name"))
        .and_then(|entry| text(&entry.value))
        .or_else(|| text(&entry.value));
    let filled = written.ok_or_else(|| FORM.to_owned()).and_then(fill);
    match filled {
        Ok(image) if image.contains("${{") || ImageRef::parse(&image).is_ok() => {
            body.set("image", Value::Text(image), lines.line_of_key(entry))
        }
        found => {
            let why = match found {
                Ok(_) => "this is no image's name".to_owned(),
                Err(name) => unknown(&name),
            };
            body.note(lines.note(entry, format!("{why}; {DEFAULT_IMAGE} stands in")));
            body.set("image", Value::text(DEFAULT_IMAGE), None);
        }
    }
    if let Some(section) = section {
        section.leave(lines, body, |key| match key {
            "entrypoint" => Some("scripts do not use the image's entrypoint"),
            "pull_policy" => Some("an image is pulled where it is not there yet"),
            "docker" | "kubernetes" => Some("write `user` at the steps"),
            _ => None,
        });
    }
}

/// Converts the variables that tell GitLab's runner how to check out.
fn checkout(own: &[(String, String, u32)], body: &mut Map) {
    let of =
        |name: &str| own.iter().rev().find(|(known, ..)| known == name).map(|(_, value, line)| (value.as_str(), *line));
    let mut checkout = Map::default();
    if let Some((depth, line)) =
        of("GIT_DEPTH").and_then(|(depth, line)| Some((depth.trim().parse::<u32>().ok()?, line)))
    {
        checkout.set("depth", Value::plain(depth), line);
    }
    if let Some((strategy, line)) = of("GIT_SUBMODULE_STRATEGY").filter(|(strategy, _)| *strategy != "none") {
        checkout.set("submodules", Value::plain(!strategy.is_empty()), line);
    }
    if let Some((_, line)) = of("GIT_STRATEGY").filter(|(strategy, _)| *strategy == "none" || *strategy == "empty") {
        body.set("checkout", Value::plain(false), line);
    } else {
        body.set_filled("checkout", checkout, None);
    }
}

/// Adds the variables that the scripts use: GitLab's own are put into `env`, unknown ones are noted.
fn add_used_variables(
    script: &str,
    set: &BTreeSet<&str>,
    file: &mut File<'_>,
    env: &mut Map,
    body: &mut Map,
    line: u32,
) {
    const SHELL: &[&str] = &[
        "PATH",
        "HOME",
        "PWD",
        "OLDPWD",
        "USER",
        "SHELL",
        "IFS",
        "HOSTNAME",
        "LANG",
        "RANDOM",
        "UID",
        "EUID",
        "LINENO",
        "PIPESTATUS",
        "REPLY",
        "BASH_SOURCE",
        "OPTARG",
    ];
    let assigned = shell::assigned(script);
    let (mut secrets, mut others) = (Vec::new(), Vec::new());
    for name in shell::names(script) {
        if set.contains(name.as_str()) || assigned.contains(&name) {
            continue;
        }
        if name == "CI_COMMIT_BRANCH" && file.requests {
            file.wanted.insert(name, COMMIT_BRANCH);
            continue;
        }
        match variables::known(Language::GitLab, &name) {
            Known::Given => {}
            Known::Expression(expression) if variables::is_planned(expression) => {
                file.wanted.insert(name, expression);
            }
            Known::Expression(expression) => env.set(name, Value::Text(variables::written(expression)), None),
            Known::Missing => match name.as_str() {
                "CI_JOB_NAME" | "CI_JOB_STAGE" => {}
                "CI_NODE_INDEX" | "CI_NODE_TOTAL" => others.push(name),
                _ => body.note(Note::new(line, format!("${name}"), "Longshore does not set it")),
            },
            Known::NotSet if SHELL.contains(&name.as_str()) => {}
            Known::NotSet if shell::is_secret(&name) => secrets.push(name),
            Known::NotSet => others.push(name),
        }
    }
    let listed = |names: &[String]| longshore_pipeline::suggest::listed(names.iter().map(String::as_str));
    if !secrets.is_empty() {
        body.remark(format!(
            "{} must have come from the project's settings: set them as secrets of the repository",
            listed(&secrets)
        ));
        body.set("secrets", Value::texts(secrets), None);
    }
    if !others.is_empty() {
        body.remark(format!(
            "this file does not set {}: if they came from the project's settings, write them into `env` or `secrets`",
            listed(&others)
        ));
    }
}

/// The jobs that a job names in `needs`.
fn needs(entry: &Entry, line: u32, body: &mut Map, lines: foreign::Lines<'_>) -> Vec<Need> {
    let need = |job: &str, line: u32| Need { job: job.to_owned(), line, optional: false, artifacts: true };
    let mut found = Vec::new();
    for node in items(&entry.value) {
        if let Some(name) = text(node) {
            found.push(need(name, lines.line_of(node.place)));
            continue;
        }
        let Some(section) = Section::read(node) else {
            found.extend(texts(node).unwrap_or_default().iter().map(|name| need(name, line)));
            continue;
        };
        let name = section.take("job").and_then(|entry| text(&entry.value));
        match name {
            Some(name) if section.peek("project").is_none() && section.peek("pipeline").is_none() => {
                let optional = section.take("optional").is_some_and(|entry| boolean(&entry.value) == Some(true));
                let artifacts = section.take("artifacts").is_none_or(|entry| boolean(&entry.value) != Some(false));
                found.push(Need { optional, artifacts, ..need(name, lines.line_of(node.place)) });
                section.leave(lines, body, |_| Some("a job waits for all jobs of a matrix"));
            }
            _ => body.note(Note::new(lines.line_of(node.place), "needs", "a job waits for jobs of its own pipeline")),
        }
    }
    found
}
