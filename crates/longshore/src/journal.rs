//! The store's log writer as the executor's journal. A full disk or too many open files do not end a job: the journal
//! waits until it can write. Meanwhile nothing is acknowledged, and the agent keeps the records in its spool.
//!
//! Used by `runner`. Blocks while it waits, so it must be called on blocking threads only.

use std::{
    io,
    time::{Duration, Instant},
};

use longshore_core::{ErrorKind, JobId, Outcome, Record};
use longshore_executor::Journal;
use longshore_files::{FilesError, logs::LogWriter};
use longshore_store::Store;

/// The pause between two attempts to write.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The log of one attempt.
pub(crate) struct StoreJournal {
    writer: LogWriter,
    job: JobId,
    patience: Duration,
}

impl StoreJournal {
    /// Opens the attempt's log. `patience` limits the wait for a full disk, here and in every append.
    pub(crate) async fn open(store: &Store, job: JobId, attempt: u32, patience: Duration) -> Result<Self, Outcome> {
        let store = store.clone();
        let opened = tokio::task::spawn_blocking(move || {
            retry_while_full(job, patience, || store.logs().open_writer(job, attempt)).map(|writer| Self {
                writer,
                job,
                patience,
            })
        });
        let (kind, message) = match opened.await {
            Ok(Ok(journal)) => return Ok(journal),
            Ok(Err(error @ FilesError::DiskFull(_))) => (ErrorKind::DiskFull, error.to_string()),
            Ok(Err(error)) => (ErrorKind::Internal, error.to_string()),
            Err(error) => (ErrorKind::Internal, error.to_string()),
        };
        Err(Outcome::Error { kind, message: format!("cannot open the job's log: {message}") })
    }
}

impl Journal for StoreJournal {
    fn last_seq(&self) -> u64 {
        self.writer.last_seq()
    }

    fn bytes(&self) -> u64 {
        self.writer.len()
    }

    fn milestones(&self) -> Vec<Record<'static>> {
        self.writer.milestones().to_vec()
    }

    fn append(&mut self, records: &[Record<'_>]) -> io::Result<()> {
        let Self { writer, job, patience } = self;
        Ok(retry_while_full(*job, *patience, || writer.append(records))?)
    }
}

/// Retries `work` while the disk is full or too many files are open, for at most `patience`.
fn retry_while_full<T>(
    job: JobId,
    patience: Duration,
    mut work: impl FnMut() -> Result<T, FilesError>,
) -> Result<T, FilesError> {
    let since = Instant::now();
    let mut waits = false;
    loop {
        match work() {
            Err(error) if error.is_transient() && since.elapsed() < patience => {
                if !waits {
                    waits = true;
                    tracing::error!(%job, %error, "a job waits for disk space for its log");
                }
                std::thread::sleep(RETRY_PAUSE);
            }
            done => {
                if waits && done.is_ok() {
                    tracing::info!(%job, waited_ms = since.elapsed().as_millis(), "its log can be written again: the job goes on");
                }
                return done;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_cannot_be_opened_for_want_of_descriptors_is_waited_for() {
        let mut tries = 0;
        let done = retry_while_full(JobId::new(), Duration::from_secs(60), || {
            tries += 1;
            let source = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
            if tries < 2 { Err(FilesError::Io { path: "log".into(), source }) } else { Ok(tries) }
        });
        assert_eq!(done.unwrap(), 2);
    }
}
