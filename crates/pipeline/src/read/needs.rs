//! Reads `needs`: jobs that have to end first.

use std::rc::Rc;

use super::super::{
    code::Code,
    fields::Fields,
    findings::Findings,
    keys,
    scalar::{boolean, filled, items},
    source::Place,
    tree::{Kind, Node},
};
use super::job::entry_of;

/// Returns the needs of a job as written, with their places, without entries that are no name.
pub(super) fn listed(job: &Node) -> Vec<(&str, Place)> {
    entry_of(job, "needs")
        .map_or_else(Vec::new, |entry| items(&entry.value).iter().filter_map(|item| name(item)).collect())
}

fn name(item: &Node) -> Option<(&str, Place)> {
    match &item.kind {
        Kind::Scalar(scalar) if !scalar.is_null() => Some((scalar.text.as_str(), item.place)),
        Kind::Map(_) => name(&entry_of(item, "job")?.value),
        Kind::Scalar(_) | Kind::List(_) => None,
    }
}

/// Returns the names of the needed jobs, and whether each is optional.
pub(super) fn check(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<Vec<(String, bool)>> {
    let list = items(node);
    if list.len() > findings.most_jobs() {
        let message = format!("a job can need at most {} jobs", findings.most_jobs());
        findings.error(Code::TooManyJobs, node.place, message, None);
        return None;
    }
    if matches!(node.kind, Kind::Map(_)) {
        findings.error(
            Code::WrongType,
            node.place,
            "`needs` must be a list of jobs, but this is a mapping",
            "write `needs: [lint, build]`".to_owned(),
        );
        return None;
    }
    let mut sound = true;
    let mut needs: Vec<(String, bool)> = Vec::new();
    for item in list {
        let Some((job, optional, place)) = one(item, findings) else {
            sound = false;
            continue;
        };
        if needs.iter().any(|(name, _)| *name == job) {
            let message = format!("`{job}` is listed twice");
            findings.warning(Code::RepeatedNeed, place, message, "remove the duplicate".to_owned());
        } else {
            needs.push((job, optional));
        }
    }
    sound.then_some(needs)
}

fn one(item: &Node, findings: &mut Findings<'_>) -> Option<(String, bool, Place)> {
    if !matches!(item.kind, Kind::Map(_)) {
        return filled(item, "an entry of `needs`", findings).map(|job| (job.to_owned(), false, item.place));
    }
    let fields = Fields::read(item, &keys::NEED, findings)?;
    let job = match fields.get("job") {
        Some(node) => filled(node, "`job`", findings).map(|job| (job.to_owned(), node.place)),
        None => {
            if !fields.is_misnamed("job", &keys::NEED) {
                let help = "write `{ job: lint, optional: true }`";
                findings.error(Code::MissingKey, item.place, "this entry of `needs` has no `job`", help.to_owned());
            }
            None
        }
    };
    let optional = match fields.get("optional") {
        Some(node) => boolean(node, "`optional`", findings),
        None => Some(false),
    };
    let ((job, place), optional) = (job?, optional?);
    Some((job, optional, place))
}
