//! Writes out the steps of composite actions of the repository.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use longshore_pipeline::{
    SourceFile,
    findings::Findings,
    source::Source,
    tree::{Entry, Node},
    yaml,
};

use super::super::{
    condition,
    draft::{Item, Map, Note, Part, Value},
    foreign::{FORM, Lines, Section, entries, list, text, text_or_empty},
};
use super::{
    expression::Scope,
    notes_of,
    step::{self, ORDER, Reader, entry_of},
    tool_caches::cache_ids,
    unknown, value,
};

/// Limit for actions within actions.
const MAX_DEPTH: usize = 5;

/// The step that uses an action, as far as it concerns every step of that action.
struct Caller {
    condition: Option<String>,
    env: Map,
    line: u32,
}

impl Reader<'_, '_> {
    /// Writes out the steps of a composite action of the repository; `None` if it is not a composite
    /// action, or is missing.
    pub(super) fn local_action(&mut self, node: &Rc<Node>, section: &Section<'_>) -> Option<Vec<Item>> {
        let uses = section.peek("uses")?;
        let folder = text(&uses.value)?.strip_prefix("./")?.trim_matches('/');
        if self.depth >= MAX_DEPTH {
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
        let mut notes = Vec::new();
        let inputs = self.inputs(&root, section, &mut notes);
        let caller = self.caller(section, uses, &mut notes);
        self.job.remark(format!("the steps of ./{folder} are written out"));
        let remarks = self.job.parts.iter().filter(|part| matches!(part, Part::Remark(_))).count();
        let scope = Scope {
            given: Some(inputs),
            caches: cache_ids(steps),
            prefix: Some(id.clone().unwrap_or_else(|| format!("action-{remarks}"))),
            folder: Some(folder.to_owned()),
            secrets: RefCell::default(),
            outputs: RefCell::default(),
            takes: RefCell::default(),
            ..self.scope.clone()
        };
        let lines = Lines { fixed: Some(caller.line), ..self.lines };
        let followed = self.is_followed(node);
        let mut inner = Reader {
            scope: &scope,
            lines,
            job: &mut *self.job,
            background: &mut *self.background,
            shell: None,
            directory: None,
            is_root: self.is_root,
            all: steps,
            depth: self.depth + 1,
            followed,
        };
        let mut items: Vec<Item> = notes.into_iter().map(Item::Note).collect();
        for step in steps {
            items.extend(inner.step(step, None));
        }
        for item in &mut items {
            if let Item::Value(Value::Map(step)) = item {
                caller.apply_to(step);
            }
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
        Some(items)
    }

    /// The inputs of an action, as expressions: what the step says `with`, or the defaults.
    fn inputs(&self, action: &Node, section: &Section<'_>, notes: &mut Vec<Note>) -> BTreeMap<String, String> {
        let mut given = BTreeMap::new();
        let inputs = entry_of(action, "inputs").and_then(|inputs| entries(&inputs.value)).unwrap_or_default();
        for input in inputs {
            let default =
                entry_of(&input.value, "default").and_then(|default| text(&default.value)).unwrap_or_default();
            if let Ok(value) = self.scope.value(default) {
                given.insert(input.key.to_lowercase(), value);
            }
        }
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
                    notes.push(self.lines.note(setting, unknown(&what)));
                }
            }
        }
        given
    }

    fn caller(&self, section: &Section<'_>, uses: &Entry, notes: &mut Vec<Note>) -> Caller {
        let mut around = Map::default();
        let condition = section.peek("if").map(|entry| step::condition(entry, self.scope, self.lines, &mut around));
        notes.extend(notes_of(&around));
        let mut env = Map::default();
        let variables = section.peek("env").and_then(|entry| entries(&entry.value)).unwrap_or_default();
        for variable in variables {
            match value(variable, self.scope) {
                Ok(value) => env.set(variable.key.clone(), Value::Text(value), self.lines.line_of_key(variable)),
                Err(why) => notes.push(self.lines.note(variable, why)),
            }
        }
        if section.peek("background").is_some() {
            let why = "the steps of an action run in their order, before what comes after them";
            notes.push(self.lines.note(uses, why));
        }
        Caller { condition, env, line: self.lines.line_of_key(uses) }
    }
}

impl Caller {
    /// Adds its condition and its variables to a step of the action.
    fn apply_to(&self, step: &mut Map) {
        if let Some(condition) = self.condition.as_ref().filter(|condition| *condition != "true") {
            let own = match step.get("if") {
                Some(Value::Text(own)) => Some(own.clone()),
                _ => None,
            };
            let both: Vec<String> = std::iter::once(condition.clone()).chain(own).collect();
            step.set("if", Value::Text(condition::all(&both).unwrap_or_default()), self.line);
        }
        if !self.env.is_empty() {
            let mut all = self.env.clone();
            if let Some(Value::Map(own)) = step.get("env") {
                own.parts.iter().for_each(|part| match part {
                    Part::Entry(entry) => all.set(entry.key.as_str(), entry.value.clone(), entry.line),
                    part => all.parts.push(part.clone()),
                });
            }
            step.set("env", all, self.line);
        }
        step.arrange(ORDER);
    }
}
