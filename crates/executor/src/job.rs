//! One attempt of a job, from the request to its outcome: the executor's main verb.
//!
//! Called by the dispatcher and by `longshore run`, once an attempt. What happens on the way is told through the updates
//! channel and the journal; nothing here knows a database.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use longshore_agent_protocol::mask::Patterns;
use longshore_agent_protocol::message::AgentError;
use longshore_agent_protocol::{JobResult, JobSpec, StepResult, StepSpec};
use longshore_core::expression::Value;
use longshore_core::plan::WORKSPACE;
use longshore_core::{BuildId, ErrorKind, ImageRef, JobId, JobPlan, Outcome, Timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::checkout::CheckoutSource;
use crate::drive::{Driven, Driver, Start};
use crate::engine::{Engine, Shared};
use crate::error::EngineError;
use crate::journal::Journal;
use crate::labels::AttemptId;
use crate::log_recorder::LogRecorder;
use crate::options::{Limits, PullPolicy};
use crate::patience::Wait;
use crate::placement::{self, Placed};
use crate::removal::{Remains, make_way, remove_container};
use crate::sandbox::Sandbox;

/// Everything needed to run one attempt.
#[derive(Clone)]
pub struct JobRequest {
    pub build: BuildId,
    pub job: JobId,
    /// From 1.
    pub attempt: u32,
    /// Repository and trust level: sandboxes are never shared between two scopes.
    pub scope: String,
    /// Its image is known; all else is filled in by the agent.
    pub plan: JobPlan,
    /// Over the plan's environment.
    pub env: BTreeMap<String, String>,
    /// Over both; their values are masked. They travel over the attached stream only.
    pub secrets: BTreeMap<String, String>,
    /// Secrets that are files, by the variables that lead to them; masked as well.
    pub secret_files: BTreeMap<String, String>,
    /// Contexts of expressions beyond those that the plan has: `build`, `needs`, `secrets`.
    pub known: BTreeMap<String, Value>,
    /// More values never to be shown.
    pub masks: Vec<String>,
    pub checkout: Option<Arc<dyn CheckoutSource>>,
    pub limits: Limits,
    pub pull: PullPolicy,
}

impl JobRequest {
    /// Which try of which job this is.
    #[must_use]
    pub const fn attempt_id(&self) -> AttemptId {
        AttemptId { job: self.job, attempt: self.attempt }
    }

    /// The image's name: nothing else gets into what the engine is asked.
    pub(crate) fn image(&self) -> Result<String, EngineError> {
        let image = self.plan.image.shown();
        match ImageRef::parse(&image) {
            Ok(image) => Ok(image.to_string()),
            Err(bad) => Err(EngineError::ImageMissing { image, reason: bad.to_string() }),
        }
    }

    /// How long it may take.
    pub(crate) fn timeout_ms(&self) -> u64 {
        let most = self.limits.time.map_or(u64::MAX, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self.plan.timeout_ms.min(most)
    }

    /// Every value that is not to be shown.
    fn hidden(&self) -> impl Iterator<Item = &str> {
        self.masks.iter().chain(self.secrets.values()).chain(self.secret_files.values()).map(String::as_str)
    }

    /// The same, to look for in what the agent sends. Nothing where there is nothing to hide.
    fn patterns(&self) -> Result<Option<Arc<Patterns>>, EngineError> {
        let hidden: Vec<&str> = self.hidden().collect();
        Patterns::new(&hidden)
            .map_err(|error| EngineError::Local { what: "the masks cannot be built", reason: error.to_string() })
    }

    /// The agent's orders.
    pub(crate) fn spec(&self, user: &str) -> JobSpec {
        let mut env = self.plan.env.clone();
        env.extend(self.env.iter().chain(&self.secrets).map(|(name, value)| (name.clone(), value.as_str().into())));
        let mut known = self.plan.known.clone();
        known.extend(self.known.clone());
        JobSpec {
            env,
            known,
            secret_files: self.secret_files.clone(),
            outputs: self.plan.outputs.clone(),
            masks: self.hidden().map(str::to_owned).collect(),
            workspace: WORKSPACE.to_owned(),
            user: user.to_owned(),
            timeout_ms: self.timeout_ms(),
            grace_ms: u64::try_from(self.limits.grace.as_millis()).unwrap_or(u64::MAX),
            checkout: self.checkout.is_some(),
            steps: self
                .plan
                .steps
                .iter()
                .map(|step| StepSpec {
                    id: step.id.clone(),
                    name: step.name.clone(),
                    run: step.run.clone().unwrap_or_default(),
                    env: step.env.clone(),
                    working_directory: step.working_directory.clone(),
                    shell: step.shell.clone(),
                    condition: step.condition.clone(),
                    continue_on_error: step.continue_on_error,
                    timeout_ms: step.timeout_ms,
                    retry: step.retry.clone(),
                    user: step.user.clone(),
                    tty: step.tty,
                    background: step.background,
                })
                .collect(),
        }
    }

    /// The journal with the job's masks before it; closed again where they cannot be made.
    pub(crate) async fn recorder(&self, journal: Box<dyn Journal>) -> Result<LogRecorder, Outcome> {
        match self.patterns() {
            Ok(patterns) => Ok(LogRecorder::new(journal, patterns, self.limits.log)),
            Err(error) => Err(end(LogRecorder::new(journal, None, self.limits.log), error.outcome()).await),
        }
    }

    /// What the agent said, with the plan's names. It takes every TERM for a cancel; whether `canceled` says that somebody asked
    /// us for one.
    pub(crate) fn outcome_of(&self, result: JobResult, canceled: bool) -> Outcome {
        match result {
            JobResult::Success => Outcome::Success,
            JobResult::Failure { step, exit_code, out_of_memory } => {
                let step = self
                    .plan
                    .steps
                    .get(usize::from(step))
                    .map_or_else(|| format!("step {step}"), |step| step.name.clone());
                Outcome::Failure { exit_code, step, out_of_memory }
            }
            JobResult::TimedOut { limit_ms } => Outcome::TimedOut { limit_ms },
            JobResult::Canceled if canceled => Outcome::Canceled,
            JobResult::Canceled => Outcome::Error {
                kind: ErrorKind::Lost,
                message:
                    "the job's container was stopped from outside (docker stop, a restart of the engine); run the job again"
                        .to_owned(),
            },
            JobResult::Error { kind, message } => {
                let kind = match kind {
                    AgentError::ImageUnusable => ErrorKind::ImageUnusable,
                    AgentError::CheckoutFailed => ErrorKind::CheckoutFailed,
                    AgentError::DiskFull => ErrorKind::DiskFull,
                    AgentError::Expression => ErrorKind::Expression,
                    AgentError::Protocol | AgentError::Internal => ErrorKind::AgentFailed,
                };
                let message = if kind == ErrorKind::ImageUnusable {
                    format!("image `{}`: {message}", self.plan.image.shown())
                } else {
                    message
                };
                Outcome::Error { kind, message }
            }
        }
    }
}

impl fmt::Debug for JobRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither secrets nor masks, nor the environment, which may quote them.
        f.debug_struct("JobRequest")
            .field("build", &self.build)
            .field("job", &self.job)
            .field("attempt", &self.attempt)
            .field("key", &self.plan.key)
            .finish_non_exhaustive()
    }
}

