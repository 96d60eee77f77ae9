//! TERM, grace, KILL: the end of a step's process group, or of every process that is left.
//!
//! Driven by `job`'s loop; waits for nothing itself.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, test_kill_process_group, waitid,
};

use crate::processes;

/// How often processes are looked for whose end nobody tells us.
const LOOK: Duration = Duration::from_millis(5);
/// A process that KILL does not end hangs in the kernel: the job does not wait for it.
const HOPELESS: Duration = Duration::from_secs(10);

/// What is ended.
#[derive(Debug)]
enum Target {
    Group(Pid),
    /// The agent's descendants, and those that have had their TERM.
    Descendants(HashSet<i32>),
}

/// An ending under way.
#[derive(Debug)]
pub(crate) struct Ending {
    target: Option<Target>,
    grace: Duration,
    /// When TERM was sent.
    since: Option<Instant>,
    killed: Option<Instant>,
}

impl Ending {
    /// The end of a process group; begins with the first [`Self::go_on`].
    pub(crate) fn new(group: i32, grace: Duration) -> Self {
        Self { target: Pid::from_raw(group).map(Target::Group), grace, since: None, killed: None }
    }

    /// The end of everything that descends from the agent.
    pub(crate) fn of_descendants(grace: Duration) -> Self {
        Self { target: Some(Target::Descendants(HashSet::new())), grace, since: None, killed: None }
    }

    /// Whether nothing is left.
    pub(crate) const fn is_over(&self) -> bool {
        self.target.is_none()
    }

    /// Does what is due, and says when to come again. A group whose leader has not been waited for is not over,
    /// unless it hangs in the kernel.
    pub(crate) fn go_on(&mut self, leader_gone: bool) -> Option<Instant> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let kill = now.duration_since(since) >= self.grace;
        let alive = match &mut self.target {
            None => false,
            Some(Target::Group(group)) => go_on_with_group(*group, since == now, kill && self.killed.is_none()),
            Some(Target::Descendants(told)) => go_on_with_descendants(told, kill),
        };
        if kill {
            self.killed.get_or_insert(now);
        }
        let hopeless = self.killed.is_some_and(|killed| now.duration_since(killed) >= HOPELESS);
        if (leader_gone && !alive) || hopeless {
            self.target = None;
            return None;
        }
        if leader_gone {
            // No event tells of the others' end.
            return Some(now + LOOK);
        }
        Some(self.killed.map_or(since + self.grace, |killed| killed + HOPELESS))
    }
}

/// Whether the group still has a member.
fn go_on_with_group(group: Pid, first: bool, kill: bool) -> bool {
    if first {
        let _ = kill_process_group(group, Signal::TERM);
    }
    if kill {
        let _ = kill_process_group(group, Signal::KILL);
    }
    test_kill_process_group(group) != Err(Errno::SRCH)
}

/// Whether a descendant is left. New ones get their TERM as they are found.
fn go_on_with_descendants(told: &mut HashSet<i32>, kill: bool) -> bool {
    // Without a child there is no descendant either: orphans come to us. The usual end of a job costs one call.
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
        if told.insert(*pid) {
            let _ = kill_process(target, Signal::TERM);
            // One that is stopped would never see it.
            let _ = kill_process(target, Signal::CONT);
        }
        if kill {
            let _ = kill_process(target, Signal::KILL);
        }
    }
    !left.is_empty()
}
