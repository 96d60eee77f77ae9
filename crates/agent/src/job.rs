//! The job: from the plan to the last word.
//!
//! One loop on the main thread. It waits for pipes, for the bell and for the next deadline, all in [`Job::turn`]; the other
//! threads only post events. Steps run one after the other; nothing here waits for the runner, except that pipes are not
//! read while the spool has no room.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use longshore_agent_protocol::mask::{Patterns, masked};
use longshore_agent_protocol::message::{AgentError, JobEnd, JobResult, JobSpec, StepResult, StepSpec, StepStatus};
use longshore_agent_protocol::{FrameError, FromAgent};
use longshore_core::expression::runs;
use longshore_core::plan::RetryOn;
use longshore_core::template::Template;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::account::Account;
use crate::checkout::{self, Chunk};
use crate::ending::Ending;
use crate::files::{StepFiles, Told, private_file};
use crate::reaper::Children;
use crate::spool::Spool;
use crate::step::{Ready, StartError, Surroundings};
use crate::streams::{Got, Streams};
use crate::sys::Reaped;
use crate::values::Values;
use crate::verdict::{failure_of, finished, judge, millis, skipped};
use crate::wake::{Event, Mailbox, Wake};
use crate::{AgentOptions, clock, memory};

/// How often a full disk is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// What one stream of a step may still bring after the step's end: more than any pipe holds. A background process may print for ever.
const DRAIN: usize = 2 << 20;
/// Bytes of a job's outputs. They have to fit into one frame, whatever they hold.
const MAX_JOB_OUTPUTS: u64 = 128 << 10;
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
    let end = match job.run(&spec, chunks) {
        Ok(end) => end,
        Err(Broken { kind, message }) => JobResult::Error { kind, message }.into(),
    };
    job.end_processes(Duration::from_millis(spec.grace_ms).min(LEFTOVER_GRACE));
    last_word(&job.inside.spool, end);
}

