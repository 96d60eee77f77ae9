//! Where the workspace's first files come from, and how their bytes become frames.

use std::io;
use std::pin::Pin;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt};

/// A plain tar of the workspace.
pub type CheckoutStream = Pin<Box<dyn AsyncRead + Send>>;

/// Something that can give the workspace as a plain tar, as often as it is asked: a connection that broke in the middle
/// begins again.
pub trait CheckoutSource: Send + Sync {
    /// Opens the tar from its start. The bytes must be the same each time.
    fn open(&self) -> BoxFuture<'_, io::Result<CheckoutStream>>;
}

/// Reads away what the agent already has.
pub(crate) async fn skip(stream: &mut CheckoutStream, count: u64) -> io::Result<()> {
    let skipped = tokio::io::copy(&mut stream.take(count), &mut tokio::io::sink()).await?;
    if skipped < count {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the checkout is shorter than it was before"));
    }
    Ok(())
}
