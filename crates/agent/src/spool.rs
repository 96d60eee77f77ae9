//! The spool: every message of the agent that is not acknowledged yet, in files, and the newest messages also in
//! memory.
//!
//! `job` appends messages, `intake` acknowledges them and opens sessions, `sender` takes what the current session has
//! not received yet. A message is written to its segment before it is sent. If a full disk refuses it, it stays in
//! memory until it is written or acknowledged; meanwhile [`Spool::has_room`] tells `job` not to read the steps' pipes.
//! Nothing is dropped.
//!
//! A step that runs as root can write these files. Their content is only the job's statement about itself, so the job's
//! end, which carries more weight, is sent from memory only.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use longshore_agent_protocol::spool::segment_name;
use longshore_agent_protocol::{
    ArtifactWindow, FrameError, FromAgent, encode_from_agent, encode_marker, encode_output, frame,
};

use crate::lane::{Lane, Taking};
use crate::wake::Wake;

const SEGMENT_LEN: u64 = 8 << 20;
/// The most bytes of frames kept in memory, so that a client that keeps up never costs a read.
const RECENT_LEN: usize = 4 << 20;
/// The most bytes that the sender takes at once.
const BATCH_LEN: usize = 1 << 20;
const BATCH_FRAMES: usize = 64;

/// The spool. One per job.
#[derive(Debug)]
pub(crate) struct Spool {
    state: Mutex<State>,
    /// Notified when there may be something to send.
    to_send: Condvar,
    /// Notified when an acknowledgement or a session arrives.
    progress: Condvar,
    /// Wakes `job` when there is room again.
    wake: Arc<Wake>,
}

#[derive(Debug)]
struct State {
    folder: PathBuf,
    limit: u64,
    segment_len: u64,
    /// Oldest first; the last one is being written.
    segments: VecDeque<Segment>,
    recent: VecDeque<(u64, Bytes)>,
    recent_len: usize,
    last_seq: u64,
    /// Everything up to here is in a file, or was acknowledged before it was written.
    written_seq: u64,
    acked_seq: u64,
    full: Option<(Instant, String)>,
    session: Option<Session>,
    hellos: u64,
    lane: Lane,
}

#[derive(Debug)]
struct Segment {
    first_seq: u64,
    last_seq: u64,
    len: u64,
    file: Arc<File>,
}

#[derive(Debug)]
struct Session {
    number: u32,
    /// Marker and `Ready`, still to be sent.
    opening: Option<Vec<u8>>,
    lost: bool,
    /// Set when the spool could not be read: nothing more is sent to this session.
    over: bool,
    next_seq: u64,
}

