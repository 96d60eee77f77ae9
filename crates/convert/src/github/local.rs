//! Writes out the steps of composite actions that stand in the repository.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use longshore_pipeline::{SourceFile, findings::Findings, source::Source, tree::Node, yaml};

use super::super::{
    condition,
    draft::{Item, Map, Part, Value},
    foreign::{FORM, Lines, Section, entries, list, text, text_or_empty},
};
use super::{
    expression::Scope,
    kept::cache_ids,
    notes_of,
    step::{self, ORDER, Reader, entry_of},
    unknown, value,
};

/// Limit for actions within actions.
const ACTIONS: usize = 5;

impl Reader<'_, '_> {
    /// Writes out the steps of a composite action that stands in the repository; `None` if it is not a composite action, or not there.
    pub(super) fn local_action(&mut self, node: &Rc<Node>, section: &Section<'_>) -> Option<Vec<Item>> {
        let uses = section.peek("uses")?;
        let folder = text(&uses.value)?.strip_prefix("./")?.trim_matches('/');
        if self.depth >= ACTIONS {
            return None;
        }
        let read = |file: &str| (self.lines.files)(&format!("{folder}/{file}"));
        let content = read("action.yml").or_else(|| read("action.yaml"))?;
        self.scope.texts.borrow_mut().push_str(&content);
        let written = SourceFile::new(folder, content);
        let source = Source::new(&written);
        let root = yaml::documents(&mut Findings::new(&source))?.pop()?;
        let runs = entry_of(&root, "runs")
            .filter(|runs| entry_of(&runs.value, "using").and_then(|using| text(&using.value)) == Some("composite"))?;
        let steps = list(&entry_of(&runs.value, "steps")?.value)?;
        let id = section.peek("id").and_then(|entry| text(&entry.value)).map(str::to_owned);
        let line = self.lines.line_of_key(uses);
        let mut given = BTreeMap::new();
        let inputs = entry_of(&root, "inputs").and_then(|inputs| entries(&inputs.value)).unwrap_or_default();
        for input in inputs {
            let default =
                entry_of(&input.value, "default").and_then(|default| text(&default.value)).unwrap_or_default();
            if let Ok(value) = self.scope.value(default) {
                given.insert(input.key.to_lowercase(), value);
            }
        }
        let mut notes = Vec::new();
        let with = section.peek("with").and_then(|with| entries(&with.value)).unwrap_or_default();
        for setting in with {
            let key = setting.key.to_lowercase();
            match text_or_empty(&setting.value)
                .ok_or_else(|| FORM.to_owned())
                .and_then(|written| self.scope.value(written))
            {
                Ok(value) => drop(given.insert(key, value)),
                Err(what) => {
                    given.remove(&key);
                    notes.push(Item::Note(self.lines.note(setting, unknown(&what))));
                }
            }
        }
        let mut around = Map::default();
        let condition = section.peek("if").map(|entry| step::condition(entry, self.scope, self.lines, &mut around));
        notes.extend(notes_of(&around).into_iter().map(Item::Note));
        let mut env = Map::default();
        let outer = section.peek("env").and_then(|entry| entries(&entry.value)).unwrap_or_default();
        for variable in outer {
            match value(variable, self.scope) {
                Ok(value) => env.set(variable.key.clone(), Value::Text(value), self.lines.line_of_key(variable)),
                Err(why) => notes.push(Item::Note(self.lines.note(variable, why))),
            }
        }
        if section.peek("background").is_some() {
            notes.push(Item::Note(
                self.lines.note(uses, "the steps of an action run in their order, before what comes after them"),
            ));
        }
        self.job.remark(format!("the steps of ./{folder} are written out"));
        let taken = self.job.parts.iter().filter(|part| matches!(part, Part::Remark(_))).count();
        let scope = Scope {
            given: Some(given),
            caches: cache_ids(steps),
            prefix: Some(id.clone().unwrap_or_else(|| format!("action-{taken}"))),
            folder: Some(folder.to_owned()),
            secrets: RefCell::default(),
            outputs: RefCell::default(),
            takes: RefCell::default(),
            ..self.scope.clone()
        };
        let lines = Lines { fixed: Some(line), ..self.lines };
        let followed = self.is_followed(node);
        let mut inner = Reader {
            scope: &scope,
            lines,
            job: &mut *self.job,
            beside: &mut *self.beside,
            shell: None,
            directory: None,
            is_root: self.is_root,
            all: steps,
            depth: self.depth + 1,
            followed,
        };
        for step in steps {
            notes.extend(inner.step(step, None));
        }
        for item in &mut notes {
            let Item::Value(Value::Map(step)) = item else { continue };
            if let Some(condition) = condition.as_ref().filter(|condition| *condition != "true") {
                let own = match step.get("if") {
                    Some(Value::Text(own)) => Some(own.clone()),
                    _ => None,
                };
                let both: Vec<String> = std::iter::once(condition.clone()).chain(own).collect();
                step.set("if", Value::Text(condition::all(&both).unwrap_or_default()), line);
            }
            if !env.is_empty() {
                let mut all = env.clone();
                if let Some(Value::Map(own)) = step.get("env") {
                    own.parts.iter().for_each(|part| match part {
                        Part::Entry(entry) => all.set(entry.key.as_str(), entry.value.clone(), entry.line),
                        part => all.parts.push(part.clone()),
                    });
                }
                step.set("env", all, line);
            }
            step.arrange(ORDER);
        }
        for (job, names) in scope.takes.take() {
            self.scope.takes.borrow_mut().entry(job).or_default().extend(names);
        }
        let outputs = entry_of(&root, "outputs").and_then(|outputs| entries(&outputs.value)).unwrap_or_default();
        for output in outputs {
            let written = entry_of(&output.value, "value").and_then(|value| text(&value.value));
            if let (Some(id), Some(Ok(value))) = (&id, written.map(|written| scope.value(written))) {
                self.scope.outputs.borrow_mut().insert((id.clone(), output.key.clone()), value);
            }
        }
        Some(notes)
    }
}
