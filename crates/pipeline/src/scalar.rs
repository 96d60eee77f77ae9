//! Reads single values: texts, booleans, durations and names, each with its own error message.

use std::rc::Rc;

use super::{
    code::Code,
    duration,
    findings::Findings,
    limits,
    source::Place,
    tree::{Kind, Node, Scalar},
};

/// Reads a text. Numbers and booleans are taken as they are written.
pub(super) fn text<'n>(node: &'n Node, what: &str, findings: &mut Findings<'_>) -> Option<&'n str> {
    match &node.kind {
        Kind::Scalar(scalar) if scalar.is_null() => {
            findings.error(
                Code::Empty,
                node.place,
                format!("{what} is missing a value"),
                format!("give {what} a value"),
            );
            None
        }
        Kind::Scalar(scalar) => characters(&scalar.text, node.place, what, findings),
        Kind::List(_) | Kind::Map(_) => {
            wrong(node, what, "a string", findings);
            None
        }
    }
}

/// Like [`text`], and refuses an empty text.
pub(super) fn filled<'n>(node: &'n Node, what: &str, findings: &mut Findings<'_>) -> Option<&'n str> {
    let found = text(node, what, findings)?;
    if found.trim().is_empty() {
        findings.error(Code::Empty, node.place, format!("{what} is empty"), format!("give {what} a value"));
        return None;
    }
    Some(found)
}

/// Like [`text`], and takes a missing value as the empty text.
pub(super) fn text_or_empty<'n>(node: &'n Node, what: &str, findings: &mut Findings<'_>) -> Option<&'n str> {
    if node.is_null() { Some("") } else { text(node, what, findings) }
}

/// Reads `true` or `false`.
pub(super) fn boolean(node: &Node, what: &str, findings: &mut Findings<'_>) -> Option<bool> {
    let Kind::Scalar(scalar) = &node.kind else {
        wrong(node, what, "`true` or `false`", findings);
        return None;
    };
    let found = scalar.boolean();
    if found.is_none() {
        let help = match scalar.text.to_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => Some("write `true`, without quotes".to_owned()),
            "no" | "off" | "n" | "false" => Some("write `false`, without quotes".to_owned()),
            _ => None,
        };
        findings.error(
            Code::WrongType,
            node.place,
            format!("{what} must be `true` or `false`, but this is {}", node.describe()),
            help,
        );
    }
    found
}

/// Reads a duration, in milliseconds.
pub(super) fn duration(node: &Node, what: &str, findings: &mut Findings<'_>) -> Option<u64> {
    let found = text(node, what, findings)?;
    match duration::parse(found) {
        Ok(millis) => Some(millis),
        Err(error) => {
            findings.error(Code::BadDuration, node.place, error.message, error.help);
            None
        }
    }
}

/// Returns the items of a list; a single value is a list of one.
pub(super) fn items(node: &Rc<Node>) -> &[Rc<Node>] {
    match &node.kind {
        Kind::List(items) => items,
        Kind::Scalar(_) | Kind::Map(_) => std::slice::from_ref(node),
    }
}

/// Returns whether `name` is valid for jobs and axes: letters, digits, `-` and `_`, beginning with a letter or digit.
pub(super) fn check_name(name: &str, place: Place, what: &str, findings: &mut Findings<'_>) -> bool {
    let fits = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !fits {
        let proposal = proposed_name(name);
        let help = if proposal.is_empty() { None } else { Some(format!("write `{proposal}`")) };
        findings.error(
            Code::BadName,
            place,
            format!("{what} can contain only letters, digits, `-` and `_`, and must start with a letter or digit"),
            help,
        );
        return false;
    }
    check_length(name, place, what, findings)
}

/// Returns whether a name is short enough.
pub(super) fn check_length(name: &str, place: Place, what: &str, findings: &mut Findings<'_>) -> bool {
    let fits = name.chars().count() <= limits::NAME_CHARS;
    if !fits {
        let message = format!("{what} can have at most {} characters", limits::NAME_CHARS);
        findings.error(Code::BadName, place, message, "use a shorter one".to_owned());
    }
    fits
}

fn proposed_name(name: &str) -> String {
    let replaced: String =
        name.chars().take(limits::NAME_CHARS).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let words: Vec<&str> = replaced.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-")
}

fn characters<'n>(text: &'n str, place: Place, what: &str, findings: &mut Findings<'_>) -> Option<&'n str> {
    if text.contains('\0') {
        findings.error(
            Code::BadCharacter,
            place,
            format!("{what} contains a NUL character"),
            "programs' arguments and environments cannot contain it: remove it".to_owned(),
        );
        return None;
    }
    Some(text)
}

fn wrong(node: &Node, what: &str, expected: &str, findings: &mut Findings<'_>) {
    let help = match &node.kind {
        Kind::List(_) if expected == "a string" => Some("write a single value, without `[` and `- `".to_owned()),
        Kind::Map(entries) if entries.len() == 1 && starts_like_expression(entries) => {
            Some("quote the expression: '${{ ... }}'".to_owned())
        }
        _ => None,
    };
    findings.error(
        Code::WrongType,
        node.place,
        format!("{what} must be {expected}, but this is {}", node.describe()),
        help,
    );
}

fn starts_like_expression(entries: &[super::tree::Entry]) -> bool {
    entries
        .first()
        .is_some_and(|entry| matches!(&entry.value.kind, Kind::Scalar(Scalar { text, .. }) if text.is_empty()))
}
