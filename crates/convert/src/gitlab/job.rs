//! Converts one job of GitLab CI.

use std::{collections::BTreeSet, rc::Rc};

use longshore_core::ImageRef;
use longshore_pipeline::tree::{Entry, Node};

use super::super::{
    DEFAULT_IMAGE, condition,
    draft::{After, Job, Map, Note, Value, Variable},
    foreign::{self, FORM, Section, boolean, entries, items, number, text, texts},
    github::is_other_system,
    shell, variables,
};
use super::{
    DEFAULTS, File, artifacts, cache, expression, inherits,
    order::{Need, Staged},
    repeats, rules,
    scripts::{Scripts, add_used_variables},
    services, times,
    values::{Fill, fill, find, is_checkout, unknown, value_of, variable},
};

const NOT_PUBLISHED: &str = "pages are not published: write a step that does";

const TAGS: &str = "write `runs-on` with labels of the servers: labels have values";

const NOT_CARRIED_OVER: &[(&str, &str)] = &[
    ("tags", TAGS),
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

/// Returns why a key of a job is never carried over; `None` for all other keys.
pub(super) fn why_left_out(key: &str) -> Option<&'static str> {
    foreign::reason(NOT_CARRIED_OVER, key)
}

pub(super) fn read(entry: &Entry, whole: &Rc<Node>, file: &mut File<'_>, taken: &[String]) -> Result<Staged, Note> {
    let lines = file.lines;
    let line = lines.line_of_key(entry);
    let Some(section) = Section::read(whole) else {
        return Err(lines.note(entry, "this is neither a job nor a key that is known"));
    };
    refuse_without_script(entry, &section, lines)?;
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
    let axes = section.take("parallel").map(|entry| repeats::parallel(entry, lines, &mut body)).unwrap_or_default();

    if let Some(list) =
        inherit.filter(|_| file.variables.iter().any(|variable| !inherits(inherit, "variables", &variable.name)))
    {
        body.note(lines.note(list, "variables of the file are every job's"));
    }
    let JobVariables { written, mut env, line: variables_line } = JobVariables::read(&section, &axes, file);
    let stage = section
        .take("stage")
        .or_else(|| section.take("type"))
        .and_then(|entry| text(&entry.value))
        .unwrap_or("test")
        .to_owned();
    let named = with_own_names(&written, entry, &job, &stage);
    let filler = |text: &str| fill(text, &named, &axes);

    if let Some(entry) = take("tags") {
        withhold_elsewhere(entry, lines, &mut job, &mut body);
    }
    image_of(take("image"), &filler, lines, &mut body);
    if let Some(entry) = take("services") {
        services(entry, &written, &axes, &filler, lines, &mut body);
    }
    let mut runs = runs_of(&section, &written, file);
    let is_optional = conditions(&section, &mut runs, &mut job, &mut body, file);
    limits_and_files(&take, &filler, lines, &mut body);
    if let Some(entry) = section.take("resource_group") {
        add_group(entry, &filler, lines, &mut file.groups, &mut body);
    }
    checkout(&written, &mut body);
    add_rule_variables(&runs, &filler, &written, &axes, &mut env);
    let bash = !matches!(body.get("image"), Some(Value::Text(image)) if shell::has_no_bash(image));
    let scripts = Scripts::read(&take, entry, lines, &mut body)?;
    let from_line = lines.line_of_key(scripts.from);
    let script = scripts.text();
    add_used_variables(&script, &names_of(&written, &axes, &runs), file, &mut env, &mut body, from_line);
    set_own_names(&script, entry, &stage, &mut env);
    body.set("steps", scripts.steps(bash, lines), from_line);
    body.set_filled("env", env, variables_line);

    let dependencies = section.take("dependencies").and_then(|entry| texts(&entry.value));
    let needs = section.take("needs").map(|entry| needs(entry, lines.line_of_key(entry), &mut body, lines));
    for key in DEFAULTS {
        if let Some((entry, why)) = section.take(key).zip(why_left_out(key)) {
            body.note(lines.note(entry, why));
        }
    }
    section.note_rest(lines, &mut body, why_left_out);
    job.body = body;
    Ok(Staged { source_name: entry.key.clone(), stage, needs, dependencies, is_optional, bash, job })
}

