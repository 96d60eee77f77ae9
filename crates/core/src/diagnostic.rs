//! What is wrong with a pipeline file, and where, and what to write instead.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// How bad it is. Errors stop the build, warnings do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Error,
    Warning,
}

/// A place in a file. Lines and columns count from 1, columns in characters; `length` is in characters too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    pub line: u32,
    pub column: u32,
    pub length: u32,
}

/// One finding about a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Stable, documented: `LS012`.
    pub code: String,
    pub severity: Severity,
    pub file: String,
    #[serde(flatten)]
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// The line itself, as in the file, so that it can be shown where the file is not at hand.
    pub source: Option<String>,
}

impl Diagnostic {
    /// As a person reads it in a terminal: message, place, line with a caret, help.
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
