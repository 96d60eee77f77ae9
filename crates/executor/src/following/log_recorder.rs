//! Writes an agent's messages to the journal: one batch is written on a blocking thread while the next one fills up.
//!
//! Each job has one recorder. Memory is bounded: its owner reads no further while [`LogRecorder::is_full`]. A batch
//! takes effect (an acknowledgement, which `session` sends, updates, the job's end) only once it is on disk. The
//! recorder keeps the effects until they are sent, so a wait for a batch may be dropped at any time.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use longshore_agent_protocol::mask::{Patterns, masked};
use longshore_agent_protocol::{ContainerRequest, FromAgent, JobEnd, JobResult};
use longshore_core::record::{HEADER_LEN, RecordKind};
use longshore_core::{ErrorKind, Outcome, Record, Stream, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::EngineError;
use crate::following::journal::Journal;
use crate::following::planned::{Planned, Unplanned};
use crate::request::JobUpdate;

/// Reading stops when this many bytes wait to be written. The batch being written is no larger.
const FULL_BYTES: usize = 4 << 20;
/// Reading stops when this many records wait to be written.
const FULL_RECORDS: usize = 16 << 10;
/// Limit for the name of an image in a record. No image has a longer one.
const IMAGE_NAME: usize = 1 << 10;

/// Turns messages into records and writes them.
pub(crate) struct LogRecorder {
    /// `None` while a batch is being written.
    journal: Option<Box<dyn Journal>>,
    writing: Option<JoinHandle<Appended>>,
    pending: Batch,
    /// The job's secrets. They are masked here again, so that they do not reach the log even if the agent is
    /// compromised.
    patterns: Option<Arc<Patterns>>,
    /// How many bytes the log may still grow by.
    left: u64,
    planned: Planned,
    /// A step has begun, so the agent has the whole checkout.
    step_began: bool,
    /// The effects of what is on disk.
    written: Effects,
    /// Containers that steps have asked for, and whose steps are not over.
    requested: BTreeMap<u16, ContainerRequest>,
}

/// The journal, whether the batch is in it, and the effects of the batch.
type Appended = (Box<dyn Journal>, io::Result<()>, Effects);

#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    bytes: usize,
    effects: Effects,
}

struct Entry {
    seq: u64,
    time: Timestamp,
    step: u16,
    kind: RecordKind,
    data: Bytes,
}

/// The effects of a batch, due once it is on disk.
#[derive(Debug, Default)]
struct Effects {
    /// The agent's highest sequence number in it; 0 if it held only notes.
    seq: u64,
    /// Updates that have not been sent yet.
    updates: VecDeque<JobUpdate>,
    /// The job's end, if the batch contained it.
    finished: Option<JobResult>,
    /// The attempt's end, as an earlier process found it.
    ended: Option<Outcome>,
    /// The job's end says that other jobs may use its sandbox.
    sandbox_restored: bool,
    /// What the job's end says about the number of files in its workspace.
    many_files: Option<bool>,
}

impl Effects {
    fn add(&mut self, later: Self) {
        self.seq = self.seq.max(later.seq);
        self.updates.extend(later.updates);
        self.finished = later.finished.or(self.finished.take());
        self.ended = later.ended.or(self.ended.take());
        self.sandbox_restored |= later.sandbox_restored;
        self.many_files = later.many_files.or(self.many_files);
    }
}

impl LogRecorder {
    /// Makes a recorder. The journal may have `limit` bytes, those of an earlier process included.
    pub(crate) fn new(
        journal: Box<dyn Journal>,
        patterns: Option<Arc<Patterns>>,
        limit: u64,
        mut planned: Planned,
    ) -> Self {
        let is_of_step =
            |record: &Record<'_>| record.step < Record::FIRST_SERVICE || record.kind == RecordKind::JobFinished;
        let milestones = journal.milestones();
        let step_began = milestones.iter().any(is_of_step);
        for record in &milestones {
            // What is in the journal stays there; it only counts.
            let _ = planned.count(record.kind, record.step);
        }
        let written = Effects { seq: journal.last_seq(), ..Effects::default() };
        let left = limit.saturating_sub(journal.bytes());
        Self {
            journal: Some(journal),
            writing: None,
            pending: Batch::default(),
            patterns,
            left,
            planned,
            step_began,
            written,
            requested: BTreeMap::new(),
        }
    }

