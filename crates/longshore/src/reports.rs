//! Reads what a job reported, when it ends: the files of its reports, and the commands in its log. Used by `runner`.
//!
//! Nothing here fails a job. It waits for long only while the disk is full, as the end of the job does. Reports that
//! cannot be read are named on the build, and errors of the store in the server's log.

use std::time::{Duration, Instant};

use longshore_core::{JobId, Timestamp, plan::ReportFormat, stranger};
use longshore_files::artifacts::Blobs;
use longshore_reports::{Annotations, Budget, CoverageReader, Remark, Remarks, Tests, limits};
use longshore_store::{
    Store, StoreError, builds, jobs,
    reports::{self, JobReports, ReportRun, Reporter},
    repos,
};

use crate::{attempt_files::ReportFile, checkouts::Sources, full_disk::retry_while_full};

/// How many times reading the reports of one attempt is begun. A job has to end, whatever its reports do to the server.
const MAX_READINGS: u32 = 3;
/// How long the reports of one attempt are waited for. Their own limits are much lower.
const READ_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Stores what an attempt that is over has reported. `None` if that is nothing, or if it cannot be stored.
pub(crate) async fn store(
    store: &Store,
    sources: &Sources,
    job: JobId,
    attempt: u32,
    files: Vec<ReportFile>,
) -> Option<ReportRun> {
    match try_store(store, sources, job, attempt, files).await {
        Ok(run) => run,
        Err(error) => {
            tracing::error!(%job, %error, "cannot store the job's reports");
            None
        }
    }
}

async fn try_store(
    store: &Store,
    sources: &Sources,
    job: JobId,
    attempt: u32,
    files: Vec<ReportFile>,
) -> Result<Option<ReportRun>, StoreError> {
    let marks = store.logs().outline(job, attempt, true).await?.marks;
    let commands: Vec<String> = marks.into_iter().filter_map(|mark| mark.command).collect();
    if files.is_empty() && commands.is_empty() {
        return Ok(None);
    }
    let blobs = store.blobs().clone();
    let waits_for = "its reports to be stored";
    let begin = || reports::begin_reading(store, job, attempt);
    let readings = retry_while_full(job, waits_for, Duration::MAX, begin).await?;
    let found =
        read_within(MAX_READINGS.checked_sub(readings), READ_TIMEOUT, move || read(&files, &commands, &blobs)).await;
    let found = found.unwrap_or_else(|why| {
        tracing::error!(%job, readings, why, "could not read the job's reports");
        JobReports { remarks: vec![Remark { file: String::new(), text: why.to_owned() }], ..JobReports::default() }
    });
    if found.is_empty() {
        return Ok(None);
    }
    let job = jobs::get(store, job).await?.ok_or(StoreError::NotFound("job"))?;
    let build = builds::get(store, job.build).await?.ok_or(StoreError::NotFound("build"))?;
    let repo = repos::get(store, job.repo).await?.ok_or(StoreError::NotFound("repository"))?;
    let reporter = Reporter {
        repo: repo.id,
        job: job.id,
        attempt,
        key: job.key,
        number: build.number,
        branch: build.event.branch().map(str::to_owned),
        pull_request: build.event.pull_request.as_ref().map(|pull_request| pull_request.number),
        default_branch: repo.default_branch.or_else(|| build.event.default_branch.clone()),
        tree: sources.tree_of(repo.id, &build.event.commit).await,
        trusted: !stranger::brings(&build.event),
        commit: build.event.commit,
    };
    let write = || reports::write(store, &reporter, &found, Timestamp::now());
    retry_while_full(reporter.job, waits_for, Duration::MAX, write).await.map(Some)
}

/// Reads, unless no tries are left. Returns why it did not.
async fn read_within(
    left: Option<u32>,
    longest: Duration,
    read: impl FnOnce() -> JobReports + Send + 'static,
) -> Result<JobReports, &'static str> {
    if left.is_none() {
        return Err("the server crashed each time it read the reports, so they are not read again; see its log");
    }
    match tokio::time::timeout(longest, tokio::task::spawn_blocking(read)).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(_)) => Err("reading the reports failed because of a bug in the server; see its log"),
        Err(_) => Err("reading the reports took too long because of a bug in the server, and was given up"),
    }
}

