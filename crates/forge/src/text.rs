//! Outsiders' text made fit for a database row, an environment variable and a terminal: without what those cannot hold, and no longer
//! than a person reads.

/// Bytes of a line: a name, an address, a title.
const LINE: usize = 1 << 10;
/// Bytes of several lines: a commit's message.
const LINES: usize = 64 << 10;

/// One line: control characters replaced, what is too long cut.
pub(crate) fn one_line(text: &str) -> String {
    let line = text.trim().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    // What would be cut is not made first.
    cut(line.take(LINE + 1).collect(), LINE, "…")
}

/// Several lines: only NUL replaced, which no environment variable can hold, and what is too long cut.
pub(crate) fn many_lines(text: &str) -> String {
    // No character is longer than four bytes.
    let text = &text[..text.floor_char_boundary(LINES + 4)];
    cut(text.replace('\0', "\u{fffd}"), LINES, "\n… (the rest was cut)")
}

/// At most so many bytes, of which the last are `sign` where something was cut.
fn cut(mut text: String, limit: usize, sign: &str) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit - sign.len()));
        text.push_str(sign);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_says_so() {
        for (character, extra) in [("a", 0), ("é", 1), ("🚢", 3)] {
            let line = one_line(&character.repeat(LINE));
            assert_eq!((line.len() + 3 > LINE, line.len() <= LINE), (true, true), "{character}");
            assert_eq!(line.ends_with('…'), extra > 0);
            let lines = many_lines(&character.repeat(LINES + 1));
            assert!(lines.len() <= LINES && lines.len() + 4 > LINES, "{character}: {}", lines.len());
            assert!(lines.ends_with("\n… (the rest was cut)"));
        }
        assert_eq!(many_lines(&"a".repeat(LINES)), "a".repeat(LINES));
        assert!(many_lines(&"\0".repeat(LINES)).len() <= LINES);
        assert_eq!((one_line(" a\nb "), many_lines("a\nb")), ("a\u{fffd}b".to_owned(), "a\nb".to_owned()));
    }
}
