//! A stream that a blocking task writes and an asynchronous one reads, such as a zip that is made while it is sent.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Sends what is written to it, piece by piece. Blocks while nobody takes the pieces, as long as its patience lasts.
#[derive(Debug)]
pub struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
    patience: Duration,
}

impl Pieces {
    /// Bytes of a piece.
    pub const LENGTH: usize = 256 << 10;

    #[must_use]
    pub const fn new(sender: mpsc::Sender<io::Result<Bytes>>, patience: Duration) -> Self {
        Self { sender, piece: Vec::new(), patience }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= Self::LENGTH {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() {
            return Ok(());
        }
        match Handle::current().block_on(timeout(self.patience, self.sender.send(Ok(piece.into())))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody takes what is sent")),
        }
    }
}
