//! The frame: the bytes of a message, in both directions and in the spool.
//!
//! ```text
//! u32 length of the payload | u8 kind | u32 session | u64 seq | payload | u32 crc32 of all before it
//! ```
//!
//! Little-endian. Senders call this module; `decode` (streams) and `spool` (files) read frames back.

pub(crate) mod kind;
mod payload;

pub(crate) use self::payload::{decode_from_agent, decode_to_agent};
use crate::artifact::ArtifactWindow;
use crate::message::{FromAgent, ToAgent};

/// Bytes before the payload.
pub const HEADER_LEN: usize = 4 + 1 + 4 + 8;
/// Bytes after the payload.
pub const TRAILER_LEN: usize = 4;
/// The longest payload, except a plan's.
pub const MAX_PAYLOAD_LEN: usize = 1 << 20;
/// The longest payload of a plan. Plans hold every step's environment; the largest allowed pipeline stays far below
/// this.
pub const MAX_PLAN_LEN: usize = 16 << 20;
/// The most data of one [`FromAgent::Output`]: a payload without step, stream and time.
pub const MAX_OUTPUT_LEN: usize = MAX_PAYLOAD_LEN - OUTPUT_HEAD;
/// The most data of one [`ToAgent::Checkout`].
pub const MAX_CHECKOUT_LEN: usize = MAX_PAYLOAD_LEN - 8;

/// The first bytes of a marker. Read as a frame, their length would far exceed every limit, so a marker and a frame
/// cannot be confused.
pub(crate) const MAGIC: [u8; 16] =
    [0x9e, 0x05, 0xd3, 0xff, 0x1b, 0xa7, 0x4c, 0xe8, 0x92, 0x3d, 0xf6, 0x0a, 0xb1, 0x58, 0xc4, 0x6f];
/// A marker: 16 fixed bytes and a nonce.
pub const MARKER_LEN: usize = 32;

const OUTPUT_HEAD: usize = 2 + 1 + 8;

/// Why bytes are not a frame, or why a message does not fit into one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame's checksum does not match")]
    Checksum,
    #[error("unknown frame kind {0}")]
    Kind(u8),
    #[error("a frame of kind {kind} says it has {length} bytes, which is over the limit")]
    TooLong { kind: u8, length: u64 },
    #[error("a frame of kind {kind} has a payload that cannot be read: {reason}")]
    Payload { kind: u8, reason: String },
    #[error("frame {found} came where {expected} was due")]
    Sequence { expected: u64, found: u64 },
    #[error("a frame of session {found} in session {expected}")]
    Session { expected: u32, found: u32 },
    #[error("another client has opened a session with the agent")]
    Superseded,
}

/// Appends the marker that opens a session.
pub fn encode_marker(nonce: [u8; 16], out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&nonce);
}

/// Appends a message to the agent.
///
/// # Errors
/// [`FrameError::TooLong`] if the message does not fit into a frame; `out` is then unchanged.
pub fn encode_to_agent(session: u32, message: &ToAgent, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let kind = kind::to_agent(message);
    write(kind, session, 0, out, |out| {
        match message {
            ToAgent::Hello { version, last_seq, nonce } => {
                out.extend_from_slice(&version.to_le_bytes());
                out.extend_from_slice(&last_seq.to_le_bytes());
                out.extend_from_slice(nonce);
            }
            ToAgent::Plan(spec) => json(kind, spec, out)?,
            ToAgent::Checkout { offset, data } => {
                out.reserve(8 + data.len() + TRAILER_LEN);
                out.extend_from_slice(&offset.to_le_bytes());
                out.extend_from_slice(data);
            }
            ToAgent::CheckoutEnd { length } => out.extend_from_slice(&length.to_le_bytes()),
            ToAgent::Ack { seq } => out.extend_from_slice(&seq.to_le_bytes()),
            ToAgent::Cancel => {}
            ToAgent::ContainerFailed(failure) => json(kind, failure, out)?,
            ToAgent::TakeArtifacts(ArtifactWindow { file, offset, limit }) => {
                out.extend_from_slice(&file.to_le_bytes());
                out.extend_from_slice(&offset.to_le_bytes());
                out.extend_from_slice(&limit.to_le_bytes());
            }
            ToAgent::ArtifactRoom { limit } => out.extend_from_slice(&limit.to_le_bytes()),
            ToAgent::ArtifactsStored => {}
        }
        Ok(())
    })
}

