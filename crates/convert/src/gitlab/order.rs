//! The jobs that a job of GitLab waits for: those that it names, or all of earlier stages.

use std::collections::BTreeMap;

use longshore_pipeline::tree::Node;

use super::super::{
    artifacts,
    draft::{Job, Note},
    foreign::{boolean, text},
};

/// A job that has been read, and its place among the others.
pub(super) struct Staged {
    /// Its key in the file of GitLab.
    pub(super) source_name: String,
    pub(super) stage: String,
    /// The jobs in its `needs`; `None` if its stage decides.
    pub(super) needs: Option<Vec<Need>>,
    /// Whether later stages do not wait for it.
    pub(super) is_optional: bool,
    /// The jobs whose artifacts it takes over; `None` if they are those of all jobs before it.
    pub(super) dependencies: Option<Vec<String>>,
    /// Whether its image may have bash, in which its scripts then ran.
    pub(super) bash: bool,
    pub(super) job: Job,
}

/// A job that was not carried over, and that later stages waited for.
pub(super) struct LostJob {
    source_name: String,
    stage: String,
    line: u32,
}

impl LostJob {
    /// Returns a job that was not carried over, if later stages waited for its success.
    pub(super) fn of(source_name: &str, job: &Node, line: u32) -> Option<Self> {
        let entry = |key: &str| super::super::entry(job, key);
        let may_fail = entry("allow_failure").map(|entry| boolean(&entry.value) != Some(false));
        let by_hand = entry("when").is_some_and(|entry| matches!(text(&entry.value), Some("manual" | "never")));
        // A job that starts another pipeline waits for that only if it says so.
        let starts = entry("trigger").is_some_and(|entry| super::super::entry(&entry.value, "strategy").is_none());
        let stage =
            entry("stage").or_else(|| entry("type")).and_then(|entry| text(&entry.value)).unwrap_or("test").to_owned();
        let waited_for = !may_fail.unwrap_or(by_hand) && !starts;
        waited_for.then(|| Self { source_name: source_name.to_owned(), stage, line })
    }
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
/// A job whose stage comes after that of one that was lost never runs.
pub(super) fn order(staged: &mut [Staged], lost: &[LostJob], stages: &[String]) {
    let rank = |stage: &str| stages.iter().position(|name| name == stage).unwrap_or(stages.len());
    staged.sort_by_key(|one| rank(&one.stage));
    let ours: BTreeMap<String, String> =
        staged.iter().map(|one| (one.source_name.clone(), one.job.name.clone())).collect();
    let before: Vec<Before> = staged
        .iter()
        .map(|one| Before {
            rank: rank(&one.stage),
            name: one.job.name.clone(),
            is_optional: one.is_optional,
            named: one.needs.is_some(),
            source_name: one.source_name.clone(),
            artifacts: artifacts::names(&one.job.body),
        })
        .collect();
    for one in staged.iter_mut() {
        let own = rank(&one.stage);
        let earlier = || before.iter().filter(|other| other.rank < own && !other.is_optional);
        let wanted = one.dependencies.take();
        let is_wanted = |other: &&Before| wanted.as_ref().is_none_or(|wanted| wanted.contains(&other.source_name));
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
                            one.job.withhold();
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
                for lost in lost.iter().filter(|lost| rank(&lost.stage) < own) {
                    let why = format!(
                        "this job of the stage `{}` was not carried over, and this stage waits for it: nothing runs until it is \
                         written by hand",
                        lost.stage
                    );
                    one.job.body.note(Note::new(lost.line, lost.source_name.as_str(), why));
                    one.job.withhold();
                }
            }
        }
    }
}

/// What decides whether waiting for a job includes waiting for the stages before it.
struct Before {
    rank: usize,
    name: String,
    is_optional: bool,
    /// Whether it names what it needs itself.
    named: bool,
    source_name: String,
    /// The names of its artifacts.
    artifacts: Vec<String>,
}
