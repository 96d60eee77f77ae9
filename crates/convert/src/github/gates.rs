//! Steps that could not be carried over: whether later steps and other jobs have to wait for somebody to write them by
//! hand.

use std::rc::Rc;

use longshore_pipeline::tree::{Entry, Node};

use super::super::{
    draft::{Item, Map, Note, Value},
    foreign::{Section, boolean, text, text_or_empty},
    gate,
};
use super::step::{Reader, condition, entry_of};

/// Words in the names of actions that prepare a machine, store files or notify people. Without such an action, later
/// steps do what they did, or fail by themselves.
const NOT_DEPENDED_ON: &[&str] = &[
    "setup",
    "install",
    "toolchain",
    "cache",
    "login",
    "credentials",
    "/auth",
    "gpg",
    "upload",
    "codecov",
    "coverage",
    "coveralls",
    "report",
    "notif",
    "slack",
    "discord",
    "telegram",
    "label",
    "comment",
    "sarif",
    "codeql",
    "stale",
    "harden-runner",
    "disk-space",
    "summary",
    "annotat",
    "matcher",
    "attest",
    "ssh-agent",
];

impl Reader<'_, '_> {
    /// The note on a lost step, and its stand-in if others depend on it.
    pub(super) fn lost(&mut self, node: &Rc<Node>, section: &Section<'_>, note: Note) -> Vec<Item> {
        let id = section.peek("id").and_then(|entry| text(&entry.value));
        let condition = self.own_condition(section);
        let asked = id.is_some_and(|id| self.lines.source.text.contains(&format!("steps.{id}.")) || self.depth > 0);
        let uses = section.peek("uses").and_then(|entry| text(&entry.value)).unwrap_or_default().to_lowercase();
        let may_fail = section.peek("continue-on-error").is_some_and(|entry| boolean(&entry.value) != Some(false));
        let independent = may_fail || NOT_DEPENDED_ON.iter().any(|word| uses.contains(word));
        let after_failures = condition.as_deref().is_some_and(gate::runs_after_failures);
        let never = condition.as_deref() == Some("false") && !self.is_unsaid(section);
        let condition = condition.filter(|condition| condition != "false");
        let gates = !never && (asked || (!independent && !after_failures && self.is_followed(node)));
        let id = id.map(|id| self.id(id));
        let shown = Note { what: called(section), ..note.clone() };
        let step = gates.then(|| gate::stand_in(&shown, id.as_deref(), condition.as_deref()));
        std::iter::once(Item::Note(note)).chain(step.map(|step| Item::Value(step.into()))).collect()
    }

    /// The stand-in after a step that never runs because it lost something.
    pub(super) fn gate_behind(&mut self, node: &Rc<Node>, section: &Section<'_>, step: &Value) -> Option<Item> {
        let Value::Map(step) = step else { return None };
        if step.get("if") != Some(&Value::text("false")) || !self.is_followed(node) {
            return None;
        }
        let written = section.peek("if").and_then(|entry| text(&entry.value)).unwrap_or_default();
        let condition = self.own_condition(section);
        let never = condition.as_deref() == Some("false") && !self.is_unsaid(section);
        if never || gate::runs_after_failures(written) || section.peek("continue-on-error").is_some() {
            return None;
        }
        let condition = condition.filter(|condition| condition != "false");
        let note = Note::new(self.lines.line_of(node.place), called(section), "");
        Some(Item::Value(gate::stand_in(&note, None, condition.as_deref()).into()))
    }

    fn own_condition(&self, section: &Section<'_>) -> Option<String> {
        section.peek("if").map(|entry| condition(entry, self.scope, self.lines, &mut Map::default()))
    }

    /// Whether its condition could not be said.
    fn is_unsaid(&self, section: &Section<'_>) -> bool {
        let mut notes = Map::default();
        section.peek("if").is_some_and(|entry| {
            condition(entry, self.scope, self.lines, &mut notes);
            !notes.parts.is_empty()
        })
    }

    /// Whether a step after this one, or another job, runs only if this one has succeeded.
    pub(super) fn is_followed(&self, node: &Rc<Node>) -> bool {
        // Those of a group are followed by the step that waits for them.
        let is_in_a_group = !self.all.iter().any(|step| Rc::ptr_eq(step, node));
        let mut after = self.all.iter().skip_while(|step| !Rc::ptr_eq(step, node)).skip(1);
        self.followed
            || is_in_a_group
            || after.any(|step| {
                let text_of = |key: &str| entry_of(step, key).and_then(|entry| text(&entry.value)).unwrap_or_default();
                let uses = text_of("uses").to_lowercase();
                !gate::runs_after_failures(text_of("if")) && !NOT_DEPENDED_ON.iter().any(|word| uses.contains(word))
            })
    }
}

/// The name by which people know a step.
fn called(section: &Section<'_>) -> String {
    let text_of = |key: &str| section.peek(key).and_then(|entry| text(&entry.value));
    text_of("name")
        .or(text_of("uses"))
        .or(text_of("run"))
        .and_then(|text| text.lines().next())
        .unwrap_or("a step")
        .to_owned()
}

/// Whether a variable is a token of the forge, without which a step can only do less.
pub(super) fn is_credential(variable: &Entry) -> bool {
    let written = text_or_empty(&variable.value).unwrap_or_default();
    written.contains("secrets.GITHUB_TOKEN") || written.contains("github.token")
}