/// Refuses a job that starts another pipeline or runs GitLab's steps instead of scripts.
fn refuse_without_script(entry: &Entry, section: &Section<'_>, lines: foreign::Lines<'_>) -> Result<(), Note> {
    for (key, why) in [
        ("trigger", "a pipeline starts no other one: put its jobs into a file of `.longshore/`"),
        ("run", "steps of GitLab are not known here: write them as `steps`"),
    ] {
        if section.peek(key).is_some() {
            return Err(lines.note(entry, format!("`{key}`: {why}")));
        }
    }
    Ok(())
}

/// Lets a job never run whose `tags` name another system than Linux.
fn withhold_elsewhere(tags: &Entry, lines: foreign::Lines<'_>, job: &mut Job, body: &mut Map) {
    if texts(&tags.value).unwrap_or_default().iter().any(|tag| is_other_system(tag)) {
        let why = "it ran on another system than Linux, and jobs run in containers on Linux: it never runs";
        body.note(lines.note(tags, why));
        job.withhold();
    }
}

/// The variables of a job.
struct JobVariables {
    /// Those of the file and of the job, as they are written.
    written: Vec<Variable>,
    /// Those of the job, as `env`.
    env: Map,
    /// The line of `variables`.
    line: Option<u32>,
}

impl JobVariables {
    /// Reads the variables of a job, and adds those of its matrix.
    fn read(section: &Section<'_>, axes: &[String], file: &File<'_>) -> Self {
        let lines = file.lines;
        let mut written = file.variables.clone();
        let mut env = Map::default();
        let line = section.take("variables").map(|entry| {
            for variable in entries(&entry.value).unwrap_or_default() {
                let line = lines.line_of_key(variable);
                match value_of(variable) {
                    Some(value) => written.push(Variable { name: variable.key.clone(), value, line }),
                    None => env.note(lines.note(variable, FORM)),
                }
            }
            lines.line_of_key(entry)
        });
        for one in written[file.variables.len()..].iter().filter(|variable| !is_checkout(&variable.name)) {
            match variable(one, &written, axes) {
                Ok((name, value)) => env.set(name, value, one.line),
                Err(why) => env.note(Note::new(one.line, one.name.as_str(), why)),
            }
        }
        for axis in axes {
            if let Some(variable) =
                foreign::variable(axis).filter(|variable| variable == axis && env.get(axis).is_none())
            {
                env.set(variable, Value::Text(format!("${{{{ matrix.{axis} }}}}")), None);
            }
        }
        if let Some(entry) = section.peek("parallel")
            && let Some(total) = number(&entry.value)
        {
            env.set("CI_NODE_TOTAL", Value::Text(total.to_string()), lines.line_of_key(entry));
        }
        Self { written, env, line }
    }
}

/// Returns the variables of a job with the names that GitLab gives it. They are known in texts, and set only where a
/// script uses them.
fn with_own_names(written: &[Variable], entry: &Entry, job: &Job, stage: &str) -> Vec<Variable> {
    let own = [("CI_JOB_NAME", entry.key.as_str()), ("CI_JOB_NAME_SLUG", &job.name), ("CI_JOB_STAGE", stage)];
    let mut named = written.to_vec();
    for (name, value) in own.into_iter().filter(|(name, _)| find(written, name).is_none()) {
        let value = value.replace('$', "$$").replace("{{", "{ {");
        named.push(Variable { name: name.to_owned(), value, line: job.line });
    }
    named
}

/// Sets the job's names in `env` if its script uses them.
fn set_own_names(script: &str, entry: &Entry, stage: &str, env: &mut Map) {
    let used = shell::names(script);
    for (name, value) in [("CI_JOB_NAME", entry.key.as_str()), ("CI_JOB_STAGE", stage)] {
        if used.contains(name) && env.get(name).is_none() {
            env.set(name, Value::text(value.replace("${{", "$ {{")), None);
        }
    }
}

