//! Asks for values on standard input: those that must not stand among the arguments, where other users of the
//! machine see them, and whether something is really to be done.

use std::io::{IsTerminal as _, Read as _, Write as _};

use anyhow::Context as _;

use super::ExitError;

/// Reads standard input, without the one newline that `echo` puts at its end. `what` is what a person at a terminal is
/// asked for.
pub(super) fn read(what: &str) -> anyhow::Result<String> {
    let mut input = std::io::stdin().lock();
    if input.is_terminal() {
        writeln!(std::io::stderr(), "Write {what}, then Ctrl-D:")?;
    }
    let mut value = String::new();
    input.read_to_string(&mut value).context("standard input is not UTF-8 text")?;
    let trimmed = value.strip_suffix('\n').map_or(value.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if trimmed.is_empty() {
        // `docker exec` connects nothing to it unless it is told to.
        let message =
            format!("standard input is empty: pass {what} there, as in `< FILE`; `docker exec` needs `-i` for it");
        return Err(ExitError::new(2, message).into());
    }
    Ok(trimmed.to_owned())
}

/// Asks a person at a terminal whether to do something. Without a terminal nothing is done.
pub(super) fn confirm(question: &str) -> anyhow::Result<()> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(ExitError::new(2, format!("{question} Pass --yes to confirm")).into());
    }
    write!(std::io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(ExitError::new(1, "not deleted").into()),
    }
}
