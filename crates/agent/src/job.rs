//! Runs the job, from the plan to the last message.
//!
//! One loop on the main thread. It waits for pipes, for the wake-up and for the next deadline, all in [`Job::turn`];
//! the other threads only post events. Steps run one after the other. Nothing here waits for the runner, except that
//! pipes are not read while the spool has no room.

mod artifacts;
mod background;
mod members;
mod outputs;
mod services;
mod setup;
mod steps;
mod tries;
mod turn;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use longshore_agent_protocol::mask::{Patterns, masked};
use longshore_agent_protocol::message::{
    AgentError, JobEnd, JobResult, JobSpec, SandboxLeft, StepResult, StepSpec, StepStatus,
};
use longshore_agent_protocol::{FrameError, FromAgent};
use longshore_core::Record;
use longshore_core::expression::runs;
use longshore_core::plan::ArtifactWhen;
use longshore_core::template::Template;

use self::members::Members;
use self::tries::Try;
use crate::checkout::Chunk;
use crate::collect::ArtifactRequest;
use crate::reaper::Children;
use crate::shared_files::SharedFiles;
use crate::spool::Spool;
use crate::start_error::StartError;
use crate::step::StepLauncher;
use crate::streams::Streams;
use crate::sys::Reaped;
use crate::values::Values;
use crate::verdict::{job_failure, skipped_result, step_finished};
use crate::wake::{Event, Mailbox, Wake};
use crate::{AgentOptions, clock, file_count, memory, processes};

/// The folder below the agent's root where the engine has mounted memory for the job's secret files.
pub(crate) const SECRETS: &str = "secrets";
/// The longest time that processes left in the background get between TERM and KILL.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);

/// What the job's loop works with.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) options: AgentOptions,
    pub(crate) spool: Arc<Spool>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) events: Receiver<Event>,
    pub(crate) mailbox: Mailbox,
    pub(crate) children: Arc<Children>,
    pub(crate) memory: memory::Watch,
    /// `None` without a sandbox.
    pub(crate) shared_files: Option<SharedFiles>,
}

/// Why the remaining steps do not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Canceled,
    TimedOut,
}

/// An error that ends the job at once.
#[derive(Debug)]
struct JobError {
    kind: AgentError,
    message: String,
}

