//! The part of a build's page that says what its jobs reported. It is bounded whatever they did; the rest has pages of
//! its own.

use longshore_core::BuildId;
use longshore_reports::TestStatus;
use longshore_store::{
    annotations::{self, JobAnnotation},
    coverage::{self, BuildCoverage, FileCoverage},
    tests::{self, Counts, JobRun, TestResult},
};

use super::Row;
use crate::{error::ApiError, pages::site::Site, report_views::RemarkView};

/// Failures, slowest tests, flaky tests, changed files, annotations and remarks on the build's page.
const MAX_FAILURES: u32 = 6;
const MAX_SLOWEST: usize = 5;
const MAX_FLAKY: usize = 5;
const MAX_CHANGED: u32 = 5;
const MAX_ANNOTATIONS: u32 = 5;
const MAX_REMARKS: usize = 3;
/// Bytes that the outputs of all failures take, and of one.
const OUTPUTS_BYTES: usize = 4 << 10;
const MAX_OUTPUT_BYTES: usize = 1_500;

/// The reports of a build's jobs.
#[derive(Debug, Default)]
pub(crate) struct Section {
    pub(crate) counts: Counts,
    /// The number of the build that it is compared with.
    pub(crate) base: Option<u64>,
    pub(crate) failures: Vec<Row>,
    pub(crate) slowest: Vec<TestResult>,
    /// Flaky tests that did not fail here.
    pub(crate) flaky: Vec<TestResult>,
    pub(crate) several_jobs: bool,
    pub(crate) coverage: Option<BuildCoverage>,
    pub(crate) changed: Vec<FileCoverage>,
    pub(crate) annotations: Vec<JobAnnotation>,
    pub(crate) all_annotations: u64,
    pub(crate) remarks: Vec<RemarkView>,
    pub(crate) more_remarks: usize,
}

impl Section {
    pub(crate) async fn load(site: &Site, build: BuildId) -> Result<Self, ApiError> {
        let store = &site.store;
        let runs: Vec<JobRun> = tests::of_build(store, build).await?;
        if runs.is_empty() {
            return Ok(Self::default());
        }
        let mut bytes = OUTPUTS_BYTES;
        let failures = tests::list(store, &runs, Some(TestStatus::Failed), None, MAX_FAILURES).await?.items;
        let mut remarks: Vec<RemarkView> = runs.iter().flat_map(RemarkView::of).collect();
        let more_remarks = remarks.len().saturating_sub(MAX_REMARKS);
        remarks.truncate(MAX_REMARKS);
        Ok(Self {
            counts: tests::sum(&runs),
            base: runs.iter().filter_map(|run| run.base).max(),
            failures: failures.into_iter().map(|test| Row::new(test, MAX_OUTPUT_BYTES, &mut bytes)).collect(),
            slowest: tests::slowest(store, &runs, MAX_SLOWEST).await?,
            flaky: tests::flaky(store, &runs, MAX_FLAKY).await?,
            several_jobs: runs.len() > 1,
            coverage: coverage::of_build(store, &runs).await?,
            changed: coverage::changed(store, &runs, MAX_CHANGED).await?,
            annotations: annotations::list(store, &runs, None, MAX_ANNOTATIONS).await?.0,
            all_annotations: runs.iter().map(|run| run.annotations).sum(),
            remarks,
            more_remarks,
        })
    }

    /// Returns approximately how many bytes of the page it takes.
    pub(crate) fn bytes(&self) -> usize {
        let outputs: usize = self.failures.iter().filter_map(|row| row.output.as_ref()).map(String::len).sum();
        let rows = self.failures.len() + self.annotations.len() + self.slowest.len() + self.flaky.len();
        outputs + rows * 600 + (self.changed.len() + self.remarks.len()) * 250
    }
}
