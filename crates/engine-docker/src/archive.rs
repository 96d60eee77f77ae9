//! Reads an ended container's spool out of its file system, as an archive from the engine.
//!
//! For an archive of a path, engines before Docker 24 mount the container's volumes where the host sees them, and another
//! container that is in one of them can have that lead to a folder of the host. So such an engine exports the file
//! system, for which it mounts nothing; no more of it is read than up to the spool's end.

use std::io::{self, Read as _};
use std::path::Path;

use bollard::Docker;
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use longshore_executor::engine::SpoolPiece;
use longshore_executor::names::ContainerId;
use longshore_executor::{EngineError, Refusal};
use longshore_guard::OWN_NAMESPACE_API;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::error::{chain, from_api, no_answer};
use crate::paths::SPOOL;

const READ: &str = "read the spool";
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
    let is_whole = docker.client_version().minor_version < OWN_NAMESPACE_API as usize;
    let archive = if is_whole {
        docker.export_container(container.as_str()).boxed()
    } else {
        let options = DownloadFromContainerOptionsBuilder::new().path(SPOOL).build();
        docker.download_from_container(container.as_str(), Some(options)).boxed()
    };
    let archive = archive.map_err(|error| io::Error::other(from_api(READ, error))).boxed();
    let archive = SyncIoBridge::new(StreamReader::new(archive));
    let (pieces, mut arrived) = mpsc::channel(MAX_PIECES_AHEAD);
    // The thread ends when nobody reads any more, or when the archive ends.
    tokio::task::spawn_blocking(move || {
        let folder = is_whole.then(|| Path::new(SPOOL.trim_start_matches('/')));
        if let Err(error) = unpack(archive, folder, &pieces) {
            let _ = pieces.blocking_send(Err(meaning(&error)));
        }
    });
    stream::poll_fn(move |cx| arrived.poll_recv(cx)).boxed()
}

/// Sends the files of an archive, or those of a folder in it.
fn unpack(
    archive: impl io::Read,
    folder: Option<&Path>,
    pieces: &mpsc::Sender<Result<SpoolPiece, EngineError>>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut archive = tar::Archive::new(archive);
    let mut is_there = folder.is_none();
    for entry in archive.entries()? {
        let mut entry = entry?;
        if let Some(folder) = folder {
            match (entry.path()?.starts_with(folder), is_there) {
                (true, _) => is_there = true,
                // Its files are all together.
                (false, true) => break,
                (false, false) => continue,
            }
        }
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
    if is_there { Ok(()) } else { Err(io::Error::other(no_spool("the container has no spool".to_owned()))) }
}

fn no_spool(reason: String) -> EngineError {
    EngineError::Refused { refusal: Refusal::NotFound, what: READ, code: 404, message: reason }
}

/// Returns the error for an incomplete archive.
fn meaning(error: &io::Error) -> EngineError {
    let reason = chain(error);
    if ["Could not find the file", "No such container"].iter().any(|text| reason.contains(text)) {
        return no_spool(reason);
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<EngineError>()) {
        Some(said) => said.clone(),
        // The archive is cut off, or ends with the text of an error.
        None => no_answer(&reason),
    }
}
