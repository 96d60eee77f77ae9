//! The only list of what this version can plan but not run. The planner warns about it in the file, and the runner
//! refuses such jobs before they start, so that no job silently does less than its file says. A part that gets
//! supported is removed here and nowhere else.

use std::fmt;

use crate::JobPlan;

/// A part of a job that this version can plan but not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsupported {
    /// A key of the job.
    Key(&'static str),
    /// A key of its `checkout`.
    Checkout(&'static str),
}

/// Names the part as the file does.
impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Checkout(key) => write!(f, "checkout: {key}"),
        }
    }
}

impl JobPlan {
    /// Returns the parts of this job that this version cannot run.
    pub fn unsupported(&self) -> Vec<Unsupported> {
        let own = [(self.checkout.as_ref().is_some_and(|checkout| checkout.lfs), Unsupported::Checkout("lfs"))];
        own.into_iter().filter_map(|(asked, part)| asked.then_some(part)).collect()
    }
}
