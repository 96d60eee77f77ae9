//! Makes texts of others harmless to a terminal. What shows one to somebody passes it through here.

/// Returns a text in which nothing moves the cursor, changes the terminal or makes a line look like another: control
/// characters and overrides of the direction are replaced, one by one, so that columns stay. Tabs stay.
#[must_use]
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c != '\t' && (c.is_control() || is_direction(c)) { '\u{fffd}' } else { c }).collect()
}

/// Like [`harmless`], for a text of several lines.
#[must_use]
pub fn harmless_lines(text: &str) -> String {
    text.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

/// Returns whether a character changes the direction of text, which can make a line look like another.
#[must_use]
pub const fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_reaches_the_terminal_as_a_command() {
        assert_eq!(
            harmless("a\tb\x1b[2Jc\nd\u{9b}e\u{202e}f\rg"),
            "a\tb\u{fffd}[2Jc\u{fffd}d\u{fffd}e\u{fffd}f\u{fffd}g"
        );
        assert_eq!(harmless_lines("a\x07\r\n\tb\n"), "a\u{fffd}\n\tb");
    }
}
