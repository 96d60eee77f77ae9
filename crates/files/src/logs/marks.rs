//! Recognises lines with a meaning to readers: groups, errors, warnings. Pure and fast: every line of every log passes
//! through here.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};

/// The meaning of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkKind {
    Error,
    Warning,
    Notice,
    /// Opens a group, which extends to the next group, its own end, or the step's.
    Group,
    EndGroup,
}

impl MarkKind {
    /// Returns the word used in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Group => "group",
            Self::EndGroup => "end-group",
        }
    }
}

/// Workflow commands of other systems, at a line's beginning. The text follows the last colons.
const COMMANDS: [(&[u8], MarkKind); 10] = [
    (b"::group::", MarkKind::Group),
    (b"::endgroup::", MarkKind::EndGroup),
    (b"::error", MarkKind::Error),
    (b"::warning", MarkKind::Warning),
    (b"::notice", MarkKind::Notice),
    (b"##[group]", MarkKind::Group),
    (b"##[endgroup]", MarkKind::EndGroup),
    (b"##[error]", MarkKind::Error),
    (b"##[warning]", MarkKind::Warning),
    (b"##[notice]", MarkKind::Notice),
];

/// How tools begin a line that reports a problem.
const BEGINNINGS: [(&[u8], MarkKind); 13] = [
    (b"error:", MarkKind::Error),
    (b"error[", MarkKind::Error),
    (b"Error:", MarkKind::Error),
    (b"ERROR:", MarkKind::Error),
    (b"ERROR ", MarkKind::Error),
    (b"fatal:", MarkKind::Error),
    (b"FATAL:", MarkKind::Error),
    (b"FAILED", MarkKind::Error),
    (b"--- FAIL:", MarkKind::Error),
    (b"warning:", MarkKind::Warning),
    (b"Warning:", MarkKind::Warning),
    (b"WARNING:", MarkKind::Warning),
    (b"WARN ", MarkKind::Warning),
];

/// More than the longest of [`COMMANDS`] and [`BEGINNINGS`].
const BEGINNING: usize = 16;

/// `file.c:3:5: error: …`, as compilers print it, plain and in red (GCC puts `ESC [ K` behind each colour), and a
/// panic.
static WITHIN: LazyLock<[(Finder<'static>, MarkKind); 7]> = LazyLock::new(|| {
    [
        (Finder::new(": error"), MarkKind::Error),
        (Finder::new("31merror"), MarkKind::Error),
        (Finder::new("91merror"), MarkKind::Error),
        (Finder::new("\x1b[Kerror: "), MarkKind::Error),
        (Finder::new("\x1b[Kfatal error: "), MarkKind::Error),
        (Finder::new("' panicked at "), MarkKind::Error),
        (Finder::new(": warning: "), MarkKind::Warning),
    ]
});

/// Only this many bytes of a line are examined. Longer lines are data, not messages.
const LOOKED_AT: usize = 1024;

/// Returns whether any line in these bytes may contain one of [`WITHIN`]: one search for all of them.
pub(super) fn may_tell_within(bytes: &[u8]) -> bool {
    WITHIN.iter().any(|(finder, _)| finder.find(bytes).is_some())
}

/// Returns the meaning of a line. `within` is the result of [`may_tell_within`] for the bytes around it.
#[must_use]
pub(super) fn mark_of(line: &[u8], within: bool) -> Option<MarkKind> {
    let line = &line[..line.len().min(LOOKED_AT)];
    let mut plain = [0; BEGINNING];
    let start = match line.first()? {
        b'\x1b' | b' ' => plain_beginning(line, &mut plain),
        _ => line,
    };
    let found = match start.first()? {
        b':' | b'#' => COMMANDS.iter().find(|(command, _)| start.starts_with(command)),
        b'e' | b'E' | b'f' | b'F' | b'w' | b'W' | b'-' => BEGINNINGS.iter().find(|(word, _)| start.starts_with(word)),
        _ => None,
    };
    match found {
        Some((_, kind)) => Some(*kind),
        None if within => WITHIN.iter().find(|(finder, _)| finder.find(line).is_some()).map(|(_, kind)| *kind),
        None => None,
    }
}

