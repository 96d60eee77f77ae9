//! The gates that keep a ready job out of the queue: labels that this server lacks, a group that an older build holds,
//! a matrix at its limit.

use std::collections::BTreeMap;

use super::{Decision, JobFacts, Snapshot, state::JobEvent};
use crate::{BuildId, Status};

/// Identifies a matrix: a build, a pipeline and the key of the job in its file.
type Matrix<'a> = (BuildId, &'a str, &'a str);

/// Queues every ready job that nothing keeps out, in the order of creation. The others get a reason that says what they
/// wait for.
pub(super) fn room(snapshot: &Snapshot) -> Decision {
    let mut under_way: BTreeMap<Matrix, u64> = BTreeMap::new();
    for matrix in &snapshot.under_way {
        *under_way.entry((matrix.build, &matrix.pipeline, &matrix.job)).or_default() += matrix.count;
    }
    let mut decision = Decision::default();
    for job in snapshot.jobs.iter().filter(|job| job.status == Status::Blocked && job.ready) {
        let matrix = under_way.entry((job.build, &job.plan.pipeline, &job.plan.job)).or_default();
        let event = match waits_for(snapshot, job, *matrix) {
            Some(reason) => JobEvent::Waits { reason },
            None => JobEvent::NeedsMet,
        };
        if decision.happen(job, &event) == Some(Status::Queued) {
            *matrix += 1;
        }
    }
    decision
}

/// Returns what a ready job waits for. `None` if it can be queued. `under_way` counts the jobs of its matrix that were.
fn waits_for(snapshot: &Snapshot, job: &JobFacts, under_way: u64) -> Option<String> {
    if let Some(reason) = snapshot.server.labels.as_ref().and_then(|ours| lacks(ours, &job.plan.runs_on)) {
        return Some(reason);
    }
    if let Some(concurrency) = &job.plan.concurrency {
        // The oldest build holds the group, from the start of its first job until the end of its last one.
        let members = snapshot.groups.iter().filter(|member| member.group == concurrency.group);
        if let Some(holder) = members.min_by_key(|member| member.number).filter(|holder| holder.number < job.number) {
            return Some(format!("waiting for #{} (concurrency group `{}`)", holder.number, concurrency.group));
        }
    }
    let most = job.plan.matrix_group.and_then(|group| group.max_parallel)?;
    let full = under_way >= u64::from(most);
    full.then(|| format!("waiting for other jobs of the matrix `{}` (`max-parallel: {most}`)", job.plan.job))
}

/// Returns why a server with the labels `ours` does not run a job that requires these.
fn lacks(ours: &BTreeMap<String, String>, asked: &BTreeMap<String, String>) -> Option<String> {
    if asked.iter().all(|(label, value)| ours.get(label) == Some(value)) {
        return None;
    }
    let listed = |labels: &BTreeMap<String, String>| {
        labels.iter().map(|(label, value)| format!("`{label}: {value}`")).collect::<Vec<_>>().join(", ")
    };
    Some(format!("waiting for a server with {}; this server has {}", listed(asked), listed(ours)))
}
