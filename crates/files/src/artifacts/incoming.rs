//! Receives the files of one attempt.
//!
//! Each file is packed and hashed as it arrives, into a file of its own beside the blobs. Whole files are settled
//! together: their bytes are brought to disk, their names are appended to the attempt's list, and then they become
//! blobs by a rename. So a list that is read after a kill names what may be a blob already, in order: what it names and
//! is missing is received again, with everything after it. The last line says that the list is complete.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use longshore_core::{ArtifactFile, BlobId, JobId, artifact};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeekstd::{EncodeOptions, Encoder, FrameSizePolicy};

use super::{
    blobs::Blobs,
    patient::{PatientFile, retry_while_full},
};

/// The most bytes to unpack in order to read one byte.
const FRAME_BYTES: u32 = 512 << 10;
/// zstd's fastest ordinary level: jobs wait for their files.
const COMPRESSION_LEVEL: i32 = 1;
/// Complete files are settled in batches of this many, or of this many bytes.
const SETTLE_FILES: usize = 256;
const SETTLE_BYTES: u64 = 256 << 20;
/// Up to this many files are synced to disk one by one, and more of them all at once.
const MAX_SYNCED_ONE_BY_ONE: usize = 16;
/// The extension of a list, and of an unfinished file.
const LIST: &str = "list";
const PART: &str = "part";

/// The limits of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncomingLimits {
    pub file_bytes: u64,
    pub job_bytes: u64,
    pub files: u32,
}

/// A file of an attempt that has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedFile {
    /// The artifact's place in the plan that the agent was given.
    pub artifact: u16,
    /// The artifact's name.
    pub name: String,
    pub file: ArtifactFile,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    File(ReceivedFile),
    /// A file that was announced and is not kept.
    LeftOut,
    Complete,
}

/// The files of an attempt that have arrived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReceivedFiles {
    pub files: Vec<ReceivedFile>,
    /// All of its files have arrived.
    pub complete: bool,
    left_out: u32,
    /// Bytes of the list that can be read.
    length: u64,
}

impl ReceivedFiles {
    /// Returns the blobs that it names.
    pub fn blobs(&self) -> impl Iterator<Item = BlobId> + '_ {
        self.files.iter().map(|received| received.file.blob)
    }

    fn count(&self) -> u32 {
        u32::try_from(self.files.len()).unwrap_or(u32::MAX).saturating_add(self.left_out)
    }
}

/// Returns the path of an attempt's list.
pub(super) fn list_path(folder: &Path, job: JobId, attempt: u32) -> PathBuf {
    folder.join(format!("{job}-{attempt}.{LIST}"))
}

/// Returns the attempt that a file in the folder belongs to.
pub(super) fn attempt_of(name: &OsStr) -> Option<(JobId, u32)> {
    let (stem, kind) = name.to_str()?.rsplit_once('.')?;
    let stem = match kind {
        LIST => stem,
        PART => stem.rsplit_once('.')?.0,
        _ => return None,
    };
    let (job, attempt) = stem.rsplit_once('-')?;
    Some((job.parse().ok()?, attempt.parse().ok()?))
}

/// Reads an attempt's list, up to the first line that is not whole, or whose blob is missing.
pub(super) fn read_list(path: &Path, is_there: impl Fn(&BlobId) -> bool) -> io::Result<ReceivedFiles> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ReceivedFiles::default()),
        Err(error) => return Err(error),
    };
    let mut received = ReceivedFiles::default();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let parsed = line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok());
        match parsed {
            Some(Line::File(file)) if is_there(&file.file.blob) => received.files.push(file),
            Some(Line::LeftOut) => received.left_out += 1,
            Some(Line::Complete) => received.complete = true,
            Some(Line::File(_)) | None => break,
        }
        received.length += line.len() as u64;
    }
    Ok(received)
}

/// The files of one attempt, while they arrive. Blocks in every call.
#[derive(Debug)]
pub struct Incoming {
    blobs: Blobs,
    job: JobId,
    attempt: u32,
    limits: IncomingLimits,
    list: PatientFile,
    /// Files that need not be sent again.
    files: u32,
    bytes: u64,
    /// Artifact and path of each of them.
    paths: HashSet<(u16, String)>,
    /// The name that each artifact came with first.
    names: HashMap<u16, String>,
    complete: bool,
    /// The number of the next unfinished file.
    next_part: u64,
    current: Option<Current>,
    waiting: Vec<Waiting>,
    waiting_bytes: u64,
}

