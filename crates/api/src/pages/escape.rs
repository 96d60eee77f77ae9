//! Escapes text for pages. `askama.toml` names [`Escape`] as the escaper of every template, so all text passes through
//! it: only templates and [`show`](super::show) contain markup.
//!
//! Besides markup it removes what makes a line read as another: bidirectional controls and terminal escapes become
//! U+FFFD.

use std::fmt;

use askama::filters::Escaper;
use longshore_core::terminal::is_direction;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Escape;

impl Escaper for Escape {
    fn write_escaped_str<W: fmt::Write>(&self, mut dest: W, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            let Some(instead) = replacement(c) else { continue };
            dest.write_str(&text[plain..at])?;
            dest.write_str(instead)?;
            plain = at + c.len_utf8();
        }
        dest.write_str(&text[plain..])
    }
}

/// Returns how many bytes a character takes in a page.
pub(super) fn escaped_len(c: char) -> usize {
    replacement(c).map_or(c.len_utf8(), str::len)
}

fn replacement(c: char) -> Option<&'static str> {
    match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '"' => Some("&quot;"),
        '\'' => Some("&#39;"),
        '\n' | '\t' => None,
        c if c.is_control() || is_direction(c) => Some("\u{fffd}"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outsiders_text_is_never_markup() {
        let mut page = String::new();
        Escape.write_escaped_str(&mut page, "<script>alert(\"1\")</script>&'\u{202e}\u{7}\u{1b}[31m\n\u{e9}").unwrap();
        assert_eq!(
            page,
            "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;\u{fffd}\u{fffd}\u{fffd}[31m\n\u{e9}"
        );
    }
}
