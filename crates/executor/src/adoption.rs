//! Taking over a job that an earlier process started: what is on the engine is found by the attempt's labels alone.
//!
//! Whoever adopts knows from the database only that the attempt was claimed, and from its journal what has arrived. A
//! process may have died between any two calls, so every state of the container is met here: none, created, running,
//! ended, gone.

use std::sync::Arc;

use bollard::models::ContainerInspectResponse;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use longshore_core::{ErrorKind, Outcome};

use crate::drive::Start;
use crate::engine::{Engine, Shared};
use crate::error::{ApiResult as _, EngineError};
use crate::job::{ContainerFacts, JobRequest, JobUpdate, end};
use crate::journal::Journal;
use crate::labels::{self, AttemptId};
use crate::patience::patiently;
use crate::removal::remove_volume;
use crate::sandbox::Sandbox;

/// A job that an earlier process had claimed.
#[derive(Debug, Clone)]
pub struct AdoptRequest {
    pub job: JobRequest,
    /// The last session that is known of; 0 if none.
    pub session: u32,
    /// Whether its agent is known to have begun: then a container that is not there is lost, not still to be made.
    pub began: bool,
}

/// What is on the engine of an attempt.
enum Found {
    /// Started once: it runs, or has ended.
    Container(ContainerFacts),
    /// Created and never started: nothing has run in it.
    NeverStarted(ContainerFacts),
    Nothing,
}

/// Over the last session that is known of: an earlier process may have opened some that it could not tell of.
const SESSIONS_UNKNOWN: u32 = 16;

impl Engine {
    /// Goes on with a job as [`Engine::run_job`] would: attaches to its container and has everything said again that the journal
    /// does not have; reads one that has ended from what it left; starts one that was never started. Of a job whose end was asked
    /// for already, `cancel` is canceled from the beginning.
    pub async fn adopt(
        &self,
        request: AdoptRequest,
        journal: Box<dyn Journal>,
        updates: mpsc::Sender<JobUpdate>,
        cancel: CancellationToken,
    ) -> Outcome {
        let AdoptRequest { job, session, began } = request;
        let job = Arc::new(job);
        let mut recorder = match job.recorder(journal).await {
            Ok(recorder) => recorder,
            Err(outcome) => {
                self.abandon(job.attempt_id());
                return outcome;
            }
        };
        // The earlier process may have died between the job's last record and its telling.
        recorder.recall();
        let began = began || recorder.last_seq() > 0;
        recorder.tell(&updates).await;
        if let Some(result) = recorder.finished().cloned() {
            self.abandon(job.attempt_id());
            return end(recorder, job.outcome_of(result, cancel.is_cancelled())).await;
        }
        let found = tokio::select! {
            found = patiently(&self.shared, &mut recorder, || find(&self.shared, &job)) => found,
            () = cancel.cancelled(), if !began => {
                self.abandon(job.attempt_id());
                return end(recorder, Outcome::Canceled).await;
            }
        };
        match found {
            Ok(Found::Container(facts)) => {
                let sandbox = Sandbox::adopted(facts.sandbox.clone(), job.scope.clone());
                let session = crate::session::next_number(session).saturating_add(SESSIONS_UNKNOWN);
                let start = Start { session, fresh: false, may_start_over: !began, link: None, prepared: None };
                self.drive(&job, facts, sandbox, recorder, updates, cancel, start).await
            }
            Ok(Found::Nothing | Found::NeverStarted(_)) if began => {
                let message = "the job's container is gone: someone removed it".to_owned();
                self.abandon(job.attempt_id());
                end(recorder, Outcome::Error { kind: ErrorKind::Lost, message }).await
            }
            Ok(Found::NeverStarted(facts)) => self.start_over(job, facts, recorder, updates, cancel).await,
            Ok(Found::Nothing) => {
                // Of a container that the earlier process had taken away to start over.
                let volume = job.attempt_id().volume_name();
                remove_volume(&self.shared, &volume, self.shared.options.patience).await;
                self.run(job, recorder, updates, cancel).await
            }
            Err(error) => {
                self.abandon(job.attempt_id());
                end(recorder, error.outcome()).await
            }
        }
    }

    /// Takes away whatever is on the engine of an attempt that nobody will follow any more, its running steps with it: in the
    /// background, and as soon as the engine is there.
    pub fn abandon(&self, attempt: AttemptId) {
        self.shared.removals.attempt(&self.shared, attempt);
    }
}

async fn find(shared: &Shared, job: &JobRequest) -> Result<Found, EngineError> {
    let attempt = job.attempt_id();
    let Some(inspected) = inspect(shared, attempt).await? else { return Ok(Found::Nothing) };
    let state = inspected.state.clone().unwrap_or_default();
    let started = state.running == Some(true) || state.started_at.is_some_and(|at| !at.starts_with("0001-"));
    let facts = facts(inspected, attempt).ok_or_else(|| EngineError::Local {
        what: "the job's container does not look like one of ours",
        reason: attempt.container_name(),
    })?;
    Ok(if started { Found::Container(facts) } else { Found::NeverStarted(facts) })
}

/// The attempt's container, if there is one. Looked up by its name, recognised by its labels.
pub(crate) async fn inspect(
    shared: &Shared,
    attempt: AttemptId,
) -> Result<Option<ContainerInspectResponse>, EngineError> {
    let name = attempt.container_name();
    let inspected = match shared.docker.inspect_container(&name, None).await.api("inspect a container") {
        Ok(inspected) => inspected,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let label = |key| inspected.config.as_ref()?.labels.as_ref()?.get(key).cloned();
    let of_attempt = label(labels::JOB) == Some(attempt.job.to_string())
        && label(labels::ATTEMPT) == Some(attempt.attempt.to_string());
    if of_attempt
        && let Some(instance) = label(labels::INSTANCE).filter(|instance| *instance != shared.options.instance)
    {
        return Err(EngineError::Elsewhere { container: name, instance });
    }
    if !of_attempt {
        return Err(EngineError::Refused {
            what: "create a container",
            status: 409,
            message: format!("another container is named {name}: remove or rename it"),
        });
    }
    Ok(Some(inspected))
}

/// What `placement` knew when it created the container.
pub(crate) fn facts(inspected: ContainerInspectResponse, attempt: AttemptId) -> Option<ContainerFacts> {
    let config = inspected.config?;
    let mut nonce = [0; 16];
    hex::decode_to_slice(config.entrypoint?.last()?, &mut nonce).ok()?;
    let sandbox = inspected.host_config?.network_mode?.strip_prefix("container:")?.to_owned();
    let user = config.labels?.remove(labels::USER).unwrap_or_default();
    Some(ContainerFacts { container: inspected.id?, volume: attempt.volume_name(), sandbox, nonce, user })
}
