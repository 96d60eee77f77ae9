//! Converts the steps of a job of a workflow, and the keys that steps and jobs share.

use std::rc::Rc;

use longshore_pipeline::tree::{Entry, Node};

use super::super::{
    draft::{Item, Map, Note, Part, Value},
    foreign::{FORM, Lines, Section, boolean, entries, number, text},
    gate,
    quoting::Place,
    shell,
};
use super::{
    actions::{self, ConvertedAction},
    background_steps::BackgroundSteps,
    expression::Scope,
    gates::is_credential,
    setups::Setup,
    shell_of, unknown, value,
};

/// Keys of a step in the order in which people read them.
pub(super) const ORDER: &[&str] = &[
    "name",
    "id",
    "image",
    "if",
    "env",
    "shell",
    "working-directory",
    "timeout",
    "background",
    "continue-on-error",
    "wait",
    "run",
    "entrypoint",
    "command",
];

/// Reads the steps of one job.
pub(super) struct Reader<'r, 's> {
    pub(super) scope: &'r Scope,
    pub(super) lines: Lines<'s>,
    pub(super) job: &'r mut Map,
    pub(super) shell: Option<&'r str>,
    pub(super) directory: Option<&'r str>,
    /// Whether scripts run as root, so that `sudo` is not needed.
    pub(super) is_root: bool,
    /// All steps of the job, or of the action.
    pub(super) all: &'r [Rc<Node>],
    /// How many composite actions the steps are nested in.
    pub(super) depth: usize,
    /// The steps of the job that were started in the background.
    pub(super) background: &'r mut BackgroundSteps,
    /// Whether something waits for all of these steps: another job, or steps after the action.
    pub(super) followed: bool,
}

impl Reader<'_, '_> {
    /// Converts a step to steps and notes; to nothing if the job already does what the step did. `setup` replaces it if
    /// it sets up what the job's image has.
    pub(super) fn step(&mut self, node: &Rc<Node>, setup: Option<&mut Setup>) -> Vec<Item> {
        let line = self.lines.line_of(node.place);
        let Some(section) = Section::read(node) else { return vec![Item::Note(Note::new(line, "a step", FORM))] };
        if let Some((uses, setup)) = section.peek("uses").zip(setup) {
            return self.set_up(&section, uses, setup);
        }
        if let Some(group) = section.peek("parallel") {
            return self.group(group);
        }
        if let Some(entry) = section.peek("wait").or(section.peek("wait-all")) {
            return self.wait(&section, entry);
        }
        if let Some(entry) = section.peek("cancel") {
            return self.cancel(entry);
        }
        if let Some(items) = self.local_action(node, &section) {
            return items;
        }
        match self.convert_step(node, &section) {
            None => Vec::new(),
            Some(Item::Note(note)) => self.lost(node, &section, note),
            Some(Item::Value(step)) => {
                let gate = self.gate_behind(node, &section, &step);
                std::iter::once(Item::Value(step)).chain(gate).collect()
            }
        }
    }

    /// Writes what an action did beyond what the job's image has.
    fn set_up(&mut self, section: &Section<'_>, uses: &Entry, setup: &mut Setup) -> Vec<Item> {
        self.job.remark(format!("{} is what the image is chosen by", actions::shown(uses)));
        for cache in std::mem::take(&mut setup.caches) {
            actions::append(self.job, "cache", cache, self.lines.line_of_key(uses));
        }
        let mut items: Vec<Item> = std::mem::take(&mut setup.notes).into_iter().map(Item::Note).collect();
        let mut notes = Map::default();
        let condition = section.peek("if").map(|entry| condition(entry, self.scope, self.lines, &mut notes));
        for mut step in std::mem::take(&mut setup.steps) {
            if let Some(condition) = condition.as_ref().filter(|condition| *condition != "true") {
                step.set("if", Value::text(condition.as_str()), None);
                step.arrange(&["if", "run"]);
            }
            items.push(Item::Value(step.into()));
        }
        items
    }

    /// A step's id here.
    pub(super) fn id(&self, id: &str) -> String {
        self.scope.prefix.as_ref().map_or_else(|| id.to_owned(), |prefix| format!("{prefix}-{id}"))
    }

