//! From a started container to its outcome: session after session until the job's end is known.
//!
//! A stream that ends is no verdict: the engine says whether the container still runs, and a new session goes on from
//! the journal's last record. Shared by [`Engine::run_job`](crate::Engine::run_job) and [`Engine::adopt`](crate::Engine::adopt).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerState, ContainerStateStatusEnum};
use bollard::query_parameters::KillContainerOptionsBuilder;
use longshore_agent_protocol::ToAgent;
use longshore_core::{ErrorKind, Outcome};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::checkout::CheckoutStream;
use crate::engine::Shared;
use crate::error::{ApiResult as _, EngineError};
use crate::job::{ContainerFacts, JobRequest, JobUpdate, end, journal_outcome};
use crate::leftovers::{self, Unreadable};
use crate::link::{LinkReader, LinkWriter, attach};
use crate::patience::patiently;
use crate::scribe::{Scribe, Written};
use crate::session::{ALWAYS_LIMIT, Ending, SLACK, Session, Stuck, announce, converse, next_number, send};

/// Sessions in a row that brought nothing.
const FRUITLESS: u32 = 10;
/// Before the next session after one that brought nothing, times their number.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the last ack may take; without it the agent ends a little later.
const FAREWELL: Duration = Duration::from_secs(1);

/// A checkout that is being opened.
pub(crate) type Prepared = AbortOnDropHandle<io::Result<CheckoutStream>>;

/// Where to begin.
pub(crate) struct Start {
    /// The last session that is known of.
    pub(crate) session: u32,
    /// The agent has never been spoken to.
    pub(crate) fresh: bool,
    /// Nothing is known of the job having begun: if nothing has, it is given back untouched.
    pub(crate) may_start_over: bool,
    pub(crate) link: Option<(LinkReader, LinkWriter)>,
    pub(crate) prepared: Option<Prepared>,
}

/// What came of it.
pub(crate) enum Driven {
    /// The stream is that whose end says that the container is empty.
    Over(Outcome, Option<LinkReader>),
    /// Another runner has the job now: its container is not ours to remove.
    Fenced(Outcome),
    /// The container ended before its agent had its orders: an earlier process died before it gave them, or while it was taking
    /// the container away. Nothing of the job has run.
    Untouched(Scribe),
}

/// Drives one job's agent.
pub(crate) struct Driver<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) request: &'a Arc<JobRequest>,
    pub(crate) facts: &'a ContainerFacts,
    pub(crate) updates: &'a mpsc::Sender<JobUpdate>,
    pub(crate) cancel: &'a CancellationToken,
}

/// What the engine says of a container whose stream ended.
enum Condition {
    Running(LinkReader, LinkWriter),
    Ended(ContainerState),
    Vanished,
}

