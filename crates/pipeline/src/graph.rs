//! The graph of jobs and their needs: each need is a job of the pipeline, and no job waits for itself.

use std::collections::HashMap;

use super::{
    code::Code,
    findings::Findings,
    source::Place,
    suggest::{did_you_mean, listed},
};

/// A job's name and its needs with their places, as written.
#[derive(Debug)]
pub(super) struct Needs<'a> {
    pub(super) job: &'a str,
    pub(super) needs: Vec<(&'a str, Place)>,
}

/// Reports needs that name no job, and cycles.
pub(super) fn check(jobs: &[Needs<'_>], findings: &mut Findings<'_>) {
    let index: HashMap<&str, usize> = jobs.iter().enumerate().map(|(at, job)| (job.job, at)).collect();
    for job in jobs {
        for (need, place) in &job.needs {
            if !index.contains_key(need) {
                let others = || jobs.iter().map(|job| job.job).filter(|name| *name != job.job);
                let help = did_you_mean(need, others()).or_else(|| match others().count() {
                    0 => Some("there is no other job".to_owned()),
                    1..=10 => Some(format!("the other jobs are: {}", listed(others()))),
                    _ => None,
                });
                findings.error(Code::UnknownNeed, *place, format!("unknown job `{need}`"), help);
            }
        }
    }
    let mut walk = Walk { jobs, index, seen: vec![Visit::Not; jobs.len()], path: Vec::new() };
    for at in 0..jobs.len() {
        walk.visit(at, findings);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    Not,
    /// On the path that is being walked.
    Open,
    Done,
}

struct Walk<'j, 'a> {
    jobs: &'j [Needs<'a>],
    index: HashMap<&'a str, usize>,
    seen: Vec<Visit>,
    path: Vec<usize>,
}

impl Walk<'_, '_> {
    /// Walks depth-first, never deeper than the limit on jobs.
    fn visit(&mut self, at: usize, findings: &mut Findings<'_>) {
        if self.seen[at] != Visit::Not {
            return;
        }
        self.seen[at] = Visit::Open;
        self.path.push(at);
        for (need, place) in &self.jobs[at].needs {
            let Some(next) = self.index.get(need).copied() else { continue };
            if self.seen[next] == Visit::Open {
                let from = self.path.iter().position(|on_path| *on_path == next).unwrap_or(0);
                let mut names: Vec<String> =
                    self.path[from..].iter().map(|job| format!("`{}`", self.jobs[*job].job)).collect();
                names.push(format!("`{need}`"));
                let message = if names.len() == 2 {
                    format!("the job {} needs itself", names[0])
                } else {
                    format!("these jobs need each other: {}", names.join(" -> "))
                };
                findings.error(Code::Cycle, *place, message, "remove one of these `needs`".to_owned());
            } else {
                self.visit(next, findings);
            }
        }
        self.path.pop();
        self.seen[at] = Visit::Done;
    }
}
