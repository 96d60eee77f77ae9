//! Waiting: one turn of the job's loop, and what pipes and processes still bring at an end.

use std::fs;
use std::io;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use longshore_agent_protocol::message::AgentError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Broken, Job, Stop, unsayable};
use crate::ending::Ending;
use crate::streams::Got;
use crate::wake::Event;

/// How often a full disk is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// What one stream of a step may still bring after the step's end: more than any pipe holds. A background process may print for ever.
const DRAIN: usize = 2 << 20;

impl Job {
    /// Waits for the next thing to happen, at most until `until`, and deals with it.
    pub(super) fn turn(&mut self, until: Option<Instant>) -> Result<(), Broken> {
        if self.take_events() {
            return Ok(());
        }
        let spool = &self.inside.spool;
        let room = spool.has_room();
        let mut next = [until, self.stop.is_none().then_some(self.deadline)].into_iter().flatten().min();
        if let Some((since, error)) = spool.full_for() {
            if since >= self.inside.options.disk_full_after && !self.breaking {
                return Err(Broken::new(
                    AgentError::DiskFull,
                    format!("the spool on the job's volume cannot be written for {since:.0?}: {error}"),
                ));
            }
            let retry = Instant::now() + RETRY;
            next = Some(next.map_or(retry, |next| next.min(retry)));
        }
        let mut waiting = vec![PollFd::new(&self.inside.wake, PollFlags::IN)];
        if room {
            waiting.extend(self.streams.pipes().map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)));
        }
        let timeout = next.map(|next| next.saturating_duration_since(Instant::now()));
        let timeout = timeout.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                return Err(Broken::new(AgentError::Internal, format!("waiting failed: {}", io::Error::from(error))));
            }
        }
        let ready: Vec<bool> = waiting.iter().map(|waited| !waited.revents().is_empty()).collect();
        if ready.first() == Some(&true) {
            self.inside.wake.silence();
        }
        // From the back, because a stream that ends is replaced by the last.
        for place in (0..self.streams.len()).rev() {
            if ready.get(place + 1) == Some(&true) {
                self.streams.read(place, &self.inside.spool).map_err(unsayable)?;
            }
        }
        self.take_events();
        if self.stop.is_none() && Instant::now() >= self.deadline {
            self.halt(Stop::TimedOut);
        }
        Ok(())
    }

    pub(super) fn take_events(&mut self) -> bool {
        let mut any = false;
        loop {
            match self.inside.events.try_recv() {
                Ok(Event::Ended(reaped)) => {
                    self.ended.insert(reaped.pid, reaped);
                }
                Ok(Event::Cancel) => self.halt(Stop::Canceled),
                Ok(Event::CheckedOut(result)) => self.checked_out = Some(result),
                Ok(Event::Plan(..) | Event::NoPlan(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return any,
            }
            any = true;
        }
    }

    pub(super) fn halt(&mut self, stop: Stop) {
        if self.stop.is_none() {
            self.stop = Some(stop);
            self.aftermath = Some(Instant::now() + self.inside.options.aftermath);
        }
    }

    /// Reads what a step that ended has left in its pipes. What a background process prints later is read later.
    pub(super) fn drain(&mut self, number: u16) -> Result<(), Broken> {
        for stderr in [false, true] {
            let mut left = DRAIN;
            while let Some(place) = self.streams.of_step(number, stderr) {
                // Once the job is stopped, nothing waits for the runner any more: what a pipe holds is little.
                if self.stop.is_none() && !self.inside.spool.has_room() {
                    self.turn(None)?;
                    continue;
                }
                match self.streams.read(place, &self.inside.spool).map_err(unsayable)? {
                    Got::Bytes(count) if count < left => left -= count,
                    Got::Bytes(_) | Got::Nothing | Got::End => break,
                }
            }
        }
        Ok(())
    }

    /// Ends every process of the job that is left, and reads what they have printed.
    pub(super) fn end_processes(&mut self, grace: Duration) {
        self.breaking = true;
        let mut ending = Ending::of_descendants(grace);
        while !ending.is_over() {
            let next = ending.go_on(true);
            // A disk that is full, and what cannot be said, have had their say.
            if !ending.is_over() && self.turn(next).is_err() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        while self.streams.len() > 0 {
            match self.streams.read(0, &self.inside.spool) {
                Ok(Got::Bytes(_) | Got::End) => {}
                // Held open by someone who is no descendant: an outsider's `exec` in the container.
                Ok(Got::Nothing) | Err(_) => {
                    let _ = self.streams.close(0, &self.inside.spool);
                }
            }
        }
        let root = &self.inside.options.root;
        let _ = fs::remove_dir_all(root.join("tmp"));
        // The folder itself stays: it is a mount.
        for file in fs::read_dir(root.join(super::SECRETS)).into_iter().flatten().flatten() {
            let _ = fs::remove_file(file.path());
        }
    }
}