impl Driver<'_> {
    pub(crate) async fn run(&self, mut scribe: Scribe, start: Start) -> Driven {
        let Start { mut session, mut fresh, mut may_start_over, mut link, mut prepared } = start;
        let limits = Duration::from_millis(self.request.plan.timeout_ms) + ALWAYS_LIMIT + self.request.limits.grace * 2;
        let backstop = Instant::now() + limits + SLACK;
        let mut fruitless = 0;
        let mut complaint = None;
        loop {
            let (mut reader, mut writer) = match link.take() {
                Some(link) => link,
                None => match self.look(&mut scribe).await {
                    Ok(Condition::Running(reader, writer)) => (reader, writer),
                    Ok(Condition::Ended(state)) => {
                        let left = leftovers::read(self.shared, &self.facts.container, &mut scribe).await;
                        if may_start_over && scribe.last_seq() == 0 && nothing_was_said(&left, &state) {
                            return Driven::Untouched(scribe);
                        }
                        let outcome = self.outcome_of_leftovers(left, &state, complaint).await;
                        return self.finish(scribe, outcome, None).await;
                    }
                    Ok(Condition::Vanished) if may_start_over && scribe.last_seq() == 0 => {
                        return Driven::Untouched(scribe);
                    }
                    Ok(Condition::Vanished) => {
                        let message = "the job's container is gone: someone removed it".to_owned();
                        let outcome = Outcome::Error { kind: ErrorKind::Lost, message };
                        return self.finish(scribe, outcome, None).await;
                    }
                    Err(error) => return self.finish(scribe, error.outcome(), None).await,
                },
            };
            session = next_number(session);
            announce(self, session).await;
            let this = Session { number: session, nonce: rand::random(), fresh };
            let before = scribe.last_seq();
            let (ending, answered) =
                converse(self, &mut scribe, this, &mut reader, &mut writer, prepared.take(), backstop).await;
            fresh = false;
            // An agent that has answered may have its orders by now.
            may_start_over &= !answered;
            let outcome = match ending {
                Ending::Finished(result) => {
                    // Written out before: the agent may forget all of it, and end.
                    let seq = scribe.last_seq();
                    let ack = ToAgent::Ack { seq };
                    let farewell = send(&mut writer, this, &ack);
                    let _ = tokio::time::timeout(FAREWELL, farewell).await;
                    return self
                        .finish(scribe, self.request.outcome_of(result, self.cancel.is_cancelled()), Some(reader))
                        .await;
                }
                Ending::Superseded => {
                    let message = "another Longshore has taken this job over".to_owned();
                    let outcome = Outcome::Error { kind: ErrorKind::Lost, message };
                    return Driven::Fenced(end(scribe, outcome).await);
                }
                Ending::Disconnected | Ending::NotUnderstood => {
                    complaint = reader.complaint().or(complaint);
                    fruitless = if scribe.last_seq() > before { 0 } else { fruitless + 1 };
                    if fruitless < FRUITLESS {
                        tokio::time::sleep(PAUSE * fruitless).await;
                        continue;
                    }
                    let message = "the agent does not hold a session with us; run the job again".to_owned();
                    Outcome::Error { kind: ErrorKind::Lost, message }
                }
                Ending::Garbage(reason) => Outcome::Error {
                    kind: ErrorKind::Lost,
                    message: format!(
                        "the job's stream could not be understood ({reason}); nothing after it is believed"
                    ),
                },
                Ending::Version(version) => Outcome::Error {
                    kind: ErrorKind::AgentFailed,
                    message: format!(
                        "the agent in the container speaks version {version} of the protocol, this Longshore {}: the job cannot be followed across this upgrade, run it again",
                        longshore_agent_protocol::VERSION
                    ),
                },
                Ending::Journal(error) => journal_outcome(&error),
                Ending::Checkout(error) => Outcome::Error {
                    kind: ErrorKind::CheckoutFailed,
                    message: format!("the source could not be carried into the job's container: {error}"),
                },
                Ending::Stuck(stuck) => self.kill(&mut scribe, stuck).await,
            };
            return self.finish(scribe, outcome, None).await;
        }
    }

    async fn finish(&self, mut scribe: Scribe, outcome: Outcome, reader: Option<LinkReader>) -> Driven {
        // What came before the end still counts; what cannot be written is told by the close.
        if let Ok(batches) = scribe.flush().await {
            self.tell(batches).await;
        }
        Driven::Over(end(scribe, outcome).await, reader)
    }

    async fn tell(&self, batches: Vec<Written>) {
        for update in batches.into_iter().flat_map(|written| written.updates) {
            let _ = self.updates.send(update).await;
        }
    }

    /// Asks the engine about the container, and attaches if it runs. An engine that went away gets a while to come back.
    async fn look(&self, scribe: &mut Scribe) -> Result<Condition, EngineError> {
        patiently(self.shared, scribe, || self.look_once()).await
    }

    async fn look_once(&self) -> Result<Condition, EngineError> {
        let id = &self.facts.container;
        let state = match self.shared.docker.inspect_container(id, None).await.api("inspect a container") {
            Ok(inspected) => inspected.state.unwrap_or_default(),
            Err(error) if error.is_not_found() => return Ok(Condition::Vanished),
            Err(error) => return Err(error),
        };
        if state.running != Some(true) {
            return Ok(Condition::Ended(state));
        }
        let (reader, writer) = attach(self.shared, id).await?;
        Ok(Condition::Running(reader, writer))
    }

    /// The container ended without having told us all: the rest lies on its volume.
    async fn outcome_of_leftovers(
        &self,
        left: Result<Vec<Written>, Unreadable>,
        state: &ContainerState,
        complaint: Option<String>,
    ) -> Outcome {
        match left {
            Ok(batches) => {
                let result = batches.iter().find_map(|written| written.finished.clone());
                self.tell(batches).await;
                if let Some(result) = result {
                    return self.request.outcome_of(result, self.cancel.is_cancelled());
                }
            }
            Err(Unreadable::Journal(error)) => return journal_outcome(&error),
            Err(Unreadable::Spool(reason) | Unreadable::NoSpool(reason)) => {
                tracing::warn!(container = self.facts.container, reason, "a spool could not be read");
            }
        }
        self.outcome_of_death(state, complaint)
    }

    /// The agent died. Whose fault that was.
    fn outcome_of_death(&self, state: &ContainerState, complaint: Option<String>) -> Outcome {
        let code = state.exit_code.unwrap_or(-1);
        if state.oom_killed == Some(true) {
            // The whole container was over its limit, and the kernel chose the agent: the job's doing.
            let step = "the job".to_owned();
            return Outcome::Failure { exit_code: 137, step, out_of_memory: true };
        }
        if self.cancel.is_cancelled() {
            return Outcome::Canceled;
        }
        let error = state.error.as_deref().filter(|text| !text.is_empty()).map(str::to_owned).or(complaint);
        let (kind, message) = match (code, error) {
            (137 | 143, None) => (
                ErrorKind::Lost,
                "the job's container was killed from outside (docker kill, a restart of the engine); run the job again"
                    .to_owned(),
            ),
            (_, Some(text)) => {
                (ErrorKind::AgentFailed, format!("the agent ended with exit code {code} before the job did: {text}"))
            }
            (_, None) => (ErrorKind::AgentFailed, format!("the agent ended with exit code {code} before the job did")),
        };
        Outcome::Error { kind, message }
    }

    /// The agent does not do what it should: its container ends now.
    async fn kill(&self, scribe: &mut Scribe, stuck: Stuck) -> Outcome {
        let options = KillContainerOptionsBuilder::new().signal("KILL").build();
        let killed =
            self.shared.docker.kill_container(&self.facts.container, Some(options)).await.api("kill a container");
        if let Err(error) = killed {
            tracing::debug!(%error, "killing a job's container");
        }
        match stuck {
            Stuck::NoAnswer => Outcome::Error {
                kind: ErrorKind::AgentFailed,
                message: "the agent was started and did not answer within a minute; look at the host's load, and run the job again".to_owned(),
            },
            Stuck::IgnoresCancel => {
                scribe.note("the agent did not end the job in time after the cancel: its container was killed");
                Outcome::Canceled
            }
            Stuck::OverTime => {
                scribe.note("the agent did not keep the job's time limit: its container was killed");
                Outcome::TimedOut { limit_ms: self.request.plan.timeout_ms }
            }
        }
    }
}

/// Whether the agent never said a word. It makes its spool first of all, and what it says of a step is in there before the step
/// runs.
fn nothing_was_said(left: &Result<Vec<Written>, Unreadable>, state: &ContainerState) -> bool {
    match left {
        Ok(_) | Err(Unreadable::NoSpool(_)) => true,
        // Nobody reads out of a container that is being taken away.
        Err(Unreadable::Spool(_)) => {
            matches!(state.status, Some(ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::DEAD))
        }
        Err(Unreadable::Journal(_)) => false,
    }
}
