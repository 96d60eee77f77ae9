//! A finished tar that can be read any number of times.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The size of one read, each on a thread that may block.
const READ_SIZE: usize = 1 << 20;

static MADE: AtomicU64 = AtomicU64::new(0);

/// A plain tar of a workspace in an unnamed file: it needs no cleanup, and disappears with its last reader.
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

    /// Returns the bytes of the whole tar.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Returns a number that distinguishes it from all other tars of this process. Two tars of one commit differ in
    /// their files' times and in git's packs.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Opens the tar at its start. The bytes are the same each time; the returned file can seek.
    ///
    /// # Errors
    /// If the process may not open more files.
    pub async fn open(&self) -> io::Result<tokio::fs::File> {
        // Opened again instead of duplicated: duplicates would share one position.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let mut file = tokio::fs::File::open(path).await?;
        file.set_max_buf_size(READ_SIZE);
        Ok(file)
    }
}