fn last_word(spool: &Spool, end: impl Into<JobEnd>) {
    let said = spool.say(&FromAgent::JobFinished { time_ms: clock::now_ms(), end: end.into() });
    if let Err(error) = said {
        let end = JobResult::Error { kind: AgentError::Internal, message: error.to_string() }.into();
        let _ = spool.say(&FromAgent::JobFinished { time_ms: clock::now_ms(), end });
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
    patterns: Option<Arc<Patterns>>,
    /// What steps have put before PATH.
    path: Vec<String>,
    background: Vec<Background>,
}

/// A step that runs beside the others.
struct Background {
    number: u16,
    pid: i32,
    files: StepFiles,
    started: Instant,
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
            patterns: None,
            path: Vec::new(),
            background: Vec::new(),
        }
    }

    fn run(&mut self, spec: &JobSpec, chunks: Receiver<Chunk>) -> Result<JobEnd, Broken> {
        self.patterns = Patterns::new(&spec.masks)
            .map_err(|error| Broken::new(AgentError::Internal, format!("the masks cannot be built: {error}")))?;
        self.streams = Streams::new(self.patterns.clone());
        let surroundings = self.prepare(spec)?;
        let secrets = write_secrets(spec, &surroundings)?;
        if spec.checkout {
            self.check_out(&surroundings, chunks)?;
        }
        let mut values = Values::new(spec.known.clone(), surroundings.workspace.clone());
        if self.checkout_is_whole(spec) {
            values.add_env(filled("env", &spec.env, &values)?);
            values.add_env(secrets);
        }

        let mut failure: Option<JobResult> = None;
        for (number, step) in (0_u16..).zip(&spec.steps) {
            self.hear_backgrounds(spec, &mut failure)?;
            values.go_on(failure.is_some() && self.stop.is_none(), self.stop.is_some());
            let may_run = self.aftermath.is_none_or(|until| Instant::now() < until) && self.checkout_is_whole(spec);
            let result = match may_run.then(|| runs(step.condition.as_ref(), &values)) {
                None | Some(Ok(false)) => {
                    self.say(&finished(number, skipped()))?;
                    skipped()
                }
                Some(Err(error)) => self.not_understood(number, &format!("`if`: {error}"))?,
                Some(Ok(true)) => match self.run_step(number, step, spec, &surroundings, &mut values)? {
                    Some(result) => result,
                    // It runs on; what becomes of it is heard later.
                    None => continue,
                },
            };
            values.step_ended(step.id.as_deref(), &result, step.continue_on_error);
            if failure.is_none() && !step.continue_on_error {
                failure = failure_of(number, step, &result);
            }
        }
        self.hear_backgrounds(spec, &mut failure)?;
        self.end_backgrounds(Duration::from_millis(spec.grace_ms).min(LEFTOVER_GRACE))?;
        let outputs = if self.checkout_is_whole(spec) { self.job_outputs(spec, &values)? } else { BTreeMap::new() };
        let result = match (self.stop, failure) {
            (Some(Stop::Canceled), _) => JobResult::Canceled,
            (Some(Stop::TimedOut), _) => JobResult::TimedOut { limit_ms: spec.timeout_ms },
            (None, Some(failure)) => failure,
            (None, None) => JobResult::Success,
        };
        Ok(JobEnd { result, outputs })
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
        Ok(Surroundings::new(account, workspace, scripts))
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

    /// All tries of a step; nothing for one that runs on in the background.
    fn run_step(
        &mut self,
        number: u16,
        step: &StepSpec,
        spec: &JobSpec,
        surroundings: &Surroundings,
        values: &mut Values,
    ) -> Result<Option<StepResult>, Broken> {
        self.say(&FromAgent::StepStarted { step: number, time_ms: clock::now_ms() })?;
        let started = Instant::now();
        let ready = match self.ready(step, surroundings, values) {
            Ok(ready) => ready,
            Err(message) => return self.not_understood(number, &message).map(Some),
        };
        let tries = 1 + step.retry.as_ref().map_or(0, |retry| retry.max);
        let mut attempt = 1;
        let (mut result, told) = loop {
            let (running, kills) =
                (surroundings.start(number, attempt, &ready, &self.inside.children), memory::kills());
            let running = match running {
                Ok(running) => running,
                Err(error) => match self.not_started(number, &error)? {
                    result if self.tries_again(step, &result, attempt, tries) => {
                        self.note(number, format!("could not start; try {} of {tries}", attempt + 1))?;
                        attempt += 1;
                        continue;
                    }
                    result => break (result, Told::default()),
                },
            };
            self.streams.add(number, false, running.stdout);
            if let Some(stderr) = running.stderr {
                self.streams.add(number, true, stderr);
            }
            if step.background {
                self.background.push(Background { number, pid: running.pid, files: running.files, started });
                return Ok(None);
            }
            let mut result = self.wait_for(number, step, spec, running.pid)?;
            result.out_of_memory = result.status == StepStatus::Failure && memory::rose(kills, memory::kills());
            let told = match running.files.read() {
                Ok(told) => told,
                Err(message) => {
                    self.note(number, message)?;
                    if result.status == StepStatus::Success {
                        (result.status, result.exit_code) = (StepStatus::Failure, Some(1));
                    }
                    Told::default()
                }
            };
            if !self.tries_again(step, &result, attempt, tries) {
                break (result, told);
            }
            let why = match (result.status, result.exit_code) {
                (StepStatus::TimedOut, _) | (_, None) => "ran out of time".to_owned(),
                (_, Some(code)) => format!("ended with exit code {code}"),
            };
            attempt += 1;
            self.note(number, format!("{why}; try {attempt} of {tries}"))?;
        };
        result.wall_ms = millis(started.elapsed());
        (result.outputs, result.summary) = (told.outputs, told.summary);
        self.hide(number, &mut result)?;
        values.add_env(told.env);
        self.path.splice(0..0, told.path);
        self.say(&finished(number, result.clone()))?;
        Ok(Some(result))
    }

    /// The step with everything filled in; the error says what cannot be.
    fn ready(&self, step: &StepSpec, surroundings: &Surroundings, values: &Values) -> Result<Ready, String> {
        let (own, within) = values.with_step_env(&step.env).map_err(|error| format!("`env`: {error}"))?;
        let run = step.run.evaluate(&within).map_err(|error| format!("`run`: {error}"))?;
        let working_directory = step.working_directory.as_ref().map(|directory| directory.evaluate(&within));
        let working_directory =
            working_directory.transpose().map_err(|error| format!("`working-directory`: {error}"))?;
        let account = match &step.user {
            Some(user) => Account::lookup(user, &self.inside.options.etc)?,
            None => surroundings.account.clone(),
        };
        let mut env = values.env().clone();
        env.extend(own);
        Ok(Ready {
            run,
            shell: step.shell.clone(),
            working_directory,
            env,
            path: self.path.clone(),
            account,
            terminal: step.tty,
        })
    }

    fn tries_again(&self, step: &StepSpec, result: &StepResult, attempt: u32, tries: u32) -> bool {
        let why = match result.status {
            StepStatus::Failure => RetryOn::Failure,
            StepStatus::TimedOut => RetryOn::Timeout,
            StepStatus::Error => RetryOn::Error,
            StepStatus::Success | StepStatus::Skipped | StepStatus::Canceled => return false,
        };
        attempt < tries && self.stop.is_none() && step.retry.as_ref().is_some_and(|retry| retry.on.contains(&why))
    }

    /// Waits for a step's process, and ends it when its time is over or the job is stopped.
    fn wait_for(&mut self, number: u16, step: &StepSpec, spec: &JobSpec, pid: i32) -> Result<StepResult, Broken> {
        let started = Instant::now();
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
        Ok(judge(&reaped, why, wall_ms))
    }

    /// A step that cannot be said what it is: the pipeline's own doing.
    fn not_understood(&mut self, number: u16, message: &str) -> Result<StepResult, Broken> {
        self.note(number, message.to_owned())?;
        let result = StepResult { status: StepStatus::Error, ..skipped() };
        self.say(&finished(number, result.clone()))?;
        Ok(result)
    }

    /// Says why a try did not start. What no step of this job can mend ends the job.
    fn not_started(&mut self, number: u16, error: &StartError) -> Result<StepResult, Broken> {
        let text = error.to_string();
        self.note(number, text.clone())?;
        let result = StepResult { status: StepStatus::Error, ..skipped() };
        let kind = match error {
            StartError::NoShell { .. } => AgentError::ImageUnusable,
            StartError::Script { source, .. } if source.raw_os_error() == Some(Errno::NOSPC.raw_os_error()) => {
                AgentError::DiskFull
            }
            StartError::Script { .. } => AgentError::Internal,
            // The pipeline's own doing.
            StartError::NoDirectory { .. }
            | StartError::OutsideDirectory { .. }
            | StartError::Terminal(_)
            | StartError::Spawn(_) => return Ok(result),
        };
        self.say(&finished(number, result))?;
        Err(Broken::new(kind, text))
    }

    /// Takes out what would show a secret.
    fn hide(&self, number: u16, result: &mut StepResult) -> Result<(), Broken> {
        let outputs = std::mem::take(&mut result.outputs);
        result.outputs = self.without_secrets(number, outputs)?;
        if let Some(patterns) = &self.patterns
            && let Some(shown) = masked(patterns, result.summary.as_bytes())
        {
            result.summary = String::from_utf8_lossy(&shown).into_owned();
        }
        Ok(())
    }

    fn without_secrets(
        &self,
        number: u16,
        mut outputs: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Broken> {
        let Some(patterns) = &self.patterns else { return Ok(outputs) };
        let hidden: Vec<String> = outputs
            .iter()
            .filter(|(_, value)| masked(patterns, value.as_bytes()).is_some())
            .map(|(name, _)| name.clone())
            .collect();
        for name in hidden {
            outputs.remove(&name);
            self.note(number, format!("the output `{name}` is dropped: it would show a secret"))?;
        }
        Ok(outputs)
    }

    fn job_outputs(&self, spec: &JobSpec, values: &Values) -> Result<BTreeMap<String, String>, Broken> {
        let outputs = self.without_secrets(u16::MAX, filled("outputs", &spec.outputs, values)?)?;
        let length: usize = outputs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if length as u64 > MAX_JOB_OUTPUTS {
            let limit = MAX_JOB_OUTPUTS >> 10;
            return Err(Broken::new(
                AgentError::Expression,
                format!("the job's outputs have {length} bytes together, more than the limit of {limit} KiB"),
            ));
        }
        Ok(outputs)
    }

    /// Tells of background steps that have ended by themselves; one that failed has failed the job.
    fn hear_backgrounds(&mut self, spec: &JobSpec, failure: &mut Option<JobResult>) -> Result<(), Broken> {
        self.take_events();
        for at in (0..self.background.len()).rev() {
            let Some(reaped) = self.ended.remove(&self.background[at].pid) else { continue };
            let background = self.background.remove(at);
            self.drain(background.number)?;
            let result = judge(&reaped, None, millis(background.started.elapsed()));
            if let Some(step) = spec.steps.get(usize::from(background.number))
                && failure.is_none()
                && !step.continue_on_error
            {
                *failure = failure_of(background.number, step, &result);
            }
            self.tell_background(&background, result)?;
        }
        Ok(())
    }

    /// Ends what still runs in the background: it has done its service.
    fn end_backgrounds(&mut self, grace: Duration) -> Result<(), Broken> {
        let why = if self.stop.is_some() { StepStatus::Canceled } else { StepStatus::Success };
        let mut endings: Vec<_> = self.background.iter().map(|background| Ending::new(background.pid, grace)).collect();
        let mut reaped: Vec<Option<Reaped>> = vec![None; endings.len()];
        while endings.iter().any(|ending| !ending.is_over()) {
            let mut next: Option<Instant> = None;
            for (at, ending) in endings.iter_mut().enumerate() {
                reaped[at] = reaped[at].take().or_else(|| self.ended.remove(&self.background[at].pid));
                if !ending.is_over() {
                    let come_again = ending.go_on(reaped[at].is_some());
                    next = [next, come_again].into_iter().flatten().min();
                }
            }
            if endings.iter().any(|ending| !ending.is_over()) {
                self.turn(next)?;
            }
        }
        for (background, reaped) in std::mem::take(&mut self.background).into_iter().zip(reaped) {
            self.drain(background.number)?;
            let wall_ms = millis(background.started.elapsed());
            let result = match reaped {
                Some(reaped) => StepResult { exit_code: None, signal: None, ..judge(&reaped, Some(why), wall_ms) },
                None => StepResult { status: why, wall_ms, ..skipped() },
            };
            self.tell_background(&background, result)?;
        }
        Ok(())
    }

    fn tell_background(&mut self, background: &Background, mut result: StepResult) -> Result<(), Broken> {
        match background.files.read() {
            Ok(told) => (result.outputs, result.summary) = (told.outputs, told.summary),
            Err(message) => self.note(background.number, message)?,
        }
        self.hide(background.number, &mut result)?;
        self.say(&finished(background.number, result))
    }

    fn note(&self, step: u16, text: String) -> Result<(), Broken> {
        // What an expression or a file held may be a secret.
        let shown = self.patterns.as_ref().and_then(|patterns| masked(patterns, text.as_bytes()));
        let text = shown.map_or(text, |shown| String::from_utf8_lossy(&shown).into_owned());
        self.say(&FromAgent::Note { step, time_ms: clock::now_ms(), text })
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

/// Secrets that are files, written for the steps' user alone. The variables that lead to them.
fn write_secrets(spec: &JobSpec, surroundings: &Surroundings) -> Result<BTreeMap<String, String>, Broken> {
    let mut variables = BTreeMap::new();
    for (at, (variable, value)) in spec.secret_files.iter().enumerate() {
        let path = surroundings.scripts.join(format!("secret-{at}"));
        private_file(&path, value.as_bytes(), &surroundings.account).map_err(|error| {
            Broken::new(AgentError::Internal, format!("the secret `{variable}` cannot be written to its file: {error}"))
        })?;
        variables.insert(variable.clone(), path.display().to_string());
    }
    Ok(variables)
}

/// All of these texts, filled in. What cannot be ends the job: a step would see half of what was meant.
fn filled(what: &str, texts: &BTreeMap<String, Template>, values: &Values) -> Result<BTreeMap<String, String>, Broken> {
    let fill = |(name, text): (&String, &Template)| match text.evaluate(values) {
        Ok(text) => Ok((name.clone(), text)),
        Err(error) => Err(Broken::new(AgentError::Expression, format!("`{what}: {name}` of the job: {error}"))),
    };
    texts.iter().map(fill).collect()
}

/// That many milliseconds from now; what the clock cannot hold is far enough away to be never.
fn later(milliseconds: u64) -> Instant {
    const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
    Instant::now() + Duration::from_millis(milliseconds).min(NEVER)
}

fn unsayable(error: FrameError) -> Broken {
    Broken::new(AgentError::Internal, format!("a message cannot be said: {error}"))
}
