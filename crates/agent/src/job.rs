//! The job: from the plan to the last word.
//!
//! One loop on the main thread. It waits for pipes, for the bell and for the next deadline, all in [`Job::turn`]; the other
//! threads only post events. Steps run one after the other; nothing here waits for the runner, except that pipes are not
//! read while the spool has no room.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use longshore_agent_protocol::mask::Patterns;
use longshore_agent_protocol::message::{AgentError, Condition, JobResult, JobSpec, StepResult, StepSpec, StepStatus};
use longshore_agent_protocol::{FrameError, FromAgent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::account::Account;
use crate::checkout::{self, Chunk};
use crate::ending::Ending;
use crate::reaper::Children;
use crate::spool::Spool;
use crate::step::{Running, StartError, Surroundings};
use crate::streams::{Got, Streams};
use crate::sys::Reaped;
use crate::verdict::{failure_of, finished, judge, millis, skipped};
use crate::wake::{Event, Mailbox, Wake};
use crate::{AgentOptions, clock, memory};

/// How often a full disk is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// What one stream of a step may still bring after the step's end: more than any pipe holds. A background process may print for ever.
const DRAIN: usize = 2 << 20;
/// The most that processes left in the background get between TERM and KILL.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);

/// What the loop stands on.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) options: AgentOptions,
    pub(crate) spool: Arc<Spool>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) events: Receiver<Event>,
    pub(crate) mailbox: Mailbox,
    pub(crate) children: Arc<Children>,
}

/// Why the steps that are left do not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Canceled,
    TimedOut,
}

/// What ends the job at once, as an error.
#[derive(Debug)]
struct Broken {
    kind: AgentError,
    message: String,
}

