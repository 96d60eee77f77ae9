//! What a job of GitLab waits for: the jobs that it names, or all jobs of earlier stages.

use std::collections::BTreeMap;

use super::super::{
    artifacts,
    draft::{Job, Note},
};

/// A job that has been read, and its place among the others.
pub(super) struct Staged {
    pub(super) theirs: String,
    pub(super) stage: String,
    /// The jobs in its `needs`; `None` if its stage decides.
    pub(super) needs: Option<Vec<Need>>,
    /// Whether later stages do not wait for it.
    pub(super) aside: bool,
    /// The jobs whose artifacts it takes over; `None` if they are those of all jobs before it.
    pub(super) dependencies: Option<Vec<String>>,
    /// Whether its image may have bash, in which its scripts then ran.
    pub(super) bash: bool,
    pub(super) job: Job,
}

/// A job that another one names in its `needs`.
pub(super) struct Need {
    pub(super) job: String,
    pub(super) line: u32,
    /// Whether it may be missing.
    pub(super) optional: bool,
    /// Whether its artifacts are taken over.
    pub(super) artifacts: bool,
}

/// Sorts jobs by their stages and sets what each waits for: the jobs that it names, or all jobs of earlier stages.
pub(super) fn order(staged: &mut [Staged], stages: &[String]) {
    let rank = |stage: &str| stages.iter().position(|name| name == stage).unwrap_or(stages.len());
    staged.sort_by_key(|one| rank(&one.stage));
    let ours: BTreeMap<String, String> = staged.iter().map(|one| (one.theirs.clone(), one.job.name.clone())).collect();
    let before: Vec<Before> = staged
        .iter()
        .map(|one| Before {
            rank: rank(&one.stage),
            name: one.job.name.clone(),
            aside: one.aside,
            named: one.needs.is_some(),
            theirs: one.theirs.clone(),
            artifacts: artifacts::names(&one.job.body),
        })
        .collect();
    for one in staged.iter_mut() {
        let own = rank(&one.stage);
        let earlier = || before.iter().filter(|other| other.rank < own && !other.aside);
        let wanted = one.dependencies.take();
        let is_wanted = |other: &&Before| wanted.as_ref().is_none_or(|wanted| wanted.contains(&other.theirs));
        match one.needs.take() {
            Some(needs) => {
                for need in needs {
                    match ours.get(&need.job) {
                        Some(name) if !one.job.needs.contains(name) => {
                            one.job.needs.push(name.clone());
                            let taken = before.iter().filter(|other| need.artifacts && other.name == *name);
                            for other in taken.filter(is_wanted) {
                                one.job.take(&other.name, &other.artifacts);
                            }
                        }
                        Some(_) => {}
                        None if need.optional => {
                            one.job.body.note(Note::new(need.line, need.job, "there is no such job here"));
                        }
                        None => {
                            let why = "it waits for this job, which was not carried over: nothing runs until `needs` is written by hand";
                            one.job.body.note(Note::new(need.line, need.job, why));
                            one.job.conditions = vec!["false".to_owned()];
                        }
                    }
                }
            }
            None => {
                // If every earlier job waits for the stages before it, the last of those stages is enough.
                let last = earlier().map(|other| other.rank).max();
                let plain = earlier().all(|other| !other.named);
                let waits = earlier().filter(|other| !plain || Some(other.rank) == last);
                one.job.needs = waits.map(|other| other.name.clone()).collect();
                // A job has the artifacts of all jobs of earlier stages.
                for other in earlier().filter(is_wanted) {
                    one.job.take(&other.name, &other.artifacts);
                }
            }
        }
    }
}

/// What decides whether waiting for a job includes waiting for the stages before it.
struct Before {
    rank: usize,
    name: String,
    aside: bool,
    /// Whether it names what it needs itself.
    named: bool,
    theirs: String,
    /// The names of its artifacts.
    artifacts: Vec<String>,
}
