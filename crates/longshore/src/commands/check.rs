//! `longshore check`: checks a data folder. It only reads, and may run beside a server.

mod words;

use std::{io::Write as _, process::ExitCode};

use longshore_store::check::{Depth, Finding, Report, Severity};
use serde_json::{Value, json};

use self::words::{help, message};
use super::{ExitError, count};
use crate::args;

pub(crate) fn run(args: args::Check) -> super::Result {
    let depth = if args.quick { Depth::Quick } else { Depth::Full };
    let object_store = args.s3.object_store().map_err(|error| ExitError::new(2, format!("{error:#}")))?;
    let checked = longshore_store::check::run_with(&args.data.dir, depth, object_store);
    let checked = super::runtime()?.block_on(checked);
    let report = checked.map_err(|error| ExitError::new(1, error.to_string()))?;
    if args.data.json {
        super::print_json(&json!({ "ok": report.is_whole(), "report": to_json(&report) }))?;
    } else {
        print_report(&report)?;
    }
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn to_json(report: &Report) -> Value {
    let finding = |found: &Finding| {
        let severity = match found.severity() {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        json!({ "severity": severity, "code": found.code(), "message": message(found), "help": help(found) })
    };
    json!({
        "schema": report.schema,
        "builds": report.builds,
        "jobs": report.jobs,
        "logs": report.logs,
        "log_bytes": report.log_bytes,
        "files": report.files,
        "file_bytes": report.file_bytes,
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "counts": report.counts,
        "errors": report.errors,
    })
}

fn print_report(report: &Report) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for finding in &report.findings {
        let word = match finding.severity() {
            Severity::Warning => "warning",
            Severity::Error => "ERROR",
        };
        writeln!(out, "{word:<8} {}: {}", finding.code(), message(finding))?;
        writeln!(out, "         {}", help(finding))?;
    }
    let found: u64 = report.counts.values().sum();
    if found > report.findings.len() as u64 {
        let counts: Vec<String> = report.counts.iter().map(|(code, count)| format!("{count} {code}")).collect();
        writeln!(out, "and more; total: {}", counts.join(", "))?;
    }
    let (builds, jobs, logs) = (count(report.builds, "build"), count(report.jobs, "job"), count(report.logs, "log"));
    writeln!(out, "{builds}, {jobs}, {logs} of finished jobs ({} MiB)", report.log_bytes.div_ceil(1 << 20))?;
    writeln!(out, "{} ({} MiB)", count(report.files, "artifact file"), report.file_bytes.div_ceil(1 << 20))?;
    writeln!(out, "{}", if report.is_whole() { "ok: nothing is lost or damaged" } else { "NOT OK" })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_the_code_of_a_finding_and_people_its_words_and_what_to_do() {
        let found = Finding::ReadableByOthers { path: "secrets.key".into(), mode: 0o644 };
        let report = Report { findings: vec![found], ..Report::default() };
        assert_eq!(
            to_json(&report)["findings"],
            json!([{
                "severity": "warning",
                "code": "file-readable",
                "message": "secrets.key may be read by others (mode 644)",
                "help": "`chmod 600` it: only the server's user may read it",
            }])
        );
    }
}
