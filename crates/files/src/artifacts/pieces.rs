//! What is written by a blocking task and read by an asynchronous one, such as a zip that is made while it is sent.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Sends what is written to it, piece by piece. Blocks while nobody takes the pieces.
#[derive(Debug)]
pub struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
    patience: Option<Duration>,
}

impl Pieces {
    /// Bytes of a piece.
    pub const LENGTH: usize = 256 << 10;

    /// Blocks for as long as `patience` lasts, or without a limit if there is none.
    #[must_use]
    pub const fn new(sender: mpsc::Sender<io::Result<Bytes>>, patience: Option<Duration>) -> Self {
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
        let sent = match self.patience {
            None => self.sender.blocking_send(Ok(piece.into())),
            Some(patience) => Handle::current()
                .block_on(timeout(patience, self.sender.send(Ok(piece.into()))))
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "nobody takes what is sent"))?,
        };
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
