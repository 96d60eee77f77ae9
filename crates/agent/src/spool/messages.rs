//! The messages that are not acknowledged yet: all of them in segments, which are files, and the newest also in memory.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use longshore_agent_protocol::spool::segment_name;

use super::segment::Segment;

const SEGMENT_LEN: u64 = 8 << 20;

/// The most bytes of frames kept in memory, so that a client that keeps up never costs a read.
const RECENT_LEN: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Messages {
    folder: PathBuf,
    limit: u64,
    segment_len: u64,
    /// Oldest first; the last one is being written.
    pub(super) segments: VecDeque<Segment>,
    pub(super) recent: VecDeque<(u64, Bytes)>,
    recent_len: usize,
    pub(super) last_seq: u64,
    /// Everything up to here is in a file, or was acknowledged before it was written.
    written_seq: u64,
    acked_seq: u64,
    /// Since when the disk has been full, and its error.
    pub(super) full: Option<(Instant, String)>,
}

impl Messages {
    pub(super) fn new(folder: PathBuf, limit: u64) -> Self {
        Self {
            folder,
            limit,
            segment_len: SEGMENT_LEN.min(limit / 4),
            segments: VecDeque::new(),
            recent: VecDeque::new(),
            recent_len: 0,
            last_seq: 0,
            written_seq: 0,
            acked_seq: 0,
            full: None,
        }
    }

    /// Appends the next message.
    pub(super) fn push(&mut self, frame: Bytes) {
        self.last_seq += 1;
        self.recent_len += frame.len();
        self.recent.push_back((self.last_seq, frame));
        self.write_files();
        self.trim_recent();
    }

    /// Returns the number from which memory holds all messages.
    pub(super) fn first_in_memory(&self) -> u64 {
        self.recent.front().map_or(self.last_seq + 1, |(first, _)| *first)
    }

    pub(super) const fn all_acked(&self) -> bool {
        self.acked_seq >= self.last_seq
    }

    /// Returns whether all messages are in files, and more may be written.
    pub(super) fn has_room(&self) -> bool {
        self.written_seq == self.last_seq && self.segments.iter().map(|segment| segment.len).sum::<u64>() < self.limit
    }

    /// Writes the messages that are not in a file yet, as far as the disk allows.
    pub(super) fn write_files(&mut self) {
        while self.written_seq < self.last_seq {
            match self.write_file(self.written_seq + 1) {
                Ok(()) => self.full = None,
                Err(error) => {
                    self.full.get_or_insert_with(|| (Instant::now(), error.to_string()));
                    return;
                }
            }
        }
    }

    fn write_file(&mut self, seq: u64) -> io::Result<()> {
        let first = self.recent.front().map_or(seq, |(first, _)| *first);
        let Some(frame) = self.recent.get((seq - first) as usize).map(|(_, frame)| frame.clone()) else {
            return Err(io::Error::other("a message was forgotten before it was written"));
        };
        // The messages before it were acknowledged before they could be written. That leaves a gap, and all segments
        // before it are acknowledged too.
        if self.segments.back().is_some_and(|segment| segment.last_seq + 1 != seq) {
            while self.remove_segment() {}
        }
        if self.segments.back().is_none_or(|segment| segment.len >= self.segment_len) {
            let file =
                File::options().read(true).write(true).create_new(true).open(self.folder.join(segment_name(seq)))?;
            self.segments.push_back(Segment { first_seq: seq, last_seq: seq - 1, len: 0, file: Arc::new(file) });
        }
        if let Some(segment) = self.segments.back_mut() {
            // A failed write may have left bytes after the end: they are overwritten, or are a half frame, which
            // readers drop.
            segment.file.write_all_at(&frame, segment.len)?;
            segment.len += frame.len() as u64;
            segment.last_seq = seq;
        }
        self.written_seq = seq;
        Ok(())
    }

    /// Forgets everything up to `seq`.
    pub(super) fn ack(&mut self, seq: u64) {
        self.acked_seq = self.acked_seq.max(seq.min(self.last_seq));
        self.written_seq = self.written_seq.max(self.acked_seq);
        while self.recent.front().is_some_and(|(seq, _)| *seq <= self.acked_seq) {
            self.pop_recent();
        }
        while let Some(first) = self.segments.front() {
            // The segment being written is removed too once it is long enough.
            let done = first.last_seq <= self.acked_seq && (self.segments.len() > 1 || first.len >= self.segment_len);
            if !done {
                break;
            }
            self.remove_segment();
        }
    }

    fn remove_segment(&mut self) -> bool {
        let Some(first) = self.segments.pop_front() else { return false };
        // A file that cannot be removed only costs space.
        let _ = fs::remove_file(self.folder.join(segment_name(first.first_seq)));
        true
    }

    fn trim_recent(&mut self) {
        while self.recent_len > RECENT_LEN && self.recent.front().is_some_and(|(seq, _)| *seq <= self.written_seq) {
            self.pop_recent();
        }
    }

    fn pop_recent(&mut self) {
        if let Some((_, frame)) = self.recent.pop_front() {
            self.recent_len -= frame.len();
        }
    }
}
