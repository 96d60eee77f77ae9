//! Runs one session with an agent over one link: sends Hello, the plan, the checkout and acknowledgements, and receives
//! messages.
//!
//! Reading, writing and watching the clock are three futures of one task. The first one that ends drops the others,
//! wherever they are. `follow` decides what an [`Ending`] means for the job.

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

use crate::agent::AgentHealth;
use crate::artifacts::{ArtifactReceiver, ArtifactWords, Failed, Piece};
use crate::checkout::{CheckoutError, CheckoutSender};
use crate::engine::Pod;
use crate::link::{LinkReader, LinkWriter};
use crate::log_recorder::LogRecorder;
use crate::members::Members;
use crate::request::{JobRequest, JobUpdate, Phase};

/// Time after the agent's own deadlines before the container is killed.
pub(crate) const SLACK: Duration = Duration::from_secs(10);
/// How long an agent that hands over files may be silent once its job's time is over.
const SILENCE: Duration = Duration::from_secs(60);
/// How long it may hand over files after its job's time altogether, without the time in which it waits for us.
const HANDING_OVER: Duration = Duration::from_secs(2 * 60 * 60);
/// The agent's limit for `always()` steps after a cancel or the deadline (PROTOCOL.md).
pub(crate) const ALWAYS_LIMIT: Duration = Duration::from_secs(60);

/// How a session ended.
pub(crate) enum Ending {
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
}

/// How the agent misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stuck {
    NoAnswer,
    IgnoresCancel,
    OverTime,
    /// The agent continued to print after the limit.
    LogTooLong,
}

/// What the agent has done in this session.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Set once Ready has arrived.
    ready: Option<Ready>,
    /// Number of steps that began or ended.
    steps: u64,
    /// The agent hands over the job's files. That has no part in the job's time.
    hands_over: bool,
    /// Reading is paused, because what has arrived has to be written first.
    paused: bool,
}

