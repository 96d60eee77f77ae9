//! Remarks about what is wrong with a report, for people.

use crate::{limits, text};

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
    /// Adds a remark. Remarks beyond [`limits::REMARKS`] are dropped: they repeat what the others say. A parser's error
    /// quotes what it has read, which may be the whole file, so texts are cut.
    pub fn add(&mut self, file: &str, text: impl Into<String>) {
        if self.0.len() < limits::REMARKS {
            let cut = |text: &str, bytes| text::clean(&text::cut(text, bytes)).into_owned();
            let (file, text) = (cut(file, limits::NAME_BYTES), cut(&text.into(), limits::MESSAGE_BYTES));
            self.0.push(Remark { file, text });
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
