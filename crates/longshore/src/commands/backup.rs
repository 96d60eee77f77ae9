//! `longshore backup`: writes a data folder to one tar file, whether or not its server is running.
//!
//! A file gets its final name only when it is complete and synced. Messages go to standard error, so that `-` writes
//! only the tar to standard output.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use longshore_store::{
    StoreError,
    backup::{self, Backup},
};
use serde_json::json;

use super::ExitError;
use crate::args;

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn run(args: args::Backup) -> super::Result {
    let data = args.data.dir;
    let runtime = super::runtime()?;
    let (backup, path) = if args.target == Path::new("-") {
        if std::io::stdout().is_terminal() {
            return Err(ExitError::new(2, "standard output is a terminal: use `longshore backup - > FILE`").into());
        }
        let out = BufWriter::with_capacity(1 << 20, std::io::stdout());
        (runtime.block_on(backup::write(&data, !args.without_secrets, VERSION, out)).map_err(failed)?, None)
    } else {
        let path = if args.target.is_dir() { args.target.join(file_name()) } else { args.target };
        (runtime.block_on(write_to_file(&data, !args.without_secrets, &path))?, Some(path))
    };
    print_summary(&backup, path.as_deref(), args.data.json)?;
    Ok(if backup.warnings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn write_to_file(data: &Path, secrets: bool, path: &Path) -> anyhow::Result<Backup> {
    if path.exists() {
        let message =
            format!("{} already exists: name another file, or a folder in which to create one", path.display());
        return Err(ExitError::new(1, message).into());
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let at = |error: std::io::Error| ExitError::new(1, format!("{}: {error}", partial.display()));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial).map_err(at)?;
    let written = match file.try_clone() {
        Ok(out) => backup::write(data, secrets, VERSION, BufWriter::with_capacity(1 << 20, out)).await.map_err(failed),
        Err(error) => Err(at(error)),
    };
    let kept = written.and_then(|backup| {
        file.sync_all().and_then(|()| std::fs::rename(&partial, path)).map_err(at)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(at)?;
        Ok(backup)
    });
    if kept.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    Ok(kept?)
}

fn failed(error: StoreError) -> ExitError {
    ExitError::new(1, error.to_string())
}

/// Returns the name of a new backup: it contains the current time.
fn file_name() -> String {
    let now = longshore_core::Timestamp::now().to_string();
    let time: String = now.chars().filter(char::is_ascii_digit).take(14).collect();
    format!("longshore-{time}.tar")
}

fn print_summary(backup: &Backup, path: Option<&Path>, as_json: bool) -> anyhow::Result<()> {
    let manifest = &backup.manifest;
    let mut err = std::io::stderr().lock();
    if as_json {
        let value = json!({ "file": path, "manifest": manifest, "warnings": backup.warnings });
        return match path {
            Some(_) => super::print_json(&value),
            None => Ok(writeln!(err, "{value:#}")?),
        };
    }
    for warning in &backup.warnings {
        writeln!(err, "warning: {warning}")?;
    }
    let place = path.map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
    let (files, jobs) = (super::count(manifest.files, "file"), super::count(manifest.running_jobs, "running job"));
    writeln!(err, "{place}: {files}, {} MiB, {jobs}", manifest.bytes.div_ceil(1 << 20))?;
    if manifest.secrets {
        writeln!(
            err,
            "The backup contains the encryption key, tokens and webhook secrets, so keep it as safe as those. To leave out the \
             key and the admin token, use `--without-secrets`."
        )?;
    } else {
        writeln!(
            err,
            "The backup does not contain the encryption key (secrets.key). Without a copy of it, all secrets have to be set again \
             after a restore."
        )?;
    }
    Ok(())
}
