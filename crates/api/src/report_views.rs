//! The JSON shapes of what jobs reported: tests, coverage, annotations.

use longshore_core::{BuildId, JobId, Timestamp};
use longshore_reports::{Share, TestStatus};
use longshore_store::{
    annotations::JobAnnotation,
    coverage::{BuildCoverage, FileCoverage},
    tests::{self, JobRun, PastResult, Test, TestPage, TestResult},
};
use serde::Serialize;
use utoipa::ToSchema;

/// A build's tests: how many ended how, and a page of them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestsView {
    total: u64,
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Those that passed and failed on the same files in the last month.
    flaky: u64,
    /// Those that failed and do not fail in the branch before.
    new_failures: u64,
    /// The number of the build that it is compared with.
    compared_with: Option<u64>,
    /// What is missing in the reports, and why.
    remarks: Vec<RemarkView>,
    /// Failures first.
    items: Vec<TestView>,
    /// Pass this as `before` to get the next page; `null` on the last page.
    next: Option<String>,
}

impl TestsView {
    pub(crate) fn new(runs: &[JobRun], page: TestPage) -> Self {
        let counts = tests::sum(runs);
        Self {
            total: counts.total(),
            passed: counts.passed,
            failed: counts.failed,
            skipped: counts.skipped,
            flaky: counts.flaky,
            new_failures: counts.new_failures,
            compared_with: runs.iter().filter_map(|run| run.base).max(),
            remarks: runs.iter().flat_map(RemarkView::of).collect(),
            items: page.items.into_iter().map(TestView::from).collect(),
            next: page.next.map(|next| next.to_string()),
        }
    }
}

/// What is missing in a job's reports, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RemarkView {
    pub(crate) job_name: String,
    /// The report's path; empty if it is about all of them.
    pub(crate) file: String,
    pub(crate) message: String,
}

impl RemarkView {
    pub(crate) fn of(run: &JobRun) -> impl Iterator<Item = Self> + '_ {
        run.remarks.iter().map(|remark| Self {
            job_name: run.job_name.clone(),
            file: remark.file.clone(),
            message: remark.text.clone(),
        })
    }
}

/// A test in one job of a build.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestView {
    /// The test in all builds: `/api/v1/tests/{id}/history`.
    id: String,
    #[schema(value_type = String, format = "uuid")]
    job: JobId,
    job_name: String,
    suite: String,
    name: String,
    /// `passed`, `failed` or `skipped`
    status: &'static str,
    duration_ms: Option<u64>,
    message: Option<String>,
    /// A failure's details and what the test printed, its beginning and its end.
    output: Option<String>,
    file: Option<String>,
    line: Option<u32>,
    /// The number of the build since which it fails.
    first_failed: Option<u64>,
    /// Whether the branch before does not have the failure.
    new: bool,
    flaky: bool,
}

impl From<TestResult> for TestView {
    fn from(test: TestResult) -> Self {
        Self {
            id: test.test.to_string(),
            job: test.job,
            job_name: test.job_name,
            suite: test.suite,
            name: test.name,
            status: test.status.as_str(),
            duration_ms: test.duration_ms,
            message: test.message,
            output: test.output,
            file: test.file,
            line: test.line,
            first_failed: test.first_failed,
            new: test.new,
            flaky: test.flaky,
        }
    }
}

/// A test and its results, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestHistoryView {
    id: String,
    /// The key of its job.
    job: String,
    suite: String,
    name: String,
    flaky: bool,
    /// The number of the build in which it last had both results on the same files.
    flaky_build: Option<u64>,
    items: Vec<PastView>,
    next: Option<String>,
}

impl TestHistoryView {
    pub(crate) fn new(test: Test, page: longshore_store::Page<PastResult>) -> Self {
        Self {
            id: test.id.to_string(),
            flaky: test.is_flaky(Timestamp::now()),
            job: test.job_key,
            suite: test.suite,
            name: test.name,
            flaky_build: test.flaky_build,
            items: page.items.into_iter().map(PastView::from).collect(),
            next: page.next.map(|next| next.to_string()),
        }
    }
}

/// The result of a test in one build.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PastView {
    #[schema(value_type = String, format = "uuid")]
    build: BuildId,
    number: u64,
    branch: Option<String>,
    pull_request: Option<u64>,
    commit: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `passed`, `failed` or `skipped`; `null` if the build did not run it
    status: Option<&'static str>,
    duration_ms: Option<u64>,
    message: Option<String>,
}

impl From<PastResult> for PastView {
    fn from(past: PastResult) -> Self {
        Self {
            build: past.build,
            number: past.number,
            branch: past.branch,
            pull_request: past.pull_request,
            commit: past.commit,
            at: past.at,
            status: past.status.map(TestStatus::as_str),
            duration_ms: past.duration_ms,
            message: past.message,
        }
    }
}

/// How much of something is covered.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct ShareView {
    covered: u64,
    total: u64,
    /// `null` of nothing
    percent: Option<f64>,
}

impl From<Share> for ShareView {
    fn from(share: Share) -> Self {
        let percent = share.basis_points().map(|points| points as f64 / 100.0);
        Self { covered: share.covered, total: share.total, percent }
    }
}

/// A build's coverage, and a page of its files by their paths.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CoverageView {
    lines: ShareView,
    branches: ShareView,
    /// Percent of lines more or less than in the branch before.
    change: Option<f64>,
    /// The number of the build that it is compared with.
    compared_with: Option<u64>,
    items: Vec<CoveredFileView>,
    next: Option<String>,
}

impl CoverageView {
    pub(crate) fn new(coverage: &BuildCoverage, files: Vec<FileCoverage>, next: Option<String>) -> Self {
        Self {
            lines: coverage.lines.into(),
            branches: coverage.branches.into(),
            change: coverage.change().map(percent),
            compared_with: coverage.base.map(|base| base.number),
            items: files.into_iter().map(CoveredFileView::from).collect(),
            next,
        }
    }
}

fn percent(points: i64) -> f64 {
    points as f64 / 100.0
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CoveredFileView {
    path: String,
    lines: ShareView,
    branches: ShareView,
    /// The lines that nothing ran: `3-7, 12`.
    missed: String,
    /// Percent more or less than in the branch before; `null` for a file that it does not have
    change: Option<f64>,
}

impl From<FileCoverage> for CoveredFileView {
    fn from(found: FileCoverage) -> Self {
        Self {
            lines: found.file.lines.into(),
            branches: found.file.branches.into(),
            path: found.file.path,
            missed: found.file.missed,
            change: found.change.map(percent),
        }
    }
}

/// What a tool said about a place in the source code.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AnnotationView {
    #[schema(value_type = String, format = "uuid")]
    job: JobId,
    job_name: String,
    /// `error`, `warning` or `notice`
    level: &'static str,
    file: Option<String>,
    line: Option<u32>,
    end_line: Option<u32>,
    column: Option<u32>,
    title: Option<String>,
    message: String,
    tool: Option<String>,
    rule: Option<String>,
}

impl From<JobAnnotation> for AnnotationView {
    fn from(found: JobAnnotation) -> Self {
        let one = found.annotation;
        Self {
            job: found.job,
            job_name: found.job_name,
            level: one.level.as_str(),
            file: one.file,
            line: one.line,
            end_line: one.end_line,
            column: one.column,
            title: one.title,
            message: one.message,
            tool: one.tool,
            rule: one.rule,
        }
    }
}
