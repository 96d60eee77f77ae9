//! Splits the source of an expression into tokens.

use std::ops::Range;

use super::parser::ParseError;

/// A token, with its byte range in the source.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) at: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// Letters, digits, `-` and `_`, beginning with a letter or `_`.
    Word(String),
    Number(f64),
    Text(String),
    /// `(`, `==`, `.`, ...
    Sign(&'static str),
}

/// All signs, longer ones before their prefixes.
const SIGNS: &[&str] = &["==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", "[", "]", ",", ".", "*"];

/// Splits `source` into tokens.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, ParseError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (kind, length) = if first.is_ascii_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
            let word = &rest[..length.unwrap_or(rest.len())];
            (TokenKind::Word(word.to_owned()), word.len())
        } else if first.is_ascii_digit() || (first == '-' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            number(rest, at)?
        } else if first == '\'' || first == '"' {
            quoted(rest, first, at)?
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (TokenKind::Sign(sign), sign.len())
        } else {
            return Err(unknown(rest, first, at));
        };
        tokens.push(Token { kind, at: at..at + length });
        at += length;
    }
    Ok(tokens)
}

fn number(rest: &str, at: usize) -> Result<(TokenKind, usize), ParseError> {
    let length = rest[1..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).map_or(rest.len(), |end| end + 1);
    let written = &rest[..length];
    match written.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok((TokenKind::Number(number), length)),
        _ => Err(ParseError::new(at..at + length, format!("`{}` is not a number", shown(written)))
            .with_help("put quotes around a text: `'1.2.3'`")),
    }
}

/// Reads a text in quotes. A doubled quote in it stands for one.
fn quoted(rest: &str, quote: char, at: usize) -> Result<(TokenKind, usize), ParseError> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((offset, c)) = chars.next() {
        if c != quote {
            text.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            text.push(quote);
        } else {
            return Ok((TokenKind::Text(text), offset + 1));
        }
    }
    Err(ParseError::new(at..at + rest.trim_end().len(), "unterminated string")
        .with_help(format!("close it with `{quote}`")))
}

fn unknown(rest: &str, first: char, at: usize) -> ParseError {
    let found =
        ParseError::new(at..at + first.len_utf8(), format!("`{}` is not allowed in expressions", first.escape_debug()));
    match first {
        '=' => found.with_help("write `==` to compare"),
        '&' => found.with_help("write `&&`"),
        '|' => found.with_help("write `||`; there are no filters: functions are called as `join(list, ', ')`"),
        '$' if rest.starts_with("${{") => {
            found.with_help("an expression is not written into another: take the inner `${{` and `}}` out")
        }
        '$' => found.with_help("variables of the environment are `env.NAME`"),
        '+' | '-' | '/' | '%' => found.with_help("expressions do not calculate: do it in a step, and use its output"),
        _ => found.with_help("put quotes around texts: `'like this'`"),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}
