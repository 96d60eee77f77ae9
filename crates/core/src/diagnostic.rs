//! Findings about pipeline files: what is wrong, where, and what to write instead.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::terminal::harmless;

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
    /// Formats the finding for a terminal: message, place, line with carets, help. All of these may quote the file, so
    /// nothing of them reaches the terminal as a command.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Span { line, column, length } = self.span;
        let _ = writeln!(out, "{word}[{}]: {}", harmless(&self.code), harmless(&self.message));
        let gutter = line.to_string().len();
        let _ = writeln!(out, "{:gutter$}--> {}:{line}:{column}", "", harmless(&self.file));
        if let Some(source) = &self.source {
            let before: String = source
                .chars()
                .take(column.saturating_sub(1) as usize)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let carets = "^".repeat(length.max(1) as usize);
            let _ = writeln!(out, "{:gutter$} |", "");
            let _ = writeln!(out, "{line} | {}", harmless(source));
            let _ = writeln!(out, "{:gutter$} | {before}{carets}", "");
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{:gutter$} = help: {}", "", harmless(help));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_what_the_file_has_and_sends_the_terminal_nothing() {
        let text = "k\x1b]0;pwned\x07\x1b[2J\u{9b}\u{202e}".to_owned();
        let finding = Diagnostic {
            code: "LS001".to_owned(),
            severity: Severity::Error,
            file: format!(".longshore/{text}.yml"),
            span: Span { line: 1, column: 2, length: 1 },
            message: format!("unknown key `{text}`"),
            help: Some(format!("remove `{text}`")),
            source: Some(format!("\t{text}: 1")),
        };
        let shown = finding.render();
        assert!(!shown.contains(|c: char| c.is_control() && !"\n\t".contains(c)), "{shown:?}");
        assert!(!shown.contains('\u{202e}') && shown.contains("1 | \tk\u{fffd}]0;pwned"), "{shown:?}");
        assert_eq!(shown.lines().count(), 6);
    }
}
