//! Shows the log of `longshore run` and, on a terminal, a progress line for each job below it.

use std::{
    io::IsTerminal as _,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use longshore_core::Status;

use super::job_output::{JobOutput, OutputPrinter};

/// The log of a run and its progress lines.
#[derive(Debug)]
pub(crate) struct Progress {
    printer: OutputPrinter,
    /// One line for each job; empty in a pipe.
    bars: Vec<ProgressBar>,
    names: Vec<String>,
    canceled: AtomicBool,
    quiet: bool,
}

impl Progress {
    /// Creates the display for jobs with these names. `quiet` shows neither log nor progress, because standard output
    /// is used for something else.
    pub(crate) fn new<'n>(names: impl IntoIterator<Item = &'n str>, quiet: bool) -> Self {
        let names: Vec<String> = names.into_iter().map(super::table::one_line).collect();
        let on_terminal = !quiet && std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let multi = on_terminal.then(MultiProgress::new);
        let bars = multi.as_ref().map_or_else(Vec::new, |multi| {
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = |_| multi.add(ProgressBar::new_spinner().with_style(style.clone()));
            names.iter().map(bar).collect()
        });
        let printer = OutputPrinter::new(names.iter().map(String::as_str), multi);
        Self { printer, bars, names, canceled: AtomicBool::new(false), quiet }
    }

    /// Returns the writer for the log of job `index`, which shows nothing if the run is quiet.
    pub(crate) fn lines(&self, index: usize, name: &str) -> Lines<'_> {
        Lines((!self.quiet).then(|| self.printer.job(index, name)))
    }

    /// Shows the status of job `index`.
    pub(crate) fn show(&self, index: usize, status: Status, step: Option<&str>) {
        let (Some(bar), Some(name)) = (self.bars.get(index), self.names.get(index)) else { return };
        if status.is_final() {
            bar.finish_and_clear();
            return;
        }
        let message = match step {
            Some(step) => format!("{name}: {}", super::table::one_line(step)),
            None => format!("{name}: {}", status.word()),
        };
        if bar.message() != message {
            bar.set_message(message);
            bar.reset_elapsed();
            bar.enable_steady_tick(Duration::from_millis(120));
        }
    }

    /// Removes the progress lines.
    pub(crate) fn finish(&self) {
        for bar in &self.bars {
            bar.finish_and_clear();
        }
    }

    /// Records that the run is to be canceled. Returns whether that was recorded before.
    pub(crate) fn cancel(&self) -> bool {
        self.canceled.swap(true, Ordering::Relaxed)
    }
}

/// A job's log, shown or not.
#[derive(Debug)]
pub(crate) struct Lines<'a>(Option<JobOutput<'a>>);

impl Lines<'_> {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |lines| lines.write(bytes))
    }

    pub(crate) fn finish(&mut self) -> std::io::Result<()> {
        self.0.as_mut().map_or(Ok(()), JobOutput::finish)
    }
}
