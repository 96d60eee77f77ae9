//! Hands over the files that the job leaves, after its last process has ended and before its end is reported.
//!
//! The runner takes them over a channel of its own (see `lane` and PROTOCOL.md). The agent keeps nothing of them: until
//! all are stored, they are in the workspace, and every session continues where its runner stands. While no runner is
//! there, the agent waits.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use longshore_agent_protocol::artifact::MESSAGE_COST;
use longshore_agent_protocol::message::{AgentError, JobEnd, JobResult, JobSpec};
use longshore_agent_protocol::{ArtifactWindow, FromAgent};
use longshore_core::Record;
use longshore_core::artifact::{self, ArtifactKind};
use longshore_core::plan::ArtifactWhen;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Job, JobError, Stop};
use crate::collect::{ArtifactRequest, Collected, CollectedFile, Workspace, collect};
use crate::values::Values;

/// Bytes of a file in one message: the most that a line of the log waits for.
const CHUNK_BYTES: usize = 128 << 10;

/// How handing over ended.
enum HandoverEnd {
    Stored,
    Canceled,
    /// No runner stored them in time.
    TimeOver,
}

impl Job {
    /// Evaluates the names and paths of what the job leaves.
    pub(super) fn wanted(
        &self,
        spec: &JobSpec,
        values: &Values,
    ) -> Result<Vec<(ArtifactWhen, ArtifactRequest)>, JobError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            JobError::new(AgentError::Expression, format!("{what} of `artifacts`: {error}"))
        };
        let mut all: Vec<(ArtifactWhen, ArtifactRequest)> = Vec::new();
        for (place, one) in (0_u16..).zip(&spec.artifacts) {
            let name = one.name.evaluate(values).map_err(|error| failed("`name`", &error))?;
            let shown: String = name.chars().take(100).collect();
            if let Some(why) = artifact::name_fault(&name) {
                return Err(failed("`name`", &format!("`{}`: {why}", shown.escape_debug())));
            }
            if all.iter().any(|(_, other)| (other.kind, &other.name) == (one.kind, &name)) {
                return Err(failed("`name`", &format!("two artifacts are named `{shown}`")));
            }
            let paths = one.paths.iter().map(|path| path.evaluate(values)).collect::<Result<Vec<_>, _>>();
            let paths = paths.map_err(|error| failed("`paths`", &error))?;
            all.push((one.when, ArtifactRequest { place, kind: one.kind, name, paths }));
        }
        Ok(all)
    }

    /// Collects the job's files and hands them over. An error is noted, and ends a successful job as an error.
    pub(super) fn hand_over_artifacts(&mut self, spec: &JobSpec, end: &mut JobEnd) {
        let wanted = self.wanted_after(&end.result);
        if wanted.is_empty() {
            return;
        }
        // A cancel or a timeout from here on counts for the artifacts: the steps are over.
        self.stop = None;
        let canceled = end.result == JobResult::Canceled;
        let options = &self.runtime.options;
        let until = Instant::now() + if canceled { options.always_limit } else { options.artifact_patience };
        let workspace = match Workspace::open(Path::new(&spec.workspace)) {
            Ok(workspace) => workspace,
            Err(error) => return self.give_up_artifacts(end, format!("the workspace cannot be read: {error}")),
        };
        let limits = spec.artifact_limits.unwrap_or_default();
        let Collected { files, notes, refused } = collect(&workspace, &wanted, &limits);
        for note in notes {
            self.note_of_artifacts(note);
        }
        if !files.is_empty() {
            match self.send_artifacts(&workspace, &files, until) {
                HandoverEnd::Stored => {}
                HandoverEnd::Canceled => {
                    self.note_of_artifacts("canceled while artifacts were being saved: none was saved".to_owned());
                    end.result = JobResult::Canceled;
                    return;
                }
                HandoverEnd::TimeOver => {
                    return self.give_up_artifacts(end, "saving the artifacts timed out".to_owned());
                }
            }
        }
        if let Some(why) = refused {
            self.fail_for_artifacts(end, why);
        }
    }

    /// Returns the artifacts that are kept after this result.
    fn wanted_after(&mut self, result: &JobResult) -> Vec<ArtifactRequest> {
        let kept = |when: ArtifactWhen, kind: ArtifactKind| match (result, when) {
            (JobResult::Canceled, _) if kind != ArtifactKind::Files => false,
            (_, ArtifactWhen::Always) => true,
            (JobResult::Success, ArtifactWhen::Success) => true,
            (
                JobResult::Failure { .. } | JobResult::TimedOut { .. } | JobResult::Error { .. },
                ArtifactWhen::Failure,
            ) => true,
            (JobResult::Success | JobResult::Canceled, ArtifactWhen::Failure)
            | (
                JobResult::Failure { .. } | JobResult::TimedOut { .. } | JobResult::Error { .. } | JobResult::Canceled,
                ArtifactWhen::Success,
            ) => false,
        };
        let wanted = std::mem::take(&mut self.wanted);
        wanted.into_iter().filter(|(when, one)| kept(*when, one.kind)).map(|(_, one)| one).collect()
    }

    fn note_of_artifacts(&self, text: String) {
        // If the note cannot be written, the job's end reports the same.
        let _ = self.note(Record::NO_STEP, text);
    }

    fn give_up_artifacts(&self, end: &mut JobEnd, why: String) {
        self.note_of_artifacts(format!("the artifacts were not saved: {why}"));
        self.fail_for_artifacts(end, why);
    }

    fn fail_for_artifacts(&self, end: &mut JobEnd, message: String) {
        if end.result == JobResult::Success {
            end.result = JobResult::Error { kind: AgentError::ArtifactsFailed, message };
        }
    }

    /// Sends the files, in whatever sessions there are, until a runner has stored them all.
    fn send_artifacts(&mut self, workspace: &Workspace, files: &[CollectedFile], until: Instant) -> HandoverEnd {
        let mut sending: Option<Sending<'_>> = None;
        let mut changed = HashSet::new();
        loop {
            self.take_events();
            if self.stop == Some(Stop::Canceled) {
                return HandoverEnd::Canceled;
            }
            let receiver = self.runtime.spool.artifact_receiver();
            if receiver.stored {
                return HandoverEnd::Stored;
            }
            match receiver.window {
                None => sending = None,
                Some((session, window)) => {
                    let current = match sending.take() {
                        Some(current) if current.session == session => current,
                        Some(_) | None => Sending::new(session, window, workspace, files),
                    };
                    let current = sending.insert(Sending { limit: window.limit, ..current });
                    while self.runtime.spool.has_room_for_artifacts() {
                        let Some(message) = current.next() else { break };
                        if let Some(left_out) = current.left_out.take()
                            && changed.insert(left_out)
                        {
                            let path = files.get(left_out).map_or("", |file| file.announced.path.as_str());
                            self.note_of_artifacts(format!(
                                "`{path}` changed while it was being read, or cannot be read: it is not in the artifact"
                            ));
                        }
                        self.runtime.spool.push_artifact(session, &message);
                    }
                }
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else { return HandoverEnd::TimeOver };
            let mut waiting = [PollFd::new(&self.runtime.wake, PollFlags::IN)];
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let _ = poll(&mut waiting, Some(&left));
            self.runtime.wake.clear();
        }
    }
}

