//! Moves the files of artifacts from the data folder into the object store, once their jobs are over. While the store
//! is away they stay in the folder, and the pages say so; nothing waits for it. An idle server asks nothing.

use std::{io, time::Duration};

use longshore_core::BlobId;
use longshore_files::artifacts::{Blobs, OffloadProblem};
use tokio_util::sync::CancellationToken;

/// The pauses after what could not be moved, from the first to the longest.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(5 * 60);

/// Works until `shutdown`.
pub(crate) async fn run(blobs: Blobs, shutdown: CancellationToken) {
    let work = async {
        let mut pause = RETRY_PAUSE;
        loop {
            match pass(&blobs).await {
                Ok(()) => {
                    if blobs.offload_problem().is_some() {
                        tracing::info!("artifacts are in the object store again");
                    }
                    blobs.set_offload_problem(None);
                    pause = RETRY_PAUSE;
                    blobs.settled().await;
                }
                Err((waiting, error)) => {
                    tracing::warn!(%error, waiting, "artifacts stay in the data folder for now");
                    blobs.set_offload_problem(Some(OffloadProblem { why: error.to_string(), waiting }));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    };
    shutdown.run_until_cancelled(work).await;
}

/// Moves what is in the folder. Returns how many files wait, and why, if one cannot be moved.
async fn pass(blobs: &Blobs) -> Result<(), (usize, io::Error)> {
    let found = {
        let blobs = blobs.clone();
        blocking(move || blobs.in_folder()).await.map_err(|error| (0, error))?
    };
    for (at, id) in found.iter().copied().enumerate() {
        let moved = {
            let blobs = blobs.clone();
            blocking(move || move_out(&blobs, id)).await
        };
        moved.map_err(|error| (found.len() - at, error))?;
    }
    Ok(())
}

fn move_out(blobs: &Blobs, id: BlobId) -> io::Result<()> {
    let moved = blobs.move_out(&id)?;
    tracing::debug!(%id, moved, "looked whether a file of an artifact can be moved");
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
