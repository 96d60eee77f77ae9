//! The only list of what this version can plan but not run. The planner warns about it in the file, and the runner
//! refuses such jobs before they start, so that no job silently does less than its file says. A part that gets
//! supported is removed here and nowhere else.

use std::fmt;

use crate::{JobPlan, StepPlan};

/// A part of a job that this version can plan but not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsupported {
    /// A key of the job.
    Key(&'static str),
    /// A key of its `checkout`.
    Checkout(&'static str),
    /// `image` of the step with this index, from 0.
    StepImage(usize),
}

/// Names the part as the file does.
impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Checkout(key) => write!(f, "checkout: {key}"),
            Self::StepImage(_) => f.write_str("image of a step"),
        }
    }
}

impl JobPlan {
    /// Returns the parts of this job, with these steps, that this version cannot run.
    pub fn unsupported<'s>(&self, steps: impl IntoIterator<Item = &'s StepPlan>) -> Vec<Unsupported> {
        let own = [
            (!self.services.is_empty(), Unsupported::Key("services")),
            (!self.cache.is_empty(), Unsupported::Key("cache")),
            (!self.artifacts.is_empty(), Unsupported::Key("artifacts")),
            (!self.reports.is_empty(), Unsupported::Key("reports")),
            (self.docker, Unsupported::Key("docker")),
            (self.checkout.as_ref().is_some_and(|checkout| checkout.lfs), Unsupported::Checkout("lfs")),
        ];
        let images = steps.into_iter().enumerate().map(|(at, step)| (step.image.is_some(), Unsupported::StepImage(at)));
        own.into_iter().chain(images).filter_map(|(asked, part)| asked.then_some(part)).collect()
    }
}
