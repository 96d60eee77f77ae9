//! The store's log writer as the executor's journal. A full disk ends no job: what cannot be written is waited for, the agent
//! keeps it in its spool meanwhile, and nothing is acknowledged.
//!
//! Used by `runner`. Blocks while it waits: it is called on blocking threads only.

use std::{
    io,
    time::{Duration, Instant},
};

use longshore_core::{ErrorKind, JobId, Outcome, Record};
use longshore_executor::Journal;
use longshore_store::{Store, StoreError, logs::LogWriter};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// An attempt's log.
pub(crate) struct StoreJournal {
    writer: LogWriter,
    job: JobId,
    patience: Duration,
}

impl StoreJournal {
    /// Opens the attempt's log. `patience`: how long a full disk is waited for, now and at every append.
    pub(crate) async fn open(store: &Store, job: JobId, attempt: u32, patience: Duration) -> Result<Self, Outcome> {
        let store = store.clone();
        let opened = tokio::task::spawn_blocking(move || {
            while_full(job, patience, || store.logs().open_writer(job, attempt)).map(|writer| Self {
                writer,
                job,
                patience,
            })
        });
        let (kind, message) = match opened.await {
            Ok(Ok(journal)) => return Ok(journal),
            Ok(Err(error @ StoreError::DiskFull(_))) => (ErrorKind::DiskFull, error.to_string()),
            Ok(Err(error)) => (ErrorKind::Internal, error.to_string()),
            Err(error) => (ErrorKind::Internal, error.to_string()),
        };
        Err(Outcome::Error { kind, message: format!("the job's log cannot be opened: {message}") })
    }
}

impl Journal for StoreJournal {
    fn last_seq(&self) -> u64 {
        self.writer.last_seq()
    }

    fn milestones(&self) -> Vec<Record<'static>> {
        self.writer.milestones().to_vec()
    }

    fn append(&mut self, records: &[Record<'_>]) -> io::Result<()> {
        let Self { writer, job, patience } = self;
        Ok(while_full(*job, *patience, || writer.append(records))?)
    }
}

/// Tries until there is room, or patience ends.
fn while_full<T>(
    job: JobId,
    patience: Duration,
    mut work: impl FnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let since = Instant::now();
    let mut waits = false;
    loop {
        match work() {
            Err(error @ StoreError::DiskFull(_)) if since.elapsed() < patience => {
                if !waits {
                    waits = true;
                    tracing::error!(%job, %error, "a job waits for room for its log");
                }
                std::thread::sleep(PAUSE);
            }
            done => {
                if waits && done.is_ok() {
                    tracing::info!(%job, waited_ms = since.elapsed().as_millis(), "there is room again: the job goes on");
                }
                return done;
            }
        }
    }
}
