//! Runs one session with an agent over one link: sends Hello, the plan, the checkout and acknowledgements, and receives
//! messages.
//!
//! Reading, writing and watching the clock are three futures of one task. The first one that ends drops the others,
//! wherever they are. `follow` decides what a [`SessionEnd`] means for the job.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use longshore_agent_protocol::{
    ContainerFailure, FromAgent, FromAgentDecoder, JobResult, ToAgent, VERSION, encode_marker, encode_to_agent,
};
use longshore_core::Record;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::Pod;
use crate::following::agent::AgentHealth;
use crate::following::artifacts::{ArtifactReceiver, ArtifactWords, Failed, Piece};
use crate::following::checkout::{CheckoutError, CheckoutSender};
use crate::following::clock::{AgentActivity, Ready, Stuck, Timed, watch_clock};
use crate::following::link::{LinkReader, LinkWriter};
use crate::following::log_recorder::LogRecorder;
use crate::guarding::guards::{GuardWord, GuardWords};
use crate::members::Members;
use crate::request::{JobRequest, JobUpdate, Phase};

/// How a session ended.
pub(crate) enum SessionEnd {
    Finished(JobResult),
    /// The stream ended; the container may or may not run on.
    Disconnected,
    /// The agent could not read what we wrote, because something else wrote in between.
    Rejected,
    /// Another client has taken over.
    Superseded,
    /// The agent's bytes are not frames.
    Garbage(String),
    /// The agent uses another version of the protocol.
    Version(u32),
    Journal(io::Error),
    Checkout(io::Error),
    /// The job's files cannot be stored.
    Artifacts(Failed),
    /// The agent has the beginning of another checkout, but not its end.
    OtherCheckout,
    /// The container has to be killed, for this reason.
    Stuck(Stuck),
    /// What the job's containers write is over its budget of the disk: the reason.
    OverDisk(String),
    /// The guard of the job's Docker API has ended.
    Unguarded,
}

/// The job whose agent is followed, and what its sessions need.
#[derive(Clone, Copy)]
pub(crate) struct Followed<'a> {
    pub(crate) request: &'a JobRequest,
    pub(crate) pod: &'a Pod,
    pub(crate) updates: &'a mpsc::Sender<JobUpdate>,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) agent: &'a AgentHealth,
    /// The containers beside its own.
    pub(crate) members: Option<&'a Arc<Members>>,
    /// The guard of its Docker API.
    pub(crate) guard: Option<&'a GuardWords>,
    /// Takes the files that it leaves.
    pub(crate) artifacts: Option<&'a ArtifactReceiver>,
    /// How long the agent may take to answer.
    pub(crate) agent_patience: Duration,
}

/// A session's number and the nonce of its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    pub(crate) number: u32,
    pub(crate) nonce: [u8; 16],
    /// The agent has never been contacted, so it has nothing to report.
    pub(crate) fresh: bool,
}

/// Runs a session to its end, and returns whether the agent answered. Everything that arrived is in the journal, or on
/// its way there in `recorder`.
pub(crate) async fn run_session(
    job: &Followed<'_>,
    recorder: &mut LogRecorder,
    session: Session,
    reader: &mut LinkReader,
    writer: &mut LinkWriter,
    checkout: &mut CheckoutSender,
    deadline: Instant,
) -> (SessionEnd, bool) {
    let last_seq = recorder.last_seq();
    if recorder.step_began() {
        checkout.finish();
    }
    let timed = Timed {
        cancel: job.cancel,
        artifacts: job.artifacts,
        agent_patience: job.agent_patience,
        grace: job.request.limits.grace,
    };
    let (acked, acks) = watch::channel(last_seq);
    let (see, seen) = watch::channel(AgentActivity::default());
    // Messages are read before the clock: this process may have been suspended for a while while the agent was not.
    let ending = tokio::select! {
        biased;
        ending = read(job, recorder, session, last_seq, reader, &acked, &see) => ending,
        ending = write(job, session, last_seq, writer, checkout, acks, seen.clone()) => ending,
        stuck = watch_clock(&timed, seen, deadline) => SessionEnd::Stuck(stuck),
    };
    let answered = see.borrow().ready.is_some();
    (ending, answered)
}

