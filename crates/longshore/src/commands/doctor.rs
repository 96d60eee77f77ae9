//! `longshore doctor`: checks this machine's setup, and says how to fix it.

use std::{io::Write as _, path::Path, process::ExitCode};

use longshore_core::Timestamp;
use longshore_engine_docker::{DockerOptions, Finding, Risk, Severity, doctor, watch};
use longshore_executor::names::Instance;
use longshore_object_store::ObjectStore;
use serde_json::json;

use super::rights;
use crate::args::Doctor;

pub(crate) fn run(args: Doctor) -> super::Result {
    let config = args.settings.resolve(args.config.as_deref())?;
    let instance = Instance::new("doctor").map_err(|error| super::ExitError::new(1, error.to_string()))?;
    // Ignores the configured subnets: a running server's network may already use them.
    let docker_host = config.docker_host.clone();
    if args.watch {
        return print_sightings(&docker_host, args.json);
    }
    let options = DockerOptions { denied: config.denied, ..DockerOptions::new(config.docker_host, instance) };
    let mut findings = super::runtime()?.block_on(doctor(options));
    let is_guarded = findings.iter().any(|finding| finding.name == "guard");
    if !is_guarded && let Some((message, advice)) = rights::check(&docker_host) {
        findings.push(match advice {
            Some(advice) => Finding::warning("socket-rights", message, advice),
            None => Finding::good("socket-rights", message),
        });
    }
    findings.push(check_git());
    findings.extend(check_disk(&config.data));
    findings.extend(config.object_store.as_ref().map(check_object_store));
    let healthy = !findings.iter().any(Finding::is_error);
    if args.json {
        let rows: Vec<_> = findings
            .iter()
            .map(|finding| {
                let Finding { name, message, advice, .. } = finding;
                json!({ "name": name, "ok": !finding.is_error(), "message": message, "help": advice })
            })
            .collect();
        super::print_json(&json!(rows))?;
    } else {
        let mut out = std::io::stdout().lock();
        for Finding { name, severity, message, advice } in &findings {
            writeln!(
                out,
                "{} {name:<14} {message}",
                match severity {
                    Severity::Error => "FAIL",
                    Severity::Warning => "warn",
                    Severity::Good => "ok  ",
                }
            )?;
            if let Some(advice) = advice {
                writeln!(out, "     {:<14} {advice}", "")?;
            }
        }
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints each observation as it is made.
fn print_sightings(docker_host: &str, json: bool) -> super::Result {
    let print = |Risk { kind, container, message }: Risk| {
        let line = match json {
            true => {
                json!({ "at": Timestamp::now(), "kind": kind, "container": container, "message": message }).to_string()
            }
            false => format!("{} {kind:<14} {message}", Timestamp::now()),
        };
        // Returns whether somebody still reads the output.
        writeln!(std::io::stdout(), "{line}").is_ok()
    };
    let watched = super::runtime()?.block_on(watch(docker_host, print));
    watched.map_err(|error| super::ExitError::new(1, error.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

fn check_git() -> Finding {
    // The doctor may run as root in the server's home folder, whose git settings root does not trust.
    let mut git = std::process::Command::new("git");
    let version = git.arg("--version").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").output();
    match version {
        Ok(output) if output.status.success() => Finding::good("git", String::from_utf8_lossy(&output.stdout).trim()),
        Ok(_) | Err(_) => Finding::error("git", "cannot run git", "install git (Longshore's own image has it)"),
    }
}

/// Checks the free space of the data folder, if there is one.
fn check_disk(data: &Path) -> Option<Finding> {
    /// With less free space than this, the doctor fails the check.
    const MIN_FREE: u64 = 1 << 30;
    let stat = rustix::fs::statvfs(data).ok()?;
    let free = stat.f_bavail * stat.f_frsize;
    let message = format!("{} MiB free in {}", free >> 20, data.display());
    Some(if free < MIN_FREE {
        Finding::error("disk", message, "free some space: logs, mirrors and checkouts are kept there")
    } else {
        Finding::good("disk", message)
    })
}

/// Checks that the object store works by writing, reading and removing an object.
fn check_object_store(store: &ObjectStore) -> Finding {
    let name = "object-store";
    match store.check() {
        Ok(()) => Finding::good(name, format!("{} can store, read and remove objects", store.place())),
        Err(error) => Finding::error(
            name,
            error.to_string(),
            "check LONGSHORE_S3_ENDPOINT, _BUCKET, _REGION, _PATH_STYLE and the keys; the bucket must exist, and the key must be allowed to put, get and delete objects and to abort multipart uploads",
        ),
    }
}
