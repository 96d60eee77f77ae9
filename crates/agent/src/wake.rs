//! Wakes the job's loop, which waits in `poll`, and passes events to it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use longshore_agent_protocol::{ContainerFailure, JobSpec, MemberId};
use rustix::event::{EventfdFlags, eventfd};

use crate::checkout::Chunk;
use crate::sys::Reaped;

/// An event descriptor that the job's loop waits for.
#[derive(Debug)]
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn ring(&self) {
        // It can only fail if the counter is full, which means it is set already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(crate) fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Events that the other threads post to the job's loop.
#[derive(Debug)]
pub(crate) enum Event {
    Plan(Box<JobSpec>, std::sync::mpsc::Receiver<Chunk>),
    /// No plan can arrive any more, or it cannot be read.
    NoPlan(String),
    CheckedOut(Result<(), String>),
    Ended(Reaped),
    Cancel,
    /// A member of the pod has joined.
    Joined(MemberId, UnixStream),
    ContainerFailed(ContainerFailure),
    /// The probe of a service has succeeded.
    ServiceReady,
    /// The probe of a service cannot be run, and why.
    ProbeFailed(String),
}

/// The sender of events to the job's loop. Its channel is bounded; the loop empties it in every turn, so nobody waits
/// long.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    events: SyncSender<Event>,
    wake: Arc<Wake>,
}

impl Mailbox {
    pub(crate) fn new(events: SyncSender<Event>, wake: Arc<Wake>) -> Self {
        Self { events, wake }
    }

    /// Posts an event. After the job's end the event is dropped, which loses nothing.
    pub(crate) fn post(&self, event: Event) {
        if self.events.send(event).is_ok() {
            self.wake.ring();
        }
    }
}
