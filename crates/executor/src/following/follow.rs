//! Follows a started container's agent, session after session, until the job's outcome is known.
//!
//! The end of a link says nothing about the job. After it, the engine is asked whether the container still runs, and a
//! new session continues after the journal's last record.

use std::ops::ControlFlow;
use std::time::Duration;

use longshore_agent_protocol::{ToAgent, UNFIT_SANDBOX};
use longshore_core::{ErrorKind, Outcome};
use tokio::time::Instant;

use crate::engine::{End, Engine, Removal, Standing};
use crate::error::EngineError;
use crate::following::checkout::{CheckoutSender, Opening};
use crate::following::clock::{ALWAYS_LIMIT, SLACK, Stuck};
use crate::following::link::{Link, LinkReader, LinkWriter, StderrText};
use crate::following::log_recorder::{LogRecorder, journal_outcome};
use crate::following::session::{Followed, Session, SessionEnd, announce, next_number, run_session, send};
use crate::following::spool::{self, Unreadable};
use crate::names::ContainerId;
use crate::objects::{DockerPart, ObjectId};
use crate::verdicts::{artifacts_failed, checkout_failed, other_version};
use crate::wait::{Wait, ask_until_answered};

/// Limit for consecutive sessions without progress before the job is given up, and for kills of a container that does
/// not end.
const MAX_SESSIONS_WITHOUT_PROGRESS: u32 = 10;
/// Pause after a session without progress, times their number.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A session that was answered and lasted this long counts as progress.
const MIN_LASTING_SESSION: Duration = Duration::from_secs(10);
/// Exit codes of a program that is incomplete: SIGBUS, SIGSEGV.
const CRASH_EXIT_CODES: [i64; 2] = [135, 139];
/// How often a much higher session number is tried with an adopted agent that does not answer.
const MAX_SESSION_JUMPS: u32 = 2;
const SESSION_JUMP: u32 = 1 << 20;
/// Limit for sending the last acknowledgement; without it the agent ends a little later.
const LAST_ACK_TIMEOUT: Duration = Duration::from_secs(1);

/// Where to begin following.
pub(crate) struct Start {
    /// The last known session number.
    pub(crate) session: u32,
    /// No session with the agent was ever opened.
    pub(crate) fresh: bool,
    /// The job is not known to have begun. If it has not, the result is [`Untouched`](FollowEnd::Untouched).
    pub(crate) may_start_over: bool,
    pub(crate) link: Option<(LinkReader, LinkWriter)>,
    /// The link to the guard of its Docker API, if this process has started it.
    pub(crate) guard: Option<Link>,
    pub(crate) checkout: Option<Opening>,
}

/// How following the agent ended.
pub(crate) enum FollowEnd {
    /// The job is over.
    Over(Outcome, JobLeft),
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

/// What a job that is over leaves to be cleaned up.
#[derive(Default)]
pub(crate) struct JobLeft {
    /// The link to an agent that has restored its sandbox. Its end says when the container is empty.
    pub(crate) reader: Option<LinkReader>,
    /// The workspace may have more files than the engine deletes in a moment.
    pub(crate) many_files: bool,
}

/// Follows one job's agent.
pub(crate) struct Follower<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) job: Followed<'a>,
    /// How long to wait for an engine that is away.
    pub(crate) patience: Duration,
}

/// A container whose link ended.
enum ContainerState {
    Running(LinkReader, LinkWriter),
    Ended(End),
    Vanished,
}

/// What is known of an agent that is followed.
struct AgentState {
    /// The last session's number.
    session: u32,
    /// No session with the agent was ever opened.
    fresh: bool,
    may_start_over: bool,
    /// When the job's time is over.
    deadline: Instant,
    /// Sessions in a row that brought nothing.
    without_progress: u32,
    /// What the engine last said about the end of a link.
    stderr: Option<StderrText>,
    /// The agent has never answered.
    silent: bool,
    /// The reason why we killed the container. Its volume holds what its agent reported before, possibly including the
    /// job's end.
    stuck: Option<Stuck>,
    kills: u32,
    jumps: u32,
    /// Set while waiting for a spool that could not be read completely.
    reading: Option<Wait>,
}

/// Whether following goes on.
type Next = ControlFlow<FollowEnd, LogRecorder>;

