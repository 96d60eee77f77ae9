//! Reads an ended container's spool: what its agent reported and nobody had acknowledged.

use std::io;
use std::time::Duration;

use futures_util::StreamExt as _;
use longshore_agent_protocol::SpoolReader;
use longshore_agent_protocol::spool::segment_first_seq;

use crate::engine::{Engine, SpoolPiece};
use crate::error::EngineError;
use crate::following::log_recorder::LogRecorder;
use crate::names::ContainerId;

/// Why a spool is not completely in the journal.
pub(crate) enum Unreadable {
    Journal(io::Error),
    /// There is no spool: the folder or the container does not exist.
    NoSpool(String),
    /// The rest of it cannot be trusted. Everything before is in the journal.
    Spool(String),
    /// The engine did not deliver all of it, and may do so on another try. Everything before is in the journal.
    Passing(EngineError),
}

/// Limit for the bytes read from a spool. The agent holds up steps at 1 GiB, so a job has made a longer one.
const MAX_SPOOL: u64 = 2 << 30;
/// How long the engine may send no byte of it.
const MAX_SILENCE: Duration = Duration::from_secs(120);

/// Writes everything of the spool that the journal does not have, and everything else that waits in `recorder`. May be
/// called again: it continues after what the journal has by then.
pub(crate) async fn read(
    engine: &dyn Engine,
    container: &ContainerId,
    recorder: &mut LogRecorder,
) -> Result<(), Unreadable> {
    recorder.flush().await.map_err(Unreadable::Journal)?;
    let read = record_all(engine, container, recorder).await;
    recorder.flush().await.map_err(Unreadable::Journal)?;
    match read {
        // The job's end was read before the error.
        Err(Unreadable::Spool(_) | Unreadable::NoSpool(_) | Unreadable::Passing(_))
            if recorder.finished().is_some() =>
        {
            Ok(())
        }
        read => read,
    }
}

async fn record_all(
    engine: &dyn Engine,
    container: &ContainerId,
    recorder: &mut LogRecorder,
) -> Result<(), Unreadable> {
    let mut pieces = engine.read_spool(container);
    let mut spool = SpoolReader::new(recorder.last_seq());
    let mut left = MAX_SPOOL;
    loop {
        tokio::select! {
            written = recorder.written(), if recorder.is_writing() => written.map_err(Unreadable::Journal)?,
            piece = pieces.next(), if !recorder.is_full() => {
                match piece {
                    None => return Ok(()),
                    Some(Err(error)) => return Err(unreadable(error)),
                    Some(Ok(SpoolPiece::File { name, length, plain })) => {
                        // Only the agent writes there; a job that got in must not make us read without end.
                        if !plain || segment_first_seq(&name).is_none() {
                            return Err(Unreadable::Spool("it contains files that do not belong to it".to_owned()));
                        }
                        left = left.checked_sub(length).ok_or_else(|| {
                            Unreadable::Spool("it is longer than any agent makes it".to_owned())
                        })?;
                        spool.begin_segment();
                    }
                    Some(Ok(SpoolPiece::Bytes(bytes))) => {
                        spool.push(&bytes);
                        while let Some(item) = spool.next() {
                            let item = item.map_err(|error| Unreadable::Spool(error.to_string()))?;
                            let recorded = recorder.record(item.seq, item.message);
                            recorded.map_err(|error| Unreadable::Spool(error.to_string()))?;
                        }
                        recorder.start();
                    }
                }
            }
            () = tokio::time::sleep(MAX_SILENCE), if !recorder.is_full() => {
                let error = EngineError::Away("it stopped sending the job's spool".to_owned());
                return Err(Unreadable::Passing(error));
            }
        }
    }
}

/// Returns what an engine's error means for the spool.
fn unreadable(error: EngineError) -> Unreadable {
    if error.is_not_found() {
        Unreadable::NoSpool(error.to_string())
    } else if error.is_transient() || error.holds_starts() {
        Unreadable::Passing(error)
    } else {
        Unreadable::Spool(error.to_string())
    }
}
