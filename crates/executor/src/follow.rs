//! Follows a started container's agent, session after session, until the job's outcome is known.
//!
//! The end of a link says nothing about the job. After it, the engine is asked whether the container still runs, and a
//! new session continues after the journal's last record.

use std::fmt;
use std::time::Duration;

use longshore_agent_protocol::{ToAgent, UNFIT_SANDBOX};
use longshore_core::{ErrorKind, Outcome};
use tokio::time::Instant;

use crate::artifacts::Failed;
use crate::checkout::{CheckoutSender, Opening};
use crate::clock::{ALWAYS_LIMIT, SLACK, Stuck};
use crate::engine::{End, Engine, Removal, Standing};
use crate::error::EngineError;
use crate::link::{Complaint, LinkReader, LinkWriter};
use crate::log_recorder::{LogRecorder, journal_outcome};
use crate::session::{Ending, Followed, Session, announce, next_number, run_session, send};
use crate::spool::{self, Unreadable};
use crate::wait::{Wait, ask_until_answered};

/// Limit for consecutive sessions without progress before the job is given up, and for kills of a container that does
/// not end.
const WITHOUT_PROGRESS: u32 = 10;
/// Pause after a session without progress, times their number.
const PAUSE: Duration = Duration::from_millis(100);
/// A session that was answered and lasted this long counts as progress.
const LASTING: Duration = Duration::from_secs(10);
/// Exit codes of a program that is incomplete: SIGBUS, SIGSEGV.
const CRASHES: [i64; 2] = [135, 139];
/// How often a much higher session number is tried with an adopted agent that does not answer.
const JUMPS: u32 = 2;
const JUMP: u32 = 1 << 20;
/// Limit for sending the last acknowledgement; without it the agent ends a little later.
const LAST_ACK: Duration = Duration::from_secs(1);

/// Where to begin following.
pub(crate) struct Start {
    /// The last known session number.
    pub(crate) session: u32,
    /// No session with the agent was ever opened.
    pub(crate) fresh: bool,
    /// The job is not known to have begun. If it has not, the result is [`Untouched`](Ended::Untouched).
    pub(crate) may_start_over: bool,
    pub(crate) link: Option<(LinkReader, LinkWriter)>,
    pub(crate) checkout: Option<Opening>,
}

/// How following the agent ended.
pub(crate) enum Ended {
    /// The job is over. The link's end says when the container is empty.
    Over(Outcome, Option<LinkReader>),
    /// Another process follows the job now, so its container is not ours to remove.
    TakenOver(Outcome),
    /// Nothing of the job has run. Either the container ended before its agent got its plan (an earlier process died
    /// before it sent the plan, or while it was removing the container), or its agent waits for the rest of a checkout
    /// that is gone.
    Untouched(LogRecorder),
    /// The agent did not begin, because something of another job is in its sandbox.
    Unfit(LogRecorder),
    /// The agent crashed before it did anything.
    Crashed(LogRecorder, Outcome),
}

/// Follows one job's agent.
pub(crate) struct Follower<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) job: Followed<'a>,
    /// How long to wait for an engine that is away.
    pub(crate) patience: Duration,
}

/// A container whose link ended.
enum Condition {
    Running(LinkReader, LinkWriter),
    Ended(End),
    Vanished,
}

