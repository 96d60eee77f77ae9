//! A bell for the job's loop, which waits in `poll`, and the mailbox that rings it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use longshore_agent_protocol::JobSpec;
use rustix::event::{EventfdFlags, eventfd};

use crate::checkout::Chunk;
use crate::sys::Reaped;

/// The bell.
#[derive(Debug)]
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn ring(&self) {
        // The only failure is a counter that is full: it rings already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(crate) fn silence(&self) {
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the other threads tell the job's loop.
#[derive(Debug)]
pub(crate) enum Event {
    Plan(Box<JobSpec>, std::sync::mpsc::Receiver<Chunk>),
    /// Nobody can send a plan any more, or it cannot be read.
    NoPlan(String),
    CheckedOut(Result<(), String>),
    Ended(Reaped),
    Cancel,
}

/// The way to the job's loop. Its channel is bounded; the loop empties it in every turn, so nobody waits long.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    events: SyncSender<Event>,
    wake: Arc<Wake>,
}

impl Mailbox {
    pub(crate) fn new(events: SyncSender<Event>, wake: Arc<Wake>) -> Self {
        Self { events, wake }
    }

    /// Posts an event. When the job is over nobody listens, and nothing is lost.
    pub(crate) fn post(&self, event: Event) {
        if self.events.send(event).is_ok() {
            self.wake.ring();
        }
    }
}
