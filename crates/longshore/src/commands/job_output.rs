//! Prints the live logs of several jobs on one terminal: whole lines, each after its job's name, without anything that
//! could move the cursor.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::Mutex,
};

use indicatif::MultiProgress;
use longshore_core::terminal::is_direction;

/// Prints whole lines of several jobs. Shared by the threads or tasks that follow the logs.
#[derive(Debug)]
pub(crate) struct OutputPrinter {
    /// Prevents lines of two jobs from mixing. Progress lines are hidden meanwhile.
    out: Mutex<Option<MultiProgress>>,
    width: usize,
    colors: bool,
}

/// The output of one job.
#[derive(Debug)]
pub(crate) struct JobOutput<'a> {
    printer: &'a OutputPrinter,
    prefix: String,
    partial: Vec<u8>,
}

/// A longer line is printed in parts, to limit memory.
const MAX_PARTIAL: usize = 64 * 1024;

impl OutputPrinter {
    /// Creates a printer for jobs with these names, which leaves the progress lines of `progress` intact.
    pub(crate) fn new<'n>(names: impl IntoIterator<Item = &'n str>, progress: Option<MultiProgress>) -> Self {
        let width = names.into_iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let colors = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { out: Mutex::new(progress), width, colors }
    }

    /// Returns the printer for job `index`.
    pub(crate) fn job(&self, index: usize, name: &str) -> JobOutput<'_> {
        let width = self.width;
        let name = super::table::one_line(name);
        let prefix = if self.colors {
            format!("\x1b[{}m{name:width$} |\x1b[0m ", 36 - index % 6)
        } else {
            format!("{name:width$} | ")
        };
        JobOutput { printer: self, prefix, partial: Vec::new() }
    }

    /// Returns the printer for lines of no job.
    pub(crate) fn plain(&self) -> JobOutput<'_> {
        JobOutput { printer: self, prefix: String::new(), partial: Vec::new() }
    }

    fn print(&self, text: &[u8]) -> std::io::Result<()> {
        let progress = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let write = || {
            let mut out = std::io::stdout().lock();
            out.write_all(text)?;
            out.flush()
        };
        match &*progress {
            Some(progress) => progress.suspend(write),
            None => write(),
        }
    }
}

impl JobOutput<'_> {
    /// Prints the whole lines and keeps the rest for the next call.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.partial.extend_from_slice(bytes);
        let end = match memchr::memrchr(b'\n', &self.partial) {
            Some(at) => at + 1,
            None if self.partial.len() > MAX_PARTIAL => self.partial.len(),
            None => return Ok(()),
        };
        let rest = self.partial.split_off(end);
        let whole = std::mem::replace(&mut self.partial, rest);
        self.print(&whole)
    }

    /// Prints the last line, which has no line ending.
    pub(crate) fn finish(&mut self) -> std::io::Result<()> {
        let rest = std::mem::take(&mut self.partial);
        self.print(&rest)
    }

    fn print(&self, bytes: &[u8]) -> std::io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let shown = make_safe(&String::from_utf8_lossy(bytes));
        let mut text = String::with_capacity(shown.len() * 2);
        for line in shown.lines() {
            text.push_str(&self.prefix);
            text.push_str(line);
            if self.printer.colors && line.contains('\x1b') {
                text.push_str("\x1b[0m");
            }
            text.push('\n');
        }
        self.printer.print(text.as_bytes())
    }
}

impl std::io::Write for JobOutput<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        JobOutput::write(self, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Makes text safe for a terminal: keeps colors, and removes everything else that moves the cursor or changes the
/// terminal. A carriage return, with which progress bars redraw their line, ends the line.
fn make_safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\n' | '\t' => out.push(c),
            '\r' if rest.peek() == Some(&'\n') => {}
            '\r' => out.push('\n'),
            '\x1b' if rest.peek() == Some(&'[') => {
                rest.next();
                let mut parameters = String::new();
                while let Some(p) = rest.next_if(|p| matches!(p, ' '..='?')) {
                    parameters.push(p);
                }
                let is_color = parameters.chars().all(|p| matches!(p, '0'..='9' | ';' | ':'));
                if rest.next_if(|c| *c != '\n') == Some('m') && is_color {
                    out.push_str("\x1b[");
                    out.push_str(&parameters);
                    out.push('m');
                }
            }
            '\x1b' if rest.peek() == Some(&']') => {
                // A title or a link: skip it.
                while let Some(c) = rest.next_if(|c| *c != '\n') {
                    if c == '\x07' || (c == '\x1b' && rest.next_if_eq(&'\\').is_some()) {
                        break;
                    }
                }
            }
            c if c.is_control() || is_direction(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_stay_and_everything_that_moves_the_cursor_goes() {
        assert_eq!(make_safe("\x1b[1;31mred\x1b[0m"), "\x1b[1;31mred\x1b[0m");
        assert_eq!(make_safe("a\x1b[2J\x1b[Hb"), "ab");
        assert_eq!(make_safe("a\x1b]0;title\x07b\x1b]8;;http://x\x1b\\c"), "abc");
        assert_eq!(make_safe("10%\r20%\r\n"), "10%\n20%\n");
        assert_eq!(make_safe("a\x07b\x1bc"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(make_safe("\x1b[?1049h\x1b["), "");
        assert_eq!(make_safe("a\x1b[\nb"), "a\nb", "a sequence that is broken off takes no line break with it");
    }
}
