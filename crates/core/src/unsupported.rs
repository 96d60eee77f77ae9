//! What this version can plan and cannot run: the one list of it. The planner warns of it in the file, the runner refuses such a
//! job before it starts, so that none silently does less than it says. Whoever builds one of these takes it out here, and
//! nowhere else.

use std::fmt;

use crate::{JobPlan, StepPlan};

/// A part of a job that this version plans and cannot run, by where it stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsupported {
    /// A key of the job.
    Key(&'static str),
    /// A key of its `checkout`.
    Checkout(&'static str),
    /// `image` of the step with this number, from 0.
    StepImage(usize),
}

/// In the file's words.
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
    /// What of it this version cannot run, if it has these steps.
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