/// Appends a message from the agent.
///
/// # Errors
/// [`FrameError::TooLong`] if the message does not fit into a frame; `out` is then unchanged.
pub fn encode_from_agent(session: u32, seq: u64, message: &FromAgent, out: &mut Vec<u8>) -> Result<(), FrameError> {
    if let FromAgent::Output { step, stderr, time_ms, data } = message {
        return encode_output(session, seq, *step, *stderr, *time_ms, data, out);
    }
    let kind = kind::from_agent(message);
    write(kind, session, seq, out, |out| {
        match message {
            FromAgent::Ready { version, planned, checkout_received, checkout_whole } => {
                out.extend_from_slice(&version.to_le_bytes());
                out.push(u8::from(*planned));
                out.extend_from_slice(&checkout_received.to_le_bytes());
                out.push(u8::from(*checkout_whole));
            }
            FromAgent::Lost | FromAgent::Output { .. } => {}
            FromAgent::StepStarted { step, time_ms } => step_head(*step, *time_ms, out),
            FromAgent::StepFinished { step, time_ms, result } => {
                step_head(*step, *time_ms, out);
                json(kind, result, out)?;
            }
            FromAgent::Note { step, time_ms, text } => {
                step_head(*step, *time_ms, out);
                out.extend_from_slice(text.as_bytes());
            }
            FromAgent::RunContainer { step, time_ms, container } => {
                step_head(*step, *time_ms, out);
                json(kind, container, out)?;
            }
            FromAgent::ServiceReady { time_ms, step } => {
                out.extend_from_slice(&time_ms.to_le_bytes());
                step.iter().for_each(|step| out.extend_from_slice(&step.to_le_bytes()));
            }
            FromAgent::JobFinished { time_ms, end } => {
                out.extend_from_slice(&time_ms.to_le_bytes());
                json(kind, end, out)?;
            }
            FromAgent::ArtifactFile(file) => json(kind, file, out)?,
            FromAgent::ArtifactData(data) => {
                out.reserve(data.len() + TRAILER_LEN);
                out.extend_from_slice(data);
            }
            FromAgent::ArtifactFileEnd { whole } => out.push(u8::from(*whole)),
            FromAgent::ArtifactsEnd { files } => out.extend_from_slice(&files.to_le_bytes()),
        }
        Ok(())
    })
}

/// Appends a [`FromAgent::Output`] from borrowed bytes, since only output is large.
///
/// # Errors
/// [`FrameError::TooLong`] for more than [`MAX_OUTPUT_LEN`] bytes.
pub fn encode_output(
    session: u32,
    seq: u64,
    step: u16,
    stderr: bool,
    time_ms: i64,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    write(kind::OUTPUT, session, seq, out, |out| {
        out.reserve(OUTPUT_HEAD + data.len() + TRAILER_LEN);
        step_head(step, time_ms, out);
        out.push(u8::from(stderr));
        out.extend_from_slice(data);
        Ok(())
    })
}

/// Puts another session's number into a whole frame, for the replay of a frame from the spool.
pub fn readdress(frame: &mut [u8], session: u32) {
    let Some(end) = frame.len().checked_sub(TRAILER_LEN) else { return };
    if let Some(field) = frame.get_mut(5..9) {
        field.copy_from_slice(&session.to_le_bytes());
    }
    let crc = crc32fast::hash(&frame[..end]);
    frame[end..].copy_from_slice(&crc.to_le_bytes());
}