/// What the agent had when the session began.
#[derive(Debug, Clone, Copy)]
struct Ready {
    planned: bool,
    checkout_received: u64,
    checkout_whole: bool,
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
) -> (Ending, bool) {
    let last_seq = recorder.last_seq();
    if recorder.step_began() {
        checkout.finish();
    }
    let (acked, acks) = watch::channel(last_seq);
    let (see, seen) = watch::channel(Seen::default());
    // Messages are read before the clock: this process may have been suspended for a while while the agent was not.
    let ending = tokio::select! {
        biased;
        ending = read(job, recorder, session, last_seq, reader, &acked, &see) => ending,
        ending = write(job, session, last_seq, writer, checkout, acks, seen.clone()) => ending,
        stuck = watch_clock(job, seen, deadline) => Ending::Stuck(stuck),
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
    see: &watch::Sender<Seen>,
) -> Ending {
    let mut decoder = FromAgentDecoder::new(session.number, session.nonce, last_seq);
    loop {
        tokio::select! {
            written = recorder.written(), if recorder.is_writing() => match written {
                Ok(()) => {
                    see.send_if_modified(|seen| std::mem::replace(&mut seen.paused, recorder.is_full()) != seen.paused);
                    if let Some(result) = acknowledge(job, recorder, acked).await {
                        return Ending::Finished(result);
                    }
                }
                Err(error) => return Ending::Journal(error),
            },
            note = next_note(job.members), if !recorder.is_full() => {
                recorder.note(&note);
                recorder.start();
            }
            bytes = reader.next(), if !recorder.is_full() => {
                let Some(bytes) = bytes else { return flush_then(job, recorder, acked, Ending::Disconnected).await };
                decoder.push(&bytes);
                while let Some(item) = decoder.next() {
                    let item = match item {
                        Ok(item) => item,
                        Err(longshore_agent_protocol::FrameError::Superseded) => {
                            return flush_then(job, recorder, acked, Ending::Superseded).await;
                        }
                        Err(error) => {
                            return flush_then(job, recorder, acked, Ending::Garbage(error.to_string())).await;
                        }
                    };
                    let message = match Arrived::from(item.message) {
                        Arrived::Files(piece) => {
                            see.send_if_modified(|seen| !std::mem::replace(&mut seen.hands_over, true));
                            match job.artifacts.map_or(Err("it sends files".to_owned()), |files| files.receive(piece)) {
                                Ok(()) => continue,
                                Err(why) => return flush_then(job, recorder, acked, Ending::Garbage(why)).await,
                            }
                        }
                        Arrived::Other(message) => message,
                    };
                    match &message {
                        FromAgent::Ready { version, .. } if *version != VERSION => return Ending::Version(*version),
                        &FromAgent::Ready { planned, checkout_received, checkout_whole, .. } => {
                            job.agent.runs();
                            let ready = Ready { planned, checkout_received, checkout_whole };
                            see.send_modify(|seen| seen.ready = Some(ready));
                        }
                        FromAgent::Lost => return flush_then(job, recorder, acked, Ending::Rejected).await,
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
                    recorder.record(item.seq, message);
                }
                recorder.start();
                if recorder.is_over_limit() {
                    return Ending::Stuck(Stuck::LogTooLong);
                }
                // Any message shows that the agent lives.
                see.send_modify(|seen| seen.paused = recorder.is_full());
            }
        }
    }
}

/// What a message is about.
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
    ending: Ending,
) -> Ending {
    match recorder.flush().await {
        Ok(()) => acknowledge(job, recorder, acked).await.map_or(ending, Ending::Finished),
        Err(error) => Ending::Journal(error),
    }
}

/// Writes until the end of the session; returns only if the checkout cannot be sent, or files cannot be stored. The reader reports a broken link,
/// because the agent's last messages may still be on their way.
async fn write(
    job: &Followed<'_>,
    session: Session,
    last_seq: u64,
    writer: &mut LinkWriter,
    checkout: &mut CheckoutSender,
    mut acks: watch::Receiver<u64>,
    mut seen: watch::Receiver<Seen>,
) -> Ending {
    let mut frames = Vec::new();
    encode_marker(job.pod.nonce.0, &mut frames);
    let hello = ToAgent::Hello { version: VERSION, last_seq, nonce: session.nonce };
    let plan = ToAgent::Plan(Box::new(job.request.spec(&job.pod.user)));
    let mut planned = encode_to_agent(session.number, &hello, &mut frames);
    if session.fresh {
        planned = planned.and_then(|()| encode_to_agent(session.number, &plan, &mut frames));
    }
    if let Err(error) = planned {
        return Ending::Checkout(io::Error::other(error));
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

    let mut words = ArtifactWords::new(job.artifacts);
    let mut failures = job.members.map(|members| members.failures());
    let mut told = 0;
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
            failed = next_failures(&mut failures, told) => {
                told += failed.len();
                let mut sent = Ok(());
                for failure in failed {
                    sent = sent.and(send(writer, session, &ToAgent::ContainerFailed(failure)).await);
                }
                sent
            }
            word = words.next() => match word {
                Ok(word) => send(writer, session, &word).await,
                Err(failed) => return Ending::Artifacts(failed),
            },
            message = checkout.next() => match message {
                Ok(message) => send(writer, session, &message).await,
                Err(CheckoutError::Source(error)) => return Ending::Checkout(error),
                Err(CheckoutError::Other) => return Ending::OtherCheckout,
            },
        };
        if sent.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Returns the next line that the starts of the pod's containers have for the log.
async fn next_note(members: Option<&Arc<Members>>) -> String {
    match members {
        Some(members) => members.next_note().await,
        None => std::future::pending().await,
    }
}

/// Returns what could not be started, except the first `told`. Waits until there is something.
async fn next_failures(
    failures: &mut Option<watch::Receiver<Vec<ContainerFailure>>>,
    told: usize,
) -> Vec<ContainerFailure> {
    let Some(failures) = failures else { return std::future::pending().await };
    let failed = failures.wait_for(|all| all.len() > told).await.map(|all| all[told..].to_vec());
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

/// Returns when the agent has missed one of the deadlines that it should keep by itself.
async fn watch_clock(job: &Followed<'_>, mut seen: watch::Receiver<Seen>, deadline: Instant) -> Stuck {
    // A borrow locks the value, so it ends before anything is awaited.
    let answered = async { seen.wait_for(|seen| seen.ready.is_some()).await.map(drop) };
    if tokio::time::timeout(job.agent_patience, answered).await.is_err() {
        return Stuck::NoAnswer;
    }
    let is_behind = || job.artifacts.is_some_and(ArtifactReceiver::is_behind);
    tokio::select! {
        () = over_time(&mut seen, deadline, is_behind) => return Stuck::OverTime,
        () = job.cancel.cancelled() => {}
    }
    let grace = job.request.limits.grace;
    // An agent that hands over files may have passed it.
    let deadline = deadline.max(Instant::now() + grace + SLACK);
    let patience = async {
        let before = seen.borrow().steps;
        if progressed(&mut seen, grace + SLACK, |seen| seen.steps > before).await {
            // `always()` steps have a limit of their own.
            progressed(&mut seen, ALWAYS_LIMIT + grace * 2 + SLACK, |_| false).await;
        }
    };
    // An agent that continues to print gets no more time than any other.
    let _ = tokio::time::timeout_at(deadline, patience).await;
    Stuck::IgnoresCancel
}

/// Returns once the job's time is over, and that for handing over files too. An agent that waits for us (`is_behind`) is
/// not silent.
async fn over_time(seen: &mut watch::Receiver<Seen>, deadline: Instant, is_behind: impl Fn() -> bool) {
    tokio::time::sleep_until(deadline).await;
    let mut used = Duration::ZERO;
    while seen.borrow_and_update().hands_over && used < HANDING_OVER {
        let waits_for_us = is_behind() || seen.borrow().paused;
        let since = Instant::now();
        tokio::select! {
            biased;
            Ok(()) = seen.changed() => {}
            () = tokio::time::sleep(SILENCE) => {
                if !waits_for_us && !is_behind() {
                    return;
                }
            }
        }
        if !waits_for_us {
            used += since.elapsed();
        }
    }
}

/// Waits until `wanted` is true; gives up if nothing has arrived for `patience`. The awaited message may be behind a
/// spool full of output, and the spool may wait for a full disk of ours, so the time in which we do not read does not
/// count.
async fn progressed(seen: &mut watch::Receiver<Seen>, patience: Duration, wanted: impl Fn(&Seen) -> bool) -> bool {
    loop {
        let now = *seen.borrow_and_update();
        if wanted(&now) {
            return true;
        }
        tokio::select! {
            biased;
            Ok(()) = seen.changed() => {}
            () = tokio::time::sleep(patience), if !now.paused => return false,
            else => return false,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how long after its deadline an agent is over time that says something every `pause`.
    async fn time_of_handing_over(pause: Duration, is_behind: bool, most: Duration) -> Option<Duration> {
        let (see, mut seen) = watch::channel(Seen { hands_over: true, ..Seen::default() });
        let talking = async {
            loop {
                tokio::time::sleep(pause).await;
                see.send_modify(|_| {});
            }
        };
        let deadline = Instant::now();
        tokio::select! {
            () = over_time(&mut seen, deadline, || is_behind) => Some(deadline.elapsed()),
            () = talking => None,
            () = tokio::time::sleep(most) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_drips_files_after_its_time_is_ended_and_one_that_waits_for_a_full_disk_is_not() {
        let day = Duration::from_secs(24 * 60 * 60);
        let drips = time_of_handing_over(SILENCE / 2, false, day).await.unwrap();
        assert!(drips >= HANDING_OVER && drips < HANDING_OVER + SILENCE, "{drips:?}");
        let silent = time_of_handing_over(day, false, day * 2).await.unwrap();
        assert!(silent >= SILENCE && silent < SILENCE * 2, "{silent:?}");
        assert_eq!(time_of_handing_over(day, true, day).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_hands_nothing_over_has_its_jobs_time_and_no_more() {
        let (_see, mut seen) = watch::channel(Seen::default());
        let began = Instant::now();
        over_time(&mut seen, began + SILENCE, || false).await;
        assert_eq!(began.elapsed(), SILENCE);
    }

    #[tokio::test]
    async fn an_agent_that_still_says_what_waits_in_its_spool_is_not_silent() {
        let patience = Duration::from_secs(1);
        let (see, mut seen) = watch::channel(Seen::default());
        let talking = async {
            for _ in 0..6 {
                tokio::time::sleep(patience / 4).await;
                see.send_modify(|_| {});
            }
            see.send_modify(|seen| seen.steps += 1);
        };
        let (progressed, ()) = tokio::join!(progressed(&mut seen, patience, |seen| seen.steps > 0), talking);
        assert!(progressed, "longer than its patience in all, never so long in silence");
    }

    #[tokio::test]
    async fn an_agent_that_has_spoken_is_not_silent_though_the_clock_ran_out_meanwhile() {
        let patience = Duration::from_millis(1);
        for _ in 0..20 {
            let (see, mut seen) = watch::channel(Seen::default());
            let mut waiting = std::pin::pin!(progressed(&mut seen, patience, |seen| seen.steps > 0));
            tokio::select! {
                biased;
                _ = &mut waiting => panic!("its time has just begun"),
                () = std::future::ready(()) => {}
            }
            see.send_modify(|seen| seen.steps += 1);
            tokio::time::sleep(patience * 3).await;
            assert!(waiting.await);
        }
    }

    #[tokio::test]
    async fn the_time_in_which_an_agent_is_not_read_from_is_not_its_own() {
        let (see, mut seen) = watch::channel(Seen { paused: true, ..Seen::default() });
        let mut waiting = std::pin::pin!(progressed(&mut seen, Duration::ZERO, |seen| seen.steps > 0));
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("nobody reads"),
            () = tokio::task::yield_now() => {}
        }
        see.send_modify(|seen| seen.paused = false);
        assert!(!waiting.await, "it says nothing though it is read from");
    }
}
