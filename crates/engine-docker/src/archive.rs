//! Reads an ended container's spool out of its volume, as an archive from the engine.

use std::io::{self, Read as _};

use bollard::Docker;
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use longshore_executor::engine::SpoolPiece;
use longshore_executor::names::ContainerId;
use longshore_executor::{EngineError, Refusal};
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::error::{chain, from_api, no_answer};
use crate::paths::SPOOL;

/// Size of a piece in bytes.
const PIECE_BYTES: usize = 256 << 10;
/// Limit for the pieces that the archive's thread reads ahead.
const MAX_PIECES_AHEAD: usize = 4;

/// Reads the files in the order of their names, which is the order in which the engine packs them. Another order shows
/// as a gap.
pub(crate) fn read_spool(
    docker: &Docker,
    container: &ContainerId,
) -> BoxStream<'static, Result<SpoolPiece, EngineError>> {
    let options = DownloadFromContainerOptionsBuilder::new().path(SPOOL).build();
    let archive = docker
        .download_from_container(container.as_str(), Some(options))
        .map_err(|error| io::Error::other(from_api("read the spool", error)))
        .boxed();
    let archive = SyncIoBridge::new(StreamReader::new(archive));
    let (pieces, mut arrived) = mpsc::channel(MAX_PIECES_AHEAD);
    // The thread ends when nobody reads any more, or when the archive ends.
    tokio::task::spawn_blocking(move || {
        if let Err(error) = unpack(archive, &pieces) {
            let _ = pieces.blocking_send(Err(meaning(&error)));
        }
    });
    stream::poll_fn(move |cx| arrived.poll_recv(cx)).boxed()
}

fn unpack(archive: impl io::Read, pieces: &mpsc::Sender<Result<SpoolPiece, EngineError>>) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let plain = entry.header().entry_type().is_file();
        let path = entry.path()?.into_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = SpoolPiece::File { name, length: entry.size(), plain };
        if pieces.blocking_send(Ok(file)).is_err() {
            return Ok(());
        }
        loop {
            let count = entry.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            let bytes = SpoolPiece::Bytes(Bytes::copy_from_slice(&buffer[..count]));
            if pieces.blocking_send(Ok(bytes)).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Returns the error for an incomplete archive.
fn meaning(error: &io::Error) -> EngineError {
    let reason = chain(error);
    if ["Could not find the file", "No such container"].iter().any(|text| reason.contains(text)) {
        let what = "read the spool";
        return EngineError::Refused { refusal: Refusal::NotFound, what, code: 404, message: reason };
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<EngineError>()) {
        Some(said) => said.clone(),
        // The archive is cut off, or ends with the text of an error.
        None => no_answer(&reason),
    }
}