/// The file that arrives now.
struct Current {
    announced: AnnouncedHead,
    part: PathBuf,
    encoder: Encoder<'static, PatientFile>,
    hash: Sha256,
    received: u64,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("part", &self.part).field("received", &self.received).finish_non_exhaustive()
    }
}

/// A file as it was announced.
#[derive(Debug)]
struct AnnouncedHead {
    artifact: u16,
    name: String,
    path: String,
    bytes: u64,
    executable: bool,
}

/// An entry to settle: a complete file with its bytes, or one that is left out.
#[derive(Debug)]
struct Waiting {
    line: Line,
    part: Option<(File, PathBuf, BlobId)>,
}

impl Blobs {
    /// Continues to receive the files of an attempt.
    pub fn receive(&self, job: JobId, attempt: u32, limits: IncomingLimits) -> io::Result<Incoming> {
        let folder = self.incoming_folder();
        fs::create_dir_all(&folder)?;
        let path = list_path(&folder, job, attempt);
        let known = read_list(&path, |blob| self.is_there(blob))?;
        let mut list = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path)?;
        list.set_len(known.length)?;
        list.seek(io::SeekFrom::End(0))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let is_part = entry.path().extension() == Some(OsStr::new(PART));
            if is_part && attempt_of(&entry.file_name()) == Some((job, attempt)) {
                fs::remove_file(entry.path())?;
            }
        }
        self.name(job, attempt, known.blobs().collect::<Vec<_>>());
        Ok(Incoming {
            blobs: self.clone(),
            job,
            attempt,
            limits,
            list: PatientFile { file: list, patience: self.patience() },
            files: known.count(),
            bytes: known.files.iter().map(|received| received.file.bytes).sum(),
            paths: known.files.iter().map(|received| (received.artifact, received.file.path.clone())).collect(),
            names: known.files.iter().map(|received| (received.artifact, received.name.clone())).collect(),
            complete: known.complete,
            next_part: 0,
            current: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
        })
    }
}

