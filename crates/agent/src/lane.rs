//! The lane of artifacts: frames of a job's files that wait to be sent in the current session.
//!
//! Part of the spool's state, because both share the sender: it sends a frame of the lane only when every numbered
//! message has been sent, so files never hold up the log. Nothing here is spooled: the files are still in the workspace.

use std::collections::VecDeque;

use bytes::Bytes;
use longshore_agent_protocol::ArtifactWindow;

/// The most bytes that wait in the lane.
const ROOM: usize = 1 << 20;

/// What the runner has said about artifacts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Taking {
    /// In this session, from here and up to this limit.
    pub(crate) window: Option<(u32, ArtifactWindow)>,
    pub(crate) stored: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    taking: Taking,
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Lane {
    pub(crate) const fn taking(&self) -> Taking {
        self.taking
    }

    /// Begins a session: its runner has not said yet where it stands.
    pub(crate) fn begin_session(&mut self) {
        self.taking.window = None;
        self.clear();
    }

    pub(crate) fn take(&mut self, session: u32, window: ArtifactWindow) {
        self.taking.window = Some((session, window));
        self.clear();
    }

    pub(crate) fn widen(&mut self, limit: u64) {
        if let Some((_, window)) = &mut self.taking.window {
            window.limit = window.limit.max(limit);
        }
    }

    pub(crate) fn stored(&mut self) {
        self.taking.stored = true;
        self.clear();
    }

    /// Returns whether another frame may wait.
    pub(crate) const fn has_room(&self) -> bool {
        self.bytes < ROOM
    }

    /// Appends a frame of this session; drops one of an older session.
    pub(crate) fn push(&mut self, session: u32, frame: Bytes) {
        if self.taking.window.is_some_and(|(current, _)| current == session) {
            self.bytes += frame.len();
            self.frames.push_back(frame);
        }
    }

    /// Takes the next frame. The flag says whether there was no room before, and there is now.
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
