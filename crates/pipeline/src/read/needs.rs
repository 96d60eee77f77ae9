//! Reads `needs`: jobs that have to end first.

use std::{collections::HashMap, rc::Rc};

use super::super::{
    code::Code,
    fields::Fields,
    findings::Findings,
    keys,
    model::Need,
    scalar::{boolean, filled, items},
    source::Place,
    suggest,
    tree::{Kind, Node},
};
use super::job::{Head, entry_of};

/// What a pipeline writes for all artifacts of a job.
const ALL_ARTIFACTS: &str = "*";

/// Returns the jobs that `needs` names, as written and with their places. Skips entries that name no job.
pub(super) fn needed_names(job: &Node) -> Vec<(&str, Place)> {
    entry_of(job, "needs")
        .map_or_else(Vec::new, |entry| items(&entry.value).iter().filter_map(|item| job_name(item)).collect())
}

fn job_name(item: &Node) -> Option<(&str, Place)> {
    match &item.kind {
        Kind::Scalar(scalar) if !scalar.is_null() => Some((scalar.text.as_str(), item.place)),
        Kind::Map(_) => job_name(&entry_of(item, "job")?.value),
        Kind::Scalar(_) | Kind::List(_) => None,
    }
}

/// Reads `needs`. `None` after an error.
pub(super) fn read(node: &Rc<Node>, heads: &HashMap<String, Head>, findings: &mut Findings<'_>) -> Option<Vec<Need>> {
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
    let mut valid = true;
    let mut needs: Vec<Need> = Vec::new();
    for item in list {
        let Some((need, place)) = read_need(item, heads, findings) else {
            valid = false;
            continue;
        };
        if needs.iter().any(|other| other.job == need.job) {
            let message = format!("`{}` is listed twice", need.job);
            findings.warning(Code::RepeatedNeed, place, message, "remove the duplicate".to_owned());
        } else {
            needs.push(need);
        }
    }
    valid.then_some(needs)
}

/// Returns the job whose workspace this job starts from, if an entry has `workspace: true`. The outer `None` means that
/// an entry is invalid.
pub(super) fn workspace_job(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<Option<String>> {
    let mut found: Option<String> = None;
    for item in items(node) {
        let Some(entry) = entry_of(item, "workspace") else { continue };
        if !boolean(&entry.value, "`workspace`", findings)? {
            continue;
        }
        let (job, _) = job_name(item)?;
        if let Some(other) = found.replace(job.to_owned()) {
            let message =
                format!("a job can start on the workspace of one other job, and this one names `{other}` and `{job}`");
            findings.error(
                Code::NotTogether,
                entry.key_place,
                message,
                "write `workspace: true` for only one of them".to_owned(),
            );
            return None;
        }
    }
    Some(found)
}

fn read_need(item: &Node, heads: &HashMap<String, Head>, findings: &mut Findings<'_>) -> Option<(Need, Place)> {
    if !matches!(item.kind, Kind::Map(_)) {
        let job = filled(item, "an entry of `needs`", findings)?.to_owned();
        return Some((Need { job, optional: false, artifacts: Vec::new() }, item.place));
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
    let (job, place) = job?;
    let artifacts = match fields.get("artifacts") {
        Some(node) => read_artifacts(node, &job, heads, findings),
        None => Some(Vec::new()),
    };
    Some((Need { job, optional: optional?, artifacts: artifacts? }, place))
}

/// Reads the names of a needed job's artifacts.
fn read_artifacts(
    node: &Rc<Node>,
    job: &str,
    heads: &HashMap<String, Head>,
    findings: &mut Findings<'_>,
) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for item in items(node) {
        let name = filled(item, "the name of an artifact", findings)?.trim().to_owned();
        let known = heads.get(job).and_then(|head| head.artifacts.as_ref());
        let wrong = match known {
            Some(known) if known.is_empty() => Some((format!("the job `{job}` has no artifacts"), None)),
            Some(known) if name != ALL_ARTIFACTS && !known.contains(&name) => {
                Some((format!("the job `{job}` has no artifact `{name}`"), Some(known)))
            }
            Some(_) | None => None,
        };
        if let Some((message, known)) = wrong {
            let help = match known {
                Some(known) => format!("it has {}", suggest::listed(known.iter().map(String::as_str))),
                None => format!("add `artifacts: [{{ name: {name}, paths: [...] }}]` to `{job}`"),
            };
            findings.error(Code::UnknownArtifact, item.place, message, help);
            return None;
        }
        names.push(name);
    }
    if names.is_empty() {
        let help = "write the names of artifacts, or `'*'` for all";
        findings.error(Code::Empty, node.place, "no artifact is listed here", help.to_owned());
        return None;
    }
    Some(names)
}
