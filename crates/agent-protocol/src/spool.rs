//! The spool as files in the container of its agent: the agent's messages that are not acknowledged yet.
//!
//! A spool is a folder of segments. A segment is a sequence of whole frames, numbered without a gap. Its name is
//! [`segment_name`] of its first frame's number, so segments sorted by name hold frames in order. The session in these
//! frames means nothing. A segment that was being written when the agent died may end in half a frame.
//!
//! The executor reads the spool of a stopped container with [`SpoolReader`], out of an archive. The agent reads its own
//! spool itself.

use bytes::BytesMut;

use crate::decode::{Item, check_sequence, is_whole, take_payload};
use crate::frame::{self, Direction, FrameError};
use crate::message::FromAgent;

/// Returns the name of the segment that begins with frame `first_seq`.
#[must_use]
pub fn segment_name(first_seq: u64) -> String {
    format!("{first_seq:020}.spool")
}

/// Returns the number of the first frame, or `None` if this is not a segment's name.
#[must_use]
pub fn segment_first_seq(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".spool")?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Reads segments in order, as their bytes arrive.
#[derive(Debug)]
pub struct SpoolReader {
    buffer: BytesMut,
    after: u64,
    /// The last frame read; `None` before the first.
    last_seq: Option<u64>,
}

impl SpoolReader {
    /// Creates a reader of the messages after `after`.
    #[must_use]
    pub fn new(after: u64) -> Self {
        Self { buffer: BytesMut::new(), after, last_seq: None }
    }

    /// Begins a new segment. Drops half a frame at the end of the previous one, since it was never complete anywhere.
    pub fn begin_segment(&mut self) {
        self.buffer.clear();
    }

    /// Appends the next bytes of the segment.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next message.
    ///
    /// # Errors
    /// Bytes that are not a frame, and frames missing between `after` and the first one or in between. The rest of the
    /// spool cannot be trusted then.
    #[expect(clippy::should_implement_trait, reason = "no iterator: nothing now does not mean nothing later")]
    pub fn next(&mut self) -> Option<Result<Item<FromAgent>, FrameError>> {
        loop {
            match self.read() {
                Ok(Some(item)) if item.seq <= self.after => {}
                other => return other.transpose(),
            }
        }
    }

    fn read(&mut self) -> Result<Option<Item<FromAgent>>, FrameError> {
        let Some(head) = frame::head(&self.buffer, Direction::FromAgent)? else { return Ok(None) };
        if !is_whole(&mut self.buffer, &head)? {
            return Ok(None);
        }
        // Acknowledged segments are removed as a whole, so the first one may begin at any number up to the one asked
        // for.
        let mut last = self.last_seq.unwrap_or_else(|| head.seq.saturating_sub(1).min(self.after));
        check_sequence(&mut last, &head)?;
        self.last_seq = Some(last);
        let payload = take_payload(&mut self.buffer, &head);
        let message = frame::decode_from_agent(head.kind, &payload)?;
        Ok(Some(Item { session: head.session, seq: head.seq, message }))
    }
}
