//! Values that must not stand among a command's arguments, where other users of the machine see them.

use std::io::{IsTerminal as _, Read as _, Write as _};

use anyhow::Context as _;

/// Reads standard input, without the one newline that `echo` puts at its end. `what` is what a person at a terminal is asked for.
pub(super) fn read(what: &str) -> anyhow::Result<String> {
    let mut input = std::io::stdin().lock();
    if input.is_terminal() {
        writeln!(std::io::stderr(), "Write {what}, then Ctrl-D:")?;
    }
    let mut value = String::new();
    input.read_to_string(&mut value).context("standard input is not UTF-8 text")?;
    let trimmed = value.strip_suffix('\n').map_or(value.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(trimmed.to_owned())
}
