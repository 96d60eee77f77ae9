//! Findings about pipeline files: what is wrong, where, and what to write instead.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// The severity of a finding. Errors stop the build, warnings do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Error,
    Warning,
}

/// A place in a file. Lines and columns count from 1. Columns and `length` are in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    pub line: u32,
    pub column: u32,
    pub length: u32,
}

/// One finding about a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The stable, documented code, such as `LS012`.
    pub code: String,
    pub severity: Severity,
    pub file: String,
    #[serde(flatten)]
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// The line of the file, so that it can be shown without the file.
    pub source: Option<String>,
}

impl Diagnostic {
    /// Formats the finding for a terminal: message, place, line with carets, help.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Span { line, column, length } = self.span;
        let _ = writeln!(out, "{word}[{}]: {}", self.code, self.message);
        let gutter = line.to_string().len();
        let _ = writeln!(out, "{:gutter$}--> {}:{line}:{column}", "", self.file);
        if let Some(source) = &self.source {
            let before: String = source
                .chars()
                .take(column.saturating_sub(1) as usize)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let carets = "^".repeat(length.max(1) as usize);
            let _ = writeln!(out, "{:gutter$} |", "");
            let _ = writeln!(out, "{line} | {source}");
            let _ = writeln!(out, "{:gutter$} | {before}{carets}", "");
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{:gutter$} = help: {help}", "");
        }
        out
    }
}
