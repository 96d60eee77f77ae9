//! Steps that run beside others, and those that wait for them. A job waits at its end for what nothing has waited for
//! or canceled, there and here.

use std::rc::Rc;

use longshore_pipeline::tree::{Entry, Node};

use super::super::{
    draft::{Item, Map, Value},
    foreign::{FORM, Section, list, texts},
};
use super::step::{ORDER, Reader, condition, continue_on_error, timeout};

/// The steps of a job that were started in the background.
#[derive(Debug, Default)]
pub(super) struct BackgroundSteps {
    /// The IDs of those that nothing has waited for or canceled.
    running: Vec<String>,
    /// How many IDs were made up.
    named: usize,
    /// Whether one was canceled. It goes on here, so nothing may wait for all of them.
    canceled: bool,
}

impl BackgroundSteps {
    /// What waits for these steps, and for no other.
    fn wait(&mut self, ids: Vec<String>) -> Value {
        let is_all = !self.canceled && self.running.iter().all(|id| ids.contains(id));
        self.running.retain(|id| !ids.contains(id));
        if is_all { Value::plain(true) } else { Value::texts(ids) }
    }

    /// The step that a job's end is to be preceded by.
    pub(super) fn end(mut self) -> Option<Item> {
        let ids = self.running.clone();
        let mut step = Map::default();
        step.set("if", Value::text("!cancelled()"), None);
        step.set("wait", self.wait(ids.clone()), None);
        (!ids.is_empty()).then(|| Item::Value(step.into()))
    }
}

impl Reader<'_, '_> {
    /// Puts a step into the background, with an ID by which it can be waited for.
    pub(super) fn put_in_background(&mut self, step: &mut Map, line: u32) {
        let id = match step.get("id") {
            Some(Value::Text(id)) => id.clone(),
            _ => {
                self.background.named += 1;
                let id = self.id(&format!("background-{}", self.background.named));
                step.set("id", Value::text(id.as_str()), None);
                id
            }
        };
        step.set("background", Value::plain(true), line);
        self.background.running.push(id);
    }

    /// Converts a step that waits for others; to nothing if none of them is in the background here.
    pub(super) fn wait(&mut self, section: &Section<'_>, entry: &Entry) -> Vec<Item> {
        let ids: Vec<String> = match entry.key.as_str() {
            "wait" => match texts(&entry.value) {
                Some(named) => named.iter().map(|id| self.id(id)).collect(),
                None => return vec![Item::Note(self.lines.note(entry, FORM))],
            },
            _ => self.background.running.clone(),
        };
        let ids: Vec<String> = ids.into_iter().filter(|id| self.background.running.contains(id)).collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let mut step = Map::default();
        self.read_name(section, &mut step);
        if let Some(entry) = section.take("if") {
            let condition = condition(entry, self.scope, self.lines, &mut step);
            if condition != "true" {
                step.set("if", Value::Text(condition), self.lines.line_of_key(entry));
            }
        }
        timeout(section.take("timeout-minutes"), self.lines, &mut step);
        continue_on_error(section.take("continue-on-error"), self.scope, self.lines, &mut step);
        step.set("wait", self.background.wait(ids), self.lines.line_of_key(entry));
        step.arrange(ORDER);
        vec![Item::Value(step.into())]
    }

    /// What is canceled there goes on here until the job's end.
    pub(super) fn cancel(&mut self, entry: &Entry) -> Vec<Item> {
        let ids: Vec<String> = texts(&entry.value).unwrap_or_default().iter().map(|id| self.id(id)).collect();
        self.background.canceled |= self.background.running.iter().any(|id| ids.contains(id));
        self.background.running.retain(|id| !ids.contains(id));
        vec![Item::Note(self.lines.note(entry, "a step in the background ends with its job"))]
    }

    /// Converts steps that run beside each other, and are waited for. One that becomes several here runs before them.
    pub(super) fn group(&mut self, group: &Entry) -> Vec<Item> {
        let steps: &[Rc<Node>] = list(&group.value).unwrap_or_default();
        if steps.is_empty() {
            return vec![Item::Note(self.lines.note(group, FORM))];
        }
        let (mut first, mut background, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for step in steps {
            let mut items = self.step(step, None);
            match items.as_mut_slice() {
                [Item::Value(Value::Map(step))] if step.get("wait").is_none() => {
                    self.put_in_background(step, self.lines.line_of_key(group));
                    step.arrange(ORDER);
                    ids.extend(self.background.running.last().cloned());
                    background.append(&mut items);
                }
                _ => {
                    self.job.remark(BEFORE_THEM);
                    first.append(&mut items);
                }
            }
        }
        first.append(&mut background);
        if !ids.is_empty() {
            let mut step = Map::default();
            step.set("wait", self.background.wait(ids), self.lines.line_of_key(group));
            first.push(Item::Value(step.into()));
        }
        first
    }
}

const BEFORE_THEM: &str =
    "of steps that ran beside each other, those that are several steps here, or lack something, run first";
