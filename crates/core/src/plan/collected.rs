//! The files that are collected after a job: its artifacts and the files of its reports.

use serde::{Deserialize, Serialize};

use super::JobPlan;
use crate::{artifact::ArtifactKind, template::Template};

/// Files that are kept after the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactPlan {
    pub name: Template,
    /// Globs, relative to the workspace.
    pub paths: Vec<Template>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_in_ms: Option<u64>,
    pub when: ArtifactWhen,
}

/// After which results of the job an artifact is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactWhen {
    #[default]
    Success,
    Failure,
    Always,
}

/// Reports that are read after the job, whatever its result: globs, relative to the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reports {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub junit: Vec<Template>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coverage: Vec<Template>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sarif: Vec<Template>,
}

impl Reports {
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.junit.is_empty() && self.coverage.is_empty() && self.sarif.is_empty()
    }

    /// Returns the globs of the reports of one format.
    #[must_use]
    pub fn globs(&self, format: ReportFormat) -> &[Template] {
        match format {
            ReportFormat::Junit => &self.junit,
            ReportFormat::Coverage => &self.coverage,
            ReportFormat::Sarif => &self.sarif,
        }
    }
}

/// A format of reports that the server reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportFormat {
    Junit,
    Coverage,
    Sarif,
}

impl ReportFormat {
    pub const ALL: [Self; 3] = [Self::Junit, Self::Coverage, Self::Sarif];

    /// Returns the key of `reports` in pipeline files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Junit => "junit",
            Self::Coverage => "coverage",
            Self::Sarif => "sarif",
        }
    }
}

impl std::str::FromStr for ReportFormat {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|format| format.as_str() == word);
        found.ok_or_else(|| format!("`{word}` is not a format of reports"))
    }
}

/// Files that are collected after a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected<'a> {
    pub kind: ArtifactKind,
    pub name: Template,
    pub paths: &'a [Template],
    pub when: ArtifactWhen,
    pub expire_in_ms: Option<u64>,
}

impl JobPlan {
    /// Returns everything that is collected after the job: its artifacts, then the files of its reports.
    #[must_use]
    pub fn collected(&self) -> Vec<Collected<'_>> {
        let artifacts = self.artifacts.iter().map(|artifact| Collected {
            kind: ArtifactKind::Files,
            name: artifact.name.clone(),
            paths: &artifact.paths,
            when: artifact.when,
            expire_in_ms: artifact.expire_in_ms,
        });
        let reports = ReportFormat::ALL.into_iter().map(|format| Collected {
            kind: ArtifactKind::Report(format),
            name: format.as_str().into(),
            paths: self.reports.globs(format),
            when: ArtifactWhen::Always,
            expire_in_ms: None,
        });
        artifacts.chain(reports.filter(|report| !report.paths.is_empty())).collect()
    }
}
