//! In which order the events that follow from each other are decided.

use std::collections::VecDeque;

use super::QueueEvent;

/// The events that are still to be decided. Ends come first: only when every end has been followed is it known what is free.
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

    /// Adds what follows from a decision. A repository's [`QueueEvent::Room`] is decided once for all that asks for it.
    pub fn add(&mut self, follow: Vec<QueueEvent>) {
        for event in follow {
            if !matches!(event, QueueEvent::Room { .. }) {
                self.ends.push_back(event);
            } else if !self.rooms.contains(&event) {
                self.rooms.push_back(event);
            }
        }
    }

    /// The event to decide next.
    pub fn next_event(&mut self) -> Option<QueueEvent> {
        self.ends.pop_front().or_else(|| self.rooms.pop_front())
    }
}
