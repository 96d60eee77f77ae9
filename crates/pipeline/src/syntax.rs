//! Explains the YAML parser's errors in the words of somebody who writes pipelines.

use serde_yaml::granit_parser::{ErrorKind, ScanError};

use super::{code::Code, findings::Findings, limits, source::Place};

/// Reports what is wrong where the parser stopped.
pub(super) fn report(error: &ScanError, file: u16, findings: &mut Findings<'_>) {
    let text = findings.source(file).text;
    let at = text.floor_char_boundary(error.marker().byte_offset().unwrap_or(0));
    let place = Place::new(at, at + 1).in_file(file);
    if let Some(tab) = tab(error.kind(), text, at) {
        findings.error(Code::Tab, tab.in_file(file), "a tab cannot indent in YAML", "indent with spaces".to_owned());
        return;
    }
    if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        let message = format!("more than {} mappings and lists inside one another", limits::DEPTH);
        findings.error(Code::TooDeep, place, message, None);
        return;
    }
    let (message, help) = explain(error);
    findings.error(Code::Syntax, place, message, help.map(str::to_owned));
}

/// Finds the tab that an error is about, if it is about one.
fn tab(kind: &ErrorKind, text: &str, at: usize) -> Option<Place> {
    let about_tabs = matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
            | ErrorKind::TabAtBlockScalarStart
    );
    let bytes = text.as_bytes();
    let begin = text.get(..at)?.rfind('\n').map_or(0, |line| line + 1);
    let indent = bytes.get(begin..)?.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    // The parser's position is behind the tab, at it, or at the start of what the tab interrupts.
    let here = bytes.get(begin..begin + indent)?.iter().position(|byte| *byte == b'\t').map(|n| begin + n);
    let found = match here {
        Some(tab) if about_tabs || at <= begin + indent => Some(tab),
        _ if about_tabs => text.get(at..)?.find('\t').map(|n| at + n),
        _ => None,
    };
    found.map(|tab| Place::new(tab, tab + 1))
}

fn explain(error: &ScanError) -> (String, Option<&'static str>) {
    let (message, help) = match error.kind() {
        ErrorKind::MappingValueNotAllowed => (
            "a `: ` is not allowed here",
            "put quotes around a text that contains `: `, or check the indentation of this line",
        ),
        ErrorKind::UnclosedQuotedScalar => ("this quote is never closed", "close it, or write the text as a `|` block"),
        ErrorKind::UnclosedFlowCollection { open } => {
            return (format!("this `{open}` is never closed"), Some("close it behind its last entry"));
        }
        ErrorKind::MisplacedFlowCollectionEnd => ("nothing is open that this bracket could close", "take it away"),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            return (format!("`{open}` cannot be closed by `{close}`"), None);
        }
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation => {
            ("this line is indented like none of the lines above", "indent it like the keys that it belongs to")
        }
        ErrorKind::SimpleKeyExpected => {
            ("a key is expected here, and this line has no `:`", "write `key: value`, or indent it like the text above")
        }
        ErrorKind::ExpectedBlockSequenceEntry => {
            ("an entry of the list is expected here", "begin it with `- `, or indent the line like the key that it is")
        }
        ErrorKind::UnexpectedCharacter { character: '`' } => {
            ("a text cannot begin with a backquote", "put it in quotes")
        }
        ErrorKind::UnexpectedCharacter { character } => {
            return (format!("a text cannot begin with `{character}`"), Some("put it in quotes"));
        }
        ErrorKind::InvalidColonPlacement => (
            "a `:` is not allowed here",
            "close every `[` and `{` above this line, or put quotes around a text that contains `:`",
        ),
        ErrorKind::UnknownQuotedScalarEscape => (
            "a double-quoted text contains an escape that YAML does not know",
            "use single quotes, in which a backslash is only a backslash",
        ),
        ErrorKind::MissingAnchorOrAliasName => (
            "`*` begins an alias and `&` an anchor, and no name follows",
            "put quotes around a text that begins with `*` or `&`",
        ),
        _ => return (format!("this is not YAML: {}", error.info()), None),
    };
    (message.to_owned(), Some(help))
}