impl Follower<'_> {
    pub(crate) async fn run(&self, mut recorder: LogRecorder, start: Start) -> Ended {
        let Start { mut session, mut fresh, mut may_start_over, mut link, checkout } = start;
        let mut checkout = CheckoutSender::new(self.job.request.checkout.clone(), checkout);
        let limits =
            Duration::from_millis(self.job.request.timeout_ms()) + ALWAYS_LIMIT + self.job.request.limits.grace * 2;
        let deadline = Instant::now() + limits + SLACK;
        let mut without_progress = 0;
        let mut complaint = None;
        let mut silent = true;
        // The reason why we killed the container. Its volume holds what its agent reported before, possibly including
        // the job's end.
        let mut stuck = None;
        let mut kills = 0;
        let mut jumps = 0;
        // Set while waiting for a spool that could not be read completely.
        let mut reading = None;
        loop {
            let (mut reader, mut writer) = match link.take() {
                Some(link) => link,
                None => match self.condition(&mut recorder).await {
                    Ok(Condition::Running(reader, writer)) => (reader, writer),
                    Ok(Condition::Ended(end)) => {
                        let read = spool::read(self.engine, &self.job.pod.container, &mut recorder).await;
                        if may_start_over && recorder.last_seq() == 0 && nothing_was_reported(&read, &end) {
                            return Ended::Untouched(recorder);
                        }
                        if silent && recorder.last_seq() == 0 && end.code == i64::from(UNFIT_SANDBOX) {
                            return Ended::Unfit(recorder);
                        }
                        recorder.send_updates(self.job.updates).await;
                        let crashed = silent
                            && recorder.last_seq() == 0
                            && nothing_was_reported(&read, &end)
                            && is_no_program(&end, complaint.as_ref());
                        let read = match read {
                            Err(Unreadable::Passing(error)) if end.removal != Removal::Failed => {
                                tracing::debug!(%error, "the spool did not come whole");
                                let wait = reading.get_or_insert_with(|| Wait::new(self.patience));
                                match wait.pause(&mut recorder, error).await {
                                    Ok(()) => continue,
                                    Err(error) => return self.finish(recorder, error.outcome(), None).await,
                                }
                            }
                            read => read,
                        };
                        let outcome = match self.reported(&recorder).or_else(|| self.unreadable(read)) {
                            Some(outcome) => outcome,
                            None => self.outcome_of_end(&mut recorder, end, stuck, complaint),
                        };
                        if crashed {
                            return Ended::Crashed(recorder, outcome);
                        }
                        return self.finish(recorder, outcome, None).await;
                    }
                    Ok(Condition::Vanished) if may_start_over && recorder.last_seq() == 0 => {
                        return Ended::Untouched(recorder);
                    }
                    Ok(Condition::Vanished) => {
                        let message = "the job's container was removed from outside".to_owned();
                        let outcome = Outcome::Error { kind: ErrorKind::Lost, message };
                        return self.finish(recorder, outcome, None).await;
                    }
                    Err(error) => return self.finish(recorder, error.outcome(), None).await,
                },
            };
            session = next_number(session);
            announce(&self.job, session).await;
            let this = Session { number: session, nonce: rand::random(), fresh };
            let (before, begun) = (recorder.last_seq(), Instant::now());
            let (ending, answered) =
                run_session(&self.job, &mut recorder, this, &mut reader, &mut writer, &mut checkout, deadline).await;
            fresh = false;
            // An agent that has answered may have its plan by now.
            may_start_over &= !answered;
            silent &= !answered;
            without_progress = if recorder.last_seq() > before || lasted(answered, begun.elapsed()) {
                0
            } else {
                without_progress + 1
            };
            let outcome = match ending {
                Ending::Finished(result) => {
                    // Flush first: after the acknowledgement, the agent may forget everything and end.
                    let seq = recorder.last_seq();
                    let ack = ToAgent::Ack { seq };
                    let acknowledged = send(&mut writer, this, &ack);
                    let _ = tokio::time::timeout(LAST_ACK, acknowledged).await;
                    let reader = recorder.sandbox_is_as_it_was().then_some(reader);
                    let outcome = self.job.request.outcome_of(result, self.job.cancel.is_cancelled());
                    return self.finish(recorder, outcome, reader).await;
                }
                Ending::Superseded => {
                    let message = "another Longshore server has taken over this job".to_owned();
                    let outcome = Outcome::Error { kind: ErrorKind::Lost, message };
                    return Ended::TakenOver(recorder.end(outcome).await);
                }
                Ending::Disconnected | Ending::Rejected => {
                    complaint = reader.complaint().or(complaint);
                    if without_progress < WITHOUT_PROGRESS {
                        tokio::time::sleep(PAUSE * without_progress).await;
                        continue;
                    }
                    let message = "the connection to the agent was lost; rerun the job".to_owned();
                    Outcome::Error { kind: ErrorKind::Lost, message }
                }
                // Its session numbers may be far ahead, because a restored database knows only older ones.
                Ending::Stuck(Stuck::NoAnswer) if !this.fresh && silent && jumps < JUMPS => {
                    jumps += 1;
                    session = session.saturating_add(JUMP);
                    continue;
                }
                Ending::Stuck(why) => {
                    let why = *stuck.get_or_insert(why);
                    self.kill().await;
                    // Write what was read first; the rest is on the volume, if the container has ended now.
                    match recorder.flush().await {
                        Ok(()) if kills < WITHOUT_PROGRESS => {
                            recorder.send_updates(self.job.updates).await;
                            tokio::time::sleep(PAUSE * kills).await;
                            kills += 1;
                            continue;
                        }
                        Ok(()) => self.outcome_of_stuck(&mut recorder, why),
                        Err(error) => journal_outcome(&error),
                    }
                }
                Ending::Garbage(reason) => {
                    Outcome::Error { kind: ErrorKind::Lost, message: format!("the agent sent invalid data ({reason})") }
                }
                Ending::Version(version) => Outcome::Error {
                    kind: ErrorKind::AgentFailed,
                    message: format!(
                        "the agent in the container speaks version {version} of the protocol, this Longshore {}: the job cannot continue across this upgrade; rerun it",
                        longshore_agent_protocol::VERSION
                    ),
                },
                Ending::Artifacts(failed) => artifacts_failed(failed),
                Ending::Journal(error) => journal_outcome(&error),
                Ending::OtherCheckout => {
                    // Without its checkout, an agent begins nothing; but it may have reported its end.
                    if recorder.flush().await.is_ok() && recorder.last_seq() == 0 {
                        return Ended::Untouched(recorder);
                    }
                    checkout_failed("it was made anew in the middle")
                }
                Ending::Checkout(error) => checkout_failed(error),
            };
            return self.finish(recorder, outcome, None).await;
        }
    }

    /// Writes what arrived before the end, which counts, above all the job's own end. A failed write shows when the
    /// journal is closed.
    async fn finish(&self, mut recorder: LogRecorder, outcome: Outcome, reader: Option<LinkReader>) -> Ended {
        if recorder.flush().await.is_ok() {
            recorder.send_updates(self.job.updates).await;
        }
        let outcome = self.reported(&recorder).unwrap_or(outcome);
        Ended::Over(recorder.end(outcome).await, reader)
    }

    /// The outcome that the job itself reported.
    fn reported(&self, recorder: &LogRecorder) -> Option<Outcome> {
        recorder.finished().map(|result| self.job.request.outcome_of(result.clone(), self.job.cancel.is_cancelled()))
    }

    /// Asks the engine about the container, and attaches if it runs. Waits for an engine that is away.
    async fn condition(&self, recorder: &mut LogRecorder) -> Result<Condition, EngineError> {
        ask_until_answered(self.patience, recorder, || self.ask_condition()).await
    }

    async fn ask_condition(&self) -> Result<Condition, EngineError> {
        let id = &self.job.pod.container;
        Ok(match self.engine.standing(id).await? {
            Standing::Vanished => Condition::Vanished,
            Standing::Ended(end) => Condition::Ended(end),
            Standing::Running => {
                let (reader, writer) = self.engine.attach(id).await?.split();
                Condition::Running(reader, writer)
            }
        })
    }

    /// The outcome if the spool could not be read, unless the container's end says more.
    fn unreadable(&self, read: Result<(), Unreadable>) -> Option<Outcome> {
        match read {
            Ok(()) => None,
            Err(Unreadable::Journal(error)) => Some(journal_outcome(&error)),
            Err(Unreadable::Spool(reason) | Unreadable::NoSpool(reason)) => {
                tracing::warn!(container = %self.job.pod.container, reason, "a spool could not be read");
                None
            }
            Err(Unreadable::Passing(error)) => {
                tracing::warn!(container = %self.job.pod.container, %error, "a spool could not be read");
                None
            }
        }
    }

    /// The outcome of a job whose container ended without reporting the job's end. It depends on what ended the
    /// container.
    fn outcome_of_end(
        &self,
        recorder: &mut LogRecorder,
        end: End,
        stuck: Option<Stuck>,
        complaint: Option<Complaint>,
    ) -> Outcome {
        let code = end.code;
        if end.out_of_memory {
            // The whole container exceeded its limit and the kernel chose the agent: the job caused it.
            let step = "the job".to_owned();
            return Outcome::Failure { exit_code: 137, step, out_of_memory: true };
        }
        if let Some(stuck) = stuck {
            return self.outcome_of_stuck(recorder, stuck);
        }
        if self.job.cancel.is_cancelled() {
            return Outcome::Canceled;
        }
        let (kind, message) = match (code, end.message.or(complaint.map(|complaint| complaint.text))) {
            (137 | 143, None) => (
                ErrorKind::Lost,
                "the job's container was killed from outside (docker kill, a restart of the engine); rerun the job"
                    .to_owned(),
            ),
            (_, Some(text)) => {
                (ErrorKind::AgentFailed, format!("the agent exited with code {code} before the job finished: {text}"))
            }
            (_, None) => (ErrorKind::AgentFailed, format!("the agent exited with code {code} before the job finished")),
        };
        Outcome::Error { kind, message }
    }

    /// Kills the container, because its agent misbehaves. The next question to the engine shows whether that worked.
    async fn kill(&self) {
        if let Err(error) = self.engine.kill(&self.job.pod.container).await {
            tracing::debug!(%error, "killing a job's container");
        }
    }

    /// The outcome of a job whose agent misbehaved and reported no end.
    fn outcome_of_stuck(&self, recorder: &mut LogRecorder, stuck: Stuck) -> Outcome {
        match stuck {
            Stuck::NoAnswer => Outcome::Error {
                kind: ErrorKind::AgentFailed,
                message: "the agent did not respond within a minute; check the host's load, and rerun the job"
                    .to_owned(),
            },
            Stuck::IgnoresCancel => {
                recorder
                    .note("the agent did not stop the job in time after the cancellation: its container was killed");
                Outcome::Canceled
            }
            Stuck::LogTooLong => Outcome::Error {
                kind: ErrorKind::LogTooLong,
                message: format!(
                    "the job printed more than {} MiB, the log limit: its container was killed; print less, or raise `job_log_mib` in the server's settings",
                    self.job.request.limits.log >> 20
                ),
            },
            Stuck::OverTime => {
                recorder.note("the agent did not enforce the job's timeout: its container was killed");
                Outcome::TimedOut { limit_ms: self.job.request.timeout_ms() }
            }
        }
    }
}

