//! The order in which events that follow from each other are decided.

use std::collections::VecDeque;

use super::QueueEvent;

/// The events that are still to be decided. Ends come first: what is free is known only after all ends have been
/// processed.
#[derive(Debug)]
pub struct Agenda {
    ends: VecDeque<QueueEvent>,
    rooms: VecDeque<QueueEvent>,
}

impl Agenda {
    #[must_use]
    pub fn new(first: QueueEvent) -> Self {
        Self { ends: VecDeque::from([first]), rooms: VecDeque::new() }
    }

    /// Adds the events that follow from a decision. [`QueueEvent::Room`] is decided only once for a repository, however
    /// many events ask for it.
    pub fn add(&mut self, follow: Vec<QueueEvent>) {
        for event in follow {
            if !matches!(event, QueueEvent::Room { .. }) {
                self.ends.push_back(event);
            } else if !self.rooms.contains(&event) {
                self.rooms.push_back(event);
            }
        }
    }

    /// Returns the event to decide next.
    pub fn next_event(&mut self) -> Option<QueueEvent> {
        self.ends.pop_front().or_else(|| self.rooms.pop_front())
    }
}
