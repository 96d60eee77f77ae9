//! `longshore artifact`: what the jobs of a build have left.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use longshore_core::{artifact, percent};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    ExitError, build, is_called, print_json,
    table::{self, text},
};
use crate::{
    args::{Artifact, Remote},
    client::Client,
};

pub(crate) fn run(args: Remote<Artifact>) -> super::Result {
    let client = args.server.client()?;
    match args.command {
        Artifact::List { build } => list(&client, &build::find(&client, &build)?, args.server.json),
        Artifact::Get { build, name, job, path, output, zip } => {
            let build = build::find(&client, &build)?;
            let artifact = find(&client, &build, &name, job.as_deref())?;
            match zip {
                Some(file) => get_zip(&client, &artifact, &file),
                None => {
                    let folder = output.unwrap_or_else(|| PathBuf::from(&name));
                    get_files(&client, &artifact, path.as_deref(), &folder)
                }
            }
        }
    }
}

/// Returns the artifacts of a build.
fn of_build(client: &Client, build: &Value) -> anyhow::Result<Vec<Value>> {
    let found = client.get(&format!("/api/v1/builds/{}/artifacts", text(build, "id")))?;
    Ok(found["items"].as_array().cloned().unwrap_or_default())
}

/// Returns the name of an artifact's job.
fn job_name(build: &Value, artifact: &Value) -> String {
    let jobs = build["jobs"].as_array().into_iter().flatten();
    jobs.filter(|job| job["id"] == artifact["job"]).map(|job| text(job, "name")).next().unwrap_or_default()
}

fn list(client: &Client, build: &Value, json: bool) -> super::Result {
    let all = of_build(client, build)?;
    if json {
        print_json(&Value::Array(all))?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |artifact: &Value| {
        [
            text(artifact, "name"),
            job_name(build, artifact),
            artifact["files"].to_string(),
            artifact["bytes"].to_string(),
            text(artifact, "expires_at"),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    table::print(["NAME", "JOB", "FILES", "BYTES", "EXPIRES"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

fn find(client: &Client, build: &Value, name: &str, job: Option<&str>) -> anyhow::Result<Value> {
    let all = of_build(client, build)?;
    let of_job = |artifact: &&Value| job.is_none_or(|job| is_called(&job_name(build, artifact), job));
    let found: Vec<&Value> = all.iter().filter(|artifact| artifact["name"] == name).filter(of_job).collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let names: Vec<String> = all.iter().map(|artifact| format!("`{}`", text(artifact, "name"))).collect();
            let has = if names.is_empty() {
                "it has no artifacts".to_owned()
            } else {
                format!("it has {}", names.join(", "))
            };
            Err(ExitError::new(1, format!("build #{} has no artifact `{name}`: {has}", build["number"])).into())
        }
        several => {
            let jobs: Vec<String> = several.iter().map(|artifact| format!("`{}`", job_name(build, artifact))).collect();
            let message = format!("several jobs have an artifact `{name}`: choose one with --job: {}", jobs.join(", "));
            Err(ExitError::new(2, message).into())
        }
    }
}

fn get_zip(client: &Client, artifact: &Value, file: &Path) -> super::Result {
    let address = format!("/api/v1/artifacts/{}.zip", text(artifact, "id"));
    if file == Path::new("-") {
        client.copy(&address, &mut io::stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    let half = file.with_extension("part");
    let mut out = File::create(&half).with_context(|| format!("{} cannot be written", half.display()))?;
    client.copy(&address, &mut out)?;
    fs::rename(&half, file).with_context(|| format!("{} cannot be written", file.display()))?;
    writeln!(io::stdout(), "{}", file.display())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes an artifact's files into a folder: all of them, or the one of that path.
fn get_files(client: &Client, artifact: &Value, only: Option<&str>, folder: &Path) -> super::Result {
    let id = text(artifact, "id");
    let mut after = String::new();
    let mut count = 0_u64;
    loop {
        let page = client.get(&format!("/api/v1/artifacts/{id}/files?limit=200&after={}", percent::encode(&after)))?;
        for file in page["items"].as_array().into_iter().flatten() {
            if only.is_none_or(|only| file["path"] == only) {
                get_file(client, &id, file, folder)?;
                count += 1;
            }
        }
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    if count == 0 {
        let message = format!("no file `{}` in the artifact `{}`", only.unwrap_or_default(), text(artifact, "name"));
        return Err(ExitError::new(1, message).into());
    }
    writeln!(io::stdout(), "{} in {}", super::count(count, "file"), folder.display())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes one file, by a rename, after comparing its bytes with their SHA-256.
fn get_file(client: &Client, id: &str, file: &Value, folder: &Path) -> anyhow::Result<()> {
    let path = text(file, "path");
    if let Some(why) = artifact::path_fault(&path) {
        return Err(ExitError::new(1, format!("the server sent a path that cannot be written: {path:?}: {why}")).into());
    }
    let target = folder.join(&path);
    let failed = || format!("{} cannot be written", target.display());
    let parent = target.parent().unwrap_or(folder);
    fs::create_dir_all(parent).with_context(failed)?;
    let mode = if file["executable"] == true { 0o755 } else { 0o644 };
    let half = tempfile::Builder::new().prefix(".longshore-").tempfile_in(parent).with_context(failed)?;
    let mut out = Hashing { file: half.reopen().with_context(failed)?, hash: Sha256::new() };
    client.copy(&format!("/api/v1/artifacts/{id}/files/{}", percent::encode_path(&path)), &mut out)?;
    if hex::encode(out.hash.finalize()) != text(file, "sha256") {
        return Err(ExitError::new(1, format!("{path}: the download is incomplete; try again")).into());
    }
    fs::set_permissions(half.path(), std::os::unix::fs::PermissionsExt::from_mode(mode)).with_context(failed)?;
    half.persist(&target).with_context(failed)?;
    Ok(())
}

struct Hashing {
    file: File,
    hash: Sha256,
}

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
