//! `longshore restore`: a backup back into an empty data folder.

use std::{fs::File, io::Write as _, path::Path, process::ExitCode};

use serde_json::json;

use super::Ended;
use crate::args;

pub(crate) fn run(args: args::Restore) -> super::Result {
    let data = args.data.dir;
    let restored = if args.source == Path::new("-") {
        longshore_store::restore::read(&data, std::io::stdin().lock())
    } else {
        let file =
            File::open(&args.source).map_err(|error| Ended::new(1, format!("{}: {error}", args.source.display())))?;
        longshore_store::restore::read(&data, file)
    };
    let manifest = restored.map_err(|error| Ended::new(1, error.to_string()))?;
    if args.data.json {
        super::print_json(&json!({ "data": data, "manifest": manifest }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::stdout().lock();
    let at = manifest.created_at;
    writeln!(
        out,
        "{}: as it was at {at}, {} files, every one with the sum it was written with",
        data.display(),
        manifest.files
    )?;
    writeln!(
        out,
        "A server on it goes on from there. {} jobs were running: what of them is on the engine is taken up, the",
        manifest.running_jobs
    )?;
    writeln!(out, "others end as `error`. Mirrors of repositories are fetched again as they are needed.")?;
    if !manifest.secrets {
        writeln!(
            out,
            "The key of secrets was left out of this backup: put secrets.key into the folder, or give LONGSHORE_SECRET_KEY."
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
