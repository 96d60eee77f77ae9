//! Makes outsiders' text fit for a database row, an environment variable and a terminal: without characters that those
//! cannot hold, and no longer than a person reads.

/// The most bytes of a line: a name, an address, a title.
const MAX_LINE: usize = 1 << 10;
/// The most bytes of several lines: a commit's message.
const MAX_LINES: usize = 64 << 10;

/// Returns one line: control characters replaced, and cut if too long.
#[must_use]
pub fn one_line(text: &str) -> String {
    let line = text.trim().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    // Does not build what would be cut.
    cut(line.take(MAX_LINE + 1).collect(), MAX_LINE, "…")
}

/// Returns several lines: NUL replaced, which no environment variable can hold, and cut if too long.
#[must_use]
pub fn many_lines(text: &str) -> String {
    // No character is longer than four bytes.
    let text = &text[..text.floor_char_boundary(MAX_LINES + 4)];
    cut(text.replace('\0', "\u{fffd}"), MAX_LINES, "\n… (the rest was cut)")
}

/// Cuts to `limit` bytes, and ends with `sign` if something was cut.
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
            let line = one_line(&character.repeat(MAX_LINE));
            assert_eq!((line.len() + 3 > MAX_LINE, line.len() <= MAX_LINE), (true, true), "{character}");
            assert_eq!(line.ends_with('…'), extra > 0);
            let lines = many_lines(&character.repeat(MAX_LINES + 1));
            assert!(lines.len() <= MAX_LINES && lines.len() + 4 > MAX_LINES, "{character}: {}", lines.len());
            assert!(lines.ends_with("\n… (the rest was cut)"));
        }
        assert_eq!(many_lines(&"a".repeat(MAX_LINES)), "a".repeat(MAX_LINES));
        assert!(many_lines(&"\0".repeat(MAX_LINES)).len() <= MAX_LINES);
        assert_eq!((one_line(" a\nb "), many_lines("a\nb")), ("a\u{fffd}b".to_owned(), "a\nb".to_owned()));
    }
}