    fn convert_step(&mut self, node: &Rc<Node>, section: &Section<'_>) -> Option<Item> {
        let lines = self.lines;
        let mut step = Converted::default();
        let uses = section.take("uses");
        let env_line = section.take("env").map(|entry| self.read_env(entry, &mut step));
        let when = section
            .take("if")
            .map(|entry| (condition(entry, self.scope, lines, &mut step.body), lines.line_of_key(entry)));
        let with = section.take("with");
        if let Some(uses) = uses {
            let asked = when.as_ref().map(|(condition, _)| condition.as_str());
            match actions::read(uses, with, asked, self.scope, lines, self.job) {
                ConvertedAction::Done => return None,
                ConvertedAction::LeftOut(note) => return Some(Item::Note(note)),
                ConvertedAction::Step(action) => step.add_action(action),
            }
        }
        self.read_name(section, &mut step.body);
        if let Some((id, entry)) = section.take("id").and_then(|entry| Some((text(&entry.value)?, entry))) {
            step.body.set("id", Value::Text(self.id(id)), lines.line_of_key(entry));
        }
        // A step that lost a setting never runs, whatever its condition.
        let never = step.body.get("if").is_some();
        if let Some((condition, line)) = when.filter(|(condition, _)| condition != "true" && !never) {
            step.body.set("if", Value::Text(condition), line);
        }
        let background = self.is_background(section, &mut step.body);
        timeout(section.take("timeout-minutes"), lines, &mut step.body);
        continue_on_error(section.take("continue-on-error"), self.scope, lines, &mut step.body);
        let line = lines.line_of(node.place);
        let ran = self
            .read_directory(section, uses.is_some(), line, &mut step.body)
            .and_then(|()| self.read_shell(section, uses.is_some(), line, &mut step.body))
            .and_then(|shell| self.read_run(section, uses.is_some(), shell, line, &mut step));
        if let Err(note) = ran {
            return Some(Item::Note(note));
        }
        section.note_rest(lines, &mut step.body, |_| None);
        let Converted { mut body, env, lost } = step;
        if let Some(name) = lost.first() {
            body.note(Note::new(line, name.as_str(), gate::LOST_VARIABLE));
            body.set("if", Value::text("false"), None);
        }
        body.set_filled("env", env, env_line);
        if let Some(line) = background {
            self.put_in_background(&mut body, line);
        }
        body.arrange(ORDER);
        Some(Item::Value(body.into()))
    }

    /// Reads the variables of a step. Returns the line that they stand on.
    fn read_env(&self, entry: &Entry, step: &mut Converted) -> u32 {
        for variable in entries(&entry.value).unwrap_or_default() {
            match value(variable, self.scope) {
                Ok(value) => step.env.set(variable.key.clone(), Value::Text(value), self.lines.line_of_key(variable)),
                Err(why) => {
                    step.env.note(self.lines.note(variable, why));
                    step.lost.extend((!is_credential(variable)).then(|| variable.key.clone()));
                }
            }
        }
        self.lines.line_of_key(entry)
    }

    pub(super) fn read_name(&self, section: &Section<'_>, body: &mut Map) {
        let Some((name, entry)) = section.take("name").and_then(|entry| Some((text(&entry.value)?, entry))) else {
            return;
        };
        match self.scope.text(name) {
            Ok(name) if is_known_when_planned(&name) && !name.trim().is_empty() => {
                let name = name.replace(['\n', '\r'], " ");
                body.set("name", Value::text(name.trim()), self.lines.line_of_key(entry));
            }
            _ => body.note(self.lines.note(entry, "a step's name has to be known when the build is planned")),
        }
    }

    /// Whether a step is in the background.
    fn is_background(&self, section: &Section<'_>, body: &mut Map) -> Option<u32> {
        let entry = section.take("background")?;
        match boolean(&entry.value) {
            Some(background) => background.then(|| self.lines.line_of_key(entry)),
            None => {
                body.note(self.lines.note(entry, FORM));
                None
            }
        }
    }

