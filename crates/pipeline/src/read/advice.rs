//! Warnings about what is legal but unwise.

use std::rc::Rc;

use longshore_core::{Template, expression::Refers, plan::SecretUse};

use super::super::{
    code::Code,
    findings::Findings,
    model::{Job, Step},
    source::Place,
    tree::{Kind, Node},
};
use super::job::entry_of;

/// Warns of secrets whose variable every step overrides, and that no text of the job refers to.
pub(super) fn unseen_secrets(job: &Job, secrets: &[(SecretUse, Place)], findings: &mut Findings<'_>) {
    for (secret, place) in secrets {
        if job.refers_to_secret(&secret.name) {
            continue;
        }
        if secret.by_name {
            findings.warning(
                Code::UnseenSecret,
                *place,
                format!(
                    "nothing has this secret: no variable holds it, and nothing refers to `secrets.{}`",
                    secret.name
                ),
                "refer to it in the `env` of a step, or remove it".to_owned(),
            );
            continue;
        }
        if job.steps.iter().all(|step| step.draft.env.contains_key(&secret.variable)) {
            findings.warning(
                Code::UnseenSecret,
                *place,
                format!("no step can see this secret: each step sets a variable `{}` itself", secret.variable),
                "rename it with `as`, or remove one of the two".to_owned(),
            );
        }
    }
}

/// Warns of images in a deploying job whose tag may be another image tomorrow. A job deploys if it asks for approval,
/// or if it has secrets and its pipeline has `concurrency`.
pub(super) fn floating_tags(
    job: &Job,
    image_place: Place,
    steps: Option<&Rc<Node>>,
    exclusive: bool,
    findings: &mut Findings<'_>,
) {
    let deploys = job.approval.is_some() || (exclusive && !job.draft.secrets.is_empty());
    if !deploys {
        return;
    }
    let mut warn = |image: &Template, place: Place| {
        let Some(tag) = image.as_known().and_then(floating) else { return };
        findings.warning(
            Code::FloatingTag,
            place,
            format!("the job `{}` deploys, and {tag}", job.name),
            "name a version, or the digest behind an `@`".to_owned(),
        );
    };
    warn(&job.draft.image, image_place);
    for (step, node) in job.steps.iter().zip(step_nodes(steps)) {
        if let Some(image) = &step.draft.image {
            warn(image, entry_of(node, "image").map_or(node.place, |entry| entry.value.place));
        }
    }
}

/// Warns of steps that refer to the outputs of a background step before a step waits for it. The job's `outputs` can
/// use them always.
pub(super) fn early_values(job: &Job, steps: Option<&Rc<Node>>, findings: &mut Findings<'_>) {
    for (at, step) in job.steps.iter().enumerate() {
        let Some(id) = step.draft.id.as_deref().filter(|_| step.draft.background) else { continue };
        let of_it = |refers: &Refers| {
            refers
                .contexts
                .iter()
                .any(|(context, name)| context == "steps" && name.as_ref().is_none_or(|name| name == id))
        };
        let awaited =
            |later: &(&Step, &Rc<Node>)| later.0.draft.wait.as_ref().is_some_and(|wait| wait.includes(&step.draft));
        for (later, node) in job.steps.iter().zip(step_nodes(steps)).skip(at + 1).take_while(|later| !awaited(later)) {
            let asks = later.draft.refers().any(|refers| of_it(&refers));
            if asks {
                let place = entry_of(node, "if")
                    .filter(|_| later.draft.condition.as_ref().is_some_and(|condition| of_it(&condition.refers())))
                    .map_or(node.place, |entry| entry.value.place);
                findings.warning(
                    Code::EarlyValue,
                    place,
                    format!("`{id}` runs in the background: its outputs and its outcome are known only after it has finished"),
                    format!("write a step `wait: {id}` before this one, or remove `background`"),
                );
            }
        }
    }
}

fn step_nodes(steps: Option<&Rc<Node>>) -> &[Rc<Node>] {
    match steps.map(|node| &node.kind) {
        Some(Kind::List(nodes)) => nodes,
        _ => &[],
    }
}

/// Returns which part of an image's name is floating.
fn floating(image: &str) -> Option<&'static str> {
    if image.contains('@') {
        return None;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        None => Some("its image has no tag, which means `latest`"),
        Some((_, "latest")) => Some("the tag `latest` can change at any time"),
        Some(_) => None,
    }
}
