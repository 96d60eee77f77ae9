//! The incremental decoders of the two directions: bytes in as they come, messages out.
//!
//! The agent's side looks for its marker always, also inside a half-received frame, and survives any bytes. The runner's
//! side believes nothing that does not parse: its first error is its last word. Memory is bounded by the longest frame
//! and what was pushed last; neither decoder reads, waits or knows where the bytes come from.

use bytes::{Buf, BytesMut};
use memchr::memmem::Finder;

use crate::frame::{
    self, Direction, FrameError, HEADER_LEN, Head, MAGIC, MARKER_LEN, TRAILER_LEN, checksum_holds, encode_marker,
};
use crate::message::{FromAgent, ToAgent};

/// A message with what its frame said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<M> {
    pub session: u32,
    /// 0 for what is not numbered.
    pub seq: u64,
    pub message: M,
}

/// Reads the agent's standard input.
///
/// Gives the frames of the newest session only: a `Hello` of a higher session number fences all before it. An error means
/// that frames of the current session may have been lost; the bytes up to the next marker are skipped. (Half a frame before a
/// new session can be such an error too, when the marker comes in pieces: it belongs to the session that ends there.)
#[derive(Debug)]
pub struct ToAgentDecoder {
    marker: Finder<'static>,
    buffer: BytesMut,
    /// Bytes at the front of `buffer` in which no marker begins.
    scanned: usize,
    synchronised: bool,
    session: Option<u32>,
}

impl ToAgentDecoder {
    /// A decoder that waits for the marker with the job's nonce.
    #[must_use]
    pub fn new(nonce: [u8; 16]) -> Self {
        Self { marker: finder(nonce), buffer: BytesMut::new(), scanned: 0, synchronised: false, session: None }
    }

    /// Takes bytes as they came. Call [`Self::next`] until it gives nothing before pushing more: memory stays bounded so.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message of the newest session, or what is wrong with the bytes.
    #[expect(clippy::should_implement_trait, reason = "no iterator: nothing now does not mean nothing later")]
    pub fn next(&mut self) -> Option<Result<Item<ToAgent>, FrameError>> {
        loop {
            let marker_at = self.find_marker();
            if !self.synchronised {
                let Some(at) = marker_at else {
                    self.skip(self.buffer.len().saturating_sub(MARKER_LEN - 1));
                    return None;
                };
                self.skip(at + MARKER_LEN);
                self.synchronised = true;
                continue;
            }
            if self.buffer.len() < MARKER_LEN
                && self.buffer.len() >= 5
                && self.marker.needle().starts_with(&self.buffer)
            {
                return None;
            }
            let head = match frame::head(&self.buffer[..marker_at.unwrap_or(self.buffer.len())], Direction::ToAgent) {
                Ok(Some(head)) => head,
                Ok(None) => match marker_at {
                    // A dying client's half frame, cut short by the next session.
                    Some(at) => {
                        self.skip(at + MARKER_LEN);
                        continue;
                    }
                    None => return None,
                },
                Err(error) => {
                    self.synchronised = false;
                    return Some(Err(error));
                }
            };
            if let Some(at) = marker_at.filter(|at| *at < head.frame_len) {
                self.skip(at + MARKER_LEN);
                continue;
            }
            if self.buffer.len() < head.frame_len {
                reserve(&mut self.buffer, head.frame_len);
                return None;
            }
            if !checksum_holds(&self.buffer[..head.frame_len]) {
                self.synchronised = false;
                return Some(Err(FrameError::Checksum));
            }
            let payload = take_payload(&mut self.buffer, &head);
            self.scanned = self.scanned.saturating_sub(head.frame_len);
            if self.fenced(&head) {
                continue;
            }
            return Some(frame::to_agent(head.kind, &payload).map(|message| Item {
                session: head.session,
                seq: head.seq,
                message,
            }));
        }
    }

    /// Whether the frame belongs to no session that counts; a newer Hello opens its own.
    fn fenced(&mut self, head: &Head) -> bool {
        if head.kind == frame::kind::HELLO && self.session.is_none_or(|current| head.session > current) {
            self.session = Some(head.session);
            return false;
        }
        head.kind == frame::kind::HELLO || self.session != Some(head.session)
    }

    fn find_marker(&mut self) -> Option<usize> {
        match self.marker.find(&self.buffer[self.scanned..]) {
            Some(at) => {
                self.scanned += at;
                Some(self.scanned)
            }
            None => {
                self.scanned = self.scanned.max(self.buffer.len().saturating_sub(MARKER_LEN - 1));
                None
            }
        }
    }

