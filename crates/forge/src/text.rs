//! Outsiders' text made fit for a database row, an environment variable and a terminal.

/// One line: control characters replaced.
pub(crate) fn one_line(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Several lines: only NUL replaced, which no environment variable can hold.
pub(crate) fn many_lines(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