/// Returns whether a frame of the agent is a `JobFinished`.
#[must_use]
pub fn is_job_finished(frame: &[u8]) -> bool {
    frame.get(4) == Some(&kind::JOB_FINISHED)
}

/// Returns number and length of the agent's frame at the beginning of `bytes`, for callers that move frames without
/// reading them; `None` while there are too few bytes to tell.
///
/// # Errors
/// Bytes that do not begin a frame.
pub fn peek(bytes: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    Ok(head(bytes, Direction::FromAgent)?.map(|head| (head.seq, head.frame_len)))
}

/// The direction of a stream; it decides which frame kinds a reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToAgent,
    FromAgent,
}

impl Direction {
    const fn limit(self, frame_kind: u8) -> Option<usize> {
        match (self, frame_kind) {
            (Self::ToAgent, kind::PLAN) => Some(MAX_PLAN_LEN),
            (Self::ToAgent, kind::HELLO..=kind::ARTIFACTS_STORED)
            | (Self::FromAgent, kind::READY..=kind::ARTIFACTS_END) => Some(MAX_PAYLOAD_LEN),
            _ => None,
        }
    }
}

/// A frame's header, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: u8,
    pub(crate) session: u32,
    pub(crate) seq: u64,
    /// Length of the whole frame.
    pub(crate) frame_len: usize,
}

/// Reads the header at the beginning of `bytes`. Returns `None` while there are too few bytes to tell.
pub(crate) fn head(bytes: &[u8], direction: Direction) -> Result<Option<Head>, FrameError> {
    // Five bytes are enough to refuse what is not a frame: a reader never waits for the rest of garbage.
    let (Some(length), Some(&kind)) = (bytes.first_chunk::<4>(), bytes.get(4)) else { return Ok(None) };
    let length = u32::from_le_bytes(*length);
    let limit = direction.limit(kind).ok_or(FrameError::Kind(kind))?;
    if length as usize > limit {
        return Err(FrameError::TooLong { kind, length: length.into() });
    }
    let (Some(session), Some(seq)) =
        (bytes.get(5..).and_then(<[u8]>::first_chunk::<4>), bytes.get(9..).and_then(<[u8]>::first_chunk::<8>))
    else {
        return Ok(None);
    };
    Ok(Some(Head {
        kind,
        session: u32::from_le_bytes(*session),
        seq: u64::from_le_bytes(*seq),
        frame_len: HEADER_LEN + length as usize + TRAILER_LEN,
    }))
}

/// Returns whether a whole frame's checksum matches.
pub(crate) fn checksum_holds(frame: &[u8]) -> bool {
    frame.split_last_chunk::<TRAILER_LEN>().is_some_and(|(body, crc)| crc32fast::hash(body) == u32::from_le_bytes(*crc))
}

fn write(
    kind: u8,
    session: u32,
    seq: u64,
    out: &mut Vec<u8>,
    payload: impl FnOnce(&mut Vec<u8>) -> Result<(), FrameError>,
) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    out.extend_from_slice(&session.to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
    let written = payload(out).and_then(|()| {
        let length = out.len() - start - HEADER_LEN;
        let limit = if kind == self::kind::PLAN { MAX_PLAN_LEN } else { MAX_PAYLOAD_LEN };
        if length > limit { Err(FrameError::TooLong { kind, length: length as u64 }) } else { Ok(length as u32) }
    });
    match written {
        Ok(length) => out[start..start + 4].copy_from_slice(&length.to_le_bytes()),
        Err(error) => {
            out.truncate(start);
            return Err(error);
        }
    }
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    Ok(())
}

fn step_head(step: u16, time_ms: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&step.to_le_bytes());
    out.extend_from_slice(&time_ms.to_le_bytes());
}

fn json<T: serde::Serialize>(kind: u8, value: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    serde_json::to_writer(out, value).map_err(|error| FrameError::Payload { kind, reason: error.to_string() })
}