    fn skip(&mut self, count: usize) {
        self.buffer.advance(count);
        self.scanned = self.scanned.saturating_sub(count);
    }
}

/// Reads the agent's standard output, one session of it.
///
/// Skips everything up to the marker that answers the session's Hello. From there every frame is of this session and
/// numbered without a gap, or it is an error, and after an error there is nothing more.
#[derive(Debug)]
pub struct FromAgentDecoder {
    marker: Finder<'static>,
    buffer: BytesMut,
    session: u32,
    last_seq: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the marker.
    Skipping,
    Reading,
    /// After an error.
    Ended,
}

impl FromAgentDecoder {
    /// A decoder for the answer to `Hello { last_seq, nonce, .. }` of `session`.
    #[must_use]
    pub fn new(session: u32, nonce: [u8; 16], last_seq: u64) -> Self {
        Self { marker: finder(nonce), buffer: BytesMut::new(), session, last_seq, state: State::Skipping }
    }

    /// Takes bytes as they came. Call [`Self::next`] until it gives nothing before pushing more: memory stays bounded so.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.state != State::Ended {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next message, or the error that ends the stream.
    #[expect(clippy::should_implement_trait, reason = "no iterator: nothing now does not mean nothing later")]
    pub fn next(&mut self) -> Option<Result<Item<FromAgent>, FrameError>> {
        match self.state {
            State::Ended => return None,
            State::Reading => {}
            State::Skipping => {
                let Some(at) = self.marker.find(&self.buffer) else {
                    self.buffer.advance(self.buffer.len().saturating_sub(MARKER_LEN - 1));
                    return None;
                };
                self.buffer.advance(at + MARKER_LEN);
                self.state = State::Reading;
            }
        }
        let item = self.read().transpose();
        if matches!(item, Some(Err(_))) {
            self.state = State::Ended;
            self.buffer = BytesMut::new();
        }
        item
    }

    fn read(&mut self) -> Result<Option<Item<FromAgent>>, FrameError> {
        let start = &self.buffer[..self.buffer.len().min(MAGIC.len())];
        if start.len() >= 5 && MAGIC.starts_with(start) {
            return if start.len() == MAGIC.len() { Err(FrameError::Superseded) } else { Ok(None) };
        }
        let Some(head) = frame::head(&self.buffer, Direction::FromAgent)? else { return Ok(None) };
        if self.buffer.len() < head.frame_len {
            reserve(&mut self.buffer, head.frame_len);
            return Ok(None);
        }
        if !checksum_holds(&self.buffer[..head.frame_len]) {
            return Err(FrameError::Checksum);
        }
        if head.session != self.session {
            return Err(FrameError::Session { expected: self.session, found: head.session });
        }
        check_sequence(&mut self.last_seq, &head)?;
        let payload = take_payload(&mut self.buffer, &head);
        let message = frame::from_agent(head.kind, &payload)?;
        Ok(Some(Item { session: head.session, seq: head.seq, message }))
    }
}

/// What is numbered comes in order, and what must be numbered is.
pub(crate) fn check_sequence(last: &mut u64, head: &Head) -> Result<(), FrameError> {
    let numbered = !matches!(head.kind, frame::kind::READY | frame::kind::LOST);
    let expected = if numbered { last.saturating_add(1) } else { 0 };
    if head.seq != expected {
        return Err(FrameError::Sequence { expected, found: head.seq });
    }
    if numbered {
        *last = head.seq;
    }
    Ok(())
}

/// Cuts a whole frame off the front and gives its payload, without copying it.
pub(crate) fn take_payload(buffer: &mut BytesMut, head: &Head) -> bytes::Bytes {
    let mut payload = buffer.split_to(head.frame_len).freeze();
    payload.advance(HEADER_LEN);
    payload.truncate(payload.len() - TRAILER_LEN);
    payload
}

pub(crate) fn reserve(buffer: &mut BytesMut, frame_len: usize) {
    // Room at once for an ordinary frame. A plan's megabytes are only reserved as they come: a lie costs nothing.
    let wanted = frame_len.min(frame::MAX_PAYLOAD_LEN + HEADER_LEN + TRAILER_LEN);
    buffer.reserve(wanted.saturating_sub(buffer.len()));
}

fn finder(nonce: [u8; 16]) -> Finder<'static> {
    let mut marker = Vec::with_capacity(MARKER_LEN);
    encode_marker(nonce, &mut marker);
    Finder::new(&marker).into_owned()
}
