//! `longshore restore`: unpacks a backup into an empty data folder.

use std::{fs::File, io::Write as _, path::Path, process::ExitCode};

use longshore_files::{FilesError, restore};
use serde_json::json;

use super::Ended;
use crate::args;

const TAKES_OVER: &str = "a server on it replaces the one that the data come from, which must stay stopped. Jobs that were running there continue if they are still on the engine, and end as `error` otherwise.";

pub(crate) fn run(args: args::Restore) -> super::Result {
    let data = args.data.dir;
    let Some(source) = args.source else {
        restore::take_over(&data).map_err(failed)?;
        if args.data.json {
            super::print_json(&json!({ "data": data, "take_over": true }))?;
        } else {
            writeln!(std::io::stdout(), "{}: {TAKES_OVER}", data.display())?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let newest = longshore_store::newest_schema();
    let restored = if source == Path::new("-") {
        restore::read(&data, std::io::stdin().lock(), newest)
    } else {
        let file = File::open(&source).map_err(|error| Ended::new(1, format!("{}: {error}", source.display())))?;
        restore::read(&data, file, newest)
    };
    let manifest = restored.map_err(failed)?;
    if args.take_over {
        restore::take_over(&data).map_err(failed)?;
    }
    if args.data.json {
        super::print_json(&json!({ "data": data, "manifest": manifest, "take_over": args.take_over }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::stdout().lock();
    let at = manifest.created_at;
    writeln!(out, "{}: restored as of {at}; {} files, all checksums match", data.display(), manifest.files)?;
    if args.take_over {
        writeln!(out, "{TAKES_OVER}")?;
    } else {
        writeln!(
            out,
            "A server on it is a new one beside that of the backup: the {} jobs that were running stay with the old one and end as\n\
             `error` here. If the old server is gone, `longshore restore --take-over` before the first start continues them.",
            manifest.running_jobs
        )?;
    }
    writeln!(out, "Mirrors of repositories are fetched again when they are needed.")?;
    if !manifest.secrets {
        writeln!(
            out,
            "The encryption key is not in this backup: put secrets.key into the folder, or set LONGSHORE_SECRET_KEY."
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(error: FilesError) -> Ended {
    Ended::new(1, error.to_string())
}
