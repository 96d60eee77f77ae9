//! `longshore check`: checks a data folder. It only reads, and may run beside a server.

use std::{io::Write as _, process::ExitCode};

use longshore_store::check::{Depth, Report, Severity};
use serde_json::json;

use super::{ExitError, count};
use crate::args;

pub(crate) fn run(args: args::Check) -> super::Result {
    let depth = if args.quick { Depth::Quick } else { Depth::Full };
    let object_store = args.s3.object_store().map_err(|error| ExitError::new(2, format!("{error:#}")))?;
    let checked = longshore_store::check::run_with(&args.data.dir, depth, object_store);
    let checked = super::runtime()?.block_on(checked);
    let report = checked.map_err(|error| ExitError::new(1, error.to_string()))?;
    if args.data.json {
        super::print_json(&json!({ "ok": report.is_whole(), "report": report }))?;
    } else {
        print_report(&report)?;
    }
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_report(report: &Report) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for finding in &report.findings {
        let word = match finding.severity {
            Severity::Warning => "warning",
            Severity::Error => "ERROR",
        };
        writeln!(out, "{word:<8} {}: {}", finding.code, finding.message)?;
        writeln!(out, "         {}", finding.help)?;
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