impl JobError {
    fn new(kind: AgentError, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// Runs the job and sends every message about it, including the last one.
pub(crate) fn run(runtime: Runtime) {
    let (spec, chunks) = loop {
        match runtime.events.recv() {
            Ok(Event::Plan(spec, chunks)) => break (spec, chunks),
            Ok(Event::NoPlan(message)) => {
                return send_job_finished(&runtime, false, JobResult::Error { kind: AgentError::Protocol, message });
            }
            Ok(Event::Cancel) => return send_job_finished(&runtime, false, JobResult::Canceled),
            Ok(
                Event::Ended(_)
                | Event::CheckedOut(_)
                | Event::Joined(..)
                | Event::ContainerFailed(_)
                | Event::ServiceReady
                | Event::ProbeFailed(_),
            ) => {}
            Err(_) => return,
        }
    };
    let mut job = Job::new(runtime, &spec);
    let mut end: JobEnd = match job.run(&spec, chunks) {
        Ok(end) => end,
        Err(JobError { kind, message }) => JobResult::Error { kind, message }.into(),
    };
    // After an error the services still run. It is too late to report that they do not end.
    let _ = job.end_services();
    job.end_processes(Duration::from_millis(spec.grace_ms).min(LEFTOVER_GRACE));
    job.hand_over_artifacts(&spec, &mut end);
    if spec.member.is_none() {
        end.many_files = Some(file_count::is_large(Path::new(&spec.workspace), &spec.caches));
    }
    send_job_finished(&job.runtime, job.members.may_have_processes(), end);
}

/// Sends the last message. No process of the job is left by now: restores the files that its sandbox shares, and
/// reports the result. `members_left`: containers of the pod may still have some.
fn send_job_finished(runtime: &Runtime, members_left: bool, end: impl Into<JobEnd>) {
    let sandbox = runtime.restore_sandbox(members_left);
    let send = |end: JobEnd| {
        let end = JobEnd { sandbox: sandbox.clone(), ..end };
        runtime.spool.append_message(&FromAgent::JobFinished { time_ms: clock::now_ms(), end })
    };
    if let Err(error) = send(end.into()) {
        let _ = send(JobResult::Error { kind: AgentError::Internal, message: error.to_string() }.into());
    }
}

impl Runtime {
    fn restore_sandbox(&self, members_left: bool) -> SandboxLeft {
        let left = match &self.shared_files {
            None => Err("there is none".to_owned()),
            Some(_) if members_left => Err("a container of the job's pod did not end".to_owned()),
            Some(_) if processes::other_process_is_left() => {
                Err("a process in the job's container did not end".to_owned())
            }
            Some(files) => files.restore(),
        };
        match left {
            Ok(()) => SandboxLeft { is_restored: true, reason: String::new() },
            Err(reason) => {
                if self.shared_files.is_some() {
                    let text = format!("no other job gets this one's sandbox: {reason}");
                    let _ = self.spool.append_message(&FromAgent::Note {
                        step: Record::NO_STEP,
                        time_ms: clock::now_ms(),
                        text,
                    });
                }
                SandboxLeft { is_restored: false, reason }
            }
        }
    }
}

struct Job {
    runtime: Runtime,
    streams: Streams,
    /// Reaped processes whose steps have not been written yet.
    ended: HashMap<i32, Reaped>,
    /// How the checkout ended; without one it is whole from the start.
    checked_out: Option<Result<(), String>>,
    deadline: Instant,
    stop: Option<Stop>,
    /// When `always()` steps must be done, once the job is stopped.
    always_deadline: Option<Instant>,
    /// Set once the remaining processes are being ended. From then on a full disk is no error.
    ends_processes: bool,
    patterns: Option<Arc<Patterns>>,
    /// Folders that steps have put before PATH.
    path: Vec<String>,
    background: Vec<Try>,
    /// The background steps that have failed the job.
    failed_background: Vec<u16>,
    /// The job's result according to the first step that failed.
    failure: Option<JobResult>,
    /// The count of kills for memory that a step has already reported, so that steps beside it do not report them
    /// again.
    kills_reported: Option<u64>,
    /// The other containers of the pod.
    members: Members,
    /// In a member of a pod: the variables and folders that its step passes on.
    passed_env: BTreeMap<String, String>,
    passed_path: Vec<String>,
    /// The variables with the paths of secret files.
    secret_variables: BTreeMap<String, String>,
    /// The artifacts that the job hands over, and after which results.
    wanted: Vec<(ArtifactWhen, ArtifactRequest)>,
}

/// The plan, the launcher and the values that the steps of a job work with.
#[derive(Debug)]
struct StepScope<'a> {
    spec: &'a JobSpec,
    launcher: StepLauncher,
    /// The values that their expressions refer to, as they are now.
    values: Values,
}

impl Job {
    fn new(runtime: Runtime, spec: &JobSpec) -> Self {
        Self {
            runtime,
            streams: Streams::new(None),
            ended: HashMap::new(),
            checked_out: None,
            deadline: time_after(spec.timeout_ms),
            stop: None,
            always_deadline: None,
            ends_processes: false,
            patterns: None,
            path: Vec::new(),
            background: Vec::new(),
            failed_background: Vec::new(),
            failure: None,
            kills_reported: None,
            members: Members::default(),
            passed_env: BTreeMap::new(),
            passed_path: Vec::new(),
            secret_variables: BTreeMap::new(),
            wanted: Vec::new(),
        }
    }