/// The outcome of a job whose files cannot be stored.
fn artifacts_failed(failed: Failed) -> Outcome {
    let Failed { kind, message } = failed;
    if kind == std::io::ErrorKind::InvalidData {
        let message = format!("the job's files are not what its agent may send: {message}");
        return Outcome::Error { kind: ErrorKind::Lost, message };
    }
    let full = kind == std::io::ErrorKind::StorageFull;
    let kind = if full { ErrorKind::DiskFull } else { ErrorKind::Internal };
    let message =
        format!("the job's artifacts could not be stored: {message}; free some space in Longshore's data folder");
    Outcome::Error { kind, message }
}

fn checkout_failed(why: impl fmt::Display) -> Outcome {
    let message = format!("the source could not be copied into the job's container: {why}");
    Outcome::Error { kind: ErrorKind::CheckoutFailed, message }
}

/// Whether a session counts as progress although nothing arrived: a step may be silent for hours, behind a proxy that
/// ends idle connections.
fn lasted(answered: bool, length: Duration) -> bool {
    answered && length >= LASTING
}

/// Whether the container ended like one whose program is incomplete.
fn is_no_program(end: &End, complaint: Option<&Complaint>) -> bool {
    end.cannot_run || complaint.is_some_and(|complaint| complaint.cannot_run) || CRASHES.contains(&end.code)
}

/// Whether the agent never reported anything. It creates its spool first of all, and reports a step there before the step runs.
fn nothing_was_reported(read: &Result<(), Unreadable>, end: &End) -> bool {
    match read {
        Ok(()) | Err(Unreadable::NoSpool(_)) => true,
        // A container that is being removed cannot be read.
        Err(Unreadable::Spool(_) | Unreadable::Passing(_)) => end.removal != Removal::No,
        Err(Unreadable::Journal(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_session_with_a_silent_step_counts_as_progress() {
        assert!(lasted(true, LASTING));
        assert!(!lasted(true, LASTING / 2), "cut again and again");
        assert!(!lasted(false, LASTING * 2), "nobody answered");
    }
}
