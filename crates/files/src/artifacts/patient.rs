//! Writes that wait for space on a full disk, so that what is being received need not be sent again.

use std::{
    fs::File,
    io::{self, Write},
    time::{Duration, Instant},
};

use rustix::io::Errno;

/// The pause between two attempts to write.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Repeats `work` while the disk is full or too many files are open, for at most `patience`. Blocks.
pub(super) fn retry_while_full<T>(patience: Duration, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let since = Instant::now();
    let mut waits = false;
    loop {
        match work() {
            Err(error) if passes(&error) && since.elapsed() < patience => {
                if !std::mem::replace(&mut waits, true) {
                    tracing::error!(%error, "artifacts wait for room in the data folder");
                }
                std::thread::sleep(RETRY_PAUSE);
            }
            done => {
                if waits && done.is_ok() {
                    tracing::info!(waited_ms = since.elapsed().as_millis(), "artifacts can be written again");
                }
                return done;
            }
        }
    }
}

fn passes(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// A file whose writes wait for space.
#[derive(Debug)]
pub(super) struct PatientFile {
    pub(super) file: File,
    pub(super) patience: Duration,
}

impl Write for PatientFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        retry_while_full(self.patience, || self.file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