impl Session {
    /// Takes a batch of the frames in memory, without the first `skipped`.
    fn take_recent(&mut self, recent: &VecDeque<(u64, Bytes)>, skipped: usize) -> Vec<Bytes> {
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

/// How far the sender has read in the segments.
#[derive(Debug, Default)]
pub(crate) struct Place {
    first_seq: u64,
    next_seq: u64,
    offset: u64,
}

impl Spool {
    pub(crate) fn new(folder: PathBuf, limit: u64, wake: Arc<Wake>) -> Self {
        let state = State {
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
            session: None,
            hellos: 0,
            lane: Lane::default(),
        };
        Self { state: Mutex::new(state), to_send: Condvar::new(), progress: Condvar::new(), wake }
    }

    /// Appends a message.
    pub(crate) fn append_message(&self, message: &FromAgent) -> Result<(), FrameError> {
        self.append_frame(|session, seq, frame| encode_from_agent(session, seq, message, frame))
    }

    /// Appends output of a step.
    pub(crate) fn append_output(&self, step: u16, stderr: bool, time_ms: i64, data: &[u8]) -> Result<(), FrameError> {
        self.append_frame(|session, seq, frame| {
            frame.reserve_exact(data.len() + 64);
            encode_output(session, seq, step, stderr, time_ms, data, frame)
        })
    }

    /// Returns whether more output may be appended now. Retries writes that a full disk has refused.
    pub(crate) fn has_room(&self) -> bool {
        let mut state = self.lock();
        state.write_files();
        state.has_room()
    }

    /// Returns how long the disk has been full, and its error.
    pub(crate) fn disk_full_for(&self) -> Option<(Duration, String)> {
        self.lock().full.as_ref().map(|(since, error)| (since.elapsed(), error.clone()))
    }

    /// Opens a session: everything after `last_seq` is sent to it, after the frame that is being sent now.
    pub(crate) fn open_session(
        &self,
        number: u32,
        nonce: [u8; 16],
        last_seq: u64,
        ready: &FromAgent,
    ) -> Result<(), FrameError> {
        let mut opening = Vec::new();
        encode_marker(nonce, &mut opening);
        encode_from_agent(number, 0, ready, &mut opening)?;
        let mut state = self.lock();
        state.session =
            Some(Session { number, opening: Some(opening), lost: false, over: false, next_seq: last_seq + 1 });
        state.hellos += 1;
        state.lane.begin_session();
        drop(state);
        self.wake.ring();
        self.ack(last_seq);
        self.to_send.notify_one();
        Ok(())
    }

    /// Tells the current session that some of its bytes could not be read.
    pub(crate) fn report_lost(&self) {
        if let Some(session) = &mut self.lock().session {
            session.lost = true;
        }
        self.to_send.notify_one();
    }

    /// Tells the current session that the spool cannot be read, and sends nothing after that. The client then opens
    /// another session.
    pub(crate) fn give_up_session(&self) {
        if let Some(session) = &mut self.lock().session {
            (session.lost, session.over) = (true, true);
        }
        self.to_send.notify_one();
    }

    /// Forgets everything up to `seq`.
    pub(crate) fn ack(&self, seq: u64) {
        let mut state = self.lock();
        let had_room = state.has_room();
        state.ack(seq);
        state.write_files();
        let wake = !had_room && state.has_room();
        drop(state);
        if wake {
            self.wake.ring();
        }
        self.progress.notify_all();
    }

    /// Waits until everything is acknowledged, at most for `patience` after the last session was opened. Returns
    /// whether it is.
    pub(crate) fn wait_for_ack(&self, patience: Duration) -> bool {
        let mut state = self.lock();
        let mut hellos = state.hellos;
        let mut deadline = Instant::now() + patience;
        loop {
            if state.acked_seq >= state.last_seq {
                return true;
            }
            if state.hellos != hellos {
                hellos = state.hellos;
                deadline = Instant::now() + patience;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.progress.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Returns whether a session was ever opened.
    pub(crate) fn had_session(&self) -> bool {
        self.lock().hellos > 0
    }

    /// The runner of `session` takes artifacts from here.
    pub(crate) fn take_artifacts(&self, session: u32, window: ArtifactWindow) {
        self.lock().lane.take(session, window);
        self.wake.ring();
    }

    /// More artifacts may be sent in the current session.
    pub(crate) fn widen_lane(&self, limit: u64) {
        self.lock().lane.widen(limit);
        self.wake.ring();
    }

    /// All artifacts are stored.
    pub(crate) fn artifacts_stored(&self) {
        self.lock().lane.stored();
        self.wake.ring();
    }

    /// Returns what the runner has said about artifacts.
    pub(crate) fn taking(&self) -> Taking {
        self.lock().lane.taking()
    }

    pub(crate) fn lane_has_room(&self) -> bool {
        self.lock().lane.has_room()
    }

    /// Sends a message about artifacts in `session`, after everything numbered.
    pub(crate) fn push_to_lane(&self, session: u32, message: &FromAgent) {
        let mut frame = Vec::new();
        // A path has a limit, and so have the data of one message.
        if encode_from_agent(session, 0, message, &mut frame).is_ok() {
            self.lock().lane.push(session, frame.into());
            self.to_send.notify_one();
        }
    }

    /// Returns the next frames for the current session, and waits for them. `place` belongs to the sender.
    pub(crate) fn next_batch(&self, place: &mut Place) -> io::Result<Vec<Bytes>> {
        let mut state = self.lock();
        loop {
            let State { session: Some(session), recent, segments, last_seq, lane, .. } = &mut *state else {
                state = self.to_send.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if let Some(opening) = session.opening.take() {
                return Ok(vec![opening.into()]);
            }
            if std::mem::take(&mut session.lost) {
                let mut frame = Vec::new();
                // It cannot be too long.
                let _ = encode_from_agent(session.number, 0, &FromAgent::Lost, &mut frame);
                return Ok(vec![frame.into()]);
            }
            if !session.over
                && session.next_seq > *last_seq
                && let Some((frame, has_room_again)) = lane.pop()
            {
                if has_room_again {
                    self.wake.ring();
                }
                return Ok(vec![frame]);
            }
            if session.over || session.next_seq > *last_seq {
                state = self.to_send.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            if let Some(skipped) = recent.front().and_then(|(first, _)| session.next_seq.checked_sub(*first)) {
                return Ok(session.take_recent(recent, skipped as usize));
            }
            let number = session.number;
            let wanted = session.next_seq;
            // The number from which memory holds the frames.
            let before = recent.front().map_or(*last_seq + 1, |(first, _)| *first);
            let segment = segments.iter().find(|segment| segment.last_seq >= wanted);
            let Some((file, first_seq, len)) = segment.map(|at| (Arc::clone(&at.file), at.first_seq, at.len)) else {
                // The client asks for what it has acknowledged, or for what only memory holds: continue with that.
                session.next_seq = before;
                continue;
            };
            if place.first_seq != first_seq || place.next_seq != wanted {
                *place = Place { first_seq, next_seq: first_seq, offset: 0 };
            }
            drop(state);
            let batch = read_batch(&file, len, number, wanted..before, place)?;
            state = self.lock();
            match &mut state.session {
                Some(session) if session.number == number => session.next_seq = place.next_seq,
                // Another session has begun meanwhile.
                _ => continue,
            }
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }

    fn append_frame(
        &self,
        encode: impl FnOnce(u32, u64, &mut Vec<u8>) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        let mut state = self.lock();
        let session = state.session.as_ref().map_or(0, |session| session.number);
        let seq = state.last_seq + 1;
        let mut frame = Vec::new();
        encode(session, seq, &mut frame)?;
        state.last_seq = seq;
        state.recent_len += frame.len();
        state.recent.push_back((seq, frame.into()));
        state.write_files();
        state.trim_recent();
        drop(state);
        self.to_send.notify_one();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.written_seq == self.last_seq && self.segments.iter().map(|segment| segment.len).sum::<u64>() < self.limit
    }

    /// Writes the messages that are not in a file yet, as far as the disk allows.
    fn write_files(&mut self) {
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
            // What a failed write left after the end is overwritten, or is the half frame that readers drop.
            segment.file.write_all_at(&frame, segment.len)?;
            segment.len += frame.len() as u64;
            segment.last_seq = seq;
        }
        self.written_seq = seq;
        Ok(())
    }

    fn ack(&mut self, seq: u64) {
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

/// Reads the first frames with numbers in `wanted` from a segment, addressed to `session`. Fails on bytes that the
/// agent cannot have written.
fn read_batch(file: &File, len: u64, session: u32, wanted: Range<u64>, place: &mut Place) -> io::Result<Vec<Bytes>> {
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
    io::Error::other("the spool's file holds what the agent did not write")
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
