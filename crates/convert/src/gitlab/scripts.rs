//! Converts the scripts of a job of GitLab CI, and the variables that they use.

use std::collections::BTreeSet;

use longshore_pipeline::tree::{Entry, Node};

use super::super::{
    Language,
    draft::{Item, Map, Note, Value},
    foreign::{self, FORM, list, text, texts},
    shell,
    variables::{self, Known},
};
use super::{File, extend::unresolved, values::COMMIT_BRANCH};

/// The scripts of a job.
pub(super) struct Scripts<'n> {
    /// `before_script` and `script`, which run in one shell.
    main: String,
    pub(super) from: &'n Entry,
    after: Option<(String, &'n Entry)>,
}

impl<'n> Scripts<'n> {
    pub(super) fn read(
        take: &dyn Fn(&'static str) -> Option<&'n Entry>,
        entry: &Entry,
        lines: foreign::Lines<'_>,
        body: &mut Map,
    ) -> Result<Self, Note> {
        let mut script = |key: &'static str| take(key).map(|entry| (script_lines(entry, lines, body), entry));
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
        Ok(Self { main, from, after })
    }

    /// The text of all scripts.
    pub(super) fn text(&self) -> String {
        format!("{}\n{}", self.main, self.after.as_ref().map(|(script, _)| script.as_str()).unwrap_or_default())
    }

    pub(super) fn steps(&self, bash: bool, lines: foreign::Lines<'_>) -> Value {
        let mut steps = vec![Item::Value(step(&self.main, bash, lines.line_of_key(self.from)).into())];
        if let Some((script, entry)) = &self.after {
            let mut last = step(script, bash, lines.line_of_key(entry));
            last.set("if", Value::text("always()"), None);
            last.set("continue-on-error", Value::plain(true), None);
            last.arrange(&["if", "continue-on-error", "shell", "run"]);
            steps.push(Item::Value(last.into()));
        }
        Value::List(steps)
    }
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

/// Adds the variables that the scripts use: GitLab's own are put into `env`, unknown ones are noted.
pub(super) fn add_used_variables(
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
            "{} must have come from the project's settings: set {} of the repository",
            listed(&secrets),
            if secrets.len() == 1 { "it as a secret" } else { "them as secrets" }
        ));
        body.set("secrets", Value::texts(secrets), None);
    }
    if !others.is_empty() {
        let (they, them) = if others.len() == 1 { ("it", "it") } else { ("they", "them") };
        body.remark(format!(
            "this file does not set {}: if {they} came from the project's settings, write {them} into `env` or `secrets`",
            listed(&others)
        ));
    }
}
