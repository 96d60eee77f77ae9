//! A finished tar that can be read as often as one likes.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Reads from the file go to it in pieces of this size at most, each in a thread that may block.
const READ_SIZE: usize = 1 << 20;

static MADE: AtomicU64 = AtomicU64::new(0);

/// A plain tar of a workspace in a file without a name: it takes no cleaning, and is gone with its last reader.
#[derive(Debug, Clone)]
pub struct TarSource {
    file: Arc<File>,
    length: u64,
    number: u64,
}

impl TarSource {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        Ok(Self { length: file.metadata()?.len(), file: Arc::new(file), number })
    }

    /// Bytes of the whole tar.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Tells it from every other tar of this process. Two of one commit differ: in their files' times, and in git's packs.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Opens it at its start. The bytes are the same each time; an opened one can also be sought in.
    ///
    /// # Errors
    /// When the process may open no more files.
    pub async fn open(&self) -> io::Result<tokio::fs::File> {
        // Opened anew rather than duplicated: duplicates would share one position.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let mut file = tokio::fs::File::open(path).await?;
        file.set_max_buf_size(READ_SIZE);
        Ok(file)
    }
}