/// What is known of a started container; all of it can be read from the container again (`adoption`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerFacts {
    /// The full id.
    pub(crate) container: String,
    pub(crate) volume: String,
    pub(crate) sandbox: String,
    /// The job's nonce: sessions with its agent open with it.
    pub(crate) nonce: [u8; 16],
    /// The image's USER: part of the orders, should the agent not have got them yet.
    pub(crate) user: String,
}

/// What happens to a job while it runs. Sent in order; the receiver has to read on, a full channel holds the job's log up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobUpdate {
    Phase(Phase),
    /// A session of this number is about to be opened.
    Session(u32),
    /// Told once it is in the journal, as the next one.
    StepStarted {
        step: u16,
        time: Timestamp,
    },
    StepFinished {
        step: u16,
        time: Timestamp,
        result: StepResult,
    },
    /// What the job gives to those that need it.
    Outputs(BTreeMap<String, String>),
}

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Pulling,
    Starting,
    Running,
}

impl Engine {
    /// Runs one attempt to its end: sandbox, container, agent, log. Returns when the outcome is known and the journal is
    /// closed; what is left on the engine is removed in the background.
    ///
    /// Dropping the future is what the death of this process would be: the job runs on, and can be adopted.
    pub async fn run_job(
        &self,
        request: JobRequest,
        journal: Box<dyn Journal>,
        updates: mpsc::Sender<JobUpdate>,
        cancel: CancellationToken,
    ) -> Outcome {
        let request = Arc::new(request);
        match request.recorder(journal).await {
            Ok(recorder) => self.run(request, recorder, updates, cancel).await,
            Err(outcome) => outcome,
        }
    }

