//! Converts the steps of a job of a workflow, and the keys that steps and jobs share.

use std::rc::Rc;

use longshore_pipeline::tree::{Entry, Node};

use super::super::{
    draft::{Item, Map, Note, Value},
    foreign::{FORM, Lines, Section, boolean, entries, number, text},
};
use super::{
    actions::{self, ConvertedAction},
    expression::Scope,
    shell_of, unknown, value,
};

/// Reads the steps of one job.
pub(super) struct Reader<'r, 's> {
    pub(super) scope: &'r Scope,
    pub(super) lines: Lines<'s>,
    pub(super) job: &'r mut Map,
    pub(super) shell: Option<&'r str>,
    pub(super) directory: Option<&'r str>,
}

impl Reader<'_, '_> {
    /// Converts a step; `None` if the job already does what the step did. `set_up` says that the job's image does its
    /// work.
    pub(super) fn step(&mut self, node: &Rc<Node>, set_up: bool) -> Option<Item> {
        let (scope, lines) = (self.scope, self.lines);
        let line = lines.line_of(node.place);
        let Some(section) = Section::read(node) else { return Some(Item::Note(Note::new(line, "a step", FORM))) };
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
                    Ok(value) => env.set(variable.key.clone(), Value::Text(value), lines.line_of_key(variable)),
                    Err(why) => env.note(lines.note(variable, why)),
                }
            }
            lines.line_of_key(entry)
        });
        let when =
            section.take("if").map(|entry| (condition(entry, scope, lines, &mut body), lines.line_of_key(entry)));
        let with = section.take("with");
        if let Some(uses) = uses {
            let asked = when.as_ref().map(|(condition, _)| condition.as_str());
            match actions::read(uses, with, asked, scope, lines, self.job) {
                ConvertedAction::Done => return None,
                ConvertedAction::Left(note) => return Some(Item::Note(note)),
                ConvertedAction::Step(step) => body.parts.extend(step.parts),
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
                    body.set("name", Value::text(name.replace(['\n', '\r'], " ").trim()), lines.line_of_key(entry));
                }
                _ => body.note(lines.note(entry, "a step's name has to be known when the build is planned")),
            }
        }
        if let Some((id, entry)) = section.take("id").and_then(|entry| Some((text(&entry.value)?, entry))) {
            body.set("id", Value::text(id), lines.line_of_key(entry));
        }
        if let Some((condition, line)) = when {
            body.set("if", Value::Text(condition), line);
        }
        timeout(section.take("timeout-minutes"), lines, &mut body);
        continue_on_error(section.take("continue-on-error"), scope, lines, &mut body);
        let directory = section
            .take("working-directory")
            .and_then(|entry| Some((text(&entry.value)?, Some(lines.line_of_key(entry)))));
        match directory.or_else(|| self.directory.map(|directory| (directory, None))) {
            Some((written, line)) if uses.is_none() => match scope.text(written) {
                Ok(directory) => body.set("working-directory", Value::Text(directory), line),
                Err(what) => {
                    return Some(Item::Note(Note::new(
                        line.unwrap_or_else(|| lines.line_of(node.place)),
                        "working-directory",
                        unknown(&what),
                    )));
                }
            },
            _ => {}
        }
        let written_shell =
            section.take("shell").and_then(|entry| Some((text(&entry.value)?, Some(lines.line_of_key(entry)))));
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
                    Ok(script) => body.set("run", Value::Script(script), lines.line_of_key(entry)),
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

/// Replaces the names of the files that a script writes its outputs to with ours.
fn outputs(script: &str) -> String {
    script
        .replace("GITHUB_OUTPUT", "LONGSHORE_OUTPUT")
        .replace("GITHUB_ENV", "LONGSHORE_ENV")
        .replace("GITHUB_PATH", "LONGSHORE_PATH")
        .replace("GITHUB_STEP_SUMMARY", "LONGSHORE_SUMMARY")
}

/// Converts a condition. One that cannot be translated becomes `false`, so that nothing runs because of it.
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
