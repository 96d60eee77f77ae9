//! Log files: one journal of [`longshore_core::Record`]s per attempt, with one writer and many readers.
//!
//! The executor appends through a [`LogWriter`], the API reads through [`Logs::follow`] and [`Logs::read`] and renders
//! with a [`Renderer`]. Files never pass through the database. The order of operations connects the two: every record
//! is appended before the job's end is committed, and followers learn of the end after that commit. So a reader who
//! sees a final status can read the whole log, and a follower gets the whole log and then the final status.
//!
//! Paths: `<data>/logs/<yyyy-mm>/<dd>/<job>-<attempt>.log`, where the date is the job's creation (its id contains it).
//! Beside it the same name with `.index`, which finds lines by number ([`mod@window`], [`Logs::outline`]) and may be
//! deleted at any time. Some time after its job's end a large journal becomes `.zst` ([`pack`]); readers see no
//! difference.

pub mod ansi;
mod file;
mod index;
mod lines;
mod marks;
pub mod pack;
mod reader;
mod render;
mod resume;
mod survey;
mod window;
mod writer;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use longshore_core::JobId;
use tokio::sync::watch;
use uuid::Uuid;

use crate::FilesError;

pub use file::JournalFile;
pub use index::{Border, MAX_MARKS, Mark, StepOutcome};
pub use lines::{Line, LineCut, MAX_LINE, OpenLine, last_state, line_text};
pub use marks::MarkKind;
pub use reader::{Batch, LogReader};
pub use render::{LogEvent, LogEvents, Renderer, StepHead};
pub use survey::{Survey, survey};
pub use window::{Found, LineRange, Listed, LogLine, MAX_LINES, Outline, Place, Search, Window};
pub use writer::LogWriter;

/// The folder of log files, with their current writers and followers.
#[derive(Debug, Clone)]
pub struct Logs {
    root: Arc<PathBuf>,
    live: Arc<Mutex<Live>>,
}

/// The progress of the logs of unfinished jobs, by job and attempt.
type Live = HashMap<JobId, HashMap<u32, watch::Sender<Progress>>>;

/// How far a log has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes of whole records; `None` until a writer opens it.
    len: Option<u64>,
    /// Set when nothing more will be appended: the job is over or its next attempt has begun, and that is committed.
    ended: bool,
}

impl Logs {
    pub fn new(root: PathBuf) -> Self {
        Self { root: Arc::new(root), live: Arc::default() }
    }

    /// Reads an attempt's journal from an offset (0, [`Batch::end`], or one from [`Batch::records`]) to its current
    /// end.
    #[must_use]
    pub fn read(&self, job: JobId, attempt: u32, from: u64) -> LogReader {
        LogReader::new(self, (job, attempt), from, None)
    }

    /// Reads an attempt's journal from an offset and waits for more, until [`Logs::end`] or
    /// [`Logs::end_attempts_before`]. After this call, the caller has to check again whether the attempt is over.
    #[must_use]
    pub fn follow(&self, job: JobId, attempt: u32, from: u64) -> LogReader {
        LogReader::new(self, (job, attempt), from, Some(self.progress(job, attempt).subscribe()))
    }

    /// Opens an attempt's journal for its only writer, and creates it if necessary. Cuts off the half-written end that
    /// a killed writer left. Blocks: reads the existing records to find [`LogWriter::last_seq`].
    pub fn open_writer(&self, job: JobId, attempt: u32) -> Result<LogWriter, FilesError> {
        LogWriter::open(self.path(job, attempt), self.progress(job, attempt))
    }

    /// Returns the path of an attempt's journal, whether or not it exists.
    #[must_use]
    pub fn path(&self, job: JobId, attempt: u32) -> PathBuf {
        self.root.join(self.relative_path(job, attempt))
    }

    /// Returns the path relative to the folder of logs.
    pub fn relative_path(&self, job: JobId, attempt: u32) -> PathBuf {
        let text = job.to_string();
        let seconds = Uuid::try_parse(&text).ok().and_then(|id| id.get_timestamp()).map_or(0, |time| time.to_unix().0);
        let day = i64::try_from(seconds)
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .map_or_else(|| "undated".to_owned(), |time| time.strftime("%Y-%m/%d").to_string());
        Path::new(&day).join(format!("{text}-{attempt}.log"))
    }

    /// Returns the current bytes of an attempt's journal; 0 if there is none.
    pub fn len(&self, job: JobId, attempt: u32) -> u64 {
        let file = JournalFile::open(&self.path(job, attempt)).ok().flatten();
        file.and_then(|file| file.len().ok()).unwrap_or_default()
    }

    /// Ends the job's followers once they have read everything. Call this when the job's end is committed.
    pub fn end(&self, job: JobId) {
        self.end_attempts_before(job, u32::MAX);
    }

    /// Like [`Logs::end`], for the attempts before `attempt`, which has begun.
    pub fn end_attempts_before(&self, job: JobId, attempt: u32) {
        let mut live = self.lock();
        let Some(attempts) = live.get_mut(&job) else { return };
        for (_, sender) in attempts.extract_if(|known, _| *known < attempt) {
            sender.send_modify(|progress| progress.ended = true);
        }
        if attempts.is_empty() {
            live.remove(&job);
        }
    }

    /// Removes journals that nothing refers to any more. Logs those that cannot be removed.
    pub async fn remove(&self, paths: Vec<PathBuf>) {
        let removed = tokio::task::spawn_blocking(move || {
            // The packed file last: see `pack`.
            let all = paths.into_iter().flat_map(|path| {
                let (index, packed) = (index::index_path(&path), file::packed_path(&path));
                [index, path, packed]
            });
            for path in all {
                match std::fs::remove_file(&path) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => tracing::warn!(path = %path.display(), %error, "cannot remove a log"),
                }
            }
        });
        // Only after a panic, or at the runtime's end.
        if let Err(error) = removed.await {
            tracing::warn!(%error, "cannot remove logs");
        }
    }

    fn progress(&self, job: JobId, attempt: u32) -> watch::Sender<Progress> {
        let mut live = self.lock();
        let sender = live.entry(job).or_default().entry(attempt);
        sender.or_insert_with(|| watch::Sender::new(Progress { len: None, ended: false })).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
