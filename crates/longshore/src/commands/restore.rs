//! `longshore restore`: unpacks a backup into an empty data folder.

use std::{fs::File, io::Write as _, path::Path, process::ExitCode};

use longshore_files::{FilesError, restore};
use serde_json::json;

use super::ExitError;
use crate::args;

const TAKES_OVER: &str = "a server on this folder replaces the one that was backed up, which must not be started again. Jobs that were running there continue if they are still on the engine, and end as `error` otherwise.";

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
        let file = File::open(&source).map_err(|error| ExitError::new(1, format!("{}: {error}", source.display())))?;
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
    writeln!(
        out,
        "{}: restored as of {at}; {}, all checksums match",
        data.display(),
        super::count(manifest.files, "file")
    )?;
    if args.take_over {
        writeln!(out, "{TAKES_OVER}")?;
    } else {
        writeln!(
            out,
            "A server on this folder is a new one, independent of the server that was backed up. Jobs that were running ({}) stay\n\
             with the old server, and end as `error` here. If the old server is gone, run `longshore restore --take-over` before\n\
             the first start to continue them.",
            manifest.running_jobs
        )?;
    }
    writeln!(out, "Repositories are fetched again when they are needed.")?;
    if !manifest.secrets {
        writeln!(
            out,
            "The backup does not contain the encryption key: put secrets.key into the folder, or set LONGSHORE_SECRET_KEY."
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(error: FilesError) -> ExitError {
    ExitError::new(1, error.to_string())
}