    /// Returns the highest sequence number that is on disk.
    pub(crate) const fn last_seq(&self) -> u64 {
        self.written.seq
    }

    /// Returns the job's result, once it is on disk.
    pub(crate) fn finished(&self) -> Option<&JobResult> {
        self.written.finished.as_ref()
    }

    /// The attempt's end, if an earlier process came to it: what it found out is gone with the container.
    pub(crate) const fn ended(&self) -> Option<&Outcome> {
        self.written.ended.as_ref()
    }

    /// Returns whether the job's agent has reported that it leaves its sandbox as it found it.
    pub(crate) const fn sandbox_is_restored(&self) -> bool {
        self.written.sandbox_restored
    }

    /// Returns whether the workspace may have more files than the engine deletes in a moment.
    pub(crate) fn may_leave_many_files(&self) -> bool {
        self.written.many_files.unwrap_or(true)
    }

    /// Sends the updates that are on disk and have not been sent yet. May be dropped and called again.
    pub(crate) async fn send_updates(&mut self, updates: &mpsc::Sender<JobUpdate>) {
        while !self.written.updates.is_empty() {
            // Without a receiver there is nothing to wait for.
            let permit = updates.reserve().await.ok();
            let update = self.written.updates.pop_front();
            if let Some((permit, update)) = permit.zip(update) {
                permit.send(update);
            }
        }
    }

    /// Queues the updates that an earlier process wrote to disk and may not have sent. Has to be called before the
    /// first batch.
    pub(crate) fn restore_updates(&mut self) {
        let Effects { updates, finished, ended, many_files: many, .. } = &mut self.written;
        for record in self.journal.as_ref().map_or_else(Vec::new, |journal| journal.milestones()) {
            let Record { time, step, .. } = record;
            match record.kind {
                RecordKind::Output(_) => {}
                RecordKind::StepStarted => updates.push_back(JobUpdate::StepStarted { step, time }),
                RecordKind::ServiceReady => updates.push_back(JobUpdate::ServiceReady { step, time }),
                RecordKind::RunContainer => {
                    if let Ok(container) = serde_json::from_slice(&record.data) {
                        self.requested.insert(step, container);
                    }
                }
                RecordKind::StepFinished => {
                    self.requested.remove(&step);
                    if let Ok(result) = serde_json::from_slice(&record.data) {
                        updates.push_back(JobUpdate::StepFinished { step, time, result });
                    }
                }
                RecordKind::JobFinished => {
                    if let Ok(JobEnd { result, outputs, many_files, .. }) = serde_json::from_slice(&record.data) {
                        updates.push_back(JobUpdate::Outputs(outputs));
                        *many = many_files;
                        *finished = Some(result);
                    }
                }
                RecordKind::AttemptEnded => *ended = serde_json::from_slice(&record.data).ok(),
            }
        }
    }

    /// Takes the containers that steps have asked for, and whose steps are not over.
    pub(crate) fn take_requested(&mut self) -> Vec<(u16, ContainerRequest)> {
        std::mem::take(&mut self.requested).into_iter().collect()
    }

    /// Returns whether a step has begun, so the agent needs nothing of the checkout any more.
    pub(crate) const fn step_began(&self) -> bool {
        self.step_began
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.pending.bytes >= FULL_BYTES || self.pending.entries.len() >= FULL_RECORDS
    }

    /// Returns whether the log has reached its limit. Further output is dropped.
    pub(crate) const fn is_over_limit(&self) -> bool {
        self.left == 0
    }