/// The files that were sent in one session.
struct Sending<'a> {
    session: u32,
    limit: u64,
    sent: u64,
    workspace: &'a Workspace,
    files: &'a [CollectedFile],
    /// The file that is being sent.
    at: usize,
    /// Bytes of it that were sent.
    offset: u64,
    /// Whether it was announced, in this session or an earlier one.
    announced: bool,
    /// `None` until it is opened, and if that fails.
    open: Option<File>,
    ended: bool,
    /// A file that was just left out.
    left_out: Option<usize>,
}

impl<'a> Sending<'a> {
    fn new(session: u32, window: ArtifactWindow, workspace: &'a Workspace, files: &'a [CollectedFile]) -> Self {
        Self {
            session,
            limit: window.limit,
            sent: 0,
            workspace,
            files,
            at: usize::try_from(window.file).unwrap_or(usize::MAX),
            offset: window.offset,
            announced: window.offset > 0,
            open: None,
            ended: false,
            left_out: None,
        }
    }

    /// Returns the next message; `None` if the limit does not allow it now, or nothing is left to send.
    fn next(&mut self) -> Option<FromAgent> {
        if self.ended || self.sent + MESSAGE_COST + CHUNK_BYTES as u64 > self.limit {
            return None;
        }
        let message = self.message();
        let data = if let FromAgent::ArtifactData(data) = &message { data.len() as u64 } else { 0 };
        self.sent += MESSAGE_COST + data;
        Some(message)
    }

    fn message(&mut self) -> FromAgent {
        let Some(file) = self.files.get(self.at) else {
            self.ended = true;
            return FromAgent::ArtifactsEnd { files: u32::try_from(self.files.len()).unwrap_or(u32::MAX) };
        };
        if !self.announced {
            self.announced = true;
            return FromAgent::ArtifactFile(file.announced.clone());
        }
        if self.open.is_none() {
            self.open = file.open(self.workspace).ok();
        }
        let left = file.announced.bytes.saturating_sub(self.offset);
        let whole = match &self.open {
            None => false,
            Some(open) if left == 0 => file.is_unchanged(open),
            Some(open) => {
                let mut data = vec![0; CHUNK_BYTES.min(usize::try_from(left).unwrap_or(CHUNK_BYTES))];
                match open.read_at(&mut data, self.offset) {
                    Ok(count) if count > 0 => {
                        data.truncate(count);
                        self.offset += count as u64;
                        return FromAgent::ArtifactData(Bytes::from(data));
                    }
                    Ok(_) | Err(_) => false,
                }
            }
        };
        if !whole {
            self.left_out = Some(self.at);
        }
        (self.at, self.offset, self.announced, self.open) = (self.at + 1, 0, false, None);
        FromAgent::ArtifactFileEnd { whole }
    }
}
