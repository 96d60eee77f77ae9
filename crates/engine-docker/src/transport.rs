//! Sends calls to the engine: each on its own connection, in the agreed version of the API, with a limit on the answer.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bollard::BollardRequest;
use bollard::errors::Error as ApiError;
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// Limit for the bytes of an answer: some 40,000 containers in a list. Links, files and pulls are streams, which have
/// no limit; their errors do.
const MAX_ANSWER: u64 = 64 << 20;
/// Limit for a line of a pull's progress. The engine quotes what a registry answers.
const MAX_LINE: u64 = 4 << 20;
/// The call whose answer is lines.
const PULL: &str = "/images/create";
/// Calls whose answers are streams.
const STREAMED_CALLS: [&str; 3] = ["/attach", "/archive", PULL];

/// The header with a registry's credentials.
const CREDENTIALS: &str = "x-registry-auth";

/// The answer is longer than any that we expect.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it is longer than {} MiB", .0 >> 20)]
pub(crate) struct TooLong(pub(crate) u64);

type Sending = Pin<Box<dyn Future<Output = Result<Response<Incoming>, ApiError>> + Send>>;

/// Returns a function that sends calls to this socket. `prefix` is the API version, as `/v1.41`, or empty before one is
/// agreed on.
pub(crate) fn transport(socket: PathBuf, prefix: String) -> impl Fn(BollardRequest) -> Sending + Send + Sync {
    move |request| Box::pin(send(socket.clone(), prefix.clone(), request))
}

async fn send(socket: PathBuf, prefix: String, request: BollardRequest) -> Result<Response<Incoming>, ApiError> {
    let (mut parts, body) = request.into_parts();
    let is_stream = STREAMED_CALLS.iter().any(|stream| parts.uri.path().ends_with(stream));
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    // bollard leaves the version out, which the engine takes as its newest.
    parts.uri = format!("{prefix}{path}").parse()?;
    parts.headers.insert(HOST, HeaderValue::from_static("docker"));
    if let Some(credentials) = parts.headers.get_mut(CREDENTIALS) {
        let mut safe = url_safe(credentials)?;
        safe.set_sensitive(true);
        *credentials = safe;
    }
    let stream = UnixStream::connect(socket).await?;
    let left = Arc::new(AtomicU64::new(if is_stream { u64::MAX } else { MAX_ANSWER }));
    let line = parts.uri.path().ends_with(PULL).then_some(0);
    let stream = Limited { stream, left: Arc::clone(&left), line };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The task ends with the answer, or with the link.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to the engine broke");
        }
    });
    let answer = sender.send_request(BollardRequest::from_parts(parts, body)).await?;
    if is_stream && (answer.status().is_client_error() || answer.status().is_server_error()) {
        left.store(MAX_ANSWER, Ordering::Relaxed);
    }
    Ok(answer)
}

/// Returns base64 with the characters that the engine expects. bollard writes the others, and the engine takes
/// credentials that it cannot decode for none.
fn url_safe(base64: &HeaderValue) -> Result<HeaderValue, ApiError> {
    let bytes: Vec<u8> = base64
        .as_bytes()
        .iter()
        .map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            byte => *byte,
        })
        .collect();
    HeaderValue::from_bytes(&bytes).map_err(|error| ApiError::IOError { err: io::Error::other(error) })
}

/// A connection that fails after a number of bytes of answer, or of one of its lines.
struct Limited {
    stream: UnixStream,
    left: Arc<AtomicU64>,
    /// The bytes of the line so far, where lines have a limit.
    line: Option<u64>,
}

impl Limited {
    /// Counts what was read.
    fn count(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        let read = bytes.len() as u64;
        let left = self.left.load(Ordering::Relaxed);
        if left != u64::MAX {
            self.left.store(left.checked_sub(read).ok_or(TooLong(MAX_ANSWER))?, Ordering::Relaxed);
        }
        if let Some(line) = &mut self.line {
            *line = match bytes.iter().rposition(|byte| *byte == b'\n') {
                Some(end) => read - end as u64,
                None => *line + read,
            };
            if *line > MAX_LINE {
                return Err(TooLong(MAX_LINE));
            }
        }
        Ok(())
    }
}

impl AsyncRead for Limited {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        Poll::Ready(this.count(&buffer.filled()[before..]).map_err(io::Error::other))
    }
}

impl AsyncWrite for Limited {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_written_in_the_alphabet_that_the_engine_reads() {
        // `{"password":"~~~???"}` in the other alphabet.
        let sent = url_safe(&HeaderValue::from_static("eyJ+fn4/Pz8ifQ==")).unwrap();
        assert_eq!(sent.as_bytes(), b"eyJ-fn4_Pz8ifQ==");
    }
}
