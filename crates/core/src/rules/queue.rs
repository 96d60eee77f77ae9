//! Decides which job is next.
//!
//! No repository and no pull request holds up others. Of the repositories with waiting jobs, the one with the fewest
//! running jobs is next; among equals, the one whose last turn is longest ago. Within a repository, the same rule
//! chooses between its own jobs and those of strangers, and among the latter between pull requests. Within a pull
//! request, and among a repository's own jobs, the order is that of creation.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::{Change, Decision, QueueEvent, Snapshot, state::JobEvent};
use crate::{JobId, RepoId};

/// A lane, in which jobs wait behind each other: a repository's own jobs, or those of one pull request of a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    pub repo: RepoId,
    /// The stranger's pull request. `None` for the repository's own jobs.
    pub stranger: Option<u64>,
}

impl Lane {
    /// Returns those whose turn is counted when a job of the lane is claimed, from the repository down.
    #[must_use]
    pub const fn takers(self) -> [Taker; 3] {
        let kind = match self.stranger {
            None => Taker::Own(self.repo),
            Some(_) => Taker::Strangers(self.repo),
        };
        [Taker::Repo(self.repo), kind, Taker::Lane(self)]
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stranger {
            None => write!(f, "{}", self.repo),
            Some(number) => write!(f, "{} {number}", self.repo),
        }
    }
}

/// A text that does not name a lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a lane of the queue")]
pub struct NotALane(pub String);

impl FromStr for Lane {
    type Err = NotALane;

    fn from_str(text: &str) -> Result<Self, NotALane> {
        let wrong = || NotALane(text.to_owned());
        let (repo, stranger) = match text.split_once(' ') {
            None => (text, None),
            Some((repo, number)) => (repo, Some(number.parse().map_err(|_| wrong())?)),
        };
        Ok(Self { repo: repo.parse().map_err(|_| wrong())?, stranger })
    }
}

/// A party that takes turns with others of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Taker {
    Repo(RepoId),
    /// The repository's own jobs together, against those of strangers.
    Own(RepoId),
    /// All strangers of a repository together, against its own jobs.
    Strangers(RepoId),
    Lane(Lane),
}

/// The number of jobs that may run at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    pub all: usize,
    /// How many of these may be strangers' jobs.
    pub strangers: usize,
}

impl Slots {
    pub const NO_LIMIT: Self = Self { all: usize::MAX, strangers: usize::MAX };
}

/// A job that waits only for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub job: JobId,
    pub lane: Lane,
    /// Its position in the order of creation.
    pub order: i64,
}

/// The state of the queue. Only the first waiting job of each lane is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    pub waiting: Vec<Waiting>,
    /// The lane of each running job.
    pub running: Vec<Lane>,
    /// When each party had its last turn, counted in claims from 1. Parties that never had one are absent.
    pub turns: BTreeMap<Taker, u64>,
}

/// Returns the job to claim now. `None` if no waiting job can have a slot.
#[must_use]
pub fn next(queue: &Queue, slots: Slots) -> Option<JobId> {
    if queue.running.len() >= slots.all {
        return None;
    }
    let mut running: BTreeMap<Taker, usize> = BTreeMap::new();
    for taker in queue.running.iter().flat_map(|lane| lane.takers()) {
        *running.entry(taker).or_default() += 1;
    }
    let of_strangers = queue.running.iter().filter(|lane| lane.stranger.is_some()).count();
    let full = of_strangers >= slots.strangers;
    let place = |waiting: &Waiting| {
        let standing =
            |taker| (running.get(&taker).copied().unwrap_or(0), queue.turns.get(&taker).copied().unwrap_or(0));
        (waiting.lane.takers().map(standing), waiting.order)
    };
    let may = queue.waiting.iter().filter(|waiting| waiting.lane.stranger.is_none() || !full);
    may.min_by_key(|waiting| place(waiting)).map(|waiting| waiting.job)
}