/// Returns the names of all variables that are set in a job.
fn names_of<'v>(written: &'v [Variable], axes: &'v [String], runs: &'v rules::Runs) -> BTreeSet<&'v str> {
    let written = written.iter().map(|variable| variable.name.as_str());
    let of_rules = runs.variables.iter().map(|variable| variable.name.as_str());
    written.chain(of_rules).chain(axes.iter().map(String::as_str)).collect()
}

/// Adds the variables that rules set to `env`. `written` has the values that they have without the rules.
fn add_rule_variables(runs: &rules::Runs, filler: Fill<'_>, written: &[Variable], axes: &[String], env: &mut Map) {
    let before_rules = |name: &str| {
        let variable = find(written, name)?;
        Some(fill(&variable.value, written, axes).unwrap_or_else(|_| "${{".to_owned()))
    };
    for (name, at, value) in runs.variable_values(filler, &before_rules) {
        match value {
            Ok(expression) => env.set(name, Value::Text(variables::written(&expression)), at),
            Err(why) => env.note(Note::new(at, name, why)),
        }
    }
}

fn services(
    entry: &Entry,
    written: &[Variable],
    axes: &[String],
    fill: Fill<'_>,
    lines: foreign::Lines<'_>,
    body: &mut Map,
) {
    let mut docker = false;
    let env: Vec<(String, Value)> = written.iter().filter_map(|one| variable(one, written, axes).ok()).collect();
    let services = services::services(entry, fill, &env, lines, &mut docker);
    body.set_filled("services", services, lines.line_of_key(entry));
    if docker {
        body.set("docker", Value::plain(true), None);
    }
}

/// Reads `rules`, or `only` and `except`.
fn runs_of(section: &Section<'_>, written: &[Variable], file: &File<'_>) -> rules::Runs {
    let known = |name: &str| {
        let mut plain = written.iter().rev().filter(|variable| !variable.value.contains('$'));
        plain.find(|variable| variable.name == name).map(|variable| variable.value.clone())
    };
    let (only, except) = (section.take("only"), section.take("except"));
    let rules = section.take("rules");
    let read = |unknown_runs: bool| {
        let around = expression::FileContext { variable: &known, requests: file.requests, unknown_runs };
        match rules {
            Some(entry) => rules::rules(entry, &around, file.lines),
            None => rules::refs(only, except, &around, file.lines),
        }
    };
    let mut runs = read(false);
    // Between the two, it is not known whether the job ran there.
    let at_least = runs.condition.clone().unwrap_or_else(|| "true".to_owned());
    let at_most = read(true).condition.unwrap_or_else(|| "true".to_owned());
    if at_least != at_most {
        runs.exact_if = condition::any(&[condition::not(&at_most), at_least]);
    }
    runs
}

/// Converts the conditions of a job, its approval and whether it may fail. Returns whether it is optional: started by
/// hand, and no job of a later stage waits for it.
fn conditions(section: &Section<'_>, runs: &mut rules::Runs, job: &mut Job, body: &mut Map, file: &File<'_>) -> bool {
    let (lines, line) = (file.lines, job.line);
    let mut is_optional = false;
    if let Some(entry) = section.take("when") {
        let word = text(&entry.value).unwrap_or("on_success").to_owned();
        if word == "never" {
            runs.condition = Some("false".to_owned());
        } else if !runs.by_hand {
            rules::apply_when(&[word], lines.line_of_key(entry), runs);
            is_optional = runs.by_hand && section.peek("rules").is_none();
        }
    }
    body.notes(std::mem::take(&mut runs.notes));
    job.after = runs.after;
    job.exact_if = job.exact_if.take().or(runs.exact_if.take()).filter(|_| runs.after != After::Failure);
    job.conditions.extend(file.condition.clone().into_iter().chain(runs.condition.take()));
    if let Some(all) = condition::all(&job.conditions) {
        job.conditions = vec![all];
    }
    if runs.by_hand {
        body.set("approval", Value::Text(format!("Run {}?", job.name)), line);
    }
    let of_job = section.take("allow_failure").and_then(|entry| repeats::allow_failure(entry, lines, body));
    // The rules take precedence.
    let may_fail = runs.may_fail.or(of_job);
    if may_fail == Some(true) {
        body.set("continue-on-error", Value::plain(true), line);
    }
    is_optional && may_fail != Some(false)
}

