//! Reads the initial files of the workspace and turns them into messages to the agent.

use std::{fmt, io, pin::Pin, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use longshore_agent_protocol::{ToAgent, frame::MAX_CHECKOUT_LEN};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::task::AbortOnDropHandle;

/// Bytes of the checkout in one frame.
const CHUNK_BYTES: usize = 256 << 10;
const _: () = assert!(CHUNK_BYTES <= MAX_CHECKOUT_LEN, "a chunk has to fit a frame");

/// A plain tar of the workspace, from its start.
pub struct CheckoutStream {
    /// The number of the tar: within this process, two tars with the same number have the same bytes.
    pub tar: u64,
    pub bytes: Pin<Box<dyn AsyncRead + Send>>,
}

impl fmt::Debug for CheckoutStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckoutStream").field("tar", &self.tar).finish_non_exhaustive()
    }
}

/// A source of the workspace as a plain tar. It can be opened any number of times.
pub trait CheckoutSource: Send + Sync {
    /// Opens the tar at its start. A tar that was made again has another number, because its times and git's packs
    /// differ.
    fn open(&self) -> BoxFuture<'_, io::Result<CheckoutStream>>;
}

/// A checkout that is being opened.
pub(crate) type Opening = AbortOnDropHandle<io::Result<CheckoutStream>>;

/// Sends a checkout, over as many sessions as it takes.
pub(crate) struct CheckoutSender {
    /// `None` once the agent has all of it, or needs none.
    source: Option<Arc<dyn CheckoutSource>>,
    /// Started before the first session.
    opening: Option<Opening>,
    /// The tar that this process last sent to the agent.
    tar: Option<u64>,
    offset: u64,
    sending: Sending,
}

enum Sending {
    ToOpen,
    Open(CheckoutStream),
    Nothing,
}

/// Why the checkout cannot be sent.
pub(crate) enum CheckoutError {
    /// It could not be opened or read.
    Source(io::Error),
    /// The agent has the beginning of another tar.
    Other,
}

impl From<io::Error> for CheckoutError {
    fn from(error: io::Error) -> Self {
        Self::Source(error)
    }
}

impl CheckoutSender {
    pub(crate) fn new(source: Option<Arc<dyn CheckoutSource>>, opening: Option<Opening>) -> Self {
        Self { source, opening, tar: None, offset: 0, sending: Sending::Nothing }
    }

    /// Begins a session with an agent that already has `offset` bytes.
    pub(crate) fn resume_at(&mut self, offset: u64) {
        self.offset = offset;
        self.sending = if self.source.is_some() { Sending::ToOpen } else { Sending::Nothing };
    }

    /// Stops sending: the agent needs no more of the checkout.
    pub(crate) fn finish(&mut self) {
        self.source = None;
        self.opening = None;
        self.sending = Sending::Nothing;
    }

    /// Returns the next message. Never returns after the last one. May be dropped and called again: a dropped read has
    /// read nothing, so no byte is lost.
    pub(crate) async fn next(&mut self) -> Result<ToAgent, CheckoutError> {
        if matches!(self.sending, Sending::ToOpen) {
            self.sending = Sending::Open(self.open().await?);
        }
        let Sending::Open(stream) = &mut self.sending else { return std::future::pending().await };
        let mut data = BytesMut::with_capacity(CHUNK_BYTES);
        let count = stream.bytes.read_buf(&mut data).await?;
        if count == 0 {
            self.sending = Sending::Nothing;
            return Ok(ToAgent::CheckoutEnd { length: self.offset });
        }
        let offset = self.offset;
        self.offset += count as u64;
        Ok(ToAgent::Checkout { offset, data: Bytes::from(data) })
    }

    /// Opens the tar at the first byte that the agent does not have.
    async fn open(&mut self) -> Result<CheckoutStream, CheckoutError> {
        // The tar that an earlier process sent is gone with that process.
        if self.offset > 0 && self.tar.is_none() {
            return Err(CheckoutError::Other);
        }
        let mut stream = match (&mut self.opening, &self.source) {
            (Some(task), _) => {
                let opened = task.await;
                self.opening = None;
                opened.map_err(io::Error::other)??
            }
            (None, Some(source)) => source.open().await?,
            (None, None) => return std::future::pending().await,
        };
        if self.offset > 0 && self.tar != Some(stream.tar) {
            return Err(CheckoutError::Other);
        }
        self.tar = Some(stream.tar);
        let known = tokio::io::copy(&mut (&mut stream.bytes).take(self.offset), &mut tokio::io::sink()).await?;
        if known < self.offset {
            let message = "the agent has received more of the checkout than exists";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message).into());
        }
        Ok(stream)
    }
}
