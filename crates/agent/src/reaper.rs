//! Handles signals: children that ended, and the order to stop.
//!
//! As PID 1 the agent inherits every orphan of the container, so this thread reaps all children, the steps' main
//! processes and others. `std` itself waits for a child whose exec failed. Spawning and reaping therefore share a lock,
//! so that neither takes a child that the other waits for.

use std::collections::HashMap;
use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin, Sent};

use crate::sys::{self, Reaped};
use crate::wake::{Event, Mailbox};

/// The processes whose ends somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Children(Mutex<HashMap<i32, Waiting>>);

/// The thread that waits for a process.
#[derive(Debug)]
enum Waiting {
    /// The job's loop: the main process of a running step.
    Loop,
    /// A thread of its own.
    Thread(SyncSender<Reaped>),
}

impl Children {
    /// Starts a step's main process. Its end will be posted.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        known.insert(child.id().cast_signed(), Waiting::Loop);
        Ok(child)
    }

    /// Starts a process that the caller waits for, and returns where its end arrives.
    pub(crate) fn spawn_beside(&self, command: &mut Command) -> io::Result<(Child, Receiver<Reaped>)> {
        let (sender, ended) = sync_channel(1);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        known.insert(child.id().cast_signed(), Waiting::Thread(sender));
        Ok((child, ended))
    }

    fn reap(&self, mailbox: &Mailbox) {
        let mut ended = Vec::new();
        {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(reaped) = sys::reap_one() {
                match known.remove(&reaped.pid) {
                    Some(Waiting::Loop) => ended.push(reaped),
                    Some(Waiting::Thread(waiting)) => drop(waiting.try_send(reaped)),
                    None => {}
                }
            }
        }
        for reaped in ended {
            mailbox.post(Event::Ended(reaped));
        }
    }
}

/// Begins to catch signals; the thread that runs [`handle_signals`] handles them.
pub(crate) fn signals() -> io::Result<SignalsInfo<WithOrigin>> {
    SignalsInfo::new([SIGCHLD, SIGTERM, SIGINT])
}

/// Handles signals forever.
pub(crate) fn handle_signals(mut signals: SignalsInfo<WithOrigin>, children: &Arc<Children>, mailbox: &Mailbox) {
    for origin in signals.forever() {
        if origin.signal == SIGCHLD {
            children.reap(mailbox);
        } else if is_from_outside(&origin) {
            mailbox.post(Event::Cancel);
        }
    }
}

/// Returns whether the sender is outside the container; its pid is 0 here then. A step may not stop the agent. The
/// kernel vouches for the sender only of signals sent with `kill`; the sender of a queued signal can claim any pid.
fn is_from_outside(origin: &Origin) -> bool {
    matches!(origin.cause, Cause::Sent(Sent::User)) && origin.process.as_ref().is_none_or(|process| process.pid == 0)
}