    /// Reads the folder that the step's script runs in, or takes the job's. The error says why there is no step.
    fn read_directory(&self, section: &Section<'_>, is_action: bool, line: u32, body: &mut Map) -> Result<(), Note> {
        let own = section
            .take("working-directory")
            .and_then(|entry| Some((text(&entry.value)?, Some(self.lines.line_of_key(entry)))));
        let directory = own.or_else(|| self.directory.map(|directory| (directory, None)));
        let Some((written, at)) = directory.filter(|_| !is_action) else { return Ok(()) };
        match self.scope.text(written) {
            Ok(directory) => body.set("working-directory", Value::Text(directory), at),
            Err(what) => return Err(Note::new(at.unwrap_or(line), "working-directory", unknown(&what))),
        }
        Ok(())
    }

    /// Reads the shell of the step's script, or takes the job's. The error says why there is no step.
    fn read_shell(&self, section: &Section<'_>, is_action: bool, line: u32, body: &mut Map) -> Result<Shell, Note> {
        let own =
            section.take("shell").and_then(|entry| Some((text(&entry.value)?, Some(self.lines.line_of_key(entry)))));
        let shell = own.or_else(|| self.shell.map(|shell| (shell, None)));
        let Some((written, at)) = shell.filter(|_| !is_action) else { return Ok(Shell::Posix) };
        let Some(shell) = shell_of(written) else {
            return Err(Note::new(line, "shell", format!("there is no `{written}` in a container on Linux")));
        };
        let program = shell.split_whitespace().next().unwrap_or_default();
        let is_posix = ["sh", "bash"].iter().any(|known| program.ends_with(known));
        body.set("shell", Value::Text(shell), at);
        Ok(if is_posix { Shell::Posix } else { Shell::Other })
    }

    /// Reads the step's script. The error says why there is no step.
    fn read_run(
        &mut self,
        section: &Section<'_>,
        is_action: bool,
        shell: Shell,
        line: u32,
        step: &mut Converted,
    ) -> Result<(), Note> {
        let (scope, lines) = (self.scope, self.lines);
        let Some(entry) = section.take("run") else {
            return if is_action { Ok(()) } else { Err(Note::new(line, "a step", "it has no `run`")) };
        };
        let Some(written) = text(&entry.value) else { return Err(lines.note(entry, FORM)) };
        let mut written = outputs(written);
        if shell == Shell::Posix && self.is_root {
            written = self.without_sudo(&written, &mut step.body, lines.line_of_key(entry));
        }
        if written.contains(BASE_COMMIT) {
            step.body.remark("the commit that a pull request begins at is not known here: its target branch stands in, which a checkout with `depth: 0` has");
        }
        let filled = match shell {
            Shell::Posix => scope.script(&written, &mut step.env),
            Shell::Other => scope.text(&written),
        };
        let asked = shell::names(&written);
        let env = &step.env;
        step.lost.extend(asked.into_iter().filter(|name| scope.lost.contains(name) && env.get(name).is_none()));
        match filled {
            Ok(script) => step.body.set("run", Value::Script(script), lines.line_of_key(entry)),
            Err(what) => return Err(lines.note(entry, unknown(&what))),
        }
        if written.contains("::set-output") || written.contains("::set-env") {
            step.body.note(
                lines.note(entry, "`::set-output` does nothing: write `echo \"name=value\" >> \"$LONGSHORE_OUTPUT\"`"),
            );
        }
        Ok(())
    }
}

/// A step as far as it is converted.
#[derive(Default)]
struct Converted {
    body: Map,
    env: Map,
    /// The variables that the step would miss.
    lost: Vec<String>,
}

impl Converted {
    /// Adds the step that an action becomes.
    fn add_action(&mut self, action: Map) {
        for part in action.parts {
            match part {
                Part::Entry(entry) if entry.key == "env" => {
                    let Value::Map(own) = entry.value else { continue };
                    own.entries().for_each(|one| self.env.set(one.key.as_str(), one.value.clone(), one.line));
                }
                part => self.body.parts.push(part),
            }
        }
    }
}

/// The shell that reads a step's script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shell {
    Posix,
    Other,
}

