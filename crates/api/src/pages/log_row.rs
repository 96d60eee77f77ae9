//! Renders a line of a log as markup, for readers without scripts and for the first display of a page: colours become
//! classes, addresses become links, everything else is text. `assets/log.js` draws the same with exact colours.

use std::fmt::{self, Display, Formatter, Write as _};

use askama::filters::Escaper as _;
use longshore_files::logs::{
    LogLine, MarkKind,
    ansi::{Piece, pieces},
};

use super::{escape::Escape, show};

/// How many bytes of a line its job's page shows, since many lines share the page's budget. The script shows all of it.
pub(super) const MAX_LINE_BYTES: usize = 2_000;

/// One line. It displays as markup.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) line: LogLine,
    /// The address of the job's page, if the line is on another page: its number links there.
    pub(crate) elsewhere: Option<String>,
    /// The name of its step, if the line stands among another step's lines.
    pub(crate) beside: Option<String>,
    /// How many bytes of the line are shown.
    pub(crate) shown: usize,
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let LogLine { n, stream, text, mark, time, .. } = &self.line;
        f.write_str("<div class=\"l")?;
        if *stream == "system" {
            f.write_str(" sys")?;
        }
        if let Some(mark) = mark {
            write!(f, " {}", mark.as_str())?;
        }
        if let Some(job) = &self.elsewhere {
            write!(f, "\"><a class=\"n\" href=\"{job}#L{n}\">{n}</a>")?;
        } else if *n > 0 {
            write!(f, "\" id=\"L{n}\" title=\"{time}\"><a class=\"n\" href=\"#L{n}\">{n}</a>")?;
        } else {
            f.write_str("\"><span class=\"n\"></span>")?;
        }
        if let Some(step) = &self.beside {
            f.write_str("<span class=\"of\">")?;
            Escape.write_escaped_str(&mut *f, step)?;
            f.write_str("</span>")?;
        }
        f.write_str("<span class=\"x\">")?;
        if let Some(mark @ (MarkKind::Error | MarkKind::Warning | MarkKind::Notice)) = mark
            && !show::cut(text, 80).to_ascii_lowercase().contains(mark.as_str())
        {
            write!(f, "<span class=\"word\">{} </span>", mark.as_str())?;
        }
        let mut end = text.len().min(self.shown);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        coloured(&text[..end], f)?;
        if end < text.len() {
            write!(f, "… <span class=\"quiet\">({} bytes more)</span>", text.len() - end)?;
        }
        f.write_str("</span></div>\n")
    }
}

fn coloured(text: &str, f: &mut Formatter<'_>) -> fmt::Result {
    let mut style = Style::default();
    for piece in pieces(text) {
        match piece {
            Piece::Style(parameters) => style.apply(parameters),
            Piece::Other => {}
            Piece::Text(text) => {
                let classes = style.classes();
                if classes.is_empty() {
                    linked(text, f)?;
                } else {
                    write!(f, "<span class=\"{classes}\">")?;
                    linked(text, f)?;
                    f.write_str("</span>")?;
                }
            }
        }
    }
    Ok(())
}

fn linked(mut text: &str, f: &mut Formatter<'_>) -> fmt::Result {
    while let Some(start) = text.match_indices("http").map(|(at, _)| at).find(|at| is_link(&text[*at..])) {
        let link = link_of(&text[start..]);
        Escape.write_escaped_str(&mut *f, &text[..start])?;
        f.write_str("<a rel=\"noopener noreferrer nofollow\" target=\"_blank\" href=\"")?;
        Escape.write_escaped_str(&mut *f, link)?;
        f.write_str("\">")?;
        Escape.write_escaped_str(&mut *f, link)?;
        f.write_str("</a>")?;
        text = &text[start + link.len()..];
    }
    Escape.write_escaped_str(&mut *f, text)
}

fn is_link(text: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !link_of(rest).is_empty()))
}

fn link_of(text: &str) -> &str {
    let end = |c: char| c.is_whitespace() || c.is_control() || "<>\"'`\\^{}|".contains(c);
    let link = &text[..text.find(end).unwrap_or(text.len())];
    link.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']'])
}

/// The style that the escape sequences so far give to the text that follows.
#[derive(Debug, Default, Clone)]
struct Style {
    fg: Option<u8>,
    bg: Option<u8>,
    bold: bool,
    dim: bool,
    italic: bool,
    underlined: bool,
    struck: bool,
    reversed: bool,
}

