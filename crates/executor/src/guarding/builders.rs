//! Starts builders: containers in which jobs with Docker have their own BuildKit. A builder is started before the job's
//! container, and removed with it. Nothing that it builds is seen by another job.

use std::time::Duration;

use futures_util::StreamExt as _;

use crate::engine::{BuilderSpec, Engine};
use crate::error::EngineError;
use crate::following::link::FromLink;
use crate::removing::removal::Removals;

/// How long a builder may take until it listens. It takes a second, or many on a host that is starting many containers.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The line of its output that says that it listens.
const LISTENS: &str = "running server on";
/// How much of what it says is kept.
const MAX_OUTPUT_BYTES: usize = 16 << 10;

/// Starts the builder of a job; returns once it listens. A builder that an earlier try left is replaced.
pub(crate) async fn start_builder(
    engine: &dyn Engine,
    removals: &Removals,
    spec: &BuilderSpec<'_>,
    patience: Duration,
) -> Result<(), EngineError> {
    let container =
        removals.create_replacing(spec.attempt.builder_name(), patience, || engine.create_builder(spec)).await?;
    let mut link = engine.start(&container).await?;
    let mut said = Vec::new();
    let listens = async {
        while let Some(piece) = link.output.next().await {
            match piece {
                FromLink::CannotRun(text) => return Err(failed(spec, &String::from_utf8_lossy(&text))),
                FromLink::Stdout(text) | FromLink::Stderr(text) if said.len() < MAX_OUTPUT_BYTES => {
                    said.extend_from_slice(&text);
                    if String::from_utf8_lossy(&said).contains(LISTENS) {
                        return Ok(());
                    }
                }
                FromLink::Stdout(_) | FromLink::Stderr(_) => {}
            }
        }
        Err(failed(spec, last_line(&String::from_utf8_lossy(&said))))
    };
    match tokio::time::timeout(START_TIMEOUT, listens).await {
        Ok(listens) => listens,
        Err(_) => Err(failed(spec, "it does not listen")),
    }
}

fn last_line(said: &str) -> &str {
    said.trim().lines().last().unwrap_or("it ended at once")
}

fn failed(spec: &BuilderSpec<'_>, reason: &str) -> EngineError {
    let hint =
        "the image has to be one of rootless BuildKit, and the host has to allow user namespaces (docs/security.md)";
    EngineError::Local {
        what: "the job's builder did not start",
        reason: format!("{} says: {}; {hint}", spec.name, reason.trim()),
    }
}