/// Returns whether a text refers to nothing that a build finds out while it runs.
fn is_known_when_planned(text: &str) -> bool {
    !["steps.", "build.", "secrets.", "env.", "needs."].iter().any(|context| text.contains(context))
}

/// The path of the commit that a pull request begins at.
pub(super) const BASE_COMMIT: &str = "github.event.pull_request.base.sha";

impl Reader<'_, '_> {
    /// Takes `sudo` away, which images do not have, where it begins a command.
    fn without_sudo(&mut self, script: &str, body: &mut Map, line: u32) -> String {
        let mut out = String::with_capacity(script.len());
        let mut rest = script;
        let mut other_user = false;
        while let Some(at) = rest.find("sudo ") {
            out.push_str(&rest[..at]);
            let mut behind = rest[at + "sudo ".len()..].trim_start_matches(' ');
            let begins = out
                .trim_end_matches([' ', '\t'])
                .chars()
                .next_back()
                .is_none_or(|c| matches!(c, '\n' | ';' | '&' | '|' | '(' | ')' | '{' | '!' | '`'))
                || ["then", "do", "else", "time", "if", "while"]
                    .iter()
                    .any(|word| out.trim_end().ends_with(word) && out.ends_with(' '));
            if !begins || Place::after(&out) == Some(Place::Single) {
                out.push_str("sudo ");
                rest = behind;
                continue;
            }
            while let Some(flag) =
                ["-E ", "-H ", "-n ", "-EH ", "--preserve-env "].iter().find(|flag| behind.starts_with(**flag))
            {
                behind = behind[flag.len()..].trim_start_matches(' ');
            }
            if behind.starts_with('-') {
                other_user = true;
                out.push_str("sudo ");
            }
            rest = behind;
        }
        out.push_str(rest);
        if out != script {
            self.job.remark("`sudo` is taken away: the image has none, and its scripts run as root");
        }
        if other_user {
            body.note(Note::new(line, "sudo", "the image has no `sudo`: write `su` or `user` for another user"));
        }
        out
    }
}

pub(super) fn entry_of<'n>(node: &'n Node, key: &str) -> Option<&'n Entry> {
    super::super::entry(node, key)
}

/// Replaces the names of the files that a script writes its outputs to with ours.
fn outputs(script: &str) -> String {
    script
        .replace("GITHUB_OUTPUT", "LONGSHORE_OUTPUT")
        .replace("GITHUB_ENV", "LONGSHORE_ENV")
        .replace("GITHUB_PATH", "LONGSHORE_PATH")
        .replace("GITHUB_STEP_SUMMARY", "LONGSHORE_SUMMARY")
}

/// Converts a condition. A condition that cannot be translated becomes `false`, so that nothing runs because of it.
pub(super) fn condition(entry: &Entry, scope: &Scope, lines: Lines<'_>, into: &mut Map) -> String {
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

pub(super) fn timeout(entry: Option<&Entry>, lines: Lines<'_>, into: &mut Map) {
    let Some(entry) = entry else { return };
    match number(&entry.value).filter(|minutes| *minutes > 0) {
        Some(minutes) => {
            into.set("timeout", Value::Text(format!("{}m", minutes.min(24 * 60))), lines.line_of_key(entry))
        }
        None => into.note(lines.note(entry, "write a time: `timeout: 30m`")),
    }
}

pub(super) fn continue_on_error(entry: Option<&Entry>, scope: &Scope, lines: Lines<'_>, into: &mut Map) {
    let Some(entry) = entry else { return };
    if let Some(flag) = boolean(&entry.value) {
        into.set("continue-on-error", Value::plain(flag), lines.line_of_key(entry));
        return;
    }
    match text(&entry.value).ok_or_else(|| FORM.to_owned()).and_then(|written| scope.condition(written)) {
        Ok(condition) => {
            let plain = condition.strip_prefix("matrix.").is_some_and(|rest| !rest.contains(' '));
            let condition = if plain { format!("{condition} == 'true'") } else { condition };
            into.set("continue-on-error", Value::Text(format!("${{{{ {condition} }}}}")), lines.line_of_key(entry));
        }
        Err(what) => into.note(lines.note(entry, unknown(&what))),
    }
}