impl Style {
    fn apply(&mut self, parameters: &str) {
        let mut codes = parameters.split([';', ':']).map(|code| code.parse::<u16>().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 => self.underlined = true,
                7 => self.reversed = true,
                9 => self.struck = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underlined = false,
                27 => self.reversed = false,
                29 => self.struck = false,
                30..=37 => self.fg = Some((code - 30) as u8),
                90..=97 => self.fg = Some((code - 82) as u8),
                40..=47 => self.bg = Some((code - 40) as u8),
                100..=107 => self.bg = Some((code - 92) as u8),
                38 => self.fg = extended(&mut codes),
                39 => self.fg = None,
                48 => self.bg = extended(&mut codes),
                49 => self.bg = None,
                _ => {}
            }
        }
    }

    fn classes(&self) -> String {
        let mut classes = String::new();
        let mut add = |class: &str| {
            if !classes.is_empty() {
                classes.push(' ');
            }
            classes.push_str(class);
        };
        let named = [
            (self.bold, "bold"),
            (self.dim, "dim"),
            (self.italic, "it"),
            (self.underlined, "ul"),
            (self.struck, "del"),
        ];
        named.iter().filter(|(is, _)| *is).for_each(|(_, class)| add(class));
        let mut colour = |ground: char, colour: Option<u8>, otherwise: Option<&str>| {
            let mut class = String::new();
            let _ = match (colour, otherwise) {
                (Some(colour), _) => write!(class, "{ground}-{colour}"),
                (None, Some(otherwise)) => write!(class, "{ground}-{otherwise}"),
                (None, None) => return,
            };
            add(&class);
        };
        if self.reversed {
            colour('f', self.bg, Some("paper"));
            colour('b', self.fg, Some("ink"));
        } else {
            colour('f', self.fg, None);
            colour('b', self.bg, None);
        }
        classes
    }
}

/// Parses `5;n` and `2;r;g;b` behind a 38 or a 48, and returns the nearest of sixteen colours.
fn extended(codes: &mut impl Iterator<Item = u16>) -> Option<u8> {
    let byte = |codes: &mut dyn Iterator<Item = u16>| codes.next().map(|code| (code & 255) as u8);
    match codes.next()? {
        5 => match byte(codes)? {
            n @ 0..=15 => Some(n),
            n @ 16..=231 => {
                let level = |part: u8| if part == 0 { 0 } else { 55 + part * 40 };
                let n = n - 16;
                Some(nearest(level(n / 36), level(n / 6 % 6), level(n % 6)))
            }
            n => {
                let grey = 8 + (n - 232) * 10;
                Some(nearest(grey, grey, grey))
            }
        },
        2 => Some(nearest(byte(codes)?, byte(codes)?, byte(codes)?)),
        _ => None,
    }
}

fn nearest(r: u8, g: u8, b: u8) -> u8 {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most - least < 40 {
        return match most {
            0..64 => 0,
            64..150 => 8,
            150..220 => 7,
            220.. => 15,
        };
    }
    let bit = |part: u8| u8::from(part > least.saturating_add((most - least) / 2));
    let hue = bit(r) | bit(g) << 1 | bit(b) << 2;
    hue + if most > 200 { 8 } else { 0 }
}

#[cfg(test)]
mod tests {
    use longshore_core::Timestamp;

    use super::*;

    fn row(text: &str) -> String {
        let time = Timestamp::from_millis(0);
        let line = LogLine { n: 7, step: Some(1), stream: "stdout", time, text: text.to_owned(), mark: None };
        let row = Row { line, elsewhere: None, beside: None, shown: MAX_LINE_BYTES }.to_string();
        let (_, text) = row.split_once("<span class=\"x\">").unwrap();
        text.strip_suffix("</span></div>\n").unwrap().to_owned()
    }

    #[test]
    fn colours_are_classes_and_what_was_printed_is_text() {
        assert_eq!(row("\x1b[1;31m<b>\x1b[0m&"), "<span class=\"bold f-1\">&lt;b&gt;</span>&amp;");
        assert_eq!(
            row("\x1b[38;5;196mx\x1b[38;2;0;0;250my\x1b[39mz"),
            "<span class=\"f-9\">x</span><span class=\"f-12\">y</span>z"
        );
        assert_eq!(row("\x1b[7mx"), "<span class=\"f-paper b-ink\">x</span>");
        assert_eq!(row("\x07\u{202e}"), "\u{fffd}\u{fffd}");
        assert!(row(&"é".repeat(5_000)).ends_with("(8000 bytes more)</span>"));
    }

    #[test]
    fn links_are_http_and_nothing_else() {
        let link = |address: &str| {
            format!("<a rel=\"noopener noreferrer nofollow\" target=\"_blank\" href=\"{address}\">{address}</a>")
        };
        assert_eq!(row("see https://a.example/x?y=1."), format!("see {}.", link("https://a.example/x?y=1")));
        assert_eq!(row("\"http://a\"><script>"), format!("&quot;{}&quot;&gt;&lt;script&gt;", link("http://a")));
        assert_eq!(row("http:// httpx javascript:alert(1)"), "http:// httpx javascript:alert(1)");
    }
}
