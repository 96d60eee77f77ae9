//! Checks that steps wait for steps in the background that come before them.

use std::rc::Rc;

use super::super::{
    code::Code,
    findings::Findings,
    scalar::items,
    suggest::did_you_mean,
    tree::{Kind, Node, Scalar},
};
use super::job::entry_of;

/// Returns whether every step that these steps wait for exists. Reads the steps as they are written, so that mistakes
/// in one step do not hide others.
pub(super) fn check(steps: &[Rc<Node>], findings: &mut Findings<'_>) -> bool {
    let mut valid = true;
    for (at, step) in steps.iter().enumerate() {
        let Some(entry) = entry_of(step, "wait") else { continue };
        let before: Vec<&Rc<Node>> = steps.iter().take(at).filter(|step| is_background(step)).collect();
        if scalar(&entry.value).and_then(Scalar::boolean) == Some(true) {
            if before.is_empty() {
                let message = "no step before this one runs in the background";
                let help = "write `background: true` in the steps to wait for".to_owned();
                findings.error(Code::NoSuchWait, entry.value.place, message, help);
                valid = false;
            }
            continue;
        }
        for node in items(&entry.value) {
            let Some(id) = scalar(node).map(|id| id.text.as_str()) else { continue };
            if before.iter().any(|step| id_of(step) == Some(id)) {
                continue;
            }
            let (what, help) = match steps.iter().position(|step| id_of(step) == Some(id)) {
                Some(there) if there >= at => ("comes later", "move it before this one".to_owned()),
                Some(_) => ("does not run in the background", "write `background: true` in it".to_owned()),
                None => {
                    let near = did_you_mean(id, before.iter().filter_map(|step| id_of(step)));
                    ("is not there", near.unwrap_or_else(|| format!("write `id: {id}` in the step to wait for")))
                }
            };
            findings.error(Code::NoSuchWait, node.place, format!("the step `{id}` {what}"), help);
            valid = false;
        }
    }
    valid
}

fn is_background(step: &Node) -> bool {
    entry_of(step, "background").and_then(|entry| scalar(&entry.value)).and_then(Scalar::boolean) == Some(true)
}

fn id_of(step: &Node) -> Option<&str> {
    scalar(&entry_of(step, "id")?.value).map(|id| id.text.as_str())
}

fn scalar(node: &Node) -> Option<&Scalar> {
    match &node.kind {
        Kind::Scalar(scalar) => Some(scalar),
        Kind::Map(_) | Kind::List(_) => None,
    }
}
