//! `longshore doctor`: checks this machine's set-up, and says what to do.

use std::{io::Write as _, path::Path, process::ExitCode};

use longshore_core::Timestamp;
use longshore_engine_docker::{DockerOptions, Finding, Sighting, doctor, watch};
use longshore_executor::names::Instance;
use longshore_object_store::ObjectStore;
use serde_json::json;

use super::rights;
use crate::args::Doctor;

pub(crate) fn run(args: Doctor) -> super::Result {
    let config = args.settings.resolve(args.config.as_deref())?;
    let instance = Instance::new("doctor").map_err(|error| super::Ended::new(1, error.to_string()))?;
    // Subnets are left to the engine: a server that runs has the network that would get those of the settings.
    let docker_host = config.docker_host.clone();
    if args.watch {
        return watched(&docker_host, args.json);
    }
    let options = DockerOptions { denied: config.denied, ..DockerOptions::new(config.docker_host, instance) };
    let mut findings = super::runtime()?.block_on(doctor(options));
    let is_guarded = findings.iter().any(|finding| finding.name == "guard");
    if !is_guarded && let Some((message, advice)) = rights::check(&docker_host) {
        findings.push(Finding { name: "socket-rights", ok: true, message, advice });
    }
    findings.push(git());
    findings.extend(disk(&config.data));
    findings.extend(config.object_store.as_ref().map(object_store));
    let healthy = findings.iter().all(|finding| finding.ok);
    if args.json {
        let rows: Vec<_> = findings
            .iter()
            .map(|Finding { name, ok, message, advice }| {
                json!({ "name": name, "ok": ok, "message": message, "help": advice })
            })
            .collect();
        super::print_json(&json!(rows))?;
    } else {
        let mut out = std::io::stdout().lock();
        for Finding { name, ok, message, advice } in &findings {
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

/// Prints each observation as it is made.
fn watched(docker_host: &str, json: bool) -> super::Result {
    let print = |Sighting { kind, container, message }: Sighting| {
        let line = match json {
            true => {
                json!({ "at": Timestamp::now(), "kind": kind, "container": container, "message": message }).to_string()
            }
            false => format!("{} {kind:<14} {message}", Timestamp::now()),
        };
        // An error means that the reader is gone.
        writeln!(std::io::stdout(), "{line}").is_ok()
    };
    let watched = super::runtime()?.block_on(watch(docker_host, print));
    watched.map_err(|error| super::Ended::new(1, error.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

fn git() -> Finding {
    // Root asks here, and the settings in the home folder are the server's.
    let mut git = std::process::Command::new("git");
    let version = git.arg("--version").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").output();
    match version {
        Ok(output) if output.status.success() => {
            let message = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            Finding { name: "git", ok: true, message, advice: None }
        }
        Ok(_) | Err(_) => {
            let advice = "install git (Longshore's own image has it)".to_owned();
            Finding { name: "git", ok: false, message: "cannot run git".to_owned(), advice: Some(advice) }
        }
    }
}

/// Checks the free space of the data folder, if there is one.
fn disk(data: &Path) -> Option<Finding> {
    const LITTLE: u64 = 1 << 30;
    let stat = rustix::fs::statvfs(data).ok()?;
    let free = stat.f_bavail * stat.f_frsize;
    let message = format!("{} MiB free in {}", free >> 20, data.display());
    let advice = (free < LITTLE).then(|| "it holds logs, mirrors and checkouts: free some space".to_owned());
    Some(Finding { name: "disk", ok: free >= LITTLE, message, advice })
}

/// Tries whether the object store can be used: writes, reads and removes an object.
fn object_store(store: &ObjectStore) -> Finding {
    let name = "object-store";
    match store.check() {
        Ok(()) => {
            let message = format!("{} takes, gives and removes objects", store.place());
            Finding { name, ok: true, message, advice: None }
        }
        Err(error) => {
            let advice = "check LONGSHORE_S3_ENDPOINT, _BUCKET, _REGION, _PATH_STYLE and the keys; the bucket has to be there, and the key needs the rights to put, get and delete objects, and to abandon uploads";
            Finding { name, ok: false, message: error.to_string(), advice: Some(advice.to_owned()) }
        }
    }
}