/// Converts the limits of a job, its caches and its artifacts.
fn limits_and_files<'n>(
    take: &dyn Fn(&'static str) -> Option<&'n Entry>,
    fill: Fill<'_>,
    lines: foreign::Lines<'_>,
    body: &mut Map,
) {
    if let Some(entry) = take("timeout") {
        match text(&entry.value).and_then(times::seconds) {
            Some(seconds) => body.set("timeout", Value::Text(times::duration(seconds)), lines.line_of_key(entry)),
            None => body.note(lines.note(entry, FORM)),
        }
    }
    if let Some(entry) = take("retry") {
        repeats::retry(entry, lines, body);
    }
    if let Some(entry) = take("cache") {
        let caches = cache::cache(entry, fill, lines, body);
        body.set_filled("cache", caches, lines.line_of_key(entry));
    }
    if let Some(entry) = take("artifacts") {
        artifacts::artifacts(entry, fill, lines, body);
    }
}

fn image_of(entry: Option<&Entry>, fill: Fill<'_>, lines: foreign::Lines<'_>, body: &mut Map) {
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
                Ok(_) => "this is not an image's name".to_owned(),
                Err(name) => unknown(&name),
            };
            body.note(lines.note(entry, format!("{why}; {DEFAULT_IMAGE} stands in")));
            body.set("image", Value::text(DEFAULT_IMAGE), None);
        }
    }
    if let Some(section) = section {
        section.note_rest(lines, body, |key| match key {
            "entrypoint" => Some("scripts do not use the image's entrypoint"),
            "pull_policy" => Some("an image is pulled where it is not there yet"),
            "docker" | "kubernetes" => Some("write `user` at the steps"),
            _ => None,
        });
    }
}

/// Converts `resource_group`: it becomes the pipeline's.
fn add_group(entry: &Entry, fill: Fill<'_>, lines: foreign::Lines<'_>, groups: &mut BTreeSet<String>, body: &mut Map) {
    match text(&entry.value).map(fill) {
        Some(Ok(group)) if !group.contains("${{") => drop(groups.insert(group)),
        _ => body.note(lines.note(entry, "write `concurrency` at the pipeline")),
    }
}

/// Converts the variables that tell GitLab's runner how to check out.
fn checkout(written: &[Variable], body: &mut Map) {
    let variable = |name: &str| find(written, name).map(|variable| (variable.value.as_str(), variable.line));
    let mut checkout = Map::default();
    if let Some((depth, line)) =
        variable("GIT_DEPTH").and_then(|(depth, line)| Some((depth.trim().parse::<u32>().ok()?, line)))
    {
        checkout.set("depth", Value::plain(depth), line);
    }
    if let Some((strategy, line)) = variable("GIT_SUBMODULE_STRATEGY").filter(|(strategy, _)| *strategy != "none") {
        checkout.set("submodules", Value::plain(!strategy.is_empty()), line);
    }
    if let Some((_, line)) =
        variable("GIT_STRATEGY").filter(|(strategy, _)| *strategy == "none" || *strategy == "empty")
    {
        body.set("checkout", Value::plain(false), line);
    } else {
        body.set_filled("checkout", checkout, None);
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
                section.note_rest(lines, body, |_| Some("a job waits for all jobs of a matrix"));
            }
            _ => body.note(Note::new(lines.line_of(node.place), "needs", "a job waits for jobs of its own pipeline")),
        }
    }
    found
}