/// Reads the files one after the other, so that only one of them is in memory.
fn read(files: &[ReportFile], commands: &[String], blobs: &Blobs) -> JobReports {
    let (mut tests, mut coverage, mut annotations) =
        (Tests::default(), CoverageReader::default(), Annotations::default());
    let (mut remarks, mut budget, begun) = (Remarks::default(), Budget::default(), Instant::now());
    for file in files {
        let ReportFile { format, path, bytes, blob } = file;
        if let Err(why) = budget.take(*bytes, begun.elapsed()) {
            remarks.add(path, why);
            continue;
        }
        match (blobs.read(blob, limits::FILE_BYTES as u64), format) {
            (Ok(bytes), ReportFormat::Junit) => tests.read_junit(path, &bytes),
            (Ok(bytes), ReportFormat::Coverage) => coverage.read(path, &bytes),
            (Ok(bytes), ReportFormat::Sarif) => annotations.read_sarif(path, &bytes),
            (Err(error), _) => remarks.add(path, format!("it cannot be read: {error}")),
        }
    }
    for command in commands {
        annotations.read_line(command);
    }
    let (tests, annotations) = (tests.finish(), annotations.finish());
    let (coverage, of_coverage) = coverage.finish();
    for remark in tests.remarks.into_iter().chain(of_coverage).chain(annotations.remarks) {
        remarks.add(&remark.file, remark.text);
    }
    JobReports { tests: tests.tests, coverage, annotations: annotations.items, remarks: remarks.into_vec() }
}

#[cfg(test)]
mod tests {
    use longshore_core::BlobId;

    use super::*;

    #[tokio::test]
    async fn a_job_ends_whatever_reading_its_reports_does_to_the_server() {
        let never = || panic!("it is not read");
        let left = MAX_READINGS.checked_sub(MAX_READINGS + 1);
        assert!(read_within(left, READ_TIMEOUT, never).await.unwrap_err().contains("not read again"));
        let (last, defect) = (MAX_READINGS.checked_sub(MAX_READINGS), || panic!("a defect"));
        assert!(read_within(last, READ_TIMEOUT, defect).await.unwrap_err().contains("a bug in the server"));
        let (go, goes) = std::sync::mpsc::channel::<()>();
        let hangs = move || goes.recv().map_or_else(|_| JobReports::default(), |()| JobReports::default());
        let why = read_within(last, Duration::from_millis(20), hangs).await.unwrap_err();
        assert!(why.contains("took too long"), "{why}");
        drop(go);
        assert!(read_within(last, READ_TIMEOUT, JobReports::default).await.unwrap().is_empty());
    }

    #[test]
    fn the_reports_of_a_job_have_one_budget_whatever_their_formats() {
        let folder = tempfile::tempdir().unwrap();
        let file = |format, path: &str, bytes| {
            let blob = BlobId::new([1; 32]);
            ReportFile { format, path: path.to_owned(), bytes, blob }
        };
        let most = limits::FILE_BYTES as u64;
        let files = [
            file(ReportFormat::Junit, "junit.xml", most),
            file(ReportFormat::Sarif, "large.sarif", most + 1),
            file(ReportFormat::Coverage, "lcov.info", limits::JOB_BYTES - most),
            file(ReportFormat::Sarif, "a.sarif", 1),
        ];
        let found = read(&files, &[], &Blobs::new(folder.path(), false));
        let remark_on = |path: &str| {
            let remark = found.remarks.iter().find(|remark| remark.file == path);
            remark.map(|remark| remark.text.as_str()).unwrap_or_default()
        };
        assert!(remark_on("large.sarif").contains("the limit is 64 MiB"), "{:?}", found.remarks);
        assert!(remark_on("a.sarif").contains("exceed 128 MiB together"), "{:?}", found.remarks);
        assert!(remark_on("lcov.info").contains("cannot be read"), "{:?}", found.remarks);
    }
}
