//! Where the workspace's first files come from, and how their bytes become messages.

use std::{fmt, io, pin::Pin, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use longshore_agent_protocol::{ToAgent, frame::MAX_CHECKOUT_LEN};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::task::AbortOnDropHandle;

/// Bytes of the checkout in a frame.
const CHUNK: usize = 256 << 10;
const _: () = assert!(CHUNK <= MAX_CHECKOUT_LEN, "a chunk has to fit a frame");

/// A plain tar of the workspace, from its start.
pub struct CheckoutStream {
    /// Which tar it is: in this process, two with the same number have the same bytes.
    pub tar: u64,
    pub bytes: Pin<Box<dyn AsyncRead + Send>>,
}

impl fmt::Debug for CheckoutStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckoutStream").field("tar", &self.tar).finish_non_exhaustive()
    }
}

/// Something that can give the workspace as a plain tar, as often as it is asked.
pub trait CheckoutSource: Send + Sync {
    /// Opens the tar from its start. One that was made anew has another number: its times differ, and git's packs.
    fn open(&self) -> BoxFuture<'_, io::Result<CheckoutStream>>;
}

/// A checkout that is being opened.
pub(crate) type Prepared = AbortOnDropHandle<io::Result<CheckoutStream>>;

/// The checkout on its way, from session to session.
pub(crate) struct Carrier {
    /// Nothing once the agent has all of it, or needs none.
    source: Option<Arc<dyn CheckoutSource>>,
    /// Is being opened since before the first session.
    prepared: Option<Prepared>,
    /// The tar that the agent was given last, by this process.
    tar: Option<u64>,
    offset: u64,
    carried: Carried,
}

enum Carried {
    ToOpen,
    Open(CheckoutStream),
    Nothing,
}

/// Why the checkout does not go on.
pub(crate) enum Trouble {
    /// It cannot be had.
    Source(io::Error),
    /// The agent has the beginning of another.
    Other,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Source(error)
    }
}

impl Carrier {
    pub(crate) fn new(source: Option<Arc<dyn CheckoutSource>>, prepared: Option<Prepared>) -> Self {
        Self { source, prepared, tar: None, offset: 0, carried: Carried::Nothing }
    }

    /// A session begins, and the agent has so many bytes.
    pub(crate) fn go_on(&mut self, offset: u64) {
        self.offset = offset;
        self.carried = if self.source.is_some() { Carried::ToOpen } else { Carried::Nothing };
    }

    /// The agent needs no more of it.
    pub(crate) fn finish(&mut self) {
        self.source = None;
        self.prepared = None;
        self.carried = Carried::Nothing;
    }

    /// The next message; never, once all has been said. May be dropped and called again: no byte is lost, since a read
    /// that is dropped has read nothing.
    pub(crate) async fn next(&mut self) -> Result<ToAgent, Trouble> {
        if matches!(self.carried, Carried::ToOpen) {
            self.carried = Carried::Open(self.open().await?);
        }
        let Carried::Open(stream) = &mut self.carried else { return std::future::pending().await };
        let mut data = BytesMut::with_capacity(CHUNK);
        let count = stream.bytes.read_buf(&mut data).await?;
        if count == 0 {
            self.carried = Carried::Nothing;
            return Ok(ToAgent::CheckoutEnd { length: self.offset });
        }
        let offset = self.offset;
        self.offset += count as u64;
        Ok(ToAgent::Checkout { offset, data: Bytes::from(data) })
    }

    /// The tar, from where the agent has it.
    async fn open(&mut self) -> Result<CheckoutStream, Trouble> {
        // What an earlier process had made is gone with it.
        if self.offset > 0 && self.tar.is_none() {
            return Err(Trouble::Other);
        }
        let mut stream = match (&mut self.prepared, &self.source) {
            (Some(task), _) => {
                let opened = task.await;
                self.prepared = None;
                opened.map_err(io::Error::other)??
            }
            (None, Some(source)) => source.open().await?,
            (None, None) => return std::future::pending().await,
        };
        if self.offset > 0 && self.tar != Some(stream.tar) {
            return Err(Trouble::Other);
        }
        self.tar = Some(stream.tar);
        let known = tokio::io::copy(&mut (&mut stream.bytes).take(self.offset), &mut tokio::io::sink()).await?;
        if known < self.offset {
            let message = "the agent has more of the checkout than there is";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message).into());
        }
        Ok(stream)
    }
}
