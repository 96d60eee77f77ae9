//! Checks the files of artifacts: each one that the database names exists, is whole, and has the SHA-256 of its name.

use std::{fs, io, path::Path};

use longshore_core::BlobId;
use longshore_files::{
    artifacts::{Blobs, ObjectError, ObjectStore},
    folder,
};
use sqlx::SqliteConnection;

use super::{Depth, FileDamage, Finding, JOBS_PER_QUERY, Report};
use crate::{StoreError, artifacts};

const NAMED: &str = "SELECT EXISTS (SELECT 1 FROM artifact_files WHERE blob = ?)";

pub(super) async fn check(
    conn: &mut SqliteConnection,
    data_dir: &Path,
    (depth, object_store): (Depth, Option<ObjectStore>),
    report: &mut Report,
) -> Result<(), StoreError> {
    let blobs = Blobs::new(data_dir, false);
    if let Some(object_store) = object_store {
        // It puts nothing there.
        blobs.use_object_store(object_store, "");
    }
    let mut after = None;
    loop {
        let page = artifacts::blobs_after(conn, after, JOBS_PER_QUERY).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        for (blob, bytes) in page {
            let path = blobs.path(&blob);
            let read = blobs.clone();
            let found = tokio::task::spawn_blocking(move || damage(&read, &blob, bytes, depth)).await;
            let found = found.map_err(io::Error::other).flatten().map_err(|source| StoreError::io(&path, source))?;
            match found {
                None => {
                    report.files += 1;
                    report.file_bytes += bytes;
                }
                // Its artifacts may have been removed meanwhile.
                Some(damage) if is_named(conn, &blob).await? => report.add(Finding::File { path, damage }),
                Some(_) => {}
            }
        }
    }
    check_orphans(conn, &blobs, &data_dir.join(folder::ARTIFACTS).join(folder::BLOBS), report).await
}

/// Returns what is wrong with a blob.
fn damage(blobs: &Blobs, blob: &BlobId, bytes: u64, depth: Depth) -> io::Result<Option<FileDamage>> {
    if blobs.is_offloaded(blob) && blobs.object_store().is_none() {
        return Ok(Some(FileDamage::Elsewhere));
    }
    let mut file = match blobs.open(blob) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(Some(FileDamage::Missing { bytes })),
        Err(error) if matches!(ObjectError::of(&error), Some(ObjectError::Missing { .. })) => {
            return Ok(Some(FileDamage::MissingInObjectStore(error.to_string())));
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Ok(Some(FileDamage::Packed(error.to_string())));
        }
        Err(error) => return Err(error),
    };
    if file.size() != bytes {
        return Ok(Some(FileDamage::Length { found: file.size(), expected: bytes }));
    }
    if depth == Depth::Quick {
        return Ok(None);
    }
    // The last byte comes only if the SHA-256 is right.
    let read = io::copy(&mut file, &mut io::sink());
    Ok(read.err().map(|error| FileDamage::Packed(error.to_string())))
}

/// Reports blobs that nothing names: no artifact, no job that is running, no removal.
async fn check_orphans(
    conn: &mut SqliteConnection,
    blobs: &Blobs,
    root: &Path,
    report: &mut Report,
) -> Result<(), StoreError> {
    for folder in entries(root)? {
        for path in entries(&folder)? {
            let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<BlobId>().ok());
            let known = match id {
                None => false,
                Some(id) => blobs.is_arriving(&id) || is_named(conn, &id).await? || is_to_be_removed(conn, &id).await?,
            };
            // Beside a server, it may have gone since.
            if !known && path.exists() {
                report.add(Finding::FileOrphan(path));
            }
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<std::path::PathBuf>, StoreError> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io(folder, error)),
    };
    read.map(|entry| entry.map(|entry| entry.path()).map_err(|source| StoreError::io(folder, source))).collect()
}

async fn is_named(conn: &mut SqliteConnection, blob: &BlobId) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar(NAMED).bind(blob.as_bytes().as_slice()).fetch_one(conn).await?)
}

async fn is_to_be_removed(conn: &mut SqliteConnection, blob: &BlobId) -> Result<bool, StoreError> {
    let query = "SELECT EXISTS (SELECT 1 FROM blob_removals WHERE blob = ?)";
    Ok(sqlx::query_scalar(query).bind(blob.as_bytes().as_slice()).fetch_one(conn).await?)
}
