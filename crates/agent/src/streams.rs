//! The pipes of all steps that still hold one open, read into the spool through their maskers.
//!
//! `job` decides when to read; this knows only how. A stream outlives its step when a background process keeps it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use longshore_agent_protocol::FrameError;
use longshore_agent_protocol::mask::{Masker, Patterns};
use rustix::io::Errno;

use crate::clock;
use crate::spool::Spool;

const CHUNK: usize = 64 << 10;

/// One pipe.
#[derive(Debug)]
struct Stream {
    step: u16,
    stderr: bool,
    pipe: OwnedFd,
    masker: Masker,
}

/// All pipes.
#[derive(Debug)]
pub(crate) struct Streams {
    open: Vec<Stream>,
    patterns: Option<Arc<Patterns>>,
    buffer: Vec<u8>,
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Got {
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// It is over, and its stream removed.
    End,
}

impl Streams {
    pub(crate) fn new(patterns: Option<Arc<Patterns>>) -> Self {
        Self { open: Vec::new(), patterns, buffer: vec![0; CHUNK] }
    }

    pub(crate) fn add(&mut self, step: u16, stderr: bool, pipe: OwnedFd) {
        self.open.push(Stream { step, stderr, pipe, masker: Masker::new(self.patterns.clone()) });
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// The pipes, to wait for.
    pub(crate) fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.open.iter().map(|stream| stream.pipe.as_fd())
    }

    /// The place of a step's stream, if it is still open.
    pub(crate) fn of_step(&self, step: u16, stderr: bool) -> Option<usize> {
        self.open.iter().position(|stream| stream.step == step && stream.stderr == stderr)
    }

    /// Reads once from the stream at `place`.
    pub(crate) fn read(&mut self, place: usize, spool: &Spool) -> Result<Got, FrameError> {
        let Some(stream) = self.open.get_mut(place) else { return Ok(Got::Nothing) };
        match rustix::io::read(&stream.pipe, &mut self.buffer[..]) {
            Ok(0) => {}
            Ok(count) => {
                let shown = stream.masker.push(&self.buffer[..count]);
                say(spool, stream.step, stream.stderr, &shown)?;
                return Ok(Got::Bytes(count));
            }
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Got::Nothing),
            Err(_) => {}
        }
        self.close(place, spool)?;
        Ok(Got::End)
    }

    /// Ends the stream at `place`: what its masker holds back is shown.
    pub(crate) fn close(&mut self, place: usize, spool: &Spool) -> Result<(), FrameError> {
        let mut stream = self.open.swap_remove(place);
        let shown = stream.masker.finish();
        say(spool, stream.step, stream.stderr, &shown)
    }
}

fn say(spool: &Spool, step: u16, stderr: bool, bytes: &[u8]) -> Result<(), FrameError> {
    for part in bytes.chunks(CHUNK) {
        spool.say_output(step, stderr, clock::now_ms(), part)?;
    }
    Ok(())
}
