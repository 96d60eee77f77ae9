//! Finds the times in which a build waited for people and for nothing else. They say nothing about how long builds
//! take, so its clocks and its timeline leave them out.
//!
//! Pure: works on what is known of the build's jobs.

use std::collections::HashMap;

use longshore_core::{Status, Timestamp};

use crate::views::{BuildView, JobView};

/// A shorter time is not left out.
const MIN_MS: u64 = 1_000;

/// The times, in order and apart from each other.
#[derive(Debug, Default)]
pub(super) struct Pauses(Vec<(Timestamp, Timestamp)>);

impl Pauses {
    pub(super) fn new(build: &BuildView, jobs: &[JobView], now: Timestamp) -> Self {
        let ends: HashMap<&str, Timestamp> =
            jobs.iter().filter_map(|job| Some((job.key.as_str(), job.finished_at?))).collect();
        let (mut asked, mut busy) = (Vec::new(), Vec::new());
        for job in jobs.iter().filter(|job| job.carried_over.is_none()) {
            let turn = turn(job, build.created_at, &ends);
            let answered = answered_at(job);
            match (job.asks.is_some(), answered) {
                (true, _) => asked.push((turn, now)),
                (false, Some(at)) => asked.push((turn, at)),
                (false, None) => {}
            }
            let waits = job.asks.is_some() || (job.status == Status::Blocked && job.reason.is_none());
            let never = job.declined_by.is_some() || job.status == Status::Skipped;
            if !waits && !never {
                busy.push((answered.unwrap_or(turn), job.finished_at.unwrap_or(now)));
            }
        }
        let (mut pauses, busy) = (Vec::new(), joined(busy));
        for (mut from, to) in joined(asked) {
            for (begins, ends) in &busy {
                if *begins < to && *ends > from {
                    pauses.push((from, *begins));
                    from = from.max(*ends);
                }
            }
            pauses.push((from, to));
        }
        pauses.retain(|(from, to)| *to > *from && to.since(*from) >= MIN_MS);
        Self(pauses)
    }

    /// Returns how much of them is before a time, in milliseconds.
    pub(super) fn before(&self, time: Timestamp) -> u64 {
        self.0.iter().filter(|(from, _)| *from < time).map(|(from, to)| (*to).min(time).since(*from)).sum()
    }

    pub(super) fn total_ms(&self) -> u64 {
        self.0.iter().map(|(from, to)| to.since(*from)).sum()
    }
}

/// Returns when the last job that a job needs has ended: from then on, it waits for something else.
pub(super) fn turn(job: &JobView, created_at: Timestamp, ends: &HashMap<&str, Timestamp>) -> Timestamp {
    job.needs.iter().filter_map(|need| ends.get(need.as_str())).max().copied().unwrap_or(created_at).max(created_at)
}

/// Returns when somebody approved or declined the job.
pub(super) fn answered_at(job: &JobView) -> Option<Timestamp> {
    job.approved_by.as_ref().or(job.declined_by.as_ref()).map(|by| by.at)
}

/// Joins times that overlap.
fn joined(mut times: Vec<(Timestamp, Timestamp)>) -> Vec<(Timestamp, Timestamp)> {
    times.sort_unstable();
    let mut joined: Vec<(Timestamp, Timestamp)> = Vec::new();
    for (from, to) in times {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}
