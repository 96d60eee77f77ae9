//! Resolves what a job waits for if another system's rules differ from ours.
//!
//! Here a job is skipped if one that it needs was skipped. If the source's language ignores needs that are not part of
//! the build (`absent_needs_count`), then a job that needs one that may be skipped also needs everything which that one
//! waits for, and its condition requires that none has failed.
//!
//! A job that sees through skipped ones does not run where one before it was missed: where that may have run there, and
//! does not here, nobody knows whether it would have failed.

use std::collections::BTreeSet;

use super::draft::{After, Draft, Job, Note, Value};

/// Sets `needs` and `if` of all jobs.
pub(super) fn resolve(draft: &mut Draft) {
    let before: Vec<BTreeSet<usize>> = (0..draft.jobs.len()).map(|job| transitive_needs(&draft.jobs, job)).collect();
    let may_be_skipped: Vec<bool> =
        draft.jobs.iter().map(|job| !job.conditions.is_empty() || job.after != After::Success).collect();
    let names: Vec<String> = draft.jobs.iter().map(|job| job.name.clone()).collect();
    let exact_if: Vec<Option<String>> =
        draft.jobs.iter().map(|job| job.exact_if.clone().filter(|_| !may_fail(job))).collect();
    for (at, job) in draft.jobs.iter_mut().enumerate() {
        let uncertain = draft.absent_needs_count && before[at].iter().any(|need| may_be_skipped[*need]);
        if uncertain || (draft.absent_needs_count && job.after != After::Success) {
            job.needs = before[at].iter().map(|need| names[*need].clone()).collect();
        }
        let sees_all = uncertain || job.after == After::Either || job.conditions.iter().any(|part| sees_through(part));
        if sees_all && job.after != After::Failure {
            for need in &before[at] {
                let Some(exact_if) = &exact_if[*need] else { continue };
                let why = match exact_if.as_str() {
                    "false" => {
                        "nothing of that job runs here, and this one would run all the same: nothing runs until that is written by hand"
                    }
                    _ => {
                        "that job may have run before this one where it does not run here: nothing runs then until that is written by hand"
                    }
                };
                job.body.note(Note::new(job.line, names[*need].as_str(), why));
                job.conditions.push(exact_if.clone());
            }
        }
        let asks = match job.after {
            After::Success if uncertain => "!failure() && !cancelled()",
            After::Success => continue,
            After::Failure => "failure()",
            After::Either => "always()",
        };
        job.conditions.insert(0, asks.to_owned());
    }
}

/// Whether the jobs that wait for it run whatever becomes of it.
fn may_fail(job: &Job) -> bool {
    job.body.get("continue-on-error") == Some(&Value::plain(true))
}

/// Whether a job with this condition may run although one before it was skipped.
fn sees_through(condition: &str) -> bool {
    ["always()", "!failure()", "!cancelled()"].iter().any(|asks| condition.contains(asks))
}

/// Everything that a job waits for, directly or not, in the order of the draft.
fn transitive_needs(jobs: &[Job], of: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![of];
    while let Some(at) = waiting.pop() {
        for need in jobs[at].needs.iter().filter_map(|name| jobs.iter().position(|job| job.name == *name)) {
            if need != of && found.insert(need) {
                waiting.push(need);
            }
        }
    }
    found
}