/// Returns the error for what an agent may not send.
fn refused(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

impl Incoming {
    /// Returns how many files need not be sent again.
    #[must_use]
    pub const fn files(&self) -> u32 {
        self.files
    }

    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Begins the next file, and drops an unfinished one.
    pub fn begin(&mut self, artifact: u16, name: &str, path: &str, bytes: u64, executable: bool) -> io::Result<()> {
        self.drop_current();
        if self.complete {
            return Err(refused("a file came after the last one"));
        }
        if let Some(why) = artifact::path_fault(path).or_else(|| artifact::name_fault(name)) {
            return Err(refused(format!("a file of `{}`: {why}", name.escape_debug())));
        }
        if bytes > self.limits.file_bytes || self.bytes.saturating_add(bytes) > self.limits.job_bytes {
            return Err(refused(format!("with `{path}` there are more bytes than the job may leave")));
        }
        if self.files >= self.limits.files {
            return Err(refused("there are more files than the job may leave"));
        }
        if self.paths.contains(&(artifact, path.to_owned())) {
            return Err(refused(format!("`{path}` came twice")));
        }
        let known = self.names.entry(artifact).or_insert_with(|| name.to_owned());
        if known != name {
            return Err(refused(format!("an artifact came under two names, `{known}` and `{name}`")));
        }
        let part =
            self.blobs.incoming_folder().join(format!("{}-{}.{}.{PART}", self.job, self.attempt, self.next_part));
        self.next_part += 1;
        let patience = self.patience();
        let file = retry_while_full(patience, || {
            OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&part)
        })?;
        let options = EncodeOptions::new()
            .checksum_flag(true)
            .compression_level(COMPRESSION_LEVEL)
            .frame_size_policy(FrameSizePolicy::Uncompressed(FRAME_BYTES));
        let encoder = options.into_encoder(PatientFile { file, patience }).map_err(io::Error::other)?;
        let announced = AnnouncedHead { artifact, name: name.to_owned(), path: path.to_owned(), bytes, executable };
        self.current = Some(Current { announced, part, encoder, hash: Sha256::new(), received: 0 });
        Ok(())
    }

    /// Appends bytes to the file.
    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Err(refused("bytes came without a file")) };
        current.received += data.len() as u64;
        if current.received > current.announced.bytes {
            return Err(refused(format!("`{}` is longer than it was announced", current.announced.path)));
        }
        current.hash.update(data);
        current.encoder.write_all(data)
    }

    /// Ends the file. If it is not `whole`, it is left out.
    pub fn end(&mut self, whole: bool) -> io::Result<()> {
        let Some(current) = self.current.take() else { return Err(refused("a file ended that had not begun")) };
        self.files += 1;
        if !whole {
            fs::remove_file(&current.part)?;
            self.waiting.push(Waiting { line: Line::LeftOut, part: None });
            return Ok(());
        }
        let Current { announced, part, encoder, hash, received } = current;
        let AnnouncedHead { artifact, name, path, bytes, executable } = announced;
        if received != bytes {
            return Err(refused(format!("`{path}` is shorter than it was announced")));
        }
        encoder.finish().map_err(|error| io::Error::other(error.to_string()))?;
        let blob = BlobId::new(hash.finalize().into());
        // Before the lookup, so that nothing removes it in between.
        self.blobs.name(self.job, self.attempt, [blob]);
        let waits = if self.blobs.path(&blob).exists() {
            fs::remove_file(&part)?;
            None
        } else {
            Some((File::open(&part)?, part, blob))
        };
        self.bytes += bytes;
        self.paths.insert((artifact, path.clone()));
        self.waiting_bytes += waits.as_ref().map_or(0, |_| bytes);
        let file = ArtifactFile { path, executable, bytes, blob };
        self.waiting.push(Waiting { line: Line::File(ReceivedFile { artifact, name, file }), part: waits });
        if self.waiting.len() >= SETTLE_FILES || self.waiting_bytes >= SETTLE_BYTES {
            self.settle()?;
        }
        Ok(())
    }

    /// Makes all files durable, and says in the list that these are all.
    pub fn complete(&mut self, files: u32) -> io::Result<()> {
        if self.complete {
            return Ok(());
        }
        if files != self.files || self.current.is_some() {
            return Err(refused(format!("{} files arrived instead of {files}", self.files)));
        }
        self.settle()?;
        append(&mut self.list, &[&Line::Complete])?;
        let (durable, patience) = (self.blobs.is_durable(), self.patience());
        if durable {
            // The renames, and the list.
            retry_while_full(patience, || Ok(rustix::fs::syncfs(&self.list.file)?))?;
        }
        self.complete = true;
        Ok(())
    }

    /// Turns the whole files into blobs.
    fn settle(&mut self) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        if waiting.is_empty() {
            return Ok(());
        }
        let parts = || waiting.iter().filter_map(|one| one.part.as_ref());
        if self.blobs.is_durable() {
            let patience = self.patience();
            if parts().count() > MAX_SYNCED_ONE_BY_ONE {
                retry_while_full(patience, || Ok(rustix::fs::syncfs(&self.list.file)?))?;
            } else {
                for (file, _, _) in parts() {
                    retry_while_full(patience, || file.sync_all())?;
                }
            }
        }
        append(&mut self.list, &waiting.iter().map(|one| &one.line).collect::<Vec<_>>())?;
        for (_, part, blob) in parts() {
            let path = self.blobs.path(blob);
            if let Some(folder) = path.parent() {
                retry_while_full(self.patience(), || fs::create_dir_all(folder))?;
            }
            // The same bytes may have come twice, or from another job.
            retry_while_full(self.patience(), || fs::rename(part, &path))?;
        }
        Ok(())
    }

    fn drop_current(&mut self) {
        if let Some(current) = self.current.take() {
            let _ = fs::remove_file(current.part);
        }
    }

    const fn patience(&self) -> Duration {
        self.list.patience
    }
}

fn append(list: &mut PatientFile, lines: &[&Line]) -> io::Result<()> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    list.write_all(&text)
}
