//! A session: a connection of the runner, and what is still to be sent to it.

use std::collections::VecDeque;

use bytes::Bytes;
use longshore_agent_protocol::frame;

use super::BATCH_LEN;

const BATCH_FRAMES: usize = 64;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u32,
    /// Marker and `Ready`, still to be sent.
    pub(super) opening: Option<Vec<u8>>,
    pub(super) lost: bool,
    /// Set when the spool could not be read: nothing more is sent to this session.
    pub(super) over: bool,
    pub(super) next_seq: u64,
}

impl Session {
    /// Takes a batch of the frames in memory, without the first `skipped`.
    pub(super) fn take_recent(&mut self, recent: &VecDeque<(u64, Bytes)>, skipped: usize) -> Vec<Bytes> {
        let mut batch = Vec::new();
        let mut length = 0;
        for (seq, frame) in recent.iter().skip(skipped).take(BATCH_FRAMES) {
            length += frame.len();
            batch.push(with_session(frame, self.number));
            self.next_seq = seq + 1;
            if length >= BATCH_LEN {
                break;
            }
        }
        batch
    }
}

/// Returns the frame with `session` in it: the same bytes, unless it was made for another session.
fn with_session(frame: &Bytes, session: u32) -> Bytes {
    if frame.get(5..9) == Some(&session.to_le_bytes()) {
        return frame.clone();
    }
    let mut copy = frame.to_vec();
    frame::readdress(&mut copy, session);
    copy.into()
}
