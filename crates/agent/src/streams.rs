//! The open pipes of all steps, read into the spool through their maskers.
//!
//! `job` decides when to read. A stream outlives its step when a background process keeps it open.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use longshore_agent_protocol::FrameError;
use longshore_agent_protocol::mask::{Masker, Patterns};
use rustix::io::Errno;

use crate::clock;
use crate::spool::Spool;

const CHUNK_BYTES: usize = 64 << 10;

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

/// The result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    Bytes(usize),
    /// Nothing available now.
    Nothing,
    /// The stream has ended and is removed.
    End,
}

impl Streams {
    pub(crate) fn new(patterns: Option<Arc<Patterns>>) -> Self {
        Self { open: Vec::new(), patterns, buffer: vec![0; CHUNK_BYTES] }
    }

    pub(crate) fn add(&mut self, step: u16, stderr: bool, pipe: OwnedFd) {
        self.open.push(Stream { step, stderr, pipe, masker: Masker::new(self.patterns.clone()) });
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Returns the pipes to wait for.
    pub(crate) fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.open.iter().map(|stream| stream.pipe.as_fd())
    }

    /// Returns the index of a step's stream, if it is still open.
    pub(crate) fn find(&self, step: u16, stderr: bool) -> Option<usize> {
        self.open.iter().position(|stream| stream.step == step && stream.stderr == stderr)
    }

    /// Reads once from the stream at `index`.
    pub(crate) fn read(&mut self, index: usize, spool: &Spool) -> Result<ReadOutcome, FrameError> {
        let Some(stream) = self.open.get_mut(index) else { return Ok(ReadOutcome::Nothing) };
        match rustix::io::read(&stream.pipe, &mut self.buffer[..]) {
            Ok(0) => {}
            Ok(count) => {
                let shown = stream.masker.push(&self.buffer[..count]);
                append_output(spool, stream.step, stream.stderr, &shown)?;
                return Ok(ReadOutcome::Bytes(count));
            }
            Err(Errno::AGAIN | Errno::INTR) => return Ok(ReadOutcome::Nothing),
            Err(_) => {}
        }
        self.close(index, spool)?;
        Ok(ReadOutcome::End)
    }

    /// Closes the stream at `index`, and writes out what its masker held back.
    pub(crate) fn close(&mut self, index: usize, spool: &Spool) -> Result<(), FrameError> {
        let mut stream = self.open.swap_remove(index);
        let shown = stream.masker.finish();
        append_output(spool, stream.step, stream.stderr, &shown)
    }
}

fn append_output(spool: &Spool, step: u16, stderr: bool, bytes: &[u8]) -> Result<(), FrameError> {
    for part in bytes.chunks(CHUNK_BYTES) {
        spool.append_output(step, stderr, clock::now_ms(), part)?;
    }
    Ok(())
}
