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

mod messages;
mod segment;
mod session;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use longshore_agent_protocol::{
    ArtifactWindow, FrameError, FromAgent, encode_from_agent, encode_marker, encode_output,
};

use self::messages::Messages;
pub(crate) use self::segment::Place;
use self::segment::read_batch;
use self::session::Session;

use crate::artifact_queue::{ArtifactQueue, ReceiverState};
use crate::wake::Wake;

/// The most bytes that the sender takes at once.
const BATCH_LEN: usize = 1 << 20;

/// The spool. Each job has one.
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
    messages: Messages,
    session: Option<Session>,
    hellos: u64,
    artifacts: ArtifactQueue,
}

impl Spool {
    pub(crate) fn new(folder: PathBuf, limit: u64, wake: Arc<Wake>) -> Self {
        let messages = Messages::new(folder, limit);
        let state = State { messages, session: None, hellos: 0, artifacts: ArtifactQueue::default() };
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
        state.messages.write_files();
        state.messages.has_room()
    }

    /// Returns how long the disk has been full, and its error.
    pub(crate) fn disk_full_for(&self) -> Option<(Duration, String)> {
        self.lock().messages.full.as_ref().map(|(since, error)| (since.elapsed(), error.clone()))
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
        state.artifacts.begin_session();
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
        let messages = &mut state.messages;
        let had_room = messages.has_room();
        messages.ack(seq);
        messages.write_files();
        let wake = !had_room && messages.has_room();
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
            if state.messages.all_acked() {
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

    /// Notes from where the runner of `session` takes artifacts.
    pub(crate) fn take_artifacts(&self, session: u32, window: ArtifactWindow) {
        self.lock().artifacts.set_window(session, window);
        self.wake.ring();
    }

    /// Lets more artifacts be sent in the current session.
    pub(crate) fn widen_artifact_window(&self, limit: u64) {
        self.lock().artifacts.widen(limit);
        self.wake.ring();
    }

    /// Notes that all artifacts are stored.
    pub(crate) fn artifacts_stored(&self) {
        self.lock().artifacts.set_stored();
        self.wake.ring();
    }

    /// Returns what the runner has said about artifacts.
    pub(crate) fn artifact_receiver(&self) -> ReceiverState {
        self.lock().artifacts.receiver()
    }

    pub(crate) fn has_room_for_artifacts(&self) -> bool {
        self.lock().artifacts.has_room()
    }

    /// Sends a message about artifacts in `session`, after everything numbered.
    pub(crate) fn push_artifact(&self, session: u32, message: &FromAgent) {
        let mut frame = Vec::new();
        // A path has a limit, and so have the data of one message.
        if encode_from_agent(session, 0, message, &mut frame).is_ok() {
            self.lock().artifacts.push(session, frame.into());
            self.to_send.notify_one();
        }
    }

    /// Returns the next frames for the current session, and waits for them. `place` belongs to the sender.
    pub(crate) fn next_batch(&self, place: &mut Place) -> io::Result<Vec<Bytes>> {
        let mut state = self.lock();
        loop {
            let State { session: Some(session), messages, artifacts, .. } = &mut *state else {
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
                && session.next_seq > messages.last_seq
                && let Some((frame, has_room_again)) = artifacts.pop()
            {
                if has_room_again {
                    self.wake.ring();
                }
                return Ok(vec![frame]);
            }
            if session.over || session.next_seq > messages.last_seq {
                state = self.to_send.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let in_memory = messages.first_in_memory();
            if let Some(skipped) = session.next_seq.checked_sub(in_memory) {
                return Ok(session.take_recent(&messages.recent, skipped as usize));
            }
            let number = session.number;
            let wanted = session.next_seq;
            let segment = messages.segments.iter().find(|segment| segment.last_seq >= wanted);
            let Some((file, first_seq, len)) = segment.map(|at| (Arc::clone(&at.file), at.first_seq, at.len)) else {
                // The client asks for what it has acknowledged, or for what only memory holds: continue with that.
                session.next_seq = in_memory;
                continue;
            };
            if place.first_seq != first_seq || place.next_seq != wanted {
                *place = Place { first_seq, next_seq: first_seq, offset: 0 };
            }
            drop(state);
            let batch = read_batch(&file, len, number, wanted..in_memory, place)?;
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
        let mut frame = Vec::new();
        encode(session, state.messages.last_seq + 1, &mut frame)?;
        state.messages.push(frame.into());
        drop(state);
        self.to_send.notify_one();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