    fn run(&mut self, spec: &JobSpec, chunks: Receiver<Chunk>) -> Result<JobEnd, JobError> {
        self.patterns = Patterns::new(&spec.masks)
            .map_err(|error| JobError::new(AgentError::Internal, format!("the masks cannot be built: {error}")))?;
        self.streams = Streams::new(self.patterns.clone());
        self.path.clone_from(&spec.path);
        if !spec.checkout {
            self.checked_out = Some(Ok(()));
        }
        let launcher = self.prepare(spec)?;
        let mut scripts = spec.steps.iter().filter(|step| step.image.is_none() && step.program.is_none());
        if let Some(first) = scripts.find(|step| step.wait.is_empty()) {
            launcher
                .try_architecture(&first.shell, &self.runtime.children)
                .map_err(|error: StartError| JobError::new(AgentError::ImageUnusable, error.to_string()))?;
        }
        let secrets = self.write_secrets(spec, &launcher)?;
        self.open_pod(spec)?;
        if spec.checkout {
            self.check_out(&launcher, chunks)?;
        }
        let values = Values::new(spec.known.clone(), launcher.workspace.clone());
        let mut scope = StepScope { spec, launcher, values };
        if self.checkout_is_whole() {
            scope.values.add_env(evaluate_all("env", &spec.env, &scope.values)?);
            scope.values.add_env(secrets);
        }
        self.wait_for_services()?;

        for (number, step) in (0_u16..).zip(&spec.steps) {
            self.advance_background_steps(&mut scope)?;
            scope.values.set_progress(self.failure.is_some() && self.stop.is_none(), self.stop.is_some());
            let may_run = self.always_deadline.is_none_or(|until| Instant::now() < until) && self.checkout_is_whole();
            match may_run.then(|| runs(step.condition.as_ref(), &scope.values)) {
                None | Some(Ok(false)) => {
                    self.send(&step_finished(number, skipped_result()))?;
                    self.record_step_end(number, step, &skipped_result(), &mut scope.values);
                }
                Some(Err(error)) => {
                    self.fail_unevaluated_step(number, step, &format!("`if`: {error}"), &mut scope.values)?
                }
                Some(Ok(true)) => self.run_step(number, step, &mut scope)?,
            }
        }
        self.end_background_steps(&mut scope, Duration::from_millis(spec.grace_ms).min(LEFTOVER_GRACE))?;
        self.end_services()?;
        if self.checkout_is_whole() {
            self.wanted = self.wanted(spec, &scope.values)?;
        }
        let outputs = if self.checkout_is_whole() { self.job_outputs(spec, &scope.values)? } else { BTreeMap::new() };
        let result = match (self.stop, self.failure.take()) {
            (Some(Stop::Canceled), _) => JobResult::Canceled,
            (Some(Stop::TimedOut), _) => JobResult::TimedOut { limit_ms: spec.timeout_ms },
            (None, Some(failure)) => failure,
            (None, None) => JobResult::Success,
        };
        Ok(JobEnd {
            outputs,
            env: std::mem::take(&mut self.passed_env),
            path: std::mem::take(&mut self.passed_path),
            ..result.into()
        })
    }

    /// Records the end of a step for the steps after it and for the job's result.
    fn record_step_end(&mut self, number: u16, step: &StepSpec, result: &StepResult, values: &mut Values) {
        values.step_ended(step.id.as_deref(), result, step.continue_on_error);
        if step.background && !step.continue_on_error && job_failure(number, step, result).is_some() {
            self.failed_background.push(number);
        }
        let of_container = self.members.error.take().filter(|_| result.status == StepStatus::Error);
        if self.failure.is_none() && !step.continue_on_error {
            self.failure = match of_container {
                Some((kind, message)) => {
                    Some(JobResult::Error { kind, message: format!("step `{}`: {message}", step.name) })
                }
                None => job_failure(number, step, result),
            };
        }
    }

    /// Returns whether the workspace is complete. A job stopped before that runs no step, not even `always()`.
    const fn checkout_is_whole(&self) -> bool {
        matches!(self.checked_out, Some(Ok(())))
    }

    /// Returns whether the checkout may still start over, with a runner that has another one.
    const fn checkout_is_open(&self) -> bool {
        self.checked_out.is_none() && self.stop.is_none()
    }

    fn note(&self, step: u16, text: String) -> Result<(), JobError> {
        // An expression's or a file's text may contain a secret.
        let shown = self.patterns.as_ref().and_then(|patterns| masked(patterns, text.as_bytes()));
        let text = shown.map_or(text, |shown| String::from_utf8_lossy(&shown).into_owned());
        self.send(&FromAgent::Note { step, time_ms: clock::now_ms(), text })
    }

    fn send(&self, message: &FromAgent) -> Result<(), JobError> {
        self.runtime.spool.append_message(message).map_err(message_error)
    }
}

/// Evaluates all of these texts. A text without a value ends the job; otherwise a step would get only some of the
/// intended values.
fn evaluate_all(
    what: &str,
    texts: &BTreeMap<String, Template>,
    values: &Values,
) -> Result<BTreeMap<String, String>, JobError> {
    let fill = |(name, text): (&String, &Template)| match text.evaluate(values) {
        Ok(text) => Ok((name.clone(), text)),
        Err(error) => Err(JobError::new(AgentError::Expression, format!("`{what}: {name}` of the job: {error}"))),
    };
    texts.iter().map(fill).collect()
}

/// Returns the time that many milliseconds from now. A time beyond the clock's range becomes a year from now.
fn time_after(milliseconds: u64) -> Instant {
    const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
    Instant::now() + Duration::from_millis(milliseconds).min(NEVER)
}

fn message_error(error: FrameError) -> JobError {
    JobError::new(AgentError::Internal, format!("a message cannot be sent: {error}"))
}
