//! TERM, grace period, KILL: ends a step's process group, or every process that is left.
//!
//! `job`'s loop drives this; nothing here waits.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, test_kill_process_group, waitid,
};

use crate::processes;

/// How often to check processes whose end raises no event.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// A process that survives KILL for this long hangs in the kernel; the job does not wait for it.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

/// The processes to end.
#[derive(Debug)]
enum Target {
    Group(Pid),
    /// The agent's descendants; holds those that have received TERM.
    Descendants(HashSet<i32>),
}

/// An ending in progress.
#[derive(Debug)]
pub(crate) struct Ending {
    target: Option<Target>,
    grace: Duration,
    /// When TERM was sent.
    since: Option<Instant>,
    killed: Option<Instant>,
}

impl Ending {
    /// Ends a process group; begins with the first [`Self::advance`].
    pub(crate) fn new(group: i32, grace: Duration) -> Self {
        Self { target: Pid::from_raw(group).map(Target::Group), grace, since: None, killed: None }
    }

    /// Ends all descendants of the agent.
    pub(crate) fn of_descendants(grace: Duration) -> Self {
        Self { target: Some(Target::Descendants(HashSet::new())), grace, since: None, killed: None }
    }

    /// Returns whether the ending is over: nothing is left, or what is left hangs in the kernel.
    pub(crate) const fn is_over(&self) -> bool {
        self.target.is_none()
    }

    /// Sends the signals that are due, and returns when to call again. A group whose leader has not been reaped has not
    /// ended, unless the leader hangs in the kernel.
    pub(crate) fn advance(&mut self, leader_gone: bool) -> Option<Instant> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let kill = now.duration_since(since) >= self.grace;
        let alive = match &mut self.target {
            None => false,
            Some(Target::Group(group)) => signal_group(*group, since == now, kill && self.killed.is_none()),
            Some(Target::Descendants(signaled)) => signal_descendants(signaled, kill),
        };
        if kill {
            self.killed.get_or_insert(now);
        }
        let gives_up = self.killed.is_some_and(|killed| now.duration_since(killed) >= GIVE_UP_AFTER);
        if (leader_gone && !alive) || gives_up {
            self.target = None;
            return None;
        }
        if leader_gone {
            // No event announces the end of the others.
            return Some(now + POLL_INTERVAL);
        }
        Some(self.killed.map_or(since + self.grace, |killed| killed + GIVE_UP_AFTER))
    }
}

/// Signals the group. Returns whether it still has a member.
fn signal_group(group: Pid, first: bool, kill: bool) -> bool {
    if first {
        let _ = kill_process_group(group, Signal::TERM);
    }
    if kill {
        let _ = kill_process_group(group, Signal::KILL);
    }
    test_kill_process_group(group) != Err(Errno::SRCH)
}

/// Signals the descendants. Returns whether one is left. New descendants get TERM when they are found.
fn signal_descendants(signaled: &mut HashSet<i32>, kill: bool) -> bool {
    // Without a child there is no descendant, because orphans become children of the agent. So one call suffices at the
    // usual end of a job.
    let children = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT);
    if matches!(children, Err(Errno::CHILD)) {
        return false;
    }
    if kill {
        crate::sys::kill_everyone();
    }
    let left = processes::descendants();
    for pid in &left {
        let Some(target) = Pid::from_raw(*pid) else { continue };
        if signaled.insert(*pid) {
            let _ = kill_process(target, Signal::TERM);
            // A stopped process would not see TERM.
            let _ = kill_process(target, Signal::CONT);
        }
        if kill {
            let _ = kill_process(target, Signal::KILL);
        }
    }
    !left.is_empty()
}
