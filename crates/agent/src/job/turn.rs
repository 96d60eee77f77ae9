//! One turn of the job's loop: waits for events and handles them, and at the end reads what pipes and processes still
//! have.

use std::fs;
use std::io;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use longshore_agent_protocol::message::AgentError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Job, JobError, Stop, message_error};
use crate::ending::Ending;
use crate::streams::ReadOutcome;
use crate::wake::Event;

/// How often to retry writing to a full disk.
const DISK_RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// The most bytes read from one stream of a step after its end: more than any pipe holds. A background process may
/// print forever.
const MAX_DRAINED_BYTES: usize = 2 << 20;

impl Job {
    /// Waits for the next event, at most until `until`, and handles it.
    pub(super) fn turn(&mut self, until: Option<Instant>) -> Result<(), JobError> {
        if self.take_events() {
            return self.advance_services();
        }
        let spool = &self.runtime.spool;
        let room = spool.has_room();
        // Nothing may be reported while the checkout can still start over.
        let heard = room && !self.checkout_is_open();
        if self.members.set_heard(heard) {
            // Time limits were paused: the caller has to compute its next deadline again.
            return self.advance_services();
        }
        let deadline = self.stop.is_none().then_some(self.deadline);
        let mut next = [until, deadline, self.services_deadline()].into_iter().flatten().min();
        if let Some((since, error)) = spool.disk_full_for() {
            if since >= self.runtime.options.disk_full_after && !self.ends_processes {
                return Err(JobError::new(
                    AgentError::DiskFull,
                    format!("the spool in the job's container cannot be written for {since:.0?}: {error}"),
                ));
            }
            let retry = Instant::now() + DISK_RETRY_INTERVAL;
            next = Some(next.map_or(retry, |next| next.min(retry)));
        }
        let mut waiting = vec![PollFd::new(&self.runtime.wake, PollFlags::IN)];
        if room {
            waiting.extend(self.streams.pipes().map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)));
        }
        if heard {
            waiting.extend(self.members.pod.links().map(|link| PollFd::from_borrowed_fd(link, PollFlags::IN)));
        }
        let timeout = next.map(|next| next.saturating_duration_since(Instant::now()));
        let timeout = timeout.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                return Err(JobError::new(AgentError::Internal, format!("waiting failed: {}", io::Error::from(error))));
            }
        }
        let ready: Vec<bool> = waiting.iter().map(|waited| !waited.revents().is_empty()).collect();
        if ready.first() == Some(&true) {
            self.runtime.wake.clear();
        }
        let (pipes, links) = (self.streams.len(), self.members.pod.link_count());
        // From the back, because the last stream takes the place of one that ends.
        for place in (0..links).rev() {
            if ready.get(pipes + place + 1) == Some(&true) {
                self.read_member(place)?;
            }
        }
        for place in (0..pipes).rev() {
            if ready.get(place + 1) == Some(&true) {
                self.streams.read(place, &self.runtime.spool).map_err(message_error)?;
            }
        }
        self.take_events();
        self.advance_services()?;
        if self.stop.is_none() && Instant::now() >= self.deadline {
            self.stop_job(Stop::TimedOut);
        }
        Ok(())
    }

    pub(super) fn take_events(&mut self) -> bool {
        let mut any = false;
        loop {
            match self.runtime.events.try_recv() {
                Ok(Event::Ended(reaped)) => {
                    self.ended.insert(reaped.pid, reaped);
                }
                Ok(Event::Cancel) => self.stop_job(Stop::Canceled),
                Ok(Event::CheckedOut(result)) => self.checked_out = Some(result),
                Ok(Event::Joined(member, stream)) => self.members.pod.add(member, stream),
                Ok(Event::ContainerFailed(failure)) => self.members.pod.fail(failure.container, failure.message),
                Ok(Event::ServiceReady) => self.report_ready(),
                // It cannot be too long.
                Ok(Event::ProbeFailed(reason)) => drop(self.note(0, reason)),
                Ok(Event::Plan(..) | Event::NoPlan(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return any,
            }
            any = true;
        }
    }

    pub(super) fn stop_job(&mut self, stop: Stop) {
        if self.stop.is_none() {
            self.stop = Some(stop);
            self.always_deadline = Some(Instant::now() + self.runtime.options.always_limit);
        }
    }

    /// Reads what a finished step has left in its pipes. Later output of a background process is read later.
    pub(super) fn drain(&mut self, number: u16) -> Result<(), JobError> {
        for stderr in [false, true] {
            let mut left = MAX_DRAINED_BYTES;
            while let Some(place) = self.streams.find(number, stderr) {
                // Once the job is stopped, no longer wait for the runner: a pipe holds little.
                if self.stop.is_none() && !self.runtime.spool.has_room() {
                    self.turn(None)?;
                    continue;
                }
                match self.streams.read(place, &self.runtime.spool).map_err(message_error)? {
                    ReadOutcome::Bytes(count) if count < left => left -= count,
                    ReadOutcome::Bytes(_) | ReadOutcome::Nothing | ReadOutcome::End => break,
                }
            }
        }
        Ok(())
    }

    /// Ends every remaining process of the job, and reads what they have printed.
    pub(super) fn end_processes(&mut self, grace: Duration) {
        self.ends_processes = true;
        let mut ending = Ending::of_descendants(grace);
        while !ending.is_over() {
            let next = ending.advance(true);
            // A full disk and unsendable messages have been reported already.
            if !ending.is_over() && self.turn(next).is_err() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        while self.streams.len() > 0 {
            match self.streams.read(0, &self.runtime.spool) {
                Ok(ReadOutcome::Bytes(_) | ReadOutcome::End) => {}
                // Held open by a process that is not a descendant: an outsider's `exec` in the container.
                Ok(ReadOutcome::Nothing) | Err(_) => {
                    let _ = self.streams.close(0, &self.runtime.spool);
                }
            }
        }
        let root = &self.runtime.options.root;
        let _ = fs::remove_dir_all(root.join("tmp"));
        // Keep the folder itself: it is a mount.
        for file in fs::read_dir(root.join(super::SECRETS)).into_iter().flatten().flatten() {
            let _ = fs::remove_file(file.path());
        }
    }
}
