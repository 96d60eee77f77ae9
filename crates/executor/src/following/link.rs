//! A link: a duplex stream of bytes between the executor and an agent, independent of what carries it.

use std::fmt;
use std::io;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// How many bytes of the agent's standard error are kept. The agent writes there only when it cannot go on.
const STDERR_KEPT: usize = 2048;

/// What arrives over a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromLink {
    /// Frames of the agent.
    Stdout(Bytes),
    /// Text for people.
    Stderr(Bytes),
    /// The engine's message that it cannot run the agent's program.
    CannotRun(Bytes),
}

/// A link as an engine provides it. Its output ends when the link is cut, for any reason.
pub struct Link {
    pub output: BoxStream<'static, FromLink>,
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

impl Link {
    pub(crate) fn split(self) -> (LinkReader, LinkWriter) {
        (
            LinkReader { output: self.output, stderr: Vec::new(), cannot_run: false },
            LinkWriter { input: self.input, buffer: BytesMut::new() },
        )
    }
}

/// The reading half.
pub(crate) struct LinkReader {
    output: BoxStream<'static, FromLink>,
    stderr: Vec<u8>,
    cannot_run: bool,
}

/// The writing half, with the bytes that have not been written yet: a write that is dropped in the middle continues
/// later.
pub(crate) struct LinkWriter {
    input: Pin<Box<dyn AsyncWrite + Send>>,
    pub(crate) buffer: BytesMut,
}

/// The text that arrived on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StderrText {
    pub(crate) text: String,
    /// Whether it comes from the engine, which could not run the program.
    pub(crate) cannot_run: bool,
}

impl LinkReader {
    /// Returns the next bytes of standard output; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.output.next().await? {
                FromLink::Stdout(bytes) => return Some(bytes),
                FromLink::Stderr(bytes) => self.keep(&bytes),
                FromLink::CannotRun(bytes) => {
                    self.cannot_run = true;
                    self.keep(&bytes);
                }
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = STDERR_KEPT.saturating_sub(self.stderr.len());
        self.stderr.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Reads to the end and drops what it reads.
    pub(crate) async fn drain(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Returns what arrived on standard error, if anything did.
    pub(crate) fn stderr(&self) -> Option<StderrText> {
        let text = String::from_utf8_lossy(&self.stderr);
        let text = text.trim();
        (!text.is_empty()).then(|| StderrText { text: text.to_owned(), cannot_run: self.cannot_run })
    }
}

impl LinkWriter {
    /// Writes what is in the buffer. May be dropped in the middle and called again.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while !self.buffer.is_empty() {
            if self.input.write_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.input.flush().await
    }
}