    pub(crate) async fn run(
        &self,
        request: Arc<JobRequest>,
        mut recorder: LogRecorder,
        updates: mpsc::Sender<JobUpdate>,
        cancel: CancellationToken,
    ) -> Outcome {
        let prepared = request.checkout.clone().map(|source| {
            // Opening may mean packing: that goes on while the container starts.
            tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move { source.open().await }))
        });
        let mut wait = Wait::new(&self.shared);
        let placed = loop {
            match self.place(&request, &mut recorder, &updates, &cancel).await {
                Ok(Some(placed)) => break placed,
                Ok(None) => return end(recorder, Outcome::Canceled).await,
                Err(error) if error.is_waited_for() => {
                    let waited = tokio::select! {
                        waited = wait.again(&mut recorder, error) => waited,
                        () = cancel.cancelled() => return end(recorder, Outcome::Canceled).await,
                    };
                    if let Err(error) = waited {
                        self.abandon(request.attempt_id());
                        return end(recorder, error.outcome()).await;
                    }
                }
                Err(error) => return end(recorder, error.outcome()).await,
            }
        };
        let Placed { facts, sandbox, reader, writer, .. } = placed;
        let _ = updates.send(JobUpdate::Phase(Phase::Running)).await;
        let start = Start { session: 0, fresh: true, may_start_over: false, link: Some((reader, writer)), prepared };
        self.drive(&request, facts, sandbox, recorder, updates, cancel, start).await
    }

    #[expect(clippy::too_many_arguments, reason = "the common end of two verbs")]
    pub(crate) async fn drive(
        &self,
        request: &Arc<JobRequest>,
        facts: ContainerFacts,
        sandbox: Sandbox,
        recorder: LogRecorder,
        updates: mpsc::Sender<JobUpdate>,
        cancel: CancellationToken,
        start: Start,
    ) -> Outcome {
        let shared: &Arc<Shared> = &self.shared;
        let driver = Driver { shared, request, facts: &facts, updates: &updates, cancel: &cancel };
        match driver.run(recorder, start).await {
            Driven::Over(outcome, reader) => {
                shared.removals.job(shared, Remains::of(facts, sandbox, reader));
                outcome
            }
            Driven::Fenced(outcome) => outcome,
            Driven::Untouched(recorder) => self.start_over(Arc::clone(request), facts, recorder, updates, cancel).await,
            Driven::Crashed(recorder, outcome) => {
                // It holds the agent's volume.
                remove_container(shared, &facts.container, shared.options.patience).await;
                if shared.agent.doubt(shared).await {
                    return self.start_over(Arc::clone(request), facts, recorder, updates, cancel).await;
                }
                shared.removals.job(shared, Remains::of(facts, sandbox, None));
                end(recorder, outcome).await
            }
        }
    }

    /// Takes a container away in which nothing of the job has run, with what was unpacked in it, and starts the job.
    pub(crate) async fn start_over(
        &self,
        request: Arc<JobRequest>,
        facts: ContainerFacts,
        recorder: LogRecorder,
        updates: mpsc::Sender<JobUpdate>,
        cancel: CancellationToken,
    ) -> Outcome {
        // Its name is needed. The sandbox is in doubt: a start of the container may still be under way.
        make_way(&self.shared, &facts).await;
        self.shared.removals.container(&self.shared, facts.sandbox);
        Box::pin(self.run(request, recorder, updates, cancel)).await
    }

    /// A started container with an agent in it; `None` if the job was canceled before.
    async fn place(
        &self,
        request: &Arc<JobRequest>,
        recorder: &mut LogRecorder,
        updates: &mpsc::Sender<JobUpdate>,
        cancel: &CancellationToken,
    ) -> Result<Option<Placed>, EngineError> {
        let shared = &self.shared;
        let (notes, mut noted) = mpsc::channel(16);
        // A task of its own: a create call that is given up half-way would leave a container that nobody knows. It tells how far
        // it is only while somebody waits for it.
        let mut placement = shared.tasks.spawn(placement::place(
            Arc::clone(shared),
            Arc::clone(request),
            notes,
            updates.downgrade(),
            cancel.clone(),
        ));
        let placed = loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    shared.removals.abandoned(shared, placement, request.attempt_id());
                    return Ok(None);
                }
                Some(note) = noted.recv() => {
                    recorder.note(&note);
                    recorder.start();
                }
                written = recorder.written(), if recorder.is_writing() => {
                    if let Err(error) = written {
                        shared.removals.abandoned(shared, placement, request.attempt_id());
                        return Err(journal_failed(error));
                    }
                }
                placed = &mut placement => break placed,
            }
        };
        while let Ok(note) = noted.try_recv() {
            recorder.note(&note);
        }
        let placed = match placed {
            Ok(placed) => placed,
            Err(error) => Err(EngineError::Local { what: "starting the job broke", reason: error.to_string() }),
        };
        match (placed, recorder.flush().await) {
            (Ok(placed), Ok(())) => Ok(Some(placed)),
            (Ok(placed), Err(error)) => {
                shared.removals.placed(shared, placed);
                Err(journal_failed(error))
            }
            // What was asked for stays: the next try meets it.
            (Err(error), Ok(())) if error.is_waited_for() => Err(error),
            (Err(error), _) => {
                self.abandon(request.attempt_id());
                Err(error)
            }
        }
    }
}

pub(crate) fn journal_failed(error: std::io::Error) -> EngineError {
    EngineError::Local { what: "the job's log could not be written", reason: error.to_string() }
}

/// The last note, and the journal closed.
pub(crate) async fn end(mut recorder: LogRecorder, outcome: Outcome) -> Outcome {
    if let Outcome::Error { message, .. } = &outcome {
        recorder.note(&format!("error: {message}"));
    }
    match recorder.close().await {
        Ok(_) => outcome,
        Err(error) => journal_outcome(&error),
    }
}

/// A journal that cannot be written ends the job: a log with holes is worse than none.
pub(crate) fn journal_outcome(error: &std::io::Error) -> Outcome {
    let kind = if error.kind() == std::io::ErrorKind::StorageFull {
        longshore_core::ErrorKind::DiskFull
    } else {
        longshore_core::ErrorKind::Internal
    };
    Outcome::Error {
        kind,
        message: format!("the job's log could not be written: {error}; free some space in Longshore's data folder"),
    }
}
