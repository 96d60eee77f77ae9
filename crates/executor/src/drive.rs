//! From a started container to its outcome: session after session until the job's end is known.
//!
//! A stream that ends is no verdict: the engine says whether the container still runs, and a new session goes on from
//! the journal's last record. Shared by [`Engine::run_job`](crate::Engine::run_job) and [`Engine::adopt`](crate::Engine::adopt).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerState, ContainerStateStatusEnum};
use bollard::query_parameters::KillContainerOptionsBuilder;
use longshore_agent_protocol::ToAgent;
use longshore_core::{ErrorKind, Outcome};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::checkout::{Carrier, Prepared};
use crate::engine::Shared;
use crate::error::{ApiResult as _, EngineError};
use crate::job::{ContainerFacts, JobRequest, JobUpdate, end, journal_outcome};
use crate::leftovers::{self, Unreadable};
use crate::link::{LinkReader, LinkWriter, attach};
use crate::log_recorder::LogRecorder;
use crate::patience::{Wait, patiently};
use crate::session::{ALWAYS_LIMIT, Ending, SLACK, Session, Stuck, announce, converse, next_number, send};

/// Sessions in a row that brought nothing.
const FRUITLESS: u32 = 10;
/// Before the next session after one that brought nothing, times their number.
const PAUSE: Duration = Duration::from_millis(100);
/// A session that was answered and lasted so long has held.
const HELD: Duration = Duration::from_secs(10);
/// Exit codes of a program that is not whole: SIGBUS, SIGSEGV.
const CRASHES: [i64; 2] = [135, 139];
/// Sessions of far higher numbers that are tried with an adopted agent that does not answer.
const LEAPS: u32 = 2;
const LEAP: u32 = 1 << 20;
/// How long the last ack may take; without it the agent ends a little later.
const FAREWELL: Duration = Duration::from_secs(1);

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
    /// Nothing of the job has run: the container ended before its agent had its orders (an earlier process died before it gave them,
    /// or while it was taking the container away), or its agent waits for the rest of a checkout that nobody has any more.
    Untouched(LogRecorder),
    /// The agent crashed before it did anything.
    Crashed(LogRecorder, Outcome),
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
    pub(crate) async fn run(&self, mut recorder: LogRecorder, start: Start) -> Driven {
        let Start { mut session, mut fresh, mut may_start_over, mut link, prepared } = start;
        let mut carrier = Carrier::new(self.request.checkout.clone(), prepared);
        let limits = Duration::from_millis(self.request.timeout_ms()) + ALWAYS_LIMIT + self.request.limits.grace * 2;
        let backstop = Instant::now() + limits + SLACK;
        let mut fruitless = 0;
        let mut complaint = None;
        let mut silent = true;
        // Why we killed the container. What its agent had said before is on its volume, the job's end perhaps as well.
        let mut stuck = None;
        let mut kills = 0;
        let mut leaps = 0;
        // For a spool that does not come whole.
        let mut reading = None;
        loop {
            let (mut reader, mut writer) = match link.take() {
                Some(link) => link,
                None => match self.look(&mut recorder).await {
                    Ok(Condition::Running(reader, writer)) => (reader, writer),
                    Ok(Condition::Ended(state)) => {
                        let left = leftovers::read(self.shared, &self.facts.container, &mut recorder).await;
                        if may_start_over && recorder.last_seq() == 0 && nothing_was_said(&left, &state) {
                            return Driven::Untouched(recorder);
                        }
                        recorder.tell(self.updates).await;
                        let crashed = silent
                            && recorder.last_seq() == 0
                            && nothing_was_said(&left, &state)
                            && is_no_program(&state, complaint.as_deref());
                        let left = match left {
                            Err(Unreadable::Passing(error)) if !is_dead(&state) => {
                                tracing::debug!(%error, "the spool did not come whole");
                                let wait = reading.get_or_insert_with(|| Wait::new(self.shared));
                                match wait.again(&mut recorder, error).await {
                                    Ok(()) => continue,
                                    Err(error) => return self.finish(recorder, error.outcome(), None).await,
                                }
                            }
                            left => left,
                        };
                        let outcome = match self.said(&recorder).or_else(|| self.unreadable(left)) {
                            Some(outcome) => outcome,
                            None => self.outcome_of_death(&mut recorder, &state, stuck, complaint),
                        };
                        if crashed {
                            return Driven::Crashed(recorder, outcome);
                        }
                        return self.finish(recorder, outcome, None).await;
                    }
                    Ok(Condition::Vanished) if may_start_over && recorder.last_seq() == 0 => {
                        return Driven::Untouched(recorder);
                    }
                    Ok(Condition::Vanished) => {
                        let message = "the job's container is gone: someone removed it".to_owned();
                        let outcome = Outcome::Error { kind: ErrorKind::Lost, message };
                        return self.finish(recorder, outcome, None).await;
                    }
                    Err(error) => return self.finish(recorder, error.outcome(), None).await,
                },
            };
            session = next_number(session);
            announce(self, session).await;
            let this = Session { number: session, nonce: rand::random(), fresh };
            let (before, begun) = (recorder.last_seq(), Instant::now());
            let (ending, answered) =
                converse(self, &mut recorder, this, &mut reader, &mut writer, &mut carrier, backstop).await;
            fresh = false;
            // An agent that has answered may have its orders by now.
            may_start_over &= !answered;
            silent &= !answered;
            fruitless = if recorder.last_seq() > before || held(answered, begun.elapsed()) { 0 } else { fruitless + 1 };
            let outcome = match ending {
                Ending::Finished(result) => {
                    // Written out before: the agent may forget all of it, and end.
                    let seq = recorder.last_seq();
                    let ack = ToAgent::Ack { seq };
                    let farewell = send(&mut writer, this, &ack);
                    let _ = tokio::time::timeout(FAREWELL, farewell).await;
                    let reader = recorder.sandbox_is_as_it_was().then_some(reader);
                    return self
                        .finish(recorder, self.request.outcome_of(result, self.cancel.is_cancelled()), reader)
                        .await;
                }
                Ending::Superseded => {
                    let message = "another Longshore has taken this job over".to_owned();
                    let outcome = Outcome::Error { kind: ErrorKind::Lost, message };
                    return Driven::Fenced(end(recorder, outcome).await);
                }
                Ending::Disconnected | Ending::NotUnderstood => {
                    complaint = reader.complaint().or(complaint);
                    if fruitless < FRUITLESS {
                        tokio::time::sleep(PAUSE * fruitless).await;
                        continue;
                    }
                    let message = "the agent does not hold a session with us; run the job again".to_owned();
                    Outcome::Error { kind: ErrorKind::Lost, message }
                }
                // Its sessions may be far ahead: a database that was restored knows of older ones only.
                Ending::Stuck(Stuck::NoAnswer) if !this.fresh && silent && leaps < LEAPS => {
                    leaps += 1;
                    session = session.saturating_add(LEAP);
                    continue;
                }
                Ending::Stuck(why) => {
                    let why = *stuck.get_or_insert(why);
                    self.kill().await;
                    // What was read is taken first; the rest is on the volume, if the container is dead now.
                    match recorder.flush().await {
                        Ok(()) if kills < FRUITLESS => {
                            recorder.tell(self.updates).await;
                            tokio::time::sleep(PAUSE * kills).await;
                            kills += 1;
                            continue;
                        }
                        Ok(()) => self.outcome_of_stuck(&mut recorder, why),
                        Err(error) => journal_outcome(&error),
                    }
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
                Ending::OtherCheckout => {
                    // Without its checkout an agent begins nothing; it may have said its end.
                    if recorder.flush().await.is_ok() && recorder.last_seq() == 0 {
                        return Driven::Untouched(recorder);
                    }
                    checkout_failed("it was made anew in the middle")
                }
                Ending::Checkout(error) => checkout_failed(error),
            };
            return self.finish(recorder, outcome, None).await;
        }
    }

    /// What came before the end still counts, the job's own end above all; what cannot be written is told by the close.
    async fn finish(&self, mut recorder: LogRecorder, outcome: Outcome, reader: Option<LinkReader>) -> Driven {
        if recorder.flush().await.is_ok() {
            recorder.tell(self.updates).await;
        }
        let outcome = self.said(&recorder).unwrap_or(outcome);
        Driven::Over(end(recorder, outcome).await, reader)
    }

    /// What the job itself said of its end.
    fn said(&self, recorder: &LogRecorder) -> Option<Outcome> {
        recorder.finished().map(|result| self.request.outcome_of(result.clone(), self.cancel.is_cancelled()))
    }

    /// Asks the engine about the container, and attaches if it runs. An engine that went away gets a while to come back.
    async fn look(&self, recorder: &mut LogRecorder) -> Result<Condition, EngineError> {
        patiently(self.shared, recorder, || self.look_once()).await
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

    /// The outcome where it is not the job's log that tells it, nor the container's state.
    fn unreadable(&self, left: Result<(), Unreadable>) -> Option<Outcome> {
        match left {
            Ok(()) => None,
            Err(Unreadable::Journal(error)) => Some(journal_outcome(&error)),
            Err(Unreadable::Spool(reason) | Unreadable::NoSpool(reason)) => {
                tracing::warn!(container = self.facts.container, reason, "a spool could not be read");
                None
            }
            Err(Unreadable::Passing(error)) => {
                tracing::warn!(container = self.facts.container, %error, "a spool could not be read");
                None
            }
        }
    }

    /// The agent ended, and its job's end is nowhere. Whose fault that was.
    fn outcome_of_death(
        &self,
        recorder: &mut LogRecorder,
        state: &ContainerState,
        stuck: Option<Stuck>,
        complaint: Option<String>,
    ) -> Outcome {
        let code = state.exit_code.unwrap_or(-1);
        if state.oom_killed == Some(true) {
            // The whole container was over its limit, and the kernel chose the agent: the job's doing.
            let step = "the job".to_owned();
            return Outcome::Failure { exit_code: 137, step, out_of_memory: true };
        }
        if let Some(stuck) = stuck {
            return self.outcome_of_stuck(recorder, stuck);
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

    /// The agent does not do what it should: its container ends now. Where that fails, or it has ended before, the next look
    /// tells.
    async fn kill(&self) {
        let options = KillContainerOptionsBuilder::new().signal("KILL").build();
        let killed =
            self.shared.docker.kill_container(&self.facts.container, Some(options)).await.api("kill a container");
        if let Err(error) = killed {
            tracing::debug!(%error, "killing a job's container");
        }
    }

    /// What a job is whose agent did not do what it should, and said nothing else before its end.
    fn outcome_of_stuck(&self, recorder: &mut LogRecorder, stuck: Stuck) -> Outcome {
        match stuck {
            Stuck::NoAnswer => Outcome::Error {
                kind: ErrorKind::AgentFailed,
                message: "the agent was started and did not answer within a minute; look at the host's load, and run the job again".to_owned(),
            },
            Stuck::IgnoresCancel => {
                recorder.note("the agent did not end the job in time after the cancel: its container was killed");
                Outcome::Canceled
            }
            Stuck::LogTooLong => Outcome::Error {
                kind: ErrorKind::LogTooLong,
                message: format!(
                    "the job printed more than {} MiB, the limit of a log: its container was killed; print less, or have the server's job_log_mib raised",
                    self.request.limits.log >> 20
                ),
            },
            Stuck::OverTime => {
                recorder.note("the agent did not keep the job's time limit: its container was killed");
                Outcome::TimedOut { limit_ms: self.request.timeout_ms() }
            }
        }
    }
}

fn checkout_failed(why: impl fmt::Display) -> Outcome {
    let message = format!("the source could not be carried into the job's container: {why}");
    Outcome::Error { kind: ErrorKind::CheckoutFailed, message }
}

/// Whether a session counts though nothing was said in it: a step may be silent for hours, behind a proxy that ends idle connections.
fn held(answered: bool, lasted: Duration) -> bool {
    answered && lasted >= HELD
}

/// Whether the container ended as one does whose program is not whole.
fn is_no_program(state: &ContainerState, complaint: Option<&str>) -> bool {
    let said = complaint.or(state.error.as_deref()).unwrap_or_default();
    said.contains("exec format error") || state.exit_code.is_some_and(|code| CRASHES.contains(&code))
}

/// Whether the engine began to remove the container and gave up.
fn is_dead(state: &ContainerState) -> bool {
    state.status == Some(ContainerStateStatusEnum::DEAD)
}

/// Whether the agent never said a word. It makes its spool first of all, and what it says of a step is in there before the step
/// runs.
fn nothing_was_said(left: &Result<(), Unreadable>, state: &ContainerState) -> bool {
    match left {
        Ok(()) | Err(Unreadable::NoSpool(_)) => true,
        // Nobody reads out of a container that is being taken away.
        Err(Unreadable::Spool(_) | Unreadable::Passing(_)) => {
            matches!(state.status, Some(ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::DEAD))
        }
        Err(Unreadable::Journal(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_session_with_a_silent_step_is_not_one_that_brought_nothing() {
        assert!(held(true, HELD));
        assert!(!held(true, HELD / 2), "cut again and again");
        assert!(!held(false, HELD * 2), "nobody answered");
    }
}
