//! Splits a Dockerfile into instructions, and an instruction into words, as the engine does.

use super::LONGEST;
use crate::refusal::{Judged, refuse};

/// Returns the instructions, each in one line: without comments, and with continued lines joined.
pub(super) fn instructions(text: &str) -> Judged<Vec<String>> {
    if text.len() > LONGEST {
        return refuse!(Limit, "the Dockerfile is longer than {} KiB", LONGEST >> 10);
    }
    if text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return refuse!(Build, "the Dockerfile contains control characters");
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut all = Vec::new();
    let mut joined = String::new();
    let mut continues = false;
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.contains('\r') {
            return refuse!(Build, "the Dockerfile contains control characters");
        }
        let trimmed = line.trim_start_matches([' ', '\t']);
        if let Some(comment) = trimmed.strip_prefix('#') {
            let directive: String = comment.chars().filter(|c| !c.is_whitespace()).collect();
            if all.is_empty()
                && !continues
                && directive.to_ascii_lowercase().starts_with("escape=")
                && directive.len() > 7
                && &directive[7..] != "\\"
            {
                return refuse!(Build, "the escape character has to be the backslash");
            }
            continue;
        }
        if trimmed.trim().is_empty() {
            continue;
        }
        let body = if continues { line } else { trimmed };
        let end = body.trim_end_matches([' ', '\t']);
        match end.strip_suffix('\\') {
            // Two backslashes are an escaped one.
            Some(start) if !start.ends_with('\\') => {
                joined.push_str(start);
                continues = true;
            }
            _ => {
                joined.push_str(body);
                all.push(std::mem::take(&mut joined));
                continues = false;
            }
        }
    }
    if continues {
        all.push(joined);
    }
    for instruction in &all {
        let heredoc = instruction.split_whitespace().any(|word| {
            let word = word.trim_start_matches(|c: char| c.is_ascii_digit());
            word.strip_prefix("<<").is_some_and(|name| !name.is_empty() && !name.starts_with('<'))
        });
        if heredoc {
            return refuse!(Build, "the classic builder has no here-documents: write a file, or use &&");
        }
    }
    Ok(all.into_iter().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

/// Splits at white space that is neither quoted nor escaped, as the engine does. Quotes and backslashes stay.
pub(super) fn words_of(text: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() && quote.is_none() => {
                words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()))
            }
            '\\' if quote != Some('\'') => {
                word.push(c);
                word.extend(chars.next());
            }
            c => {
                match quote {
                    Some(open) if open == c => quote = None,
                    None if matches!(c, '"' | '\'') => quote = Some(c),
                    Some(_) | None => {}
                }
                word.push(c);
            }
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// Returns the index at which the leading flags end.
pub(super) fn flags_end(rest: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        let tail = &rest[at..];
        let start = at + (tail.len() - tail.trim_start().len());
        if !rest[start..].starts_with("--") {
            return Some(start);
        }
        at = start + rest[start..].find(char::is_whitespace)?;
    }
}