    pub(crate) const fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Adds a line of our own.
    pub(crate) fn note(&mut self, text: &str) {
        let mut line = text.to_owned();
        line.push('\n');
        let line = self.masked(line.into());
        self.add(0, Timestamp::now(), Record::NO_STEP, RecordKind::Output(Stream::System), line);
    }

    /// Adds a numbered message of the agent. Messages that only concern the session, and those about files, make no
    /// record. An agent whose message has no place in the plan is not to be read further, unless it asks for a
    /// container.
    pub(crate) fn record(&mut self, seq: u64, message: FromAgent) -> Result<(), Unplanned> {
        let at = Timestamp::from_millis;
        match (self.planned.admit(&message), &message) {
            // Any process of the job may ask for one. It gets none, and the job goes on.
            (Err(Unplanned), FromAgent::RunContainer { time_ms, .. }) => {
                let nothing = RecordKind::Output(Stream::System);
                self.add(seq, at(*time_ms), Record::NO_STEP, nothing, Bytes::new());
                return Ok(());
            }
            (admitted, _) => admitted?,
        }
        match message {
            FromAgent::Ready { .. }
            | FromAgent::Lost
            | FromAgent::ArtifactFile(_)
            | FromAgent::ArtifactData(_)
            | FromAgent::ArtifactFileEnd { .. }
            | FromAgent::ArtifactsEnd { .. } => return Ok(()),
            FromAgent::Output { step, stderr, time_ms, data } => {
                let stream = if stderr { Stream::Stderr } else { Stream::Stdout };
                self.print(seq, at(time_ms), step, stream, data);
            }
            FromAgent::Note { step, time_ms, mut text } => {
                if !text.ends_with('\n') {
                    text.push('\n');
                }
                self.print(seq, at(time_ms), step, Stream::System, text.into());
            }
            FromAgent::StepStarted { step, time_ms } => {
                self.step_began |= step < Record::FIRST_SERVICE;
                self.add(seq, at(time_ms), step, RecordKind::StepStarted, Bytes::new());
                self.pending.effects.updates.push_back(JobUpdate::StepStarted { step, time: at(time_ms) });
            }
            FromAgent::StepFinished { step, time_ms, result } => {
                self.add(seq, at(time_ms), step, RecordKind::StepFinished, json(&result));
                self.pending.effects.updates.push_back(JobUpdate::StepFinished { step, time: at(time_ms), result });
            }
            FromAgent::RunContainer { step, time_ms, mut container } => {
                container.image.truncate(container.image.floor_char_boundary(IMAGE_NAME));
                self.add(seq, at(time_ms), step, RecordKind::RunContainer, json(&container));
            }
            FromAgent::ServiceReady { time_ms, step } => {
                self.add(seq, at(time_ms), step.unwrap_or(Record::NO_STEP), RecordKind::ServiceReady, Bytes::new());
                let ready = step.map(|step| JobUpdate::ServiceReady { step, time: at(time_ms) });
                self.pending.effects.updates.extend(ready);
            }
            FromAgent::JobFinished { time_ms, end } => {
                self.add(seq, at(time_ms), Record::NO_STEP, RecordKind::JobFinished, json(&end));
                let JobEnd { result, outputs, sandbox, many_files, .. } = end;
                self.pending.effects.sandbox_restored = sandbox.is_restored;
                self.pending.effects.many_files = many_files;
                if !outputs.is_empty() {
                    self.pending.effects.updates.push_back(JobUpdate::Outputs(outputs));
                }
                self.pending.effects.finished = Some(result);
            }
        }
        Ok(())
    }

