//! The job: from the plan to the last word.
//!
//! One loop on the main thread. It waits for pipes, for the bell and for the next deadline, all in [`Job::turn`]; the other
//! threads only post events. Steps run one after the other; nothing here waits for the runner, except that pipes are not
//! read while the spool has no room.

mod background;
mod outputs;
mod steps;
mod tries;
mod turn;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use longshore_agent_protocol::mask::{Patterns, masked};
use longshore_agent_protocol::message::{AgentError, JobEnd, JobResult, JobSpec, SandboxLeft, StepResult, StepSpec};
use longshore_agent_protocol::{FrameError, FromAgent};
use longshore_core::expression::runs;
use longshore_core::template::Template;
use rustix::io::Errno;

use self::tries::Try;
use crate::account::Account;
use crate::checkout::{self, Chunk};
use crate::files::private_file;
use crate::reaper::Children;
use crate::shared_files::SharedFiles;
use crate::spool::Spool;
use crate::step::Surroundings;
use crate::streams::Streams;
use crate::sys::Reaped;
use crate::unstarted::StartError;
use crate::values::Values;
use crate::verdict::{failure_of, finished, skipped};
use crate::wake::{Event, Mailbox, Wake};
use crate::{AgentOptions, clock, processes};

/// Where the engine has put memory for the job's secret files, below the agent's root.
pub(crate) const SECRETS: &str = "secrets";
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
    /// Where there is a sandbox.
    pub(crate) shared_files: Option<SharedFiles>,
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
                return last_word(&inside, JobResult::Error { kind: AgentError::Protocol, message });
            }
            Ok(Event::Cancel) => return last_word(&inside, JobResult::Canceled),
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
    last_word(&job.inside, end);
}

/// No process of the job is left: what its sandbox shares becomes what it was, and the job's end says whether it did.
fn last_word(inside: &Inside, end: impl Into<JobEnd>) {
    let sandbox = inside.leave_sandbox();
    let say = |end: JobEnd| {
        let end = JobEnd { sandbox: sandbox.clone(), ..end };
        inside.spool.say(&FromAgent::JobFinished { time_ms: clock::now_ms(), end })
    };
    if let Err(error) = say(end.into()) {
        let _ = say(JobResult::Error { kind: AgentError::Internal, message: error.to_string() }.into());
    }
}

