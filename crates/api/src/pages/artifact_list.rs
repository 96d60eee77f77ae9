//! The artifacts on the pages of builds and jobs.

use longshore_core::ArtifactId;
use longshore_store::artifacts::Artifact;

use super::artifact::encoded;

/// Artifacts that a page lists.
const MAX_LISTED: usize = 20;

/// An artifact of the list.
#[derive(Debug)]
pub(super) struct ArtifactRow {
    pub(super) id: ArtifactId,
    pub(super) name: String,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// The page to open, as a part of an address.
    pub(super) page: Option<String>,
    /// On the page of a build.
    pub(super) job_name: Option<String>,
}

/// Returns the first artifacts as rows, and how many more there are.
pub(super) fn rows(
    artifacts: Vec<Artifact>,
    job_name: impl Fn(&Artifact) -> Option<String>,
) -> (Vec<ArtifactRow>, usize) {
    let more = artifacts.len().saturating_sub(MAX_LISTED);
    let row = |artifact: Artifact| ArtifactRow {
        job_name: job_name(&artifact),
        id: artifact.id,
        name: artifact.name,
        files: artifact.files,
        bytes: artifact.bytes,
        page: artifact.page.as_deref().map(encoded),
    };
    (artifacts.into_iter().take(MAX_LISTED).map(row).collect(), more)
}