    /// Adds what the job prints, up to the limit of its log. What is cut off makes no record, however many messages it
    /// was.
    fn print(&mut self, seq: u64, time: Timestamp, step: u16, stream: Stream, data: Bytes) {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).saturating_sub(HEADER_LEN);
        let data = if room == 0 { data } else { self.masked(data) };
        // Lines of the server and of the agent stay whole.
        let kept = if data.len() > room && stream == Stream::System { 0 } else { data.len().min(room) };
        if kept > 0 {
            self.add(seq, time, step, RecordKind::Output(stream), data.slice(..kept));
        }
        if kept < data.len() {
            self.left = 0;
        }
    }

    fn masked(&self, data: Bytes) -> Bytes {
        self.patterns.as_ref().and_then(|patterns| masked(patterns, &data)).map_or(data, Bytes::from)
    }

    fn add(&mut self, seq: u64, time: Timestamp, step: u16, kind: RecordKind, data: Bytes) {
        self.left = self.left.saturating_sub((HEADER_LEN + data.len()) as u64);
        self.pending.bytes += HEADER_LEN + data.len();
        self.pending.effects.seq = self.pending.effects.seq.max(seq);
        self.pending.entries.push(Entry { seq, time, step, kind, data });
    }

    /// Begins to write what has arrived, unless a batch is being written.
    pub(crate) fn start(&mut self) {
        if self.pending.entries.is_empty() {
            return;
        }
        let Some(mut journal) = self.journal.take() else { return };
        let batch = std::mem::take(&mut self.pending);
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let records: Vec<Record<'_>> = batch
                .entries
                .iter()
                .map(|entry| Record {
                    seq: entry.seq,
                    time: entry.time,
                    step: entry.step,
                    kind: entry.kind,
                    data: Cow::Borrowed(&entry.data),
                })
                .collect();
            let appended = journal.append(&records);
            (journal, appended, batch.effects)
        }));
    }

    /// Waits for the batch that is being written, then begins the next. May be dropped and called again.
    pub(crate) async fn written(&mut self) -> io::Result<()> {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        let joined = writing.await;
        self.writing = None;
        let (journal, appended, effects) = joined.map_err(io::Error::other)?;
        self.journal = Some(journal);
        appended?;
        self.written.add(effects);
        self.start();
        Ok(())
    }

    /// Writes everything that has arrived. May be dropped and called again.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.start();
        while self.is_writing() {
            self.written().await?;
        }
        Ok(())
    }

    /// Writes everything and closes the journal. After that, the log is complete.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.flush().await?;
        if let Some(mut journal) = self.journal.take() {
            tokio::task::spawn_blocking(move || journal.close()).await.map_err(io::Error::other)??;
        }
        Ok(())
    }

    /// Closes the journal. If the outcome is an error of Longshore's, writes its reason as the last line. An outcome
    /// that the job has not reported itself is written down before what shows it is removed.
    pub(crate) async fn end(mut self, outcome: Outcome) -> Outcome {
        if self.written.ended.is_none() {
            if let Outcome::Error { message, .. } = &outcome {
                self.note(&format!("error: {message}"));
            }
            if self.written.finished.is_none() {
                self.add(0, Timestamp::now(), Record::NO_STEP, RecordKind::AttemptEnded, json(&outcome));
            }
        }
        match self.close().await {
            Ok(()) => outcome,
            Err(error) => journal_outcome(&error),
        }
    }
}

/// Returns the error if a start was given up because the journal could not be written.
pub(crate) fn journal_failed(error: io::Error) -> EngineError {
    EngineError::Local { what: "the job's log could not be written", reason: error.to_string() }
}

/// Returns the outcome of a job whose journal cannot be written: a log with gaps is worse than none.
pub(crate) fn journal_outcome(error: &io::Error) -> Outcome {
    let kind = if error.kind() == io::ErrorKind::StorageFull { ErrorKind::DiskFull } else { ErrorKind::Internal };
    Outcome::Error {
        kind,
        message: format!("the job's log could not be written: {error}; free some space in Longshore's data folder"),
    }
}

fn json<T: serde::Serialize>(value: &T) -> Bytes {
    // Plain structs of numbers and words: this cannot fail, and an empty record would be read as "no result".
    serde_json::to_vec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests;