impl Inside {
    fn leave_sandbox(&self) -> SandboxLeft {
        let left = match &self.shared_files {
            None => Err("there is none".to_owned()),
            Some(_) if processes::someone_is_left() => Err("a process in the job's container did not end".to_owned()),
            Some(files) => files.restore(),
        };
        match left {
            Ok(()) => SandboxLeft { as_it_was: true, reason: String::new() },
            Err(reason) => {
                if self.shared_files.is_some() {
                    let text = format!("no other job gets this one's sandbox: {reason}");
                    let _ = self.spool.say(&FromAgent::Note { step: u16::MAX, time_ms: clock::now_ms(), text });
                }
                SandboxLeft { as_it_was: false, reason }
            }
        }
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
    background: Vec<Try>,
    /// What the first step that failed makes of the job.
    failure: Option<JobResult>,
    /// Kills for memory that a step has been told of: those beside it have nothing to do with them.
    kills_told: Option<u64>,
}

/// Where the steps of a job take place.
#[derive(Debug)]
struct Stage<'a> {
    spec: &'a JobSpec,
    surroundings: Surroundings,
    /// As they stand.
    values: Values,
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
            failure: None,
            kills_told: None,
        }
    }

    fn run(&mut self, spec: &JobSpec, chunks: Receiver<Chunk>) -> Result<JobEnd, Broken> {
        self.patterns = Patterns::new(&spec.masks)
            .map_err(|error| Broken::new(AgentError::Internal, format!("the masks cannot be built: {error}")))?;
        self.streams = Streams::new(self.patterns.clone());
        let surroundings = self.prepare(spec)?;
        if let Some(first) = spec.steps.first() {
            surroundings
                .try_architecture(&first.shell, &self.inside.children)
                .map_err(|error: StartError| Broken::new(AgentError::ImageUnusable, error.to_string()))?;
        }
        let secrets = self.write_secrets(spec, &surroundings)?;
        if spec.checkout {
            self.check_out(&surroundings, chunks)?;
        }
        let values = Values::new(spec.known.clone(), surroundings.workspace.clone());
        let mut stage = Stage { spec, surroundings, values };
        if self.checkout_is_whole(spec) {
            stage.values.add_env(filled("env", &spec.env, &stage.values)?);
            stage.values.add_env(secrets);
        }

        for (number, step) in (0_u16..).zip(&spec.steps) {
            self.hear_backgrounds(&mut stage)?;
            stage.values.go_on(self.failure.is_some() && self.stop.is_none(), self.stop.is_some());
            let may_run = self.aftermath.is_none_or(|until| Instant::now() < until) && self.checkout_is_whole(spec);
            match may_run.then(|| runs(step.condition.as_ref(), &stage.values)) {
                None | Some(Ok(false)) => {
                    self.say(&finished(number, skipped()))?;
                    self.conclude(number, step, &skipped(), &mut stage.values);
                }
                Some(Err(error)) => self.not_understood(number, step, &format!("`if`: {error}"), &mut stage.values)?,
                Some(Ok(true)) => self.run_step(number, step, &mut stage)?,
            }
        }
        self.end_backgrounds(&mut stage, Duration::from_millis(spec.grace_ms).min(LEFTOVER_GRACE))?;
        let outputs =
            if self.checkout_is_whole(spec) { self.job_outputs(spec, &stage.values)? } else { BTreeMap::new() };
        let result = match (self.stop, self.failure.take()) {
            (Some(Stop::Canceled), _) => JobResult::Canceled,
            (Some(Stop::TimedOut), _) => JobResult::TimedOut { limit_ms: spec.timeout_ms },
            (None, Some(failure)) => failure,
            (None, None) => JobResult::Success,
        };
        Ok(JobEnd { outputs, ..result.into() })
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

    /// What a step that is over means to those after it, and to the job.
    fn conclude(&mut self, number: u16, step: &StepSpec, result: &StepResult, values: &mut Values) {
        values.step_ended(step.id.as_deref(), result, step.continue_on_error);
        if self.failure.is_none() && !step.continue_on_error {
            self.failure = failure_of(number, step, result);
        }
    }

    /// Secrets that are files, written for the steps' user alone. The variables that lead to them.
    fn write_secrets(&self, spec: &JobSpec, surroundings: &Surroundings) -> Result<BTreeMap<String, String>, Broken> {
        if spec.secret_files.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut folder = self.inside.options.root.join(SECRETS);
        if !is_on_memory(&folder) {
            folder.clone_from(&surroundings.scripts);
            self.note(
                u16::MAX,
                "the job's secret files lie on the engine's disk until the job ends: this engine gave no memory for them".to_owned(),
            )?;
        }
        let mut variables = BTreeMap::new();
        for (at, (variable, value)) in spec.secret_files.iter().enumerate() {
            let path = folder.join(format!("secret-{at}"));
            private_file(&path, value.as_bytes(), &surroundings.account).map_err(|error| {
                let message = format!("the secret `{variable}` cannot be written to its file: {error}");
                Broken::new(AgentError::Internal, message)
            })?;
            variables.insert(variable.clone(), path.display().to_string());
        }
        Ok(variables)
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

    fn note(&self, step: u16, text: String) -> Result<(), Broken> {
        // What an expression or a file held may be a secret.
        let shown = self.patterns.as_ref().and_then(|patterns| masked(patterns, text.as_bytes()));
        let text = shown.map_or(text, |shown| String::from_utf8_lossy(&shown).into_owned());
        self.say(&FromAgent::Note { step, time_ms: clock::now_ms(), text })
    }

    fn say(&self, message: &FromAgent) -> Result<(), Broken> {
        self.inside.spool.say(message).map_err(unsayable)
    }
}

/// Whether what is written there reaches no disk.
fn is_on_memory(folder: &Path) -> bool {
    // TMPFS_MAGIC and RAMFS_MAGIC of the kernel's magic.h.
    const ON_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    rustix::fs::statfs(folder)
        .is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| ON_MEMORY.contains(&kind)))
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