impl Broken {
    fn new(kind: AgentError, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// Runs the job and says everything there is to say about it, the last word included.
pub(crate) fn run(inside: Inside) {
    let (spec, chunks) = loop {
        match inside.events.recv() {
            Ok(Event::Plan(spec, chunks)) => break (spec, chunks),
            Ok(Event::NoPlan(message)) => {
                return last_word(&inside.spool, JobResult::Error { kind: AgentError::Protocol, message });
            }
            Ok(Event::Cancel) => return last_word(&inside.spool, JobResult::Canceled),
            Ok(Event::Ended(_) | Event::CheckedOut(_)) => {}
            Err(_) => return,
        }
    };
    let mut job = Job::new(inside, &spec);
    let result = match job.run(&spec, chunks) {
        Ok(result) => result,
        Err(Broken { kind, message }) => JobResult::Error { kind, message },
    };
    job.end_processes(Duration::from_millis(spec.grace_ms).min(LEFTOVER_GRACE));
    last_word(&job.inside.spool, result);
}

fn last_word(spool: &Spool, result: JobResult) {
    let said = spool.say(&FromAgent::JobFinished { time_ms: clock::now_ms(), result });
    if let Err(error) = said {
        let result = JobResult::Error { kind: AgentError::Internal, message: error.to_string() };
        let _ = spool.say(&FromAgent::JobFinished { time_ms: clock::now_ms(), result });
    }
}

struct Job {
    inside: Inside,
    streams: Streams,
    /// Ends nobody has asked for yet.
    ended: HashMap<i32, Reaped>,
    checked_out: Option<Result<(), String>>,
    deadline: Instant,
    stop: Option<Stop>,
    /// When `always()` steps must be done, once the job is stopped.
    aftermath: Option<Instant>,
    /// Processes are being ended; nothing else matters any more.
    breaking: bool,
}

impl Job {
    fn new(inside: Inside, spec: &JobSpec) -> Self {
        Self {
            inside,
            streams: Streams::new(None),
            ended: HashMap::new(),
            checked_out: None,
            deadline: later(spec.timeout_ms),
            stop: None,
            aftermath: None,
            breaking: false,
        }
    }

    fn run(&mut self, spec: &JobSpec, chunks: Receiver<Chunk>) -> Result<JobResult, Broken> {
        let patterns = Patterns::new(&spec.masks)
            .map_err(|error| Broken::new(AgentError::Internal, format!("the masks cannot be built: {error}")))?;
        self.streams = Streams::new(patterns);
        let surroundings = self.prepare(spec)?;
        if spec.checkout {
            self.check_out(&surroundings, chunks)?;
        }

        let mut failure: Option<JobResult> = None;
        for (number, step) in (0_u16..).zip(&spec.steps) {
            let runs = match step.condition {
                Condition::Success => failure.is_none() && self.stop.is_none(),
                Condition::Failure => failure.is_some() && self.stop.is_none(),
                Condition::Always => self.aftermath.is_none_or(|until| Instant::now() < until),
            } && self.checkout_is_whole(spec);
            if !runs {
                self.say(&finished(number, skipped()))?;
                continue;
            }
            let result = self.run_step(number, step, spec, &surroundings)?;
            if failure.is_none() && !step.continue_on_error {
                failure = failure_of(number, step, &result);
            }
        }
        Ok(match (self.stop, failure) {
            (Some(Stop::Canceled), _) => JobResult::Canceled,
            (Some(Stop::TimedOut), _) => JobResult::TimedOut { limit_ms: spec.timeout_ms },
            (None, Some(failure)) => failure,
            (None, None) => JobResult::Success,
        })
    }

    /// Workspace, script folder, user and environment.
    fn prepare(&self, spec: &JobSpec) -> Result<Surroundings, Broken> {
        let account = Account::lookup(&spec.user, &self.inside.options.etc)
            .map_err(|message| Broken::new(AgentError::ImageUnusable, message))?;
        let workspace = PathBuf::from(&spec.workspace);
        let scripts = self.inside.options.root.join("tmp");
        let made = fs::create_dir_all(&workspace).and_then(|()| {
            if account.differs_from_ours() {
                std::os::unix::fs::chown(&workspace, Some(account.uid), Some(account.gid))?;
            }
            Ok(())
        });
        made.map_err(|error| {
            let kind = if error.raw_os_error() == Some(Errno::NOSPC.raw_os_error()) {
                AgentError::DiskFull
            } else {
                AgentError::Internal
            };
            Broken::new(kind, format!("the workspace {} cannot be made: {error}", workspace.display()))
        })?;
        Ok(Surroundings::new(account, workspace, scripts, &spec.env))
    }

    fn check_out(&mut self, surroundings: &Surroundings, chunks: Receiver<Chunk>) -> Result<(), Broken> {
        let workspace = surroundings.workspace.clone();
        let account = &surroundings.account;
        let owner = account.differs_from_ours().then_some((account.uid, account.gid));
        let mailbox = self.inside.mailbox.clone();
        let unpacking = move || {
            let result = checkout::unpack(chunks, &workspace, owner).map_err(|error| error.to_string());
            mailbox.post(Event::CheckedOut(result));
        };
        std::thread::Builder::new()
            .name("checkout".to_owned())
            .spawn(unpacking)
            .map_err(|error| Broken::new(AgentError::Internal, format!("no thread for the checkout: {error}")))?;
        while self.checked_out.is_none() && self.stop.is_none() {
            self.turn(None)?;
        }
        match &self.checked_out {
            Some(Err(message)) => {
                Err(Broken::new(AgentError::CheckoutFailed, format!("the checkout failed: {message}")))
            }
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Whether there is something to run steps on: a job stopped before that runs none, not even `always()`.
    fn checkout_is_whole(&self, spec: &JobSpec) -> bool {
        !spec.checkout || matches!(self.checked_out, Some(Ok(())))
    }

    fn run_step(
        &mut self,
        number: u16,
        step: &StepSpec,
        spec: &JobSpec,
        surroundings: &Surroundings,
    ) -> Result<StepResult, Broken> {
        self.say(&FromAgent::StepStarted { step: number, time_ms: clock::now_ms() })?;
        let kills = memory::kills();
        let started = Instant::now();
        let running = match surroundings.start(number, step, &self.inside.children) {
            Ok(running) => running,
            Err(error) => return self.not_started(number, &error),
        };
        let Running { pid, stdout, stderr } = running;
        self.streams.add(number, false, stdout);
        self.streams.add(number, true, stderr);

        // A job that is stopped already ends its `always()` steps by another limit.
        let aftermath = self.aftermath;
        let limit = step.timeout_ms.map(later);
        let limit = [limit, aftermath].into_iter().flatten().min();
        let mut ending = Ending::new(pid, Duration::from_millis(spec.grace_ms));
        let mut why = None;
        let mut reaped = None;
        loop {
            reaped = reaped.or_else(|| self.ended.remove(&pid));
            if why.is_none() && reaped.is_none() {
                why = match self.stop {
                    Some(Stop::Canceled) if aftermath.is_none() => Some(StepStatus::Canceled),
                    Some(Stop::TimedOut) if aftermath.is_none() => Some(StepStatus::TimedOut),
                    _ if limit.is_some_and(|limit| Instant::now() >= limit) => Some(StepStatus::TimedOut),
                    _ => None,
                };
            }
            let next = if why.is_some() { ending.go_on(reaped.is_some()) } else { limit };
            if reaped.is_some() && (why.is_none() || ending.is_over()) {
                break;
            }
            self.turn(next)?;
        }
        let wall_ms = millis(started.elapsed());
        self.drain(number)?;
        let Some(reaped) = reaped else {
            return Err(Broken::new(AgentError::Internal, "a step ended without an end"));
        };
        let mut result = judge(&reaped, why, wall_ms);
        result.out_of_memory = result.status == StepStatus::Failure && memory::rose(kills, memory::kills());
        self.say(&finished(number, result.clone()))?;
        Ok(result)
    }

    fn not_started(&mut self, number: u16, error: &StartError) -> Result<StepResult, Broken> {
        let text = error.to_string();
        self.say(&FromAgent::Note { step: number, time_ms: clock::now_ms(), text: text.clone() })?;
        let result = StepResult { status: StepStatus::Error, ..skipped() };
        self.say(&finished(number, result.clone()))?;
        match error {
            StartError::NoShell { .. } => Err(Broken::new(AgentError::ImageUnusable, text)),
            StartError::Script { source, .. } if source.raw_os_error() == Some(Errno::NOSPC.raw_os_error()) => {
                Err(Broken::new(AgentError::DiskFull, text))
            }
            StartError::Script { .. } => Err(Broken::new(AgentError::Internal, text)),
            // The pipeline's own doing.
            StartError::NoDirectory { .. } | StartError::OutsideDirectory { .. } | StartError::Spawn(_) => Ok(result),
        }
    }

    /// Reads what a step that ended has left in its pipes. What a background process prints later is read later.
    fn drain(&mut self, number: u16) -> Result<(), Broken> {
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

    /// Waits for the next thing to happen, at most until `until`, and deals with it.
    fn turn(&mut self, until: Option<Instant>) -> Result<(), Broken> {
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

    fn take_events(&mut self) -> bool {
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

    fn halt(&mut self, stop: Stop) {
        if self.stop.is_none() {
            self.stop = Some(stop);
            self.aftermath = Some(Instant::now() + self.inside.options.aftermath);
        }
    }

    /// Ends every process of the job that is left, and reads what they have printed.
    fn end_processes(&mut self, grace: Duration) {
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
        let scripts = self.inside.options.root.join("tmp");
        let _ = fs::remove_dir_all(scripts);
    }

    fn say(&self, message: &FromAgent) -> Result<(), Broken> {
        self.inside.spool.say(message).map_err(unsayable)
    }
}

/// That many milliseconds from now; what the clock cannot hold is far enough away to be never.
fn later(milliseconds: u64) -> Instant {
    const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
    Instant::now() + Duration::from_millis(milliseconds).min(NEVER)
}

fn unsayable(error: FrameError) -> Broken {
    Broken::new(AgentError::Internal, format!("a message cannot be said: {error}"))
}
