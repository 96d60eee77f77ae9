//! Loads what a build's jobs reported, for the API and the pages.

use longshore_core::BuildId;
use longshore_store::{
    Store,
    builds::Build,
    repos::Repo,
    tests::{self, JobRun, Test},
};

use crate::{auth::Caller, error::ApiError, lookup::find_build};

/// A build with its repository and the reports of its jobs.
pub(crate) struct BuildReports {
    pub(crate) build: Build,
    pub(crate) repo: Repo,
    pub(crate) runs: Vec<JobRun>,
}

/// Returns the reports of a build that the caller may see.
pub(crate) async fn find_build_reports(store: &Store, caller: &Caller, id: BuildId) -> Result<BuildReports, ApiError> {
    let (build, repo) = find_build(store, caller, id).await?;
    let runs = tests::of_build(store, id).await?;
    Ok(BuildReports { build, repo, runs })
}

/// Returns a test of a repository that the caller may see.
pub(crate) async fn find_test(store: &Store, caller: &Caller, id: i64) -> Result<(Test, Repo), ApiError> {
    let test = tests::get(store, id).await?.ok_or_else(|| ApiError::not_found("test"))?;
    let repo = caller.repo(store, test.repo).await.map_err(|error| error.with_noun("test"))?;
    Ok((test, repo))
}

/// Parses `before` of a list whose cursors are not numbers.
pub(crate) fn parse_cursor<T: std::str::FromStr>(text: Option<&str>) -> Result<Option<T>, ApiError> {
    let parse =
        |text: &str| text.parse().map_err(|_| ApiError::bad_request("`before` is what the last page gave as `next`"));
    text.map(parse).transpose()
}

/// A position in the list of annotations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnnotationCursor(pub(crate) (i64, i64));

impl std::str::FromStr for AnnotationCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (run, position) = text.split_once('-').ok_or(())?;
        Ok(Self((run.parse().map_err(drop)?, position.parse().map_err(drop)?)))
    }
}

impl std::fmt::Display for AnnotationCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0.0, self.0.1)
    }
}
