//! What is legal and unwise.

use std::rc::Rc;

use longshore_core::{Template, plan::SecretUse};

use super::super::{
    code::Code,
    findings::Findings,
    model::Job,
    source::Place,
    tree::{Kind, Node},
};
use super::{job::entry_of, step};

/// Secrets whose variable every step hides with one of its own.
pub(super) fn unseen_secrets(secrets: &[(SecretUse, Place)], steps: &[step::Read], findings: &mut Findings<'_>) {
    for (secret, place) in secrets {
        if steps.iter().all(|step| step.variables.contains(&secret.variable)) {
            findings.warning(
                Code::UnseenSecret,
                *place,
                format!("no step can see this secret: each has a variable `{}` of its own", secret.variable),
                "name it otherwise with `as`, or take one of the two out".to_owned(),
            );
        }
    }
}

/// Images of a job that deploys whose tag may be another image tomorrow. A job deploys if it asks for approval, or if it
/// has secrets and its pipeline runs one at a time.
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
    let mut judge = |image: &Template, place: Place| {
        let Some(tag) = image.as_known().and_then(floating) else { return };
        findings.warning(
            Code::FloatingTag,
            place,
            format!("the job `{}` deploys, and {tag}", job.name),
            "name a version, or the digest behind an `@`".to_owned(),
        );
    };
    judge(&job.draft.image, image_place);
    let nodes = match steps.map(|node| &node.kind) {
        Some(Kind::List(nodes)) => nodes.as_slice(),
        _ => &[],
    };
    for (step, node) in job.steps.iter().zip(nodes) {
        if let Some(image) = &step.draft.image {
            judge(image, entry_of(node, "image").map_or(node.place, |entry| entry.value.place));
        }
    }
}

/// What is floating about an image's name.
fn floating(image: &str) -> Option<&'static str> {
    if image.contains('@') {
        return None;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        None => Some("its image has no tag, which means whatever is newest"),
        Some((_, "latest")) => Some("the tag `latest` means whatever is newest"),
        Some(_) => None,
    }
}
