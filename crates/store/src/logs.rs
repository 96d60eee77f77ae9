//! Logs of jobs: which attempt's file is meant, and whether it is over. The files themselves are `longshore_files`' matter.
//!
//! What couples files and database is one order: everything is appended before the job's end is committed, and followers are told
//! of the end after that commit. So whoever sees a final status can read the whole log, and whoever follows gets the whole log and
//! then the final status.

use longshore_core::JobId;
use longshore_files::logs::{Found, LogReader, Outline, Place, Search, Wanted, Window, pack::JobStanding};

use crate::{
    Store, StoreError,
    jobs::{self, Job},
};

/// Reads a job's log from a journal's offset to its end, waiting for what is still to come; ends when the job is over, or the next
/// attempt has begun, and everything was given. [`LogReader::log`] tells whose log it is. [`StoreError::NotFound`] without such a job.
pub async fn follow(store: &Store, job: JobId, from: u64) -> Result<LogReader, StoreError> {
    let job = jobs::get(store, job).await?.ok_or(StoreError::NotFound("job"))?;
    let (source, attempt) = job.log_of();
    if job.status.is_final() {
        return Ok(store.logs().read(source, attempt, from));
    }
    // First listen, then look again whether it is over: an end in between is seen one way or the other.
    let reader = store.logs().follow(source, attempt, from);
    match jobs::get(store, job.id).await? {
        Some(now) if now.status.is_final() => store.logs().end(source),
        Some(now) => store.logs().end_attempts_before(source, now.attempt),
        None => return Err(StoreError::NotFound("job")),
    }
    Ok(reader)
}

/// Reads what is there of a job's log now.
pub async fn read(store: &Store, job: JobId, from: u64) -> Result<LogReader, StoreError> {
    let job = jobs::get(store, job).await?.ok_or(StoreError::NotFound("job"))?;
    let (source, attempt) = job.log_of();
    Ok(store.logs().read(source, attempt, from))
}

/// Reads what is there of the log of one of a job's attempts. [`StoreError::NotFound`] where there was no such attempt.
pub async fn read_attempt(store: &Store, job: JobId, attempt: u32) -> Result<LogReader, StoreError> {
    let ((source, attempt), _) = attempt_of(store, job, Some(attempt)).await?;
    Ok(store.logs().read(source, attempt, 0))
}

/// A window of the log of one of a job's attempts, the newest where none is given.
pub async fn window(store: &Store, job: JobId, attempt: Option<u32>, wanted: Wanted) -> Result<Window, StoreError> {
    let ((source, attempt), over) = attempt_of(store, job, attempt).await?;
    Ok(store.logs().window(source, attempt, over, wanted).await?)
}

/// The outline of the same.
pub async fn outline(store: &Store, job: JobId, attempt: Option<u32>) -> Result<Outline, StoreError> {
    let ((source, attempt), over) = attempt_of(store, job, attempt).await?;
    Ok(store.logs().outline(source, attempt, over).await?)
}

/// The lines of the same that show a text.
pub async fn search(store: &Store, job: JobId, attempt: Option<u32>, search: Search) -> Result<Found, StoreError> {
    let ((source, attempt), over) = attempt_of(store, job, attempt).await?;
    Ok(store.logs().search(source, attempt, over, search).await?)
}

/// Where a reader goes on that has seen the first `n` lines of an attempt's log.
pub async fn place_of(store: &Store, job: JobId, attempt: u32, n: u64) -> Result<Place, StoreError> {
    let ((source, attempt), over) = attempt_of(store, job, Some(attempt)).await?;
    Ok(store.logs().place_of(source, attempt, over, n).await?)
}

/// How the job of a journal stands, for the task that packs journals.
pub async fn standing(store: &Store, job: JobId) -> Result<JobStanding, StoreError> {
    Ok(match jobs::get(store, job).await? {
        None => JobStanding::Unknown,
        Some(job) if job.status.is_final() => JobStanding::Over,
        Some(_) => JobStanding::Runs,
    })
}

/// Which file is the log of one of a job's attempts (the newest where none is given), and whether the attempt is over.
async fn attempt_of(store: &Store, job: JobId, attempt: Option<u32>) -> Result<((JobId, u32), bool), StoreError> {
    let job: Job = jobs::get(store, job).await?.ok_or(StoreError::NotFound("job"))?;
    let (source, current) = job.log_of();
    let attempt = attempt.unwrap_or(current);
    if attempt != current && job.attempts.iter().all(|over| over.attempt != attempt) {
        return Err(StoreError::NotFound("attempt"));
    }
    Ok(((source, attempt), attempt != current || job.status.is_final()))
}
