//! The content of a check run: the summary of its context's jobs, and once they are over what they reported of lines of
//! files.

use std::collections::HashSet;

use longshore_core::{
    JobId,
    commit_status::{CommitState, job_context, pipeline_context},
};
use longshore_forge_client::{CheckAnnotation, CheckRun, Grade};
use longshore_notification::text::{code, one_line};
use longshore_reports::{Annotation, Level, TestStatus};
use longshore_store::{
    Store, StoreError, annotations, builds,
    commit_statuses::{Key, Shown, UnsentStatus},
    jobs,
    tests::{self, JobRun, TestResult},
};

use crate::failures::{self, MAX_NAME_CHARS};

/// The most annotations that are sent to GitHub, in ten calls. The build's page has all of them.
const MAX_ANNOTATIONS: usize = 500;
/// Annotations, or failed tests, that are read at once.
const ANNOTATIONS_PER_QUERY: u32 = 100;

/// Returns the check run of a context as it ought to be.
pub(crate) async fn read(
    store: &Store,
    url: &str,
    key: &Key,
    unsent: &UnsentStatus,
    details_url: &str,
) -> Result<CheckRun, StoreError> {
    // A check run of an earlier build stays as it is: its annotations cannot be taken away.
    let id = match &unsent.shown {
        Some(Shown::CheckRun { id, build }) if *build == unsent.build => Some(id.clone()),
        Some(Shown::CheckRun { .. } | Shown::Status) | None => None,
    };
    let mut check = CheckRun {
        may_be_there: false,
        id,
        commit: key.commit.clone(),
        name: key.context.clone(),
        state: unsent.state,
        title: if unsent.description.is_empty() { unsent.state.to_string() } else { unsent.description.clone() },
        summary: code(&unsent.description),
        details_url: details_url.to_owned(),
        external_id: unsent.build.map(|build| build.to_string()).unwrap_or_default(),
        annotations: Vec::new(),
    };
    let Some(id) = unsent.build else { return Ok(check) };
    let Some(build) = builds::get(store, id).await? else { return Ok(check) };
    let is_its = |job: &jobs::Job| {
        pipeline_context(&job.pipeline) == key.context || job_context(&job.pipeline, &job.name) == key.context
    };
    let jobs: Vec<jobs::Job> = jobs::of_build(store, id).await?.into_iter().filter(is_its).collect();
    check.summary = format!("**[Build {}]({url}/builds/{id})**: {}\n", build.number, code(&unsent.description));
    if matches!(unsent.state, CommitState::Pending | CommitState::Running) {
        return Ok(check);
    }
    failures::list(&mut check.summary, &failures::lines(url, &build, &jobs));
    let of_context: HashSet<JobId> = jobs.iter().map(|job| job.id).collect();
    let mut runs = tests::of_build(store, id).await?;
    runs.retain(|run| of_context.contains(&run.job));
    let failed = failed_tests(store, &runs).await?;
    say_tests(&mut check.summary, &runs, &failed);
    check.annotations = find_annotations(store, &runs).await?;
    check.annotations.extend(failed.iter().filter_map(of_test));
    if check.annotations.len() > MAX_ANNOTATIONS {
        check.annotations.truncate(MAX_ANNOTATIONS);
        check
            .summary
            .push_str(&format!("\n\nThe first {MAX_ANNOTATIONS} annotations are shown; the build's page has all.\n"));
    }
    Ok(check)
}

fn say_tests(summary: &mut String, runs: &[JobRun], failed: &[TestResult]) {
    let counts = tests::sum(runs);
    if counts.total() == 0 {
        return;
    }
    summary.push_str(&format!("\n\n{} of {} tests passed", counts.passed, counts.total()));
    for (count, word) in [(counts.failed, "failed"), (counts.skipped, "were skipped"), (counts.flaky, "are flaky")] {
        if count > 0 {
            summary.push_str(&format!(", {count} {word}"));
        }
    }
    summary.push('\n');
    let line = |test: &TestResult| {
        let new = if test.new { " (new)" } else { "" };
        format!("{}{new}", code(&one_line(&format!("{} {}", test.suite, test.name), MAX_NAME_CHARS)))
    };
    failures::list(summary, &failed.iter().map(line).collect::<Vec<_>>());
}

/// Returns the annotations that are about a file, up to one more than are sent.
async fn find_annotations(store: &Store, runs: &[JobRun]) -> Result<Vec<CheckAnnotation>, StoreError> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (items, next) = annotations::list(store, runs, after, ANNOTATIONS_PER_QUERY).await?;
        all.extend(items.into_iter().filter_map(|item| of_annotation(item.annotation)));
        if next.is_none() || all.len() > MAX_ANNOTATIONS {
            return Ok(all);
        }
        after = next;
    }
}

async fn failed_tests(store: &Store, runs: &[JobRun]) -> Result<Vec<TestResult>, StoreError> {
    Ok(tests::list(store, runs, Some(TestStatus::Failed), None, ANNOTATIONS_PER_QUERY).await?.items)
}

fn of_annotation(found: Annotation) -> Option<CheckAnnotation> {
    let grade = match found.level {
        Level::Error => Grade::Failure,
        Level::Warning => Grade::Warning,
        Level::Notice => Grade::Notice,
    };
    let line = found.line.unwrap_or(1).max(1);
    let title = match (found.title, found.tool, found.rule) {
        (None, Some(tool), Some(rule)) => Some(format!("{tool}: {rule}")),
        (None, tool, rule) => rule.or(tool),
        (title, _, _) => title,
    };
    Some(CheckAnnotation {
        grade,
        path: in_repository(found.file)?,
        line,
        end_line: found.end_line.unwrap_or(line),
        column: found.column,
        title,
        message: non_empty(found.message)?,
    })
}

fn of_test(test: &TestResult) -> Option<CheckAnnotation> {
    let line = test.line.unwrap_or(1).max(1);
    Some(CheckAnnotation {
        grade: Grade::Failure,
        path: in_repository(test.file.clone())?,
        line,
        end_line: line,
        column: None,
        title: Some(format!("{} {}", test.suite, test.name).trim().to_owned()),
        message: test.message.clone().and_then(non_empty).unwrap_or_else(|| "failed".to_owned()),
    })
}

/// Returns the path of a file that is in the repository.
fn in_repository(path: Option<String>) -> Option<String> {
    path.filter(|path| !path.is_empty() && !path.starts_with('/') && !path.split('/').any(|part| part == ".."))
}

fn non_empty(message: String) -> Option<String> {
    (!message.trim().is_empty()).then_some(message)
}
