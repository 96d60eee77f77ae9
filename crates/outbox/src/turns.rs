//! Starts what is due in turns. Sending shares a few slots, and a receiver with many pending items, or a slow one, does
//! not keep the others waiting.

use std::{collections::HashMap, hash::Hash};

use tokio::task::JoinSet;

/// The tasks that are under way, each with its item, and which owner had their last turn when. `Outcome` is what a task
/// returns.
#[derive(Debug)]
pub(crate) struct Turns<Item, Owner, Outcome = ()> {
    tasks: JoinSet<(Item, Outcome)>,
    under_way: HashMap<Item, Owner>,
    last: HashMap<Owner, u64>,
    turn: u64,
    at_once: usize,
    of_one: usize,
}

impl<Item, Owner, Outcome> Turns<Item, Owner, Outcome>
where
    Item: Clone + Eq + Hash + Send + 'static,
    Owner: Copy + Eq + Hash,
    Outcome: Send + 'static,
{
    /// Creates `at_once` slots, of which one owner can have `of_one`.
    pub(crate) fn new(at_once: usize, of_one: usize) -> Self {
        let (under_way, last) = (HashMap::new(), HashMap::new());
        Self { tasks: JoinSet::new(), under_way, last, turn: 0, at_once, of_one }
    }

    /// Returns the owners that get nothing more before something of theirs has ended.
    pub(crate) fn busy(&self) -> Vec<Owner> {
        let busy = self.last.keys().filter(|owner| self.running(**owner) >= self.of_one);
        busy.copied().collect()
    }

    /// Returns what is under way.
    pub(crate) fn under_way(&self) -> Vec<Item> {
        self.under_way.keys().cloned().collect()
    }

    /// Starts as many tasks as there are free slots. `whose` returns the item and its owner.
    pub(crate) fn start<Waiting, Task>(
        &mut self,
        mut waiting: Vec<Waiting>,
        whose: impl Fn(&Waiting) -> (Item, Owner),
        task: impl Fn(Waiting) -> Task,
    ) where
        Task: Future<Output = Outcome> + Send + 'static,
    {
        while let Some(next) = self.take(&mut waiting, &whose) {
            let (item, _) = whose(&next);
            let task = task(next);
            self.tasks.spawn(async move { (item, task.await) });
        }
    }

    /// Waits until a task ends, for ever if there is none. Returns its outcome; `None` if it panicked.
    pub(crate) async fn next_ended(&mut self) -> Option<Outcome> {
        let Some(ended) = self.tasks.join_next().await else { return std::future::pending().await };
        match ended {
            Ok((item, outcome)) => {
                self.under_way.remove(&item);
                Some(outcome)
            }
            Err(error) => {
                // Its item is not known, so all others end before anything starts again.
                tracing::error!(%error, "a task of the outbox failed");
                self.tasks.shutdown().await;
                self.under_way.clear();
                None
            }
        }
    }

    /// Takes what is to be started next, and counts it as under way: of the owners with the fewest under way, that of
    /// the one whose last turn is the longest ago.
    fn take<Waiting>(
        &mut self,
        waiting: &mut Vec<Waiting>,
        whose: impl Fn(&Waiting) -> (Item, Owner),
    ) -> Option<Waiting> {
        if self.under_way.len() >= self.at_once {
            return None;
        }
        let may_start = |(_, one): &(usize, &Waiting)| {
            let (item, owner) = whose(one);
            !self.under_way.contains_key(&item) && self.running(owner) < self.of_one
        };
        let turn_of = |(_, one): &(usize, &Waiting)| {
            let (_, owner) = whose(one);
            (self.running(owner), self.last.get(&owner).copied())
        };
        let (place, _) = waiting.iter().enumerate().filter(may_start).min_by_key(turn_of)?;
        let next = waiting.remove(place);
        let (item, owner) = whose(&next);
        self.turn += 1;
        self.last.insert(owner, self.turn);
        self.under_way.insert(item, owner);
        Some(next)
    }

    fn running(&self, owner: Owner) -> usize {
        self.under_way.values().filter(|other| **other == owner).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(turns: &mut Turns<u32, char>, waiting: &mut Vec<(u32, char)>) -> Vec<u32> {
        std::iter::from_fn(|| turns.take(waiting, |one| *one)).map(|(item, _)| item).collect()
    }

    #[test]
    fn who_is_owed_much_and_takes_it_slowly_keeps_nobody_waiting() {
        let mut turns = Turns::new(4, 2);
        let mut waiting: Vec<_> = (0..9).map(|item| (item, if item % 2 == 0 { 'a' } else { 'b' })).collect();
        assert_eq!(take(&mut turns, &mut waiting), [0, 1, 2, 3]);
        assert_eq!(
            {
                let mut busy = turns.busy();
                busy.sort_unstable();
                busy
            },
            ['a', 'b']
        );
        waiting.push((9, 'c'));
        turns.under_way.remove(&0);
        assert_eq!(take(&mut turns, &mut waiting), [9], "`c` has nothing under way, `a` has");
        turns.under_way.remove(&9);
        waiting.extend([(10, 'c'), (11, 'd')]);
        assert_eq!(take(&mut turns, &mut waiting), [11], "`c` had a turn, `d` had none");
        assert_eq!(turns.busy(), ['b']);
    }

    #[tokio::test]
    async fn nothing_is_started_twice_and_after_a_panic_everything_may_start_again() {
        let mut turns: Turns<u32, char> = Turns::new(4, 2);
        turns.start(vec![(0, 'a')], |one| *one, |_| std::future::pending());
        turns.start(vec![(0, 'a'), (1, 'a')], |one| *one, |(item, _)| async move { assert_ne!(item, 1) });
        let mut under_way = turns.under_way();
        under_way.sort_unstable();
        assert_eq!(under_way, [0, 1]);
        assert_eq!(turns.next_ended().await, None);
        assert!(turns.under_way().is_empty());
        turns.start(vec![(0, 'a')], |one| *one, |_| std::future::ready(()));
        assert_eq!(turns.next_ended().await, Some(()));
    }
}