/// Claims the job whose turn it is.
pub(super) fn claim(snapshot: &Snapshot) -> Decision {
    let Some(job) = next(&snapshot.queue, snapshot.server.slots) else { return Decision::default() };
    Decision { changes: vec![Change::HadTurn(job)], follow: vec![QueueEvent::Job { job, event: JobEvent::Claimed }] }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// A simulated queue: claimed jobs run until they are ended.
    struct Model {
        queue: Queue,
        slots: Slots,
        turn: u64,
        started: Vec<Waiting>,
    }

    impl Model {
        fn new(all: usize, strangers: usize) -> Self {
            Self { queue: Queue::default(), slots: Slots { all, strangers }, turn: 0, started: Vec::new() }
        }

        fn add(&mut self, lane: Lane) -> JobId {
            let (job, order) = (JobId::new(), i64::try_from(self.queue.waiting.len() + self.started.len()).unwrap());
            self.queue.waiting.push(Waiting { job, lane, order });
            job
        }

        fn claim(&mut self) -> Option<Waiting> {
            let job = next(&self.queue, self.slots)?;
            let at = self.queue.waiting.iter().position(|waiting| waiting.job == job).unwrap();
            let claimed = self.queue.waiting.remove(at);
            self.turn += 1;
            for taker in claimed.lane.takers() {
                self.queue.turns.insert(taker, self.turn);
            }
            self.queue.running.push(claimed.lane);
            self.started.push(claimed);
            Some(claimed)
        }

        fn end(&mut self, lane: Lane) {
            let at = self.queue.running.iter().position(|running| *running == lane).unwrap();
            self.queue.running.remove(at);
        }
    }

    fn own() -> Lane {
        Lane { repo: RepoId::new(), stranger: None }
    }

    #[test]
    fn a_lane_is_read_as_it_is_written() {
        for lane in [own(), Lane { stranger: Some(7), ..own() }] {
            assert_eq!(lane.to_string().parse(), Ok(lane));
        }
        assert!("".parse::<Lane>().is_err() && format!("{} x", RepoId::new()).parse::<Lane>().is_err());
    }

    #[test]
    fn a_flood_of_one_repository_delays_anothers_only_job_by_one_slot() {
        for slots in 1..4 {
            let (mut model, flood, other) = (Model::new(slots, slots), own(), own());
            for _ in 0..200 {
                model.add(flood);
            }
            while model.claim().is_some() {}
            let only = model.add(other);
            assert_eq!(model.claim(), None);
            model.end(flood);
            assert_eq!(model.claim().unwrap().job, only, "{slots} slots");
        }
    }

    #[test]
    fn a_flood_of_one_pull_request_delays_neither_another_nor_the_repositorys_own_jobs() {
        let ours = own();
        let (loud, quiet) = (Lane { stranger: Some(1), ..ours }, Lane { stranger: Some(2), ..ours });
        let mut model = Model::new(1, 1);
        for _ in 0..50 {
            model.add(loud);
        }
        assert_eq!(model.claim().unwrap().lane, loud);
        let (a, b) = (model.add(quiet), model.add(ours));
        model.end(loud);
        let first = model.claim().unwrap();
        assert_eq!(first.job, b, "the repository's own jobs have not had a turn yet");
        model.end(ours);
        assert_eq!(model.claim().unwrap().job, a);
    }

    #[test]
    fn strangers_leave_the_slots_that_are_not_theirs() {
        let ours = own();
        let mut model = Model::new(4, 1);
        for number in 0..10 {
            model.add(Lane { stranger: Some(number), ..ours });
        }
        assert!(model.claim().is_some() && model.claim().is_none());
        model.add(ours);
        assert_eq!(model.claim().unwrap().lane, ours);
    }

    /// Generates lanes of three repositories, some of them strangers'.
    fn lanes() -> Vec<Lane> {
        let repos = [RepoId::new(), RepoId::new(), RepoId::new()];
        repos.iter().flat_map(|repo| [None, Some(1), Some(2)].map(|stranger| Lane { repo: *repo, stranger })).collect()
    }

    proptest! {
    /// Whatever jobs arrive and end in whatever order, no more run than allowed, and the jobs of a lane start in order.
            #[test]
            fn no_more_runs_than_may_and_every_lane_goes_in_order(
                all in 1_usize..5, strangers in 0_usize..4, steps in prop::collection::vec((0_usize..9, 0_usize..3), 1..200),
            ) {
                let lanes = lanes();
                let mut model = Model::new(all, strangers);
                for (at, what) in steps {
                    match what {
                        0 | 1 => drop(model.add(lanes[at])),
                        _ => if let Some(lane) = model.queue.running.get(at).copied() { model.end(lane) },
                    }
                    let idle = model.queue.running.len() < all;
                    let claimed = model.claim();
                    let may = model.queue.waiting.iter().chain(&claimed).any(|waiting| {
                        waiting.lane.stranger.is_none()
                            || model.queue.running.iter().filter(|lane| lane.stranger.is_some()).count() < strangers
                            || claimed.is_some()
                    });
                    prop_assert_eq!(claimed.is_some(), idle && may, "no slot stays empty while something may have it");
                    prop_assert!(model.queue.running.len() <= all);
                    prop_assert!(model.queue.running.iter().filter(|lane| lane.stranger.is_some()).count() <= strangers);
                }
                let mut last: HashMap<Lane, i64> = HashMap::new();
                for claimed in &model.started {
                    prop_assert!(last.insert(claimed.lane, claimed.order).is_none_or(|last| last < claimed.order));
                }
            }

    /// However many jobs the others add, a waiting lane is served before another lane has had more turns than there are
    /// lanes.
            #[test]
            fn nobody_starves(all in 1_usize..4, ends in prop::collection::vec(0_usize..4, 40..200)) {
                let lanes = lanes();
                let mut model = Model::new(all, all);
    // Every lane adds more jobs than can ever run.
                for lane in &lanes {
                    for _ in 0..200 {
                        model.add(*lane);
                    }
                }
                let mut since: HashMap<Lane, usize> = HashMap::new();
                let most = lanes.len() * all * 4;
                for end in ends {
                    while let Some(claimed) = model.claim() {
                        for lane in &lanes {
                            *since.entry(*lane).or_default() += 1;
                        }
                        since.insert(claimed.lane, 0);
                        for (lane, waited) in &since {
    // A lane with a running job is not waiting for its turn.
                            if !model.queue.running.contains(lane) {
                                prop_assert!(*waited <= most, "{lane} has waited for {waited} claims");
                            }
                        }
                    }
                    let lane = model.queue.running[end % model.queue.running.len()];
                    model.end(lane);
                }
            }
        }
}
