//! Check runs that a connection shows at the forge: the state of a commit's context with a summary, and what was found
//! at which line. Only GitHub has them, for its Apps.

use longshore_core::commit_status::CommitState;

/// The state of a commit's context as a check run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRun {
    /// The forge's id of the check run to change.
    pub id: Option<String>,
    /// It may exist although its id is not known: it is searched for before another one is created.
    pub may_be_there: bool,
    pub commit: String,
    /// The context.
    pub name: String,
    pub state: CommitState,
    /// One line.
    pub title: String,
    /// Markdown.
    pub summary: String,
    /// The build's page; empty if there is no build.
    pub details_url: String,
    /// The build: it identifies the check run when the forge asks for a rerun.
    pub external_id: String,
    /// In the same order at every try: how many the forge has says which of them are missing.
    pub annotations: Vec<CheckAnnotation>,
}

/// A finding at a line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckAnnotation {
    pub grade: Grade,
    /// Relative to the repository's root.
    pub path: String,
    /// From 1.
    pub line: u32,
    pub end_line: u32,
    pub column: Option<u32>,
    pub title: Option<String>,
    pub message: String,
}

/// How serious it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    Notice,
    Warning,
    Failure,
}
