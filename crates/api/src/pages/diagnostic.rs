//! Shows an error or warning of a pipeline file with its line. The place is marked within the line, so that both can
//! wrap together.

use longshore_core::{Diagnostic, Severity, Span};

/// How many characters of a line are shown before the place, and of the place and behind it.
const CHARS_BEFORE: usize = 80;
const CHARS_FROM_PLACE: usize = 160;

#[derive(Debug)]
pub(super) struct DiagnosticView {
    pub(super) severity: Severity,
    pub(super) code: String,
    pub(super) message: String,
    /// File, line and column.
    pub(super) place: String,
    pub(super) excerpt: Option<Excerpt>,
    pub(super) help: Option<String>,
}

/// A line of the file.
#[derive(Debug)]
pub(super) struct Excerpt {
    pub(super) line: u32,
    pub(super) before: String,
    /// The marked place.
    pub(super) here: String,
    pub(super) after: String,
}

impl From<&Diagnostic> for DiagnosticView {
    fn from(diagnostic: &Diagnostic) -> Self {
        let Diagnostic { code, severity, file, span, message, help, source } = diagnostic;
        Self {
            severity: *severity,
            code: code.clone(),
            message: message.clone(),
            place: format!("{file}:{}:{}", span.line, span.column),
            excerpt: source.as_deref().map(|source| excerpt(source, *span)),
            help: help.clone(),
        }
    }
}

impl DiagnosticView {
    pub(super) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

fn excerpt(source: &str, span: Span) -> Excerpt {
    let (at, length) = (span.column.saturating_sub(1) as usize, span.length.max(1) as usize);
    let from = at.saturating_sub(CHARS_BEFORE);
    let part = |from: usize, length: usize| source.chars().skip(from).take(length).collect::<String>();
    let left_out = |is: bool| if is { "…" } else { "" };
    let here = length.min(CHARS_FROM_PLACE);
    let after = at + here;
    Excerpt {
        line: span.line,
        before: format!("{}{}", left_out(from > 0), part(from, at - from)),
        // A place past the line's end is shown as a space.
        here: Some(part(at, here)).filter(|here| !here.is_empty()).unwrap_or_else(|| " ".to_owned()),
        after: format!(
            "{}{}",
            part(after, CHARS_FROM_PLACE),
            left_out(source.chars().nth(after + CHARS_FROM_PLACE).is_some())
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(source: &str, column: u32, length: u32) -> [String; 3] {
        let Excerpt { before, here, after, .. } = excerpt(source, Span { line: 1, column, length });
        [before, here, after]
    }

    #[test]
    fn the_place_is_marked_in_lines_of_any_length() {
        assert_eq!(parts("  imagee: x", 3, 6), ["  ", "imagee", ": x"]);
        assert_eq!(parts("", 9, 1), ["", " ", ""]);
        let long = format!("{}here{}", "é".repeat(500), "z".repeat(500));
        let [before, here, after] = parts(&long, 501, 4);
        assert_eq!(here, "here");
        assert!(before.starts_with("…é") && before.ends_with('é') && before.chars().count() < 100, "{before}");
        assert!(after.ends_with("z…") && after.chars().count() < 200, "{after}");
        assert!(parts(&long, 1, 1004)[1].chars().count() < 200);
    }
}
