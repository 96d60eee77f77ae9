//! What is wrong with a report, for people.

use crate::limits;

/// One sentence about a report file: what is missing in what was read of it, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The report's path; empty if the remark is about all of them.
    pub file: String,
    pub text: String,
}

/// The remarks about the reports of one job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remarks(Vec<Remark>);

impl Remarks {
    /// Adds a remark. Those beyond [`limits::REMARKS`] are dropped: they repeat what the others say.
    pub fn add(&mut self, file: &str, text: impl Into<String>) {
        if self.0.len() < limits::REMARKS {
            self.0.push(Remark { file: file.to_owned(), text: text.into() });
        }
    }

    #[must_use]
    pub fn into_vec(self) -> Vec<Remark> {
        self.0
    }

    #[must_use]
    pub fn as_slice(&self) -> &[Remark] {
        &self.0
    }
}
