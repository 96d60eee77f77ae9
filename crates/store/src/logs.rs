//! The logs of jobs: which attempt's file is meant, and whether that attempt is over. `longshore_files` reads and
//! writes the files.
//!
//! One order couples files and database: everything is appended before the job's end is committed, and followers learn
//! of the end after that commit. So a reader who sees a final status can read the whole log, and a follower gets the
//! whole log and then the final status.

use longshore_core::JobId;
use longshore_files::logs::{Found, LineRange, LogReader, Outline, Place, Search, Window, pack::JobStanding};

use crate::{
    Store, StoreError,
    jobs::{self, Job},
};

/// Reads a job's log from an offset in its journal to its end, and waits for what is still to come. Ends once
/// everything was returned and the job is over or its next attempt has begun. [`LogReader::log`] says whose log it is.
/// [`StoreError::NotFound`] if there is no such job.
pub async fn follow(store: &Store, job: JobId, from: u64) -> Result<LogReader, StoreError> {
    let job = jobs::get(store, job).await?.ok_or(StoreError::NotFound("job"))?;
    let (source, attempt) = job.log_of();
    if job.status.is_final() {
        return Ok(store.logs().read(source, attempt, from));
    }
    // Subscribes first and then asks again whether the job is over, so that an end in between is not missed.
    let reader = store.logs().follow(source, attempt, from);
    match jobs::get(store, job.id).await? {
        Some(now) if now.status.is_final() => store.logs().end(source),
        Some(now) => store.logs().end_attempts_before(source, now.attempt),
        None => return Err(StoreError::NotFound("job")),
    }
    Ok(reader)
}

/// Reads a job's log as far as it is written now.
pub async fn read(store: &Store, job: JobId, from: u64) -> Result<LogReader, StoreError> {
    let job = jobs::get(store, job).await?.ok_or(StoreError::NotFound("job"))?;
    let (source, attempt) = job.log_of();
    Ok(store.logs().read(source, attempt, from))
}

/// Like [`read`], for one attempt. [`StoreError::NotFound`] if there was no such attempt.
pub async fn read_attempt(store: &Store, job: JobId, attempt: u32) -> Result<LogReader, StoreError> {
    let log = find_attempt(store, job, Some(attempt)).await?;
    Ok(store.logs().read(log.job, log.attempt, 0))
}

/// Returns a window of the log of an attempt; without `attempt`, of the newest.
pub async fn window(store: &Store, job: JobId, attempt: Option<u32>, range: LineRange) -> Result<Window, StoreError> {
    let log = find_attempt(store, job, attempt).await?;
    Ok(store.logs().window(log.job, log.attempt, log.is_over, range).await?)
}

/// Like [`window`], for the outline of the log.
pub async fn outline(store: &Store, job: JobId, attempt: Option<u32>) -> Result<Outline, StoreError> {
    let log = find_attempt(store, job, attempt).await?;
    Ok(store.logs().outline(log.job, log.attempt, log.is_over).await?)
}

/// Like [`window`], for the lines that contain a text.
pub async fn search(store: &Store, job: JobId, attempt: Option<u32>, search: Search) -> Result<Found, StoreError> {
    let log = find_attempt(store, job, attempt).await?;
    Ok(store.logs().search(log.job, log.attempt, log.is_over, search).await?)
}

/// Returns where a reader continues who has seen the first `n` lines of an attempt's log.
pub async fn place_of(store: &Store, job: JobId, attempt: u32, n: u64) -> Result<Place, StoreError> {
    let log = find_attempt(store, job, Some(attempt)).await?;
    Ok(store.logs().place_of(log.job, log.attempt, log.is_over, n).await?)
}

/// Returns whether the job of a journal is over, for the task that packs journals.
pub async fn standing(store: &Store, job: JobId) -> Result<JobStanding, StoreError> {
    Ok(match jobs::get(store, job).await? {
        None => JobStanding::Unknown,
        Some(job) if job.status.is_final() => JobStanding::Over,
        Some(_) => JobStanding::Runs,
    })
}

/// The file with the log of an attempt.
struct LogFile {
    /// The job whose attempt wrote it: an earlier one, if its success was carried over.
    job: JobId,
    attempt: u32,
    /// Whether the attempt is over, so that the file does not grow any more.
    is_over: bool,
}

/// Returns the log of an attempt; without `attempt`, of the newest.
async fn find_attempt(store: &Store, job: JobId, attempt: Option<u32>) -> Result<LogFile, StoreError> {
    let job: Job = jobs::get(store, job).await?.ok_or(StoreError::NotFound("job"))?;
    let (source, current) = job.log_of();
    let attempt = attempt.unwrap_or(current);
    if attempt != current && job.attempts.iter().all(|over| over.attempt != attempt) {
        return Err(StoreError::NotFound("attempt"));
    }
    Ok(LogFile { job: source, attempt, is_over: attempt != current || job.status.is_final() })
}
