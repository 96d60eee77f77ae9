//! Reads what a job's guard has recorded out of its container: its audit log, and the table that says how the job has
//! behaved.

use std::io::Read as _;

use bollard::Docker;
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures_util::StreamExt as _;
use longshore_executor::{AttemptId, EngineError, GuardLog, RefusedCall};
use longshore_guard::{Conduct, Table, job_guard};
use serde_json::Value;

use crate::error::{ApiResult as _, not_understood};

/// The most bytes that are read of a file. A guard begins a new log before its file is as long.
const MAX_FILE_BYTES: usize = 48 << 20;
const CALL: &str = "read the log of a guard";

/// Returns what the guard of an attempt has recorded, `None` if there is no guard.
pub(crate) async fn read(docker: &Docker, attempt: AttemptId) -> Result<Option<GuardLog>, EngineError> {
    let Some(log) = download(docker, attempt, job_guard::AUDIT).await? else { return Ok(None) };
    // The file does not exist before its first line.
    let table = download(docker, attempt, job_guard::TABLE).await?.unwrap_or_default();
    let summary = tokio::task::spawn_blocking(move || summarize(&log, &table)).await;
    summary.map_err(|error| not_understood(CALL, error))?.map(Some).map_err(|error| not_understood(CALL, error))
}

/// Returns a file of a guard's container as a tar, `None` if there is no such file or container.
async fn download(docker: &Docker, attempt: AttemptId, path: &str) -> Result<Option<Vec<u8>>, EngineError> {
    let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
    let name = attempt.guard_name();
    let mut archive = std::pin::pin!(docker.download_from_container(name.as_str(), Some(options)));
    let mut bytes = Vec::new();
    while let Some(piece) = archive.next().await {
        match piece.api(CALL) {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        }
        if bytes.len() > MAX_FILE_BYTES {
            return Err(not_understood(CALL, "it is too long"));
        }
    }
    Ok(Some(bytes))
}

fn summarize(log: &[u8], table: &[u8]) -> std::io::Result<GuardLog> {
    let lines = file_in(log)?;
    // The request of a half-written line was not answered.
    let last = lines.rsplit(|byte| *byte == b'\n').find_map(|line| serde_json::from_slice::<Value>(line).ok());
    let last = last.unwrap_or_default();
    let conduct = parse_conduct(table)?;
    let is_probing = conduct.is_probing();
    let Conduct { refusals, refused, not_there, probes, registries, frozen, .. } = conduct;
    let refused = refused.into_iter();
    Ok(GuardLog {
        requests: last["number"].as_u64().unwrap_or_default(),
        refusals,
        refused: refused.map(|one| RefusedCall { call: one.call, rule: one.rule, reason: one.reason }).collect(),
        not_there,
        probes: if is_probing { probes.into_iter().collect() } else { Vec::new() },
        registries: registries.into_iter().collect(),
        frozen,
        hash: last["hash"].as_str().unwrap_or_default().to_owned(),
    })
}

fn parse_conduct(table: &[u8]) -> std::io::Result<Conduct> {
    let text = file_in(table)?;
    if text.is_empty() {
        return Ok(Conduct::default());
    }
    Ok(serde_json::from_slice::<Table>(&text)?.conduct().clone())
}

/// Returns what the file in a tar contains. Empty if there is none.
fn file_in(tar: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for file in tar::Archive::new(tar).entries()? {
        file?.read_to_end(&mut text)?;
    }
    Ok(text)
}
