//! The queue of artifacts: frames of a job's files that wait to be sent in the current session.
//!
//! Part of the spool's state, because both share the sender: it sends a frame of this queue only when every numbered
//! message has been sent, so files never hold up the log. Nothing here is spooled: the files are still in the
//! workspace.

use std::collections::VecDeque;

use bytes::Bytes;
use longshore_agent_protocol::ArtifactWindow;

/// The most bytes that wait in the queue.
const MAX_QUEUED_BYTES: usize = 1 << 20;

/// How far the runner is with the artifacts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ReceiverState {
    /// The session, and from where and up to which limit it takes them.
    pub(crate) window: Option<(u32, ArtifactWindow)>,
    /// All of them are stored.
    pub(crate) stored: bool,
}

#[derive(Debug, Default)]
pub(crate) struct ArtifactQueue {
    receiver: ReceiverState,
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl ArtifactQueue {
    pub(crate) const fn receiver(&self) -> ReceiverState {
        self.receiver
    }

    /// Begins a session, whose runner has not yet said how much it has.
    pub(crate) fn begin_session(&mut self) {
        self.receiver.window = None;
        self.clear();
    }

    pub(crate) fn set_window(&mut self, session: u32, window: ArtifactWindow) {
        self.receiver.window = Some((session, window));
        self.clear();
    }

    pub(crate) fn widen(&mut self, limit: u64) {
        if let Some((_, window)) = &mut self.receiver.window {
            window.limit = window.limit.max(limit);
        }
    }

    pub(crate) fn set_stored(&mut self) {
        self.receiver.stored = true;
        self.clear();
    }

    /// Returns whether another frame may wait.
    pub(crate) const fn has_room(&self) -> bool {
        self.bytes < MAX_QUEUED_BYTES
    }

    /// Appends a frame of this session; drops one of an older session.
    pub(crate) fn push(&mut self, session: u32, frame: Bytes) {
        if self.receiver.window.is_some_and(|(current, _)| current == session) {
            self.bytes += frame.len();
            self.frames.push_back(frame);
        }
    }

    /// Takes the next frame. The flag says whether receiver it made room for another.
    pub(crate) fn pop(&mut self) -> Option<(Bytes, bool)> {
        let frame = self.frames.pop_front()?;
        let was_full = !self.has_room();
        self.bytes -= frame.len();
        Some((frame, was_full && self.has_room()))
    }

    fn clear(&mut self) {
        (self.frames, self.bytes) = (VecDeque::new(), 0);
    }
}
