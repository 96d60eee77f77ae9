//! Separates escape sequences in a line from its text. Nothing here knows what a colour looks like.

use std::borrow::Cow;

/// A part of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    Text(&'a str),
    /// Select graphic rendition, with its parameters: `1;31`.
    Style(&'a str),
    /// Any other sequence: cursor, erase, title, links. Shows nothing.
    Other,
}

/// Splits a line into its pieces, in order.
pub fn pieces(mut line: &str) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        if line.is_empty() {
            return None;
        }
        let Some(at) = memchr::memchr(0x1b, line.as_bytes()) else {
            return Some(Piece::Text(std::mem::take(&mut line)));
        };
        if at > 0 {
            let (text, rest) = line.split_at(at);
            line = rest;
            return Some(Piece::Text(text));
        }
        let (piece, rest) = sequence(line);
        line = rest;
        Some(piece)
    })
}

/// Splits off the sequence that `line` begins with. A sequence without an end consists of the escape character only.
fn sequence(line: &str) -> (Piece<'_>, &str) {
    let bytes = line.as_bytes();
    let end = match bytes.get(1) {
        Some(b'[') => bytes[2..].iter().position(|byte| (0x40..=0x7e).contains(byte)).map(|at| at + 3),
        // Titles and links end with a bell or a string terminator.
        Some(b']' | b'P' | b'_' | b'^' | b'X') => string_end(bytes),
        Some(b'(' | b')' | b'#' | b'%') => (bytes.len() >= 3 && bytes[2].is_ascii()).then_some(3),
        Some(byte) if byte.is_ascii() => Some(2),
        _ => None,
    };
    let end = end.filter(|end| line.is_char_boundary(*end)).unwrap_or(1);
    let (sequence, rest) = line.split_at(end);
    let style = sequence.strip_prefix("\x1b[").and_then(|rest| rest.strip_suffix('m'));
    let style = style.filter(|style| style.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b';' | b':')));
    (style.map_or(Piece::Other, Piece::Style), rest)
}

fn string_end(bytes: &[u8]) -> Option<usize> {
    let at = bytes[2..].iter().position(|byte| matches!(byte, 0x07 | 0x1b))? + 2;
    match (bytes[at], bytes.get(at + 1)) {
        (0x07, _) => Some(at + 1),
        (_, Some(b'\\')) => Some(at + 2),
        _ => Some(at),
    }
}

/// Returns the text without sequences.
#[must_use]
pub fn plain(line: &str) -> Cow<'_, str> {
    if memchr::memchr(0x1b, line.as_bytes()).is_none() {
        return Cow::Borrowed(line);
    }
    let texts = pieces(line).filter_map(|piece| match piece {
        Piece::Text(text) => Some(text),
        Piece::Style(_) | Piece::Other => None,
    });
    Cow::Owned(texts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_told_from_text() {
        let line = "a\x1b[1;31mred\x1b[0m\x1b[2K\x1b]8;;https://x\x07link\x1b]8;;\x1b\\ end\x1b(B!";
        let parts: Vec<_> = pieces(line).collect();
        assert_eq!(parts[..4], [Piece::Text("a"), Piece::Style("1;31"), Piece::Text("red"), Piece::Style("0")]);
        assert_eq!(plain(line), "aredlink end!");
    }

    #[test]
    fn a_sequence_without_end_hides_nothing() {
        for (line, text) in
            [("\x1b[31", "[31"), ("\x1b", ""), ("\x1b]0;title", "]0;title"), ("\x1bé", "é"), ("\x1b[1;é", "[1;é")]
        {
            assert_eq!(plain(line), text, "{line:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_taken_apart_to_its_end(line in "[\\x00-\\x7f\\PC]{0,40}") {
            let text: String = plain(&line).into_owned();
            proptest::prop_assert!(text.len() <= line.len());
            proptest::prop_assert!(!text.contains('\x1b'));
        }
    }
}