async fn read(
    job: &Followed<'_>,
    recorder: &mut LogRecorder,
    session: Session,
    last_seq: u64,
    reader: &mut LinkReader,
    acked: &watch::Sender<u64>,
    see: &watch::Sender<AgentActivity>,
) -> SessionEnd {
    let mut decoder = FromAgentDecoder::new(session.number, session.nonce, last_seq);
    loop {
        tokio::select! {
            written = recorder.written(), if recorder.is_writing() => match written {
                Ok(()) => {
                    see.send_if_modified(|seen| std::mem::replace(&mut seen.paused, recorder.is_full()) != seen.paused);
                    if let Some(result) = acknowledge(job, recorder, acked).await {
                        return SessionEnd::Finished(result);
                    }
                }
                Err(error) => return SessionEnd::Journal(error),
            },
            note = next_note(job), if !recorder.is_full() => {
                recorder.note(&note);
                recorder.start();
            }
            word = next_word(job), if !recorder.is_full() => match word {
                GuardWord::Frozen(reason) => {
                    recorder.note(&reason);
                    recorder.start();
                }
                GuardWord::JobEnds(reason) => return SessionEnd::OverDisk(reason),
                GuardWord::Ended => return SessionEnd::Unguarded,
            },
            bytes = reader.next(), if !recorder.is_full() => {
                let Some(bytes) = bytes else { return flush_then(job, recorder, acked, SessionEnd::Disconnected).await };
                decoder.push(&bytes);
                while let Some(item) = decoder.next() {
                    let item = match item {
                        Ok(item) => item,
                        Err(longshore_agent_protocol::FrameError::Superseded) => {
                            return flush_then(job, recorder, acked, SessionEnd::Superseded).await;
                        }
                        Err(error) => {
                            return flush_then(job, recorder, acked, SessionEnd::Garbage(error.to_string())).await;
                        }
                    };
                    match handle(job, recorder, item.seq, item.message, see) {
                        Ok(()) => {}
                        Err(ending @ SessionEnd::Version(_)) => return ending,
                        Err(ending) => return flush_then(job, recorder, acked, ending).await,
                    }
                }
                recorder.start();
                if recorder.is_over_limit() {
                    return SessionEnd::Stuck(Stuck::LogTooLong);
                }
                // Any message shows that the agent lives.
                see.send_modify(|seen| seen.paused = recorder.is_full());
            }
        }
    }
}

/// Hands a message to its receiver. The error is why the session ends.
fn handle(
    job: &Followed<'_>,
    recorder: &mut LogRecorder,
    seq: u64,
    message: FromAgent,
    see: &watch::Sender<AgentActivity>,
) -> Result<(), SessionEnd> {
    let message = match Arrived::from(message) {
        Arrived::Files(piece) => {
            see.send_if_modified(|seen| !std::mem::replace(&mut seen.hands_over, true));
            let received = job.artifacts.map_or(Err("it sends files".to_owned()), |files| files.receive(piece));
            return received.map_err(SessionEnd::Garbage);
        }
        Arrived::Other(message) => message,
    };
    match &message {
        FromAgent::Ready { version, .. } if *version != VERSION => return Err(SessionEnd::Version(*version)),
        &FromAgent::Ready { planned, checkout_received, checkout_whole, .. } => {
            job.agent.runs();
            let ready = Ready { planned, checkout_received, checkout_whole };
            see.send_modify(|seen| seen.ready = Some(ready));
        }
        FromAgent::Lost => return Err(SessionEnd::Rejected),
        FromAgent::StepStarted { step, .. } | FromAgent::StepFinished { step, .. }
            if *step >= Record::FIRST_SERVICE => {}
        FromAgent::StepStarted { .. } | FromAgent::StepFinished { .. } | FromAgent::JobFinished { .. } => {
            see.send_modify(|seen| seen.steps += 1);
        }
        FromAgent::RunContainer { step, container, .. } => {
            if let Some(members) = job.members {
                members.run(*step, container.clone());
            }
        }
        FromAgent::Output { .. }
        | FromAgent::Note { .. }
        | FromAgent::ServiceReady { .. }
        | FromAgent::ArtifactFile(_)
        | FromAgent::ArtifactData(_)
        | FromAgent::ArtifactFileEnd { .. }
        | FromAgent::ArtifactsEnd { .. } => {}
    }
    recorder.record(seq, message).map_err(|error| SessionEnd::Garbage(error.to_string()))
}

