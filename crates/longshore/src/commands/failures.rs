//! The last lines of the output about a build that failed: the first marked error of each job, and how to run just that
//! job again.

use std::io::Write;

use super::table::one_line;

/// How many jobs are named.
const MAX_NAMED_JOBS: usize = 5;

/// A job that failed.
#[derive(Debug)]
pub(super) struct FailedJob {
    pub(super) name: String,
    /// The number and the text of the first marked error of the step that failed.
    pub(super) error: Option<(u64, String)>,
    /// The command that runs it again.
    pub(super) rerun: String,
}

pub(super) fn write(out: &mut impl Write, failed: &[FailedJob]) -> std::io::Result<()> {
    for job in failed.iter().take(MAX_NAMED_JOBS) {
        match &job.error {
            Some((line, text)) => writeln!(out, "\n{}, line {line}: {}", one_line(&job.name), one_line(text))?,
            None => writeln!(out, "\n{}: no error was found in its log", one_line(&job.name))?,
        }
        writeln!(out, "  run it again: {}", job.rerun)?;
    }
    match failed.len().saturating_sub(MAX_NAMED_JOBS) {
        0 => Ok(()),
        more => writeln!(out, "\nand {more} more failed jobs"),
    }
}

/// Returns a word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./#:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with('#') {
        return word.to_owned();
    }
    format!("'{}'", one_line(word).replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_failed_is_named_with_its_first_error_and_how_to_run_it_again() {
        let job = |name: &str, error: Option<(u64, String)>| FailedJob {
            name: name.to_owned(),
            error,
            rerun: format!("longshore run --job {}", quoted(name)),
        };
        let mut out = Vec::new();
        let jobs = [job("lint", Some((12, "error: \u{202e}x\x1b[2J".to_owned()))), job("test (a, b)", None)];
        write(&mut out, &jobs).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\nlint, line 12: error: \u{fffd}x\n  run it again: longshore run --job lint\n\ntest (a, b): no error was \
             found in its log\n  run it again: longshore run --job 'test (a, b)'\n"
        );
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
