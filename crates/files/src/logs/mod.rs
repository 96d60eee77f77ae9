//! Log files: one an attempt, a journal of [`longshore_core::Record`]s, written by one, read by many.
//!
//! The executor appends through a [`LogWriter`], the API reads through [`follow`] and [`read`] and renders with a
//! [`Renderer`]. Files never pass through the database; what couples the two is one order: everything is appended before
//! the job's end is committed, and followers are told of the end after that commit. So whoever sees a final status can
//! read the whole log, and whoever follows gets the whole log and then the final status.
//!
//! Places: `<data>/logs/<yyyy-mm>/<dd>/<job>-<attempt>.log`, the date being the job's creation (its id carries it); beside it
//! the same with `.index`, from which lines are found by their numbers ([`mod@window`], [`outline`]) and which anybody may delete.
//! Some time after its job's end a large one becomes `.zst` ([`pack`]); who reads does not see the difference.

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
pub use index::{Border, MAX_MARKS, Mark, StepWord};
pub use lines::{Line, LineCut, MAX_LINE, OpenLine, last_state, line_text};
pub use marks::MarkKind;
pub use reader::{Batch, LogReader};
pub use render::{LogEvent, LogEvents, Renderer, StepHead};
pub use survey::{Survey, survey};
pub use window::{Found, Listed, LogLine, MAX_LINES, Outline, Place, Search, Wanted, Window};
pub use writer::LogWriter;

/// The folder of log files, and who is writing and following them now.
#[derive(Debug, Clone)]
pub struct Logs {
    root: Arc<PathBuf>,
    live: Arc<Mutex<Live>>,
}

/// Per job that is not over, per attempt: how far its log is.
type Live = HashMap<JobId, HashMap<u32, watch::Sender<Progress>>>;

/// How far a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes of whole records; nothing while no writer has opened it.
    len: Option<u64>,
    /// Nothing more will come: the job is over, or its next attempt has begun, and that is committed.
    ended: bool,
}

impl Logs {
    pub fn new(root: PathBuf) -> Self {
        Self { root: Arc::new(root), live: Arc::default() }
    }

    /// Reads an attempt's journal from an offset (0, or what [`Batch::end`] and [`Batch::records`] gave) to the end of what is there.
    #[must_use]
    pub fn read(&self, job: JobId, attempt: u32, from: u64) -> LogReader {
        LogReader::new(self, (job, attempt), from, None)
    }

    /// Reads an attempt's journal from an offset on and waits for what is still to come, until [`Logs::end`] or
    /// [`Logs::end_attempts_before`] says that nothing will. The caller asks once more, after this call, whether the attempt is over.
    #[must_use]
    pub fn follow(&self, job: JobId, attempt: u32, from: u64) -> LogReader {
        LogReader::new(self, (job, attempt), from, Some(self.progress(job, attempt).subscribe()))
    }

    /// Opens an attempt's journal for its one writer, making it where it is not there; what a killed writer left half
    /// written at its end is cut off. Blocks: reads what is there to find [`LogWriter::last_seq`].
    pub fn open_writer(&self, job: JobId, attempt: u32) -> Result<LogWriter, FilesError> {
        LogWriter::open(self.path(job, attempt), self.progress(job, attempt))
    }

    /// Where an attempt's journal is, or would be.
    #[must_use]
    pub fn path(&self, job: JobId, attempt: u32) -> PathBuf {
        self.root.join(self.relative_path(job, attempt))
    }

    /// The same, from the folder of logs on.
    pub fn relative_path(&self, job: JobId, attempt: u32) -> PathBuf {
        let text = job.to_string();
        let seconds = Uuid::try_parse(&text).ok().and_then(|id| id.get_timestamp()).map_or(0, |time| time.to_unix().0);
        let day = i64::try_from(seconds)
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .map_or_else(|| "undated".to_owned(), |time| time.strftime("%Y-%m/%d").to_string());
        Path::new(&day).join(format!("{text}-{attempt}.log"))
    }

    /// Bytes of an attempt's journal now; 0 without one.
    pub fn len(&self, job: JobId, attempt: u32) -> u64 {
        let file = JournalFile::open(&self.path(job, attempt)).ok().flatten();
        file.and_then(|file| file.len().ok()).unwrap_or_default()
    }

    /// The job is over and that is committed: its followers read to the end, then end.
    pub fn end(&self, job: JobId) {
        self.end_attempts_before(job, u32::MAX);
    }

    /// The same of the job's attempts before this one, which has begun.
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

    /// Removes journals that nothing refers to any more. What cannot be removed is left, and said.
    pub async fn remove(&self, paths: Vec<PathBuf>) {
        let removed = tokio::task::spawn_blocking(move || {
            // The packed one last: see `pack`.
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
        // Only a panic or the runtime's end gets here.
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
