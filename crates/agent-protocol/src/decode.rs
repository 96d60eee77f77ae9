//! Incremental decoders for the two directions: bytes in as they arrive, messages out.
//!
//! The agent's decoder recognizes its marker at any time, even inside a half-received frame, and survives any bytes.
//! The runner's decoder stops at the first bytes that do not parse. Memory use is bounded by the longest frame plus the
//! last push. Neither decoder reads or waits, and neither knows where the bytes come from.

use bytes::{Buf, BytesMut};
use memchr::memmem::Finder;

use crate::frame::{
    self, Direction, FrameError, HEADER_LEN, Head, MAGIC, MARKER_LEN, TRAILER_LEN, checksum_holds, encode_marker,
};
use crate::message::{FromAgent, ToAgent};

/// A message with the fields of its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<M> {
    pub session: u32,
    /// 0 for messages without a number.
    pub seq: u64,
    pub message: M,
}

/// Reads the agent's standard input.
///
/// Returns only frames of the newest session: a `Hello` with a higher session number fences all sessions before it. An
/// error means that frames of the current session may be lost; the decoder skips the bytes up to the next marker. (Half
/// a frame before a new session can cause such an error too, when the marker arrives in pieces; the error belongs to
/// the session that ends there.)
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
    /// Creates a decoder that waits for the marker with the job's nonce.
    #[must_use]
    pub fn new(nonce: [u8; 16]) -> Self {
        Self { marker: finder(nonce), buffer: BytesMut::new(), scanned: 0, synchronised: false, session: None }
    }

    /// Appends received bytes. To bound memory, call [`Self::next`] until it returns `None` before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next message of the newest session, or the error in the bytes.
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
                    // A dying client left half a frame; the next session's marker cuts it short.
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
            match is_whole(&mut self.buffer, &head) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.synchronised = false;
                    return Some(Err(error));
                }
            }
            let payload = take_payload(&mut self.buffer, &head);
            self.scanned = self.scanned.saturating_sub(head.frame_len);
            if self.fence(&head) {
                continue;
            }
            return Some(frame::decode_to_agent(head.kind, &payload).map(|message| Item {
                session: head.session,
                seq: head.seq,
                message,
            }));
        }
    }

    /// Returns whether the frame belongs to an outdated session. A newer Hello opens its own session.
    fn fence(&mut self, head: &Head) -> bool {
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

/// Reads one session from the agent's standard output.
///
/// Skips everything before the marker that answers the session's Hello. After the marker, a frame of another session or
/// a gap in the numbers is an error, and the decoder returns nothing after an error.
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
    /// Creates a decoder for the reply to `Hello { last_seq, nonce, .. }` of `session`.
    #[must_use]
    pub fn new(session: u32, nonce: [u8; 16], last_seq: u64) -> Self {
        Self { marker: finder(nonce), buffer: BytesMut::new(), session, last_seq, state: State::Skipping }
    }

    /// Appends received bytes. To bound memory, call [`Self::next`] until it returns `None` before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.state != State::Ended {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Returns the next message, or the error that ends the stream.
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
        if !is_whole(&mut self.buffer, &head)? {
            return Ok(None);
        }
        if head.session != self.session {
            return Err(FrameError::Session { expected: self.session, found: head.session });
        }
        check_sequence(&mut self.last_seq, &head)?;
        let payload = take_payload(&mut self.buffer, &head);
        let message = frame::decode_from_agent(head.kind, &payload)?;
        Ok(Some(Item { session: head.session, seq: head.seq, message }))
    }
}

/// Checks that numbered messages come in order, and that no other message carries a number.
pub(crate) fn check_sequence(last: &mut u64, head: &Head) -> Result<(), FrameError> {
    let numbered = frame::kind::is_numbered(head.kind);
    let expected = if numbered { last.saturating_add(1) } else { 0 };
    if head.seq != expected {
        return Err(FrameError::Sequence { expected, found: head.seq });
    }
    if numbered {
        *last = head.seq;
    }
    Ok(())
}

/// Cuts a whole frame off the front and returns its payload without copying.
pub(crate) fn take_payload(buffer: &mut BytesMut, head: &Head) -> bytes::Bytes {
    let mut payload = buffer.split_to(head.frame_len).freeze();
    payload.advance(HEADER_LEN);
    payload.truncate(payload.len() - TRAILER_LEN);
    payload
}

/// Returns whether the whole frame has arrived, and checks it then. Otherwise reserves room for the rest.
pub(crate) fn is_whole(buffer: &mut BytesMut, head: &Head) -> Result<bool, FrameError> {
    if buffer.len() < head.frame_len {
        // Reserves room for an ordinary frame at once. A plan's megabytes are reserved only as they arrive, so a false
        // length costs nothing.
        let wanted = head.frame_len.min(frame::MAX_PAYLOAD_LEN + HEADER_LEN + TRAILER_LEN);
        buffer.reserve(wanted.saturating_sub(buffer.len()));
        return Ok(false);
    }
    if checksum_holds(&buffer[..head.frame_len]) { Ok(true) } else { Err(FrameError::Checksum) }
}

fn finder(nonce: [u8; 16]) -> Finder<'static> {
    let mut marker = Vec::with_capacity(MARKER_LEN);
    encode_marker(nonce, &mut marker);
    Finder::new(&marker).into_owned()
}