/// A message, by its receiver.
enum Arrived {
    /// The job's files, as their receiver takes them.
    Files(Piece),
    Other(FromAgent),
}

impl From<FromAgent> for Arrived {
    fn from(message: FromAgent) -> Self {
        match message {
            FromAgent::ArtifactFile(file) => Self::Files(Piece::File(file)),
            FromAgent::ArtifactData(data) => Self::Files(Piece::Data(data)),
            FromAgent::ArtifactFileEnd { whole } => Self::Files(Piece::FileEnd { whole }),
            FromAgent::ArtifactsEnd { files } => Self::Files(Piece::End { files }),
            other => Self::Other(other),
        }
    }
}

/// Acknowledges what is on disk and sends its updates. Returns the job's result if it is on disk.
async fn acknowledge(job: &Followed<'_>, recorder: &mut LogRecorder, acked: &watch::Sender<u64>) -> Option<JobResult> {
    acked.send_if_modified(|seq| std::mem::replace(seq, recorder.last_seq()) != recorder.last_seq());
    recorder.send_updates(job.updates).await;
    recorder.finished().cloned()
}

/// Writes what arrived before the end of the session, which may include the job's end.
async fn flush_then(
    job: &Followed<'_>,
    recorder: &mut LogRecorder,
    acked: &watch::Sender<u64>,
    ending: SessionEnd,
) -> SessionEnd {
    match recorder.flush().await {
        Ok(()) => acknowledge(job, recorder, acked).await.map_or(ending, SessionEnd::Finished),
        Err(error) => SessionEnd::Journal(error),
    }
}

