//! Decides whose turn it is. Sending shares a few slots, and a receiver with many pending items, or a slow one, does
//! not keep the others waiting.

use std::{collections::HashMap, hash::Hash};

/// What is under way, for whom, and who had their last turn when.
#[derive(Debug)]
pub(crate) struct Turns<Item, Owner> {
    under_way: HashMap<Item, Owner>,
    last: HashMap<Owner, u64>,
    turn: u64,
    at_once: usize,
    of_one: usize,
}

impl<Item: Eq + Hash, Owner: Copy + Eq + Hash> Turns<Item, Owner> {
    /// Creates `at_once` slots, of which one owner can have `of_one`.
    pub(crate) fn new(at_once: usize, of_one: usize) -> Self {
        Self { under_way: HashMap::new(), last: HashMap::new(), turn: 0, at_once, of_one }
    }

    /// Returns who gets nothing more before something of theirs has ended.
    pub(crate) fn busy(&self) -> Vec<Owner> {
        let busy = self.last.keys().filter(|owner| self.running(**owner) >= self.of_one);
        busy.copied().collect()
    }

    /// Returns what is under way.
    pub(crate) fn under_way(&self) -> Vec<Item>
    where
        Item: Copy,
    {
        self.under_way.keys().copied().collect()
    }

    /// Takes what is to be started next, and counts it as under way: of who has the least under way, and of those of
    /// who had their last turn the longest ago, what comes first.
    pub(crate) fn take<Waiting>(
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

    pub(crate) fn ended(&mut self, item: &Item) {
        self.under_way.remove(item);
    }

    /// Everything has ended.
    pub(crate) fn all_ended(&mut self) {
        self.under_way.clear();
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
        turns.ended(&0);
        assert_eq!(take(&mut turns, &mut waiting), [9], "`c` has nothing under way, `a` has");
        turns.ended(&9);
        waiting.extend([(10, 'c'), (11, 'd')]);
        assert_eq!(take(&mut turns, &mut waiting), [11], "`c` had a turn, `d` had none");
        assert_eq!(turns.busy(), ['b']);
    }

    #[test]
    fn nothing_is_started_twice() {
        let mut turns = Turns::new(4, 2);
        assert_eq!(take(&mut turns, &mut vec![(0, 'a')]), [0]);
        assert_eq!(take(&mut turns, &mut vec![(0, 'a'), (1, 'a')]), [1]);
        turns.all_ended();
        assert_eq!(take(&mut turns, &mut vec![(0, 'a')]), [0]);
    }
}
