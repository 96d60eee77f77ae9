//! Starts guards: the containers that serve jobs their Docker API. A guard is started before the job's container, and
//! stays until the job's end: the job may have streams open while no server runs.

use std::time::Duration;

use futures_util::StreamExt as _;

use crate::engine::{Engine, GuardSpec};
use crate::error::EngineError;
use crate::link::FromLink;
use crate::objects::ObjectId;
use crate::removal::Removals;

/// How long a guard may take until it listens. It takes milliseconds, or seconds on a host that is starting many
/// containers.
const START: Duration = Duration::from_secs(60);
/// How much of what a guard says is kept.
const SAID: usize = 2048;

/// Starts the guard of a job; returns once it listens. A guard that an earlier try left is replaced.
pub(crate) async fn start_guard(
    engine: &dyn Engine,
    removals: &Removals,
    spec: &GuardSpec<'_>,
    patience: Duration,
) -> Result<(), EngineError> {
    let container = match engine.create_guard(spec).await {
        Err(EngineError::NameTaken(_)) => {
            removals.now(&ObjectId::NamedContainer(spec.attempt.guard_name()), patience).await;
            engine.create_guard(spec).await?
        }
        created => created?,
    };
    let mut link = engine.start(&container).await?;
    let mut said = Vec::new();
    let listens = async {
        while let Some(piece) = link.output.next().await {
            match piece {
                // It says one line there: that it listens.
                FromLink::Stdout(_) => return Ok(()),
                FromLink::CannotRun(text) => {
                    return Err(EngineError::AgentFailed(String::from_utf8_lossy(&text).into_owned()));
                }
                FromLink::Stderr(text) if said.len() < SAID => said.extend_from_slice(&text),
                FromLink::Stderr(_) => {}
            }
        }
        Err(failed(&String::from_utf8_lossy(&said)))
    };
    match tokio::time::timeout(START, listens).await {
        Ok(listens) => listens,
        Err(_) => Err(failed("it does not listen")),
    }
}

fn failed(reason: &str) -> EngineError {
    EngineError::Local { what: "the guard of the job's Docker API did not start", reason: reason.trim().to_owned() }
}
