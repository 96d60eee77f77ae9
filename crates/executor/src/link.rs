//! The attached stream to a container: bytes to its standard input, bytes from its standard output.

use std::io;
use std::pin::Pin;

use bollard::container::LogOutput;
use bollard::errors::Error as ApiError;
use bollard::query_parameters::AttachContainerOptionsBuilder;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::engine::Shared;
use crate::error::{ApiResult as _, EngineError};

/// What is kept of the agent's standard error: it writes there only when it cannot go on.
const STDERR_KEPT: usize = 2048;

/// The reading half.
pub(crate) struct LinkReader {
    output: Pin<Box<dyn Stream<Item = Result<LogOutput, ApiError>> + Send>>,
    pub(crate) stderr: Vec<u8>,
}

/// The writing half, with what has not been written yet: a write that is given up in the middle goes on later.
pub(crate) struct LinkWriter {
    input: Pin<Box<dyn AsyncWrite + Send>>,
    pub(crate) buffer: BytesMut,
}

/// Attaches; returns once the engine has.
pub(crate) async fn attach(shared: &Shared, container: &str) -> Result<(LinkReader, LinkWriter), EngineError> {
    let options = AttachContainerOptionsBuilder::new().stream(true).stdin(true).stdout(true).stderr(true).build();
    let attached = shared.docker.attach_container(container, Some(options)).await.api("attach to a container")?;
    Ok((
        LinkReader { output: attached.output, stderr: Vec::new() },
        LinkWriter { input: attached.input, buffer: BytesMut::new() },
    ))
}

impl LinkReader {
    /// The next bytes of standard output; `None` at the end, whatever ended it.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.output.next().await? {
                Ok(LogOutput::StdOut { message }) => return Some(message),
                Ok(LogOutput::StdErr { message } | LogOutput::Console { message } | LogOutput::StdIn { message }) => {
                    let room = STDERR_KEPT.saturating_sub(self.stderr.len());
                    self.stderr.extend_from_slice(&message[..message.len().min(room)]);
                }
                Err(error) => {
                    tracing::debug!(%error, "the attached stream broke");
                    return None;
                }
            }
        }
    }

    /// Reads to the end, keeping nothing.
    pub(crate) async fn drain(&mut self) {
        while self.next().await.is_some() {}
    }

    /// What the agent said on standard error, for people.
    pub(crate) fn complaint(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.stderr);
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
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
