//! Explains the YAML parser's errors in the words of somebody who writes pipelines.

use serde_yaml::granit_parser::{ErrorKind, ScanError};

use super::{code::Code, findings::Findings, limits, source::Place};

/// Reports what is wrong where the parser stopped.
pub(super) fn report(error: &ScanError, file: u16, findings: &mut Findings<'_>) {
    let text = findings.source(file).text;
    let at = text.floor_char_boundary(error.marker().byte_offset().unwrap_or(0));
    let place = Place::new(at, at + 1).in_file(file);
    if let Some(tab) = tab(error.kind(), text, at) {
        findings.error(
            Code::Tab,
            tab.in_file(file),
            "YAML cannot be indented with tabs",
            "indent with spaces".to_owned(),
        );
        return;
    }
    if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        let message = format!("mappings and lists nested more than {} levels deep", limits::DEPTH);
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
        ErrorKind::MappingValueNotAllowed => {
            ("unexpected `: `", "quote strings that contain `: `, or check the indentation of this line")
        }
        ErrorKind::UnclosedQuotedScalar => ("unclosed quote", "close it, or use a `|` block"),
        ErrorKind::UnclosedFlowCollection { open } => {
            return (format!("unclosed `{open}`"), Some("close it after its last entry"));
        }
        ErrorKind::MisplacedFlowCollectionEnd => ("unexpected closing bracket", "remove it"),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            return (format!("`{open}` cannot be closed with `{close}`"), None);
        }
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation => {
            ("the indentation of this line matches no line above", "indent it like its sibling keys")
        }
        ErrorKind::SimpleKeyExpected => {
            ("expected a key, but this line has no `:`", "write `key: value`, or indent the line like the text above")
        }
        ErrorKind::ExpectedBlockSequenceEntry => {
            ("expected a list item", "start it with `- `, or indent the line like the other keys")
        }
        ErrorKind::UnexpectedCharacter { character: '`' } => ("a string cannot start with a backquote", "quote it"),
        ErrorKind::UnexpectedCharacter { character } => {
            return (format!("a string cannot start with `{character}`"), Some("quote it"));
        }
        ErrorKind::InvalidColonPlacement => {
            ("unexpected `:`", "close every `[` and `{` above this line, or quote strings that contain `:`")
        }
        ErrorKind::UnknownQuotedScalarEscape => {
            ("unknown escape sequence in a double-quoted string", "use single quotes, in which a backslash is literal")
        }
        ErrorKind::MissingAnchorOrAliasName => {
            ("`*` starts an alias and `&` an anchor, but no name follows", "quote strings that start with `*` or `&`")
        }
        _ => return (format!("invalid YAML: {}", error.info()), None),
    };
    (message.to_owned(), Some(help))
}
