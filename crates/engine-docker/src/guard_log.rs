//! Reads the audit log of a job's guard out of its container.

use std::io::{BufRead as _, BufReader};

use bollard::Docker;
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures_util::StreamExt as _;
use longshore_executor::{AttemptId, EngineError, GuardLog, RefusedCall};
use longshore_guard::Rule;
use longshore_guard::audit::{Entry, Outcome};
use serde_json::Value;

use crate::error::{ApiResult as _, not_understood};

/// Where the guard writes it (`longshore_guard::job_guard`).
const LOG: &str = "/audit.jsonl";
/// The most that is read, in bytes; a guard begins a new file before.
const MOST: usize = 48 << 20;
/// The most refusals that are told one by one.
const MOST_REFUSED: usize = 50;
const WHAT: &str = "read the log of a guard";

/// Returns what the guard of an attempt has recorded, `None` if there is no guard.
pub(crate) async fn read(docker: &Docker, attempt: AttemptId) -> Result<Option<GuardLog>, EngineError> {
    let options = DownloadFromContainerOptionsBuilder::new().path(LOG).build();
    let name = attempt.guard_name();
    let mut archive = std::pin::pin!(docker.download_from_container(name.as_str(), Some(options)));
    let mut bytes = Vec::new();
    while let Some(piece) = archive.next().await {
        match piece.api(WHAT) {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        }
        if bytes.len() > MOST {
            return Err(not_understood(WHAT, "it is too long"));
        }
    }
    let summed = tokio::task::spawn_blocking(move || sum(&bytes)).await;
    summed.map_err(|error| not_understood(WHAT, error))?.map(Some).map_err(|error| not_understood(WHAT, error))
}

fn sum(tar: &[u8]) -> std::io::Result<GuardLog> {
    let mut log = GuardLog::default();
    let mut archive = tar::Archive::new(tar);
    for file in archive.entries()? {
        for line in BufReader::new(file?).lines() {
            // A line that was being written is of a request that was not answered.
            let Ok(mut line) = serde_json::from_str::<Value>(&line?) else { continue };
            let Ok(entry) = serde_json::from_value::<Entry>(line["entry"].take()) else { continue };
            log.requests += 1;
            log.hash = line["hash"].as_str().unwrap_or_default().to_owned();
            match entry.decision {
                Outcome::Allowed | Outcome::Failed => {}
                Outcome::Denied if entry.rule == Rule::Foreign.as_str() => log.not_there += 1,
                Outcome::Denied => {
                    log.refusals += 1;
                    if log.refused.len() < MOST_REFUSED {
                        let call = format!("{} {}", entry.method, entry.route);
                        log.refused.push(RefusedCall { call, rule: entry.rule, reason: entry.reason });
                    }
                }
            }
        }
    }
    Ok(log)
}