/// Copies the first bytes of a line, without the blanks at its beginning and without colours: `error` is often printed
/// in another one than the colon behind it.
fn plain_beginning<'a>(line: &[u8], plain: &'a mut [u8; BEGINNING]) -> &'a [u8] {
    let (mut rest, mut count) = (without_colours(line), 0);
    while let ([byte, after @ ..], true) = (rest, count < BEGINNING) {
        let escape = rest.strip_prefix(b"\x1b[").and_then(|code| {
            let end = code.iter().position(|byte| (0x40..=0x7e).contains(byte))?;
            code.get(end + 1..)
        });
        if let Some(behind) = escape {
            rest = behind;
            continue;
        }
        plain[count] = *byte;
        count += 1;
        rest = after;
    }
    &plain[..count]
}

/// Skips the colours and blanks at a line's beginning.
fn without_colours(mut line: &[u8]) -> &[u8] {
    loop {
        match line {
            [b' ', rest @ ..] => line = rest,
            [b'\x1b', b'[', rest @ ..] => match rest.iter().position(|byte| (0x40..=0x7e).contains(byte)) {
                Some(end) => line = &rest[end + 1..],
                None => return line,
            },
            _ => return line,
        }
    }
}

/// Returns the text of a command: `::error file=a.c,line=1::broken` yields `broken`. `None` if the line is not a
/// command.
pub(super) fn command_text(line: &str) -> Option<&str> {
    // The prefix to cut off is ASCII.
    let line = &line[line.len() - without_colours(line.as_bytes()).len()..];
    if let Some(rest) = line.strip_prefix("##[") {
        return rest.split_once(']').map(|(_, text)| text);
    }
    let (command, text) = line.strip_prefix("::")?.split_once("::")?;
    let word = command.split(' ').next().unwrap_or_default();
    ["group", "endgroup", "error", "warning", "notice"].contains(&word).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_say_is_understood() {
        let mark = |line: &str| mark_of(line.as_bytes(), may_tell_within(line.as_bytes()));
        for line in [
            "error: could not compile",
            "error[E0425]: no such thing",
            "\x1b[0m\x1b[1m\x1b[31merror\x1b[0m: no",
            "\x1b[0m\x1b[1m\x1b[38;5;9merror\x1b[0m\x1b[0m\x1b[1m: could not compile `app`",
            "\x1b[01m\x1b[Kmain.c:3:5:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror: \x1b[m\x1b[Kexpected ';'",
            "\x1b[1mmain.c:3:5: \x1b[0m\x1b[0;1;31merror: \x1b[0mexpected ';'",
            "src/a.ts:1:7 - \x1b[91merror\x1b[0m\x1b[90m TS2322: \x1b[0mno",
            "  ::error file=a.c::broken",
            "##[error]broken",
            "main.c:3:5: error: expected ';'",
            "thread 'main' panicked at src/main.rs:1:1:",
        ] {
            assert_eq!(mark(line), Some(MarkKind::Error), "{line}");
        }
        assert_eq!(mark("::group::Install"), Some(MarkKind::Group));
        assert_eq!(mark("::endgroup::"), Some(MarkKind::EndGroup));
        assert_eq!(mark("warning: unused"), Some(MarkKind::Warning));
        for line in
            ["no error here", "terror: x", "0 errors", "", "\x1b[", "errors: 0", " \x1b[1", "\x1b[1me\x1b[0mrrors: 0"]
        {
            assert_eq!(mark(line), None, "{line}");
        }
    }

    #[test]
    fn a_commands_text_is_what_follows_it() {
        assert_eq!(command_text("::group::Install it"), Some("Install it"));
        assert_eq!(command_text("::error file=a,line=1::broken::really"), Some("broken::really"));
        assert_eq!(command_text("##[group]x"), Some("x"));
        assert_eq!(command_text(" \x1b[1;34m::group::Größe\x1b[0m"), Some("Größe\x1b[0m"));
        assert_eq!(command_text("::other::x"), None);
        assert_eq!(command_text("plain"), None);
    }
}
