//! A pipeline as read: sound in itself, not yet tied to an event.

use std::collections::BTreeMap;

use longshore_core::{Span, expression::Expression};

use super::{filter::Patterns, template::Template};

/// One pipeline file that has no errors.
#[derive(Debug, Clone)]
pub struct Pipeline {
    pub(super) file: String,
    pub(super) name: String,
    /// Where the name stands, or the file's beginning.
    pub(super) name_at: At,
    pub(super) jobs_at: At,
    pub(super) on: Triggers,
    pub(super) env: BTreeMap<String, Template>,
    pub(super) jobs: Vec<Job>,
}

impl Pipeline {
    /// The file that it was read from.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Its `name`, or else the file's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its jobs as written, before the matrix.
    pub fn job_names(&self) -> impl Iterator<Item = &str> {
        self.jobs.iter().map(|job| job.name.as_str())
    }
}

/// A place that is kept for findings that need more than one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At {
    pub(super) span: Span,
    pub(super) source: Option<String>,
}

/// What starts a pipeline.
#[derive(Debug, Clone)]
pub(super) struct Triggers {
    pub(super) push: Option<Push>,
    pub(super) manual: bool,
}

/// Which pushes start a pipeline. Without any filter: all; with one of them: only that kind of ref.
#[derive(Debug, Clone, Default)]
pub(super) struct Push {
    pub(super) branches: Option<Patterns>,
    pub(super) tags: Option<Patterns>,
}

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) name: String,
    pub(super) image: Template,
    /// Names of jobs of the same pipeline.
    pub(super) needs: Vec<String>,
    pub(super) env: BTreeMap<String, Template>,
    pub(super) steps: Vec<Step>,
    pub(super) timeout_ms: u64,
    pub(super) checkout: bool,
    /// One job comes of each; a single empty one without a matrix.
    pub(super) combinations: Vec<Combination>,
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) name: Option<Template>,
    pub(super) run: Template,
    pub(super) env: BTreeMap<String, Template>,
    pub(super) working_directory: Option<Template>,
    pub(super) shell: Template,
    pub(super) condition: Option<Expression>,
    pub(super) continue_on_error: bool,
    pub(super) timeout_ms: Option<u64>,
}

/// The matrix's values for one job, in the order of its axes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Combination {
    pub(super) values: Vec<(String, String)>,
}

impl Combination {
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// ` (a, b)`, or nothing.
    pub(super) fn suffix(&self) -> String {
        if self.values.is_empty() {
            return String::new();
        }
        let values: Vec<&str> = self.values.iter().map(|(_, value)| value.as_str()).collect();
        format!(" ({})", values.join(", "))
    }
}
