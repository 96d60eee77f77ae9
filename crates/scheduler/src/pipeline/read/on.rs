//! `on`: what starts a pipeline.

use std::rc::Rc;

use super::super::{
    code::Code,
    fields::{Fields, judge},
    filter::Patterns,
    findings::Findings,
    keys::{self, Keys},
    model::{Push, Triggers},
    scalar::{filled, items},
    source::Place,
    tree::{Entry, Kind, Node},
};

/// Without `on`: every push and every manual start.
pub(super) fn default() -> Triggers {
    Triggers { push: Some(Push::default()), manual: true }
}

/// `on: push`, `on: [push, manual]` or a mapping with filters.
pub(super) fn read(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<Triggers> {
    if let Kind::Map(entries) = &node.kind {
        if entries.is_empty() {
            nothing(node.place, findings);
            return None;
        }
        return read_mapping(entries, findings);
    }
    let mut triggers = Triggers { push: None, manual: false };
    let mut sound = true;
    let items = items(node);
    if items.is_empty() || node.is_null() {
        nothing(node.place, findings);
        return None;
    }
    for item in items {
        match filled(item, "an event of `on`", findings) {
            Some("push") => triggers.push = Some(Push::default()),
            Some("manual") => triggers.manual = true,
            Some(word) => {
                // Judged like the key that it would be in a mapping.
                let entry = Entry { key: word.to_owned(), key_place: item.place, value: Rc::clone(item) };
                judge_event(&entry, findings);
                sound = false;
            }
            None => sound = false,
        }
    }
    sound.then_some(triggers)
}

fn read_mapping(entries: &[Entry], findings: &mut Findings<'_>) -> Option<Triggers> {
    for entry in entries {
        judge_event(entry, findings);
    }
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let push = match find("push") {
        Some(entry) => push(&entry.value, findings).map(Some),
        None => Some(None),
    };
    let manual = match find("manual") {
        Some(entry) if entry.value.is_null() => Some(true),
        Some(entry) => Fields::of(&entry.value, &keys::MANUAL, findings).map(|_| true),
        None => Some(false),
    };
    let (push, manual) = (push?, manual?);
    if push.is_none() && !manual {
        // Whatever stands there has been refused.
        return None;
    }
    Some(Triggers { push, manual })
}

fn judge_event(entry: &Entry, findings: &mut Findings<'_>) {
    if keys::ON_LATER_ALIASES.contains(&entry.key.as_str()) {
        let ours = if entry.key == "cron" { "schedule" } else { "pull-request" };
        findings.error(
            Code::NotSupportedYet,
            entry.key_place,
            format!("`{}` (here `{ours}`) is not supported yet", entry.key),
            "take it out; docs/pipeline.md lists what is supported".to_owned(),
        );
        return;
    }
    judge(entry, &keys::ON, findings);
}

fn nothing(place: Place, findings: &mut Findings<'_>) {
    findings.error(
        Code::Empty,
        place,
        "`on` names no event, so nothing would ever start this pipeline",
        "write `on: push`, or leave `on` out for every push and every manual start".to_owned(),
    );
}

fn push(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<Push> {
    if node.is_null() {
        return Some(Push::default());
    }
    let fields = Fields::of(node, &keys::PUSH, findings)?;
    let branches = patterns(&fields, "branches", &keys::PUSH, findings);
    let tags = patterns(&fields, "tags", &keys::PUSH, findings);
    Some(Push { branches: branches?, tags: tags? })
}

#[expect(clippy::option_option, reason = "a key may be absent, wrong or right")]
fn patterns(fields: &Fields<'_>, key: &str, keys: &Keys, findings: &mut Findings<'_>) -> Option<Option<Patterns>> {
    let Some(node) = fields.get(key) else { return Some(None) };
    let items = items(node);
    if items.is_empty() || node.is_null() {
        findings.error(
            Code::Empty,
            node.place,
            format!("`{key}` of {} has no pattern, so nothing would ever fit", keys.of),
            format!("write `{key}: [main]`, or leave `{key}` out"),
        );
        return None;
    }
    let mut patterns = Patterns::new();
    let mut sound = true;
    for item in items {
        let Some(written) = filled(item, &format!("a pattern of `{key}`"), findings) else {
            sound = false;
            continue;
        };
        if written.contains("${{") {
            findings.error(
                Code::ExpressionNotSupported,
                item.place,
                "patterns cannot have expressions",
                "write the pattern itself, such as `release/**`".to_owned(),
            );
            sound = false;
        } else if let Err(reason) = patterns.add(written) {
            findings.error(
                Code::BadGlob,
                item.place,
                format!("this pattern is broken: {reason}"),
                "patterns are globs: `main`, `release/**`, `v[0-9]*`, `{main,next}`, and `!wip/**` to exclude"
                    .to_owned(),
            );
            sound = false;
        }
    }
    sound.then_some(Some(patterns))
}
