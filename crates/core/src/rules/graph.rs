//! The jobs of a build that a job depends on: those that it needs and, where one of them was skipped, those that the
//! skipped one needs.

use std::collections::{BTreeSet, HashMap};

use super::needs::NeedEnd;
use crate::{JobId, Status, plan::Need};

/// A job of a build, with its edges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphJob {
    pub id: JobId,
    /// Its state, as the jobs that need it see it.
    pub end: NeedEnd,
    /// [`JobPlan::needs`](crate::JobPlan::needs).
    pub needs: Vec<Need>,
}

/// All jobs of one build, also finished ones, and which of them need which.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BuildGraph {
    /// In the order of their creation.
    jobs: Vec<GraphJob>,
    by_id: HashMap<JobId, usize>,
    by_key: HashMap<String, usize>,
}

impl BuildGraph {
    /// Makes the graph of the jobs of one build, which are in the order of their creation.
    #[must_use]
    pub fn new(jobs: Vec<GraphJob>) -> Self {
        let by_id = jobs.iter().enumerate().map(|(at, job)| (job.id, at)).collect();
        let by_key = jobs.iter().enumerate().map(|(at, job)| (job.end.key.clone(), at)).collect();
        Self { jobs, by_id, by_key }
    }

    /// Returns the jobs that `job` sees, in the order of their creation: those that it needs, behind each of them that
    /// was skipped those that the skipped job needs, and so on. An optional need is seen, but nothing behind it; nor is
    /// an optional need of a skipped job. `None` if the job is not in the graph.
    #[must_use]
    pub fn needs_of(&self, job: JobId) -> Option<Vec<NeedEnd>> {
        let seen = self.seen_by(*self.by_id.get(&job)?);
        Some(seen.into_iter().map(|at| self.jobs[at].end.clone()).collect())
    }

    /// Returns the jobs that see `need`, in the order of their creation.
    #[must_use]
    pub fn dependents(&self, need: JobId) -> Vec<JobId> {
        let Some(need) = self.by_id.get(&need) else { return Vec::new() };
        (0..self.jobs.len()).filter(|at| self.seen_by(*at).contains(need)).map(|at| self.jobs[at].id).collect()
    }

    /// Returns the indices of the jobs that the job at `at` sees.
    fn seen_by(&self, at: usize) -> BTreeSet<usize> {
        let job = &self.jobs[at];
        let index = |need: &Need| self.by_key.get(&need.key).copied();
        let mut seen: BTreeSet<usize> = job.needs.iter().filter_map(index).collect();
        // A skipped job is visited once, however many edges lead to it.
        let mut to_visit: Vec<usize> = required(&job.needs).filter_map(index).collect();
        let mut visited: BTreeSet<usize> = job.needs.iter().filter(|need| need.optional).filter_map(index).collect();
        while let Some(at) = to_visit.pop() {
            let is_skipped = self.jobs[at].end.status == Status::Skipped;
            if !visited.insert(at) || !is_skipped {
                continue;
            }
            for behind in required(&self.jobs[at].needs).filter_map(index) {
                seen.insert(behind);
                to_visit.push(behind);
            }
        }
        seen
    }
}

fn required(needs: &[Need]) -> impl Iterator<Item = &Need> {
    needs.iter().filter(|need| !need.optional)
}
