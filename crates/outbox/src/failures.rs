//! The failures of a build, as lines of Markdown: for comments and check runs. Texts by others are in code spans, where
//! they are neither markup nor a mention nor a command.

use longshore_core::{Severity, Status};
use longshore_notification::text::{code, one_line};
use longshore_store::{builds::Build, jobs::Job};

/// Lines that are shown, and the characters of a name and of a reason.
const MAX_LINES: usize = 20;
pub(crate) const MAX_NAME_CHARS: usize = 100;
const MAX_REASON_CHARS: usize = 300;

/// Returns a line for each of these jobs that failed; of a build without any, for each error of its pipeline files.
pub(crate) fn lines(url: &str, build: &Build, jobs: &[Job]) -> Vec<String> {
    let failed = jobs.iter().filter(|job| {
        matches!(job.status, Status::Failure | Status::Error | Status::TimedOut) && !job.continue_on_error
    });
    let mut lines: Vec<String> = failed
        .map(|job| {
            let reason = job.reason.as_deref().unwrap_or_else(|| job.status.word());
            let name = code(&one_line(&job.name, MAX_NAME_CHARS));
            format!("[{name}]({url}/jobs/{}): {}", job.id, code(&one_line(reason, MAX_REASON_CHARS)))
        })
        .collect();
    if lines.is_empty() && build.status != Status::Success {
        let errors = build.diagnostics.iter().filter(|found| found.severity == Severity::Error);
        lines.extend(errors.map(|found| {
            let place = format!("{}:{}", found.file, found.span.line);
            format!(
                "{}: {}",
                code(&one_line(&place, MAX_NAME_CHARS)),
                code(&one_line(&found.message, MAX_REASON_CHARS))
            )
        }));
    }
    lines
}

/// Adds lines as a list, and how many more there are.
pub(crate) fn list(body: &mut String, lines: &[String]) {
    for line in lines.iter().take(MAX_LINES) {
        body.push_str("\n- ");
        body.push_str(line);
    }
    if lines.len() > MAX_LINES {
        body.push_str(&format!("\n- and {} more", lines.len() - MAX_LINES));
    }
}
