//! Packs the journals of finished jobs with zstd in its seekable format, which allows reading at any offset; `zstd -d`
//! reads it too.
//!
//! One background task of the server. A journal is packed after a period without writes. It is not touched until the
//! packed file is on disk and has been compared with it byte by byte, so a kill at any moment leaves one of the two
//! complete. Small journals stay unpacked.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use longshore_core::JobId;
use tokio_util::sync::CancellationToken;
use zeekstd::{EncodeOptions, FrameSizePolicy};

use super::{
    Logs,
    file::{JournalFile, damaged, packed_path},
    reader::read_at_most,
};
use crate::FilesError;

/// How long a journal must be unwritten before it is packed. Most readers read a log soon after its end.
const MIN_AGE: Duration = Duration::from_secs(10 * 60);
/// The pause between two passes.
const PASS_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Smaller journals stay unpacked: they cost only a few blocks.
const MIN_BYTES: u64 = 64 << 10;
/// The most bytes to unpack in order to read one byte.
const FRAME_BYTES: u32 = 256 << 10;
/// Bytes compared at a time.
const COMPARED_BYTES: u64 = 128 << 10;

/// The state of a journal's job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStanding {
    /// It may still be written to.
    Runs,
    Over,
    /// It was removed, and its files will be removed too.
    Unknown,
}

/// Packs journals until `shutdown`. `standing` returns the state of a job.
pub async fn run<E, A>(logs: Logs, standing: impl Fn(JobId) -> A, shutdown: CancellationToken)
where
    E: From<FilesError> + std::fmt::Display,
    A: Future<Output = Result<JobStanding, E>>,
{
    let passes = async {
        let mut done = HashSet::new();
        loop {
            match pass(&logs, &standing, MIN_AGE, &mut done).await {
                Ok(Packed { logs: 0, .. }) => {}
                Ok(Packed { logs, bytes, left }) => {
                    tracing::info!(logs, bytes, left, "packed the logs of jobs that are over")
                }
                Err(error) => tracing::warn!(%error, "logs could not be packed; they stay as they are"),
            }
            tokio::time::sleep(PASS_INTERVAL).await;
        }
    };
    shutdown.run_until_cancelled(passes).await;
}

/// The totals of a pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Packed {
    pub logs: u64,
    /// Bytes of the journals before packing.
    pub bytes: u64,
    /// Bytes after packing.
    pub left: u64,
}

/// Packs every journal that has not been written for `rest`. Folders with nothing left to pack, now and later, are
/// added to `done` and skipped.
pub async fn pass<E, A>(
    logs: &Logs,
    standing: &impl Fn(JobId) -> A,
    rest: Duration,
    done: &mut HashSet<PathBuf>,
) -> Result<Packed, E>
where
    E: From<FilesError>,
    A: Future<Output = Result<JobStanding, E>>,
{
    let mut packed = Packed::default();
    for folder in days(logs, done).await? {
        let (candidates, mut waits) = blocking(&folder, {
            let folder = folder.clone();
            move || candidates(&folder, rest)
        })
        .await?;
        for (path, job) in candidates {
            match standing(job).await? {
                JobStanding::Over => {}
                JobStanding::Unknown => continue,
                JobStanding::Runs => {
                    waits = true;
                    continue;
                }
            }
            let done = blocking(&path, {
                let path = path.clone();
                move || pack(&path)
            });
            match done.await {
                Ok(Some((bytes, left))) => {
                    packed = Packed { logs: packed.logs + 1, bytes: packed.bytes + bytes, left: packed.left + left };
                }
                Ok(None) => {}
                Err(error @ FilesError::DiskFull(_)) => return Err(error.into()),
                // An unreadable journal does not keep others from being packed.
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a log could not be packed; it stays as it is");
                    waits = true;
                }
            }
        }
        if !waits {
            done.insert(folder);
        }
    }
    Ok(packed)
}

/// Returns the folders of days, without finished ones. The newest folder is never finished.
async fn days(logs: &Logs, done: &mut HashSet<PathBuf>) -> Result<Vec<PathBuf>, FilesError> {
    let root = logs.root.to_path_buf();
    let mut days = blocking(&root.clone(), move || {
        let mut days = Vec::new();
        for month in subfolders(&root)? {
            days.extend(subfolders(&month)?);
        }
        days.sort();
        Ok(days)
    })
    .await?;
    if let Some(newest) = days.last() {
        done.remove(newest);
    }
    days.retain(|day| !done.contains(day));
    Ok(days)
}

fn subfolders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Returns the journals to pack, and whether others may become due later.
fn candidates(folder: &Path, rest: Duration) -> io::Result<(Vec<(PathBuf, JobId)>, bool)> {
    let (mut found, mut waits) = (Vec::new(), false);
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() != Some(OsStr::new("log")) {
            continue;
        }
        let Ok(file) = fs::metadata(&path) else { continue };
        // If the clock was set back, treat the journal as just written.
        if file.modified()?.elapsed().unwrap_or_default() < rest {
            waits = true;
        } else if file.len() >= MIN_BYTES
            && let Some((job, _)) = path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.rsplit_once('-'))
            && let Ok(job) = job.parse()
        {
            found.push((path, job));
        }
    }
    Ok((found, waits))
}

/// Packs one journal. Returns the bytes before and after; `None` if it was removed meanwhile.
fn pack(journal: &Path) -> io::Result<Option<(u64, u64)>> {
    let mut plain = match File::open(journal) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let half = journal.with_extension("packing");
    let packed = packed_path(journal);
    let made = write(&mut plain, &half).and_then(|bytes| Ok((bytes, compare(journal, &half)?)));
    let (bytes, left) = match made {
        Ok(sizes) => sizes,
        Err(error) => {
            let _ = fs::remove_file(&half);
            return Err(error);
        }
    };
    fs::rename(&half, &packed)?;
    if let Some(folder) = journal.parent() {
        File::open(folder)?.sync_all()?;
    }
    match fs::remove_file(journal) {
        Ok(()) => Ok(Some((bytes, left))),
        // Its build was removed meanwhile, and the remover may have looked for the packed file too early.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::remove_file(&packed)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn write(plain: &mut File, half: &Path) -> io::Result<u64> {
    let options =
        EncodeOptions::new().checksum_flag(true).frame_size_policy(FrameSizePolicy::Uncompressed(FRAME_BYTES));
    let file = File::create(half)?;
    let mut encoder = options.into_encoder(&file).map_err(damaged)?;
    let bytes = io::copy(plain, &mut encoder)?;
    encoder.finish().map_err(damaged)?;
    (&file).flush()?;
    file.sync_all()?;
    Ok(bytes)
}

/// Checks that the packed file contains the journal. Returns its size.
fn compare(journal: &Path, half: &Path) -> io::Result<u64> {
    let size = fs::metadata(half)?.len();
    let packed = JournalFile::open_packed(File::open(half)?)?;
    let plain = File::open(journal)?;
    let mut offset = 0;
    loop {
        let bytes = read_at_most(&packed, offset, COMPARED_BYTES)?;
        if bytes != read_at_most(&plain, offset, COMPARED_BYTES)? {
            let path = journal.display();
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{path} does not come out of its packed file"),
            ));
        }
        if bytes.is_empty() {
            return Ok(size);
        }
        offset += bytes.len() as u64;
    }
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, FilesError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other).flatten().map_err(|source| FilesError::io(path, source))
}
