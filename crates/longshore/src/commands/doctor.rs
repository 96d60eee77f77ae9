//! `longshore doctor`: checks this machine's set-up, and says what to do.

use std::{io::Write as _, path::Path, process::ExitCode};

use longshore_core::DeniedAddresses;
use longshore_engine_docker::{DockerOptions, doctor};
use longshore_executor::names::Instance;
use serde_json::json;

use crate::args::Engine;

pub(crate) fn run(args: Engine) -> super::Result {
    let instance = Instance::new("doctor").map_err(|error| super::Ended::new(1, error.to_string()))?;
    let denied = std::env::var("LONGSHORE_DENIED_ADDRESSES").unwrap_or_else(|_| DeniedAddresses::DEFAULT.to_owned());
    let denied = DeniedAddresses::parse_list(&denied)
        .map_err(|error| super::Ended::new(2, format!("LONGSHORE_DENIED_ADDRESSES: {error}")))?;
    let options = DockerOptions { denied, ..DockerOptions::new(args.docker_host, instance) };
    let mut rows: Vec<(String, bool, String, Option<String>)> = super::runtime()?
        .block_on(doctor(options))
        .into_iter()
        .map(|finding| (finding.name.to_owned(), finding.ok, finding.message, finding.advice))
        .collect();
    rows.push(git());
    rows.extend(disk());
    let healthy = rows.iter().all(|(_, ok, _, _)| *ok);
    if args.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, ok, message, advice)| json!({ "name": name, "ok": ok, "message": message, "help": advice }))
            .collect();
        super::print_json(&json!(rows))?;
    } else {
        let mut out = std::io::stdout().lock();
        for (name, ok, message, advice) in &rows {
            writeln!(
                out,
                "{} {name:<14} {message}",
                match (ok, advice) {
                    (false, _) => "FAIL",
                    (true, Some(_)) => "warn",
                    (true, None) => "ok  ",
                }
            )?;
            if let Some(advice) = advice {
                writeln!(out, "     {:<14} {advice}", "")?;
            }
        }
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn git() -> (String, bool, String, Option<String>) {
    let version = std::process::Command::new("git").arg("--version").output();
    match version {
        Ok(output) if output.status.success() => {
            ("git".to_owned(), true, String::from_utf8_lossy(&output.stdout).trim().to_owned(), None)
        }
        Ok(_) | Err(_) => {
            let advice = "install git (Longshore's own image has it)".to_owned();
            ("git".to_owned(), false, "cannot run git".to_owned(), Some(advice))
        }
    }
}

/// Checks the free space of the data folder, if there is one.
fn disk() -> Option<(String, bool, String, Option<String>)> {
    const LITTLE: u64 = 1 << 30;
    let data = std::env::var("LONGSHORE_DATA").unwrap_or_else(|_| "/var/lib/longshore".to_owned());
    let stat = rustix::fs::statvfs(Path::new(&data)).ok()?;
    let free = stat.f_bavail * stat.f_frsize;
    let message = format!("{} MiB free in {data}", free >> 20);
    let advice = (free < LITTLE).then(|| "it holds logs, mirrors and checkouts: free some space".to_owned());
    Some(("disk".to_owned(), free >= LITTLE, message, advice))
}
