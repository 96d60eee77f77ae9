//! A segment of the spool, and how its messages are read back.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use longshore_agent_protocol::frame;

use super::BATCH_LEN;

/// A file of the spool.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) len: u64,
    pub(super) file: Arc<File>,
}

/// How far the sender has read in the segments.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(super) first_seq: u64,
    pub(super) next_seq: u64,
    pub(super) offset: u64,
}

/// Reads the first frames with numbers in `wanted` from a segment, addressed to `session`. Fails on bytes that the
/// agent cannot have written.
pub(super) fn read_batch(
    file: &File,
    len: u64,
    session: u32,
    wanted: Range<u64>,
    place: &mut Place,
) -> io::Result<Vec<Bytes>> {
    let mut batch = Vec::new();
    let mut wish = BATCH_LEN;
    while batch.is_empty() {
        let left = usize::try_from(len.saturating_sub(place.offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; wish.min(left)];
        file.read_exact_at(&mut bytes, place.offset)?;
        let (mut rest, begun, wished) = (&mut bytes[..], place.offset, wish);
        while let Some((seq, frame_len)) = frame::peek(rest).map_err(io::Error::other)? {
            if frame_len > rest.len() {
                // The frame is longer than what was read: read again, all of it.
                wish = wish.max(frame_len);
                break;
            }
            let (frame, after) = rest.split_at_mut(frame_len);
            if seq != place.next_seq || frame::is_job_finished(frame) {
                return Err(foreign_bytes());
            }
            if wanted.contains(&seq) {
                frame::readdress(frame, session);
                batch.push(Bytes::copy_from_slice(frame));
            }
            place.offset += frame_len as u64;
            place.next_seq = seq + 1;
            if place.next_seq >= wanted.end {
                return Ok(batch);
            }
            rest = after;
        }
        if batch.is_empty() && place.offset == begun && wish == wished {
            return Err(foreign_bytes());
        }
    }
    Ok(batch)
}

fn foreign_bytes() -> io::Error {
    io::Error::other("the spool's file contains bytes that the agent did not write")
}