impl Follower<'_> {
    pub(crate) async fn run(&self, mut recorder: LogRecorder, start: Start) -> FollowEnd {
        let Start { session, fresh, may_start_over, mut link, checkout, guard: _ } = start;
        let mut checkout = CheckoutSender::new(self.job.request.checkout.clone(), checkout);
        let limits =
            Duration::from_millis(self.job.request.timeout_ms()) + ALWAYS_LIMIT + self.job.request.limits.grace * 2;
        let mut agent = AgentState {
            session,
            fresh,
            may_start_over,
            deadline: Instant::now() + limits + SLACK,
            without_progress: 0,
            stderr: None,
            silent: true,
            stuck: None,
            kills: 0,
            jumps: 0,
            reading: None,
        };
        loop {
            let next = match link.take() {
                Some(link) => self.one_session(recorder, link, &mut checkout, &mut agent).await,
                None => match self.container_state(&mut recorder).await {
                    Ok(ContainerState::Running(reader, writer)) => {
                        self.one_session(recorder, (reader, writer), &mut checkout, &mut agent).await
                    }
                    Ok(ContainerState::Ended(end)) => self.after_container(recorder, end, &mut agent).await,
                    Ok(ContainerState::Vanished) if agent.may_start_over && recorder.last_seq() == 0 => {
                        Next::Break(FollowEnd::Untouched(recorder))
                    }
                    Ok(ContainerState::Vanished) => {
                        let message = "the job's container was removed from outside".to_owned();
                        let outcome = Outcome::Error { kind: ErrorKind::Lost, message };
                        Next::Break(self.finish(recorder, outcome, None).await)
                    }
                    Err(error) => Next::Break(self.finish(recorder, error.outcome(), None).await),
                },
            };
            recorder = match next {
                Next::Continue(recorder) => recorder,
                Next::Break(ended) => return ended,
            };
        }
    }

    /// Reads the spool of a container that has ended, and decides what its end means.
    async fn after_container(&self, mut recorder: LogRecorder, end: End, agent: &mut AgentState) -> Next {
        let read = match self.end_others().await {
            Ok(()) => spool::read(self.engine, &self.job.pod.container, &mut recorder).await,
            Err(error) => Err(Unreadable::Passing(error)),
        };
        if agent.may_start_over && recorder.last_seq() == 0 && nothing_was_reported(&read, &end) {
            return Next::Break(FollowEnd::Untouched(recorder));
        }
        if agent.silent && recorder.last_seq() == 0 && end.code == i64::from(UNFIT_SANDBOX) {
            return Next::Break(FollowEnd::Unfit(recorder));
        }
        recorder.send_updates(self.job.updates).await;
        let crashed = agent.silent
            && recorder.last_seq() == 0
            && nothing_was_reported(&read, &end)
            && is_no_program(&end, agent.stderr.as_ref());
        let read = match read {
            Err(Unreadable::Passing(error)) if end.removal != Removal::Failed => {
                tracing::debug!(%error, "the spool did not come whole");
                let wait = agent.reading.get_or_insert_with(|| Wait::new(self.patience));
                return match wait.pause(&mut recorder, error).await {
                    Ok(()) => Next::Continue(recorder),
                    Err(error) => Next::Break(self.finish(recorder, error.outcome(), None).await),
                };
            }
            read => read,
        };
        let outcome = match self.reported(&recorder).or_else(|| self.job.unreadable(read)) {
            Some(outcome) => outcome,
            None => self.job.outcome_of_end(&mut recorder, end, agent.stuck, agent.stderr.take()),
        };
        if crashed {
            return Next::Break(FollowEnd::Crashed(recorder, outcome));
        }
        Next::Break(self.finish(recorder, outcome, None).await)
    }

    /// Runs a session over a link, and decides what its end means.
    async fn one_session(
        &self,
        mut recorder: LogRecorder,
        (mut reader, mut writer): (LinkReader, LinkWriter),
        checkout: &mut CheckoutSender,
        agent: &mut AgentState,
    ) -> Next {
        agent.session = next_number(agent.session);
        announce(&self.job, agent.session).await;
        let this = Session { number: agent.session, nonce: rand::random(), fresh: agent.fresh };
        let (before, begun) = (recorder.last_seq(), Instant::now());
        let (ending, answered) =
            run_session(&self.job, &mut recorder, this, &mut reader, &mut writer, checkout, agent.deadline).await;
        agent.fresh = false;
        // An agent that has answered may have its plan by now.
        agent.may_start_over &= !answered;
        agent.silent &= !answered;
        agent.without_progress = if recorder.last_seq() > before || lasted(answered, begun.elapsed()) {
            0
        } else {
            agent.without_progress + 1
        };
        let outcome = match ending {
            SessionEnd::Finished(result) => {
                // Flush first: after the acknowledgement, the agent may forget everything and end.
                let seq = recorder.last_seq();
                let ack = ToAgent::Ack { seq };
                let acknowledged = send(&mut writer, this, &ack);
                let _ = tokio::time::timeout(LAST_ACK_TIMEOUT, acknowledged).await;
                let reader = recorder.sandbox_is_restored().then_some(reader);
                let outcome = self.job.request.outcome_of(result, self.job.cancel.is_cancelled());
                return Next::Break(self.finish(recorder, outcome, reader).await);
            }
            SessionEnd::Superseded => {
                let message = "another Longshore server has taken over this job".to_owned();
                let outcome = Outcome::Error { kind: ErrorKind::Lost, message };
                return Next::Break(FollowEnd::TakenOver(recorder.end(outcome).await));
            }
            SessionEnd::Disconnected | SessionEnd::Rejected => {
                agent.stderr = reader.stderr().or(agent.stderr.take());
                if agent.without_progress < MAX_SESSIONS_WITHOUT_PROGRESS {
                    tokio::time::sleep(RETRY_PAUSE * agent.without_progress).await;
                    return Next::Continue(recorder);
                }
                let message = "the connection to the agent was lost; rerun the job".to_owned();
                Outcome::Error { kind: ErrorKind::Lost, message }
            }
            // Its session numbers may be far ahead, because a restored database knows only older ones.
            SessionEnd::Stuck(Stuck::NoAnswer) if !this.fresh && agent.silent && agent.jumps < MAX_SESSION_JUMPS => {
                agent.jumps += 1;
                agent.session = agent.session.saturating_add(SESSION_JUMP);
                return Next::Continue(recorder);
            }
            SessionEnd::Stuck(why) => match self.kill_stuck(&mut recorder, why, agent).await {
                Some(outcome) => outcome,
                None => return Next::Continue(recorder),
            },
            SessionEnd::OtherCheckout => {
                // Without its checkout, an agent begins nothing; but it may have reported its end.
                if recorder.flush().await.is_ok() && recorder.last_seq() == 0 {
                    return Next::Break(FollowEnd::Untouched(recorder));
                }
                checkout_failed("it was created again in the meantime")
            }
            SessionEnd::Checkout(error) => checkout_failed(error),
            SessionEnd::OverDisk(message) => {
                recorder.note(&message);
                Outcome::Error { kind: ErrorKind::DiskLimit, message }
            }
            SessionEnd::Unguarded => {
                let message = "the job ends, because the guard of its Docker API has ended: rerun it".to_owned();
                recorder.note(&message);
                Outcome::Error { kind: ErrorKind::Lost, message }
            }
            SessionEnd::Garbage(reason) => {
                Outcome::Error { kind: ErrorKind::Lost, message: format!("the agent sent invalid data ({reason})") }
            }
            SessionEnd::Version(version) => other_version(version),
            SessionEnd::Artifacts(failed) => artifacts_failed(failed),
            SessionEnd::Journal(error) => journal_outcome(&error),
        };
        Next::Break(self.finish(recorder, outcome, None).await)
    }

    /// Kills the container of an agent that misbehaved. Returns the outcome if that does not help or the journal fails.
    async fn kill_stuck(&self, recorder: &mut LogRecorder, why: Stuck, agent: &mut AgentState) -> Option<Outcome> {
        let why = *agent.stuck.get_or_insert(why);
        self.kill().await;
        // Write what was read first; the rest is on the volume, if the container has ended now.
        match recorder.flush().await {
            Ok(()) if agent.kills < MAX_SESSIONS_WITHOUT_PROGRESS => {
                recorder.send_updates(self.job.updates).await;
                tokio::time::sleep(RETRY_PAUSE * agent.kills).await;
                agent.kills += 1;
                None
            }
            Ok(()) => Some(self.job.outcome_of_stuck(recorder, why)),
            Err(error) => Some(journal_outcome(&error)),
        }
    }

    /// Writes what arrived before the end, which counts, above all the job's own end. A failed write shows when the
    /// journal is closed.
    async fn finish(&self, mut recorder: LogRecorder, outcome: Outcome, reader: Option<LinkReader>) -> FollowEnd {
        if recorder.flush().await.is_ok() {
            recorder.send_updates(self.job.updates).await;
        }
        let outcome = self.reported(&recorder).unwrap_or(outcome);
        let many_files = recorder.may_leave_many_files();
        FollowEnd::Over(recorder.end(outcome).await, JobLeft { reader, many_files })
    }

    /// Returns the outcome that the job itself reported.
    fn reported(&self, recorder: &LogRecorder) -> Option<Outcome> {
        recorder.finished().map(|result| self.job.request.outcome_of(result.clone(), self.job.cancel.is_cancelled()))
    }

    /// Asks the engine about the container, and attaches if it runs. Waits for an engine that is away.
    async fn container_state(&self, recorder: &mut LogRecorder) -> Result<ContainerState, EngineError> {
        ask_until_answered(self.patience, recorder, || self.ask_container_state()).await
    }

    async fn ask_container_state(&self) -> Result<ContainerState, EngineError> {
        let id = &self.job.pod.container;
        Ok(match self.engine.standing(id).await? {
            Standing::Vanished => ContainerState::Vanished,
            Standing::Ended(end) => ContainerState::Ended(end),
            Standing::Running => {
                let (reader, writer) = self.engine.attach(id).await?.split();
                ContainerState::Running(reader, writer)
            }
        })
    }

    /// Ends the job's other containers before the spool of its own is read: for that, the engine mounts the volumes of
    /// the ended container once more, on its host. Who was handed a descriptor of a folder in it could swap a path
    /// there for a link meanwhile.
    async fn end_others(&self) -> Result<(), EngineError> {
        let attempt = self.job.request.attempt_id();
        if let Some(members) = self.job.members {
            members.end().await;
        }
        self.end_all(self.engine.list_members(attempt).await?).await?;
        if self.job.request.docker.guarded().is_some() {
            // The guard is the first and makes nothing more. What it was about to make is there by the second time.
            for part in [DockerPart::Guard, DockerPart::Containers, DockerPart::Containers] {
                let found = self.engine.list_guarded(attempt, part).await?;
                let containers = found.into_iter().filter_map(|object| match object {
                    ObjectId::Container(id) => Some(id),
                    ObjectId::NamedContainer(_) | ObjectId::Volume(_) | ObjectId::Network(_) | ObjectId::Image(_) => {
                        None
                    }
                });
                self.end_all(containers.collect()).await?;
            }
        }
        Ok(())
    }

    async fn end_all(&self, containers: Vec<ContainerId>) -> Result<(), EngineError> {
        for container in &containers {
            if let Err(error) = self.engine.kill(container).await
                && self.engine.standing(container).await? == Standing::Running
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Kills the container, because its agent misbehaves. The next question to the engine shows whether that worked.
    async fn kill(&self) {
        if let Err(error) = self.engine.kill(&self.job.pod.container).await {
            tracing::debug!(%error, "killing a job's container");
        }
    }
}

/// Returns whether a session counts as progress although nothing arrived: a step may be silent for hours, behind a
/// proxy that ends idle connections.
fn lasted(answered: bool, length: Duration) -> bool {
    answered && length >= MIN_LASTING_SESSION
}

/// Returns whether the container ended like one whose program is incomplete.
fn is_no_program(end: &End, stderr: Option<&StderrText>) -> bool {
    end.cannot_run || stderr.is_some_and(|stderr| stderr.cannot_run) || CRASH_EXIT_CODES.contains(&end.code)
}

/// Returns whether the agent never reported anything. It creates its spool first of all, and reports a step there
/// before the step runs.
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
        assert!(lasted(true, MIN_LASTING_SESSION));
        assert!(!lasted(true, MIN_LASTING_SESSION / 2), "cut again and again");
        assert!(!lasted(false, MIN_LASTING_SESSION * 2), "nobody answered");
    }
}