/// Writes until the end of the session; returns only if the checkout cannot be sent, or files cannot be stored. The
/// reader reports a broken link, because the agent's last messages may still be on their way.
async fn write(
    job: &Followed<'_>,
    session: Session,
    last_seq: u64,
    writer: &mut LinkWriter,
    checkout: &mut CheckoutSender,
    mut acks: watch::Receiver<u64>,
    mut seen: watch::Receiver<AgentActivity>,
) -> SessionEnd {
    if let Err(ending) = open(job, session, last_seq, writer, checkout, &mut seen).await {
        return ending;
    }
    let mut words = ArtifactWords::new(job.artifacts);
    let mut failures = job.members.map(|members| members.failures());
    let mut sent_failures = 0;
    let mut canceled = false;
    loop {
        let sent = tokio::select! {
            biased;
            () = job.cancel.cancelled(), if !canceled => {
                canceled = true;
                checkout.finish();
                send(writer, session, &ToAgent::Cancel).await
            }
            Ok(()) = acks.changed() => {
                let seq = *acks.borrow_and_update();
                send(writer, session, &ToAgent::Ack { seq }).await
            }
            failed = next_failures(&mut failures, sent_failures) => {
                sent_failures += failed.len();
                let mut sent = Ok(());
                for failure in failed {
                    sent = sent.and(send(writer, session, &ToAgent::ContainerFailed(failure)).await);
                }
                sent
            }
            word = words.next() => match word {
                Ok(word) => send(writer, session, &word).await,
                Err(failed) => return SessionEnd::Artifacts(failed),
            },
            message = checkout.next() => match message {
                Ok(message) => send(writer, session, &message).await,
                Err(CheckoutError::Source(error)) => return SessionEnd::Checkout(error),
                Err(CheckoutError::Other) => return SessionEnd::OtherCheckout,
            },
        };
        if sent.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Opens a session: greets the agent, sends the plan to one that has none, and finds out where the checkout continues.
async fn open(
    job: &Followed<'_>,
    session: Session,
    last_seq: u64,
    writer: &mut LinkWriter,
    checkout: &mut CheckoutSender,
    seen: &mut watch::Receiver<AgentActivity>,
) -> Result<(), SessionEnd> {
    let mut frames = Vec::new();
    encode_marker(job.pod.nonce.0, &mut frames);
    let hello = ToAgent::Hello { version: VERSION, last_seq, nonce: session.nonce };
    let mut spec = job.request.spec(&job.pod.user);
    spec.pod_secret = job.request.has_members().then_some(job.pod.secret);
    let plan = ToAgent::Plan(Box::new(spec));
    let mut planned = encode_to_agent(session.number, &hello, &mut frames);
    if session.fresh {
        planned = planned.and_then(|()| encode_to_agent(session.number, &plan, &mut frames));
    }
    if let Err(error) = planned {
        return Err(SessionEnd::Checkout(io::Error::other(error)));
    }
    // An earlier session may have left half a frame on the same link; the marker ends it.
    writer.buffer.clear();
    writer.buffer.extend_from_slice(&frames);
    if writer.flush().await.is_err() {
        return std::future::pending().await;
    }

    if session.fresh {
        checkout.resume_at(0);
    } else {
        let ready = seen.wait_for(|seen| seen.ready.is_some()).await.ok().and_then(|seen| seen.ready);
        let Some(ready) = ready else { return std::future::pending().await };
        // The process that started it may have died before it could report this.
        let _ = job.updates.send(JobUpdate::Phase(Phase::Running)).await;
        if ready.checkout_whole {
            checkout.finish();
        } else {
            checkout.resume_at(ready.checkout_received);
        }
        if !ready.planned && send(writer, session, &plan).await.is_err() {
            return std::future::pending().await;
        }
    }
    Ok(())
}

/// Returns the next line that the starts of the pod's containers have for the log.
async fn next_note(job: &Followed<'_>) -> String {
    match job.members {
        Some(members) => members.next_note().await,
        None => std::future::pending().await,
    }
}

/// Returns the next word of the pod's guard.
async fn next_word(job: &Followed<'_>) -> GuardWord {
    match job.guard {
        Some(guard) => guard.next().await,
        None => std::future::pending().await,
    }
}

/// Returns what could not be started, except the first `sent`. Waits until there is something.
async fn next_failures(
    failures: &mut Option<watch::Receiver<Vec<ContainerFailure>>>,
    sent: usize,
) -> Vec<ContainerFailure> {
    let Some(failures) = failures else { return std::future::pending().await };
    let failed = failures.wait_for(|all| all.len() > sent).await.map(|all| all[sent..].to_vec());
    match failed {
        Ok(failed) => failed,
        Err(_) => std::future::pending().await,
    }
}

/// Queues a message and writes it.
pub(crate) async fn send(writer: &mut LinkWriter, session: Session, message: &ToAgent) -> io::Result<()> {
    let mut frame = Vec::new();
    encode_to_agent(session.number, message, &mut frame).map_err(io::Error::other)?;
    writer.buffer.extend_from_slice(&frame);
    writer.flush().await
}

/// Returns a session number that is higher than any known one and any that an earlier process may have used.
pub(crate) fn next_number(last: u32) -> u32 {
    let seconds = longshore_core::Timestamp::now().as_millis() / 1000;
    last.saturating_add(1).max(u32::try_from(seconds).unwrap_or(0))
}

/// Reports the session's number. It is stored for a process that adopts the job.
pub(crate) async fn announce(job: &Followed<'_>, number: u32) {
    let _ = job.updates.send(JobUpdate::Session(number)).await;
}
