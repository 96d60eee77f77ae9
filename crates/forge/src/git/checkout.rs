//! A commit as a tar for a job: its files as git would check them out, and a `.git` that works.
//!
//! The files go from git's objects into the tar without touching the disk in between. Only those that an attribute
//! changes on their way out (`eol=crlf`, `ident`, `working-tree-encoding`) are checked out by git itself. No filter is
//! defined here, so none runs; `export-ignore` is for archives and does not apply.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use sha2::{Digest as _, Sha256};
use tokio::{sync::OnceCell, task::spawn_blocking};

use super::{
    CloneUrl, Git, GitError, Mirror, TarSource,
    git_dir::{GitDir, IndexEntry, Tag, tags_at},
    tar_writer::TarWriter,
};
use crate::{CommitId, RefName};

/// Each holds a file open.
const MAX_CACHED: usize = 64;

const BUFFER: usize = 256 * 1024;

/// What a job starts with.
#[derive(Debug, Clone, Copy)]
pub struct Checkout<'a> {
    pub commit: &'a CommitId,
    /// A branch becomes HEAD's; a tag, or nothing, leaves HEAD detached at the commit.
    pub git_ref: Option<&'a RefName>,
    /// Becomes `origin`, without credentials.
    pub origin: &'a CloneUrl,
}

/// Makes checkouts and keeps the last ones, so that the jobs of one build share one.
#[derive(Debug)]
pub struct Checkouts {
    folder: PathBuf,
    max_bytes: u64,
    /// The last used at the end.
    cached: Mutex<Vec<(String, Slot)>>,
}

type Slot = Arc<OnceCell<TarSource>>;

impl Checkouts {
    /// Prepares checkouts in `folder`, which no other process may use, and keeps at most `max_bytes` of them.
    ///
    /// # Errors
    /// When the folder cannot be made or cleaned of what a killed process left.
    pub fn open(folder: impl Into<PathBuf>, max_bytes: u64) -> Result<Self, GitError> {
        let folder = folder.into();
        let clean = || {
            std::fs::create_dir_all(&folder)?;
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_name().as_bytes().starts_with(PREPARE.as_bytes()) {
                    std::fs::remove_dir_all(entry.path())?;
                }
            }
            Ok(())
        };
        clean().map_err(GitError::io("opening the folder of checkouts"))?;
        Ok(Self { folder, max_bytes, cached: Mutex::default() })
    }

    /// The tar of a commit that `mirror` holds. Callers who ask for the same at once share one preparation; when the
    /// one who prepares goes away, another takes over.
    ///
    /// # Errors
    /// When git fails or the disk is full.
    pub async fn tar(&self, mirror: &Mirror, checkout: &Checkout<'_>) -> Result<TarSource, GitError> {
        let tags = tags_at(mirror.git(), mirror.folder(), checkout.commit).await?;
        let key = key(mirror, checkout, &tags);
        let slot = self.slot(&key);
        let tar = slot.get_or_try_init(|| self.prepare(mirror, checkout, &tags)).await?.clone();
        self.evict(&key);
        Ok(tar)
    }

    fn slot(&self, key: &str) -> Slot {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match cached.iter().position(|(cached, _)| cached == key) {
            Some(at) => cached.remove(at).1,
            None => Slot::default(),
        };
        cached.push((key.to_owned(), Arc::clone(&slot)));
        slot
    }

    /// Forgets the longest unused until the rest fits. Who reads one goes on reading.
    fn evict(&self, keep: &str) {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let length = |slot: &Slot| slot.get().map_or(0, TarSource::length);
        let mut total: u64 = cached.iter().map(|(_, slot)| length(slot)).sum();
        let mut count = cached.len();
        cached.retain(|(key, slot)| {
            // One that is being prepared has users; one that failed to be has none.
            let unused = slot.initialized() || Arc::strong_count(slot) == 1;
            let goes = (total > self.max_bytes || count > MAX_CACHED) && unused && key != keep;
            if goes {
                total -= length(slot);
                count -= 1;
            }
            !goes
        });
    }

    async fn prepare(&self, mirror: &Mirror, checkout: &Checkout<'_>, tags: &[Tag]) -> Result<TarSource, GitError> {
        let git_dir = GitDir {
            source: mirror.folder(),
            commit: checkout.commit,
            branch: checkout.git_ref.filter(|name| name.branch().is_some()),
            tags,
            origin: Some(checkout.origin.address()),
        };
        prepare(mirror.git(), &self.folder, &git_dir).await
    }
}

const PREPARE: &str = "prepare-";

/// Everything that the tar's bytes depend on.
fn key(mirror: &Mirror, checkout: &Checkout<'_>, tags: &[Tag]) -> String {
    let mut hash = Sha256::new();
    let tags: String = tags.iter().map(Tag::line).collect();
    let git_ref = checkout.git_ref.map_or("", RefName::as_str);
    let texts = [checkout.commit.as_str(), git_ref, checkout.origin.address(), &tags].map(str::as_bytes);
    for text in [mirror.folder().as_os_str().as_bytes()].into_iter().chain(texts) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hex::encode(hash.finalize())
}

/// A folder to prepare in, and what leads to it.
pub(crate) fn scratch(folder: &Path) -> Result<tempfile::TempDir, GitError> {
    let made = tempfile::Builder::new().prefix(PREPARE).tempdir_in(folder);
    made.map_err(GitError::io("making a folder for the checkout"))
}

/// Now, in seconds, as the time of all files: as a checkout of git's would have it.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

async fn prepare(git: &Git, folder: &Path, git_dir: &GitDir<'_>) -> Result<TarSource, GitError> {
    let scratch = scratch(folder)?;
    let dot_git = scratch.path().join(".git");
    let entries = git_dir.write(git, &dot_git).await?;
    check(&entries)?;
    let converted = converted(git, scratch.path(), &entries).await?;
    let mut names = tempfile::tempfile_in(folder).map_err(GitError::io("making the checkout"))?;
    let is_read = |entry: &&IndexEntry| entry.mode != GITLINK && !converted.contains(&entry.path);
    let listed = {
        let list: String = entries.iter().filter(is_read).map(|entry| format!("{}\n", entry.object)).collect();
        names.write_all(list.as_bytes()).and_then(|()| names.rewind())
    };
    listed.map_err(GitError::io("making the checkout"))?;
    let streaming = git.in_repository(&dot_git).args(["cat-file", "--batch", "--buffer"]).stream(names)?;
    let objects = streaming.stdout.try_clone().map_err(GitError::io("making the checkout"))?;
    let out = tempfile::tempfile_in(folder).map_err(GitError::io("making the checkout"))?;
    let written = spawn_blocking(move || write_tar(out, scratch.path(), &entries, &converted, objects));
    let written = written.await.map_err(io::Error::other).and_then(|result| result);
    let written = written.map_err(GitError::io("writing the checkout"))?;
    streaming.end("reading the commit's files").await?;
    Ok(written)
}

const GITLINK: u32 = 0o160_000;
const LINK: u32 = 0o120_000;

/// A crafted tree can hold a link and, behind it, files; unpacked, they would land where the link leads.
fn check(entries: &[IndexEntry]) -> Result<(), GitError> {
    let links: HashSet<&[u8]> = entries.iter().filter(|e| e.mode == LINK).map(|e| e.path.as_slice()).collect();
    let behind_link =
        |path: &[u8]| path.iter().enumerate().any(|(at, byte)| *byte == b'/' && links.contains(&path[..at]));
    if !links.is_empty() && entries.iter().any(|entry| behind_link(&entry.path)) {
        let detail = "its tree has files behind a symbolic link".to_owned();
        return Err(GitError::Failed { operation: "checking out", detail });
    }
    Ok(())
}

/// Checks out, below `root`, the files whose attributes change them on their way out, and says which.
async fn converted(git: &Git, root: &Path, entries: &[IndexEntry]) -> Result<HashSet<Vec<u8>>, GitError> {
    let is_attributes = |entry: &IndexEntry| entry.path.rsplit(|byte| *byte == b'/').next() == Some(b".gitattributes");
    if !entries.iter().any(is_attributes) {
        return Ok(HashSet::new());
    }
    let in_root = || git.in_repository(&root.join(".git")).env("GIT_WORK_TREE", root);
    let files = entries.iter().filter(|entry| entry.mode & 0o170_000 == 0o100_000);
    let list: Vec<u8> = files.flat_map(|entry| entry.path.iter().copied().chain([0])).collect();
    let attributes = ["check-attr", "--cached", "--stdin", "-z", "eol", "ident", "working-tree-encoding"];
    let answer = in_root().args(attributes).output("reading attributes", &list).await?;
    let fields: Vec<&[u8]> = answer.split(|byte| *byte == 0).collect();
    let mut converted = HashSet::new();
    for record in fields.chunks_exact(3) {
        let changes = match record[1] {
            b"eol" => record[2] == b"crlf",
            b"ident" => record[2] == b"set",
            _ => !matches!(record[2], b"unspecified" | b"unset"),
        };
        if changes {
            converted.insert(record[0].to_vec());
        }
    }
    if !converted.is_empty() {
        let list: Vec<u8> = converted.iter().flat_map(|path| path.iter().copied().chain([0])).collect();
        in_root().args(["checkout-index", "-z", "--stdin", "--quiet"]).output("checking out files", &list).await?;
    }
    Ok(converted)
}

/// Writes the tar of `root/.git` and of the entries: `objects` gives what is not in `converted`, in order.
fn write_tar(
    out: File,
    root: &Path,
    entries: &[IndexEntry],
    converted: &HashSet<Vec<u8>>,
    objects: File,
) -> io::Result<TarSource> {
    let mut tar = TarWriter::new(BufWriter::with_capacity(BUFFER, out), now());
    write_folder(&mut tar, root, b".git")?;
    let mut objects = BufReader::with_capacity(BUFFER, objects);
    for entry in entries {
        let executable = entry.mode & 0o100 != 0;
        if entry.mode == GITLINK {
            // Git makes an empty folder where a submodule goes.
            tar.folder(&entry.path)?;
        } else if converted.contains(&entry.path) {
            let file = File::open(root.join(std::ffi::OsStr::from_bytes(&entry.path)))?;
            tar.file(&entry.path, executable, file.metadata()?.len(), file)?;
        } else {
            let size = object_size(&mut objects, &entry.object)?;
            let mut data = (&mut objects).take(size);
            if entry.mode == LINK {
                let mut target = Vec::new();
                data.read_to_end(&mut target)?;
                tar.link(&entry.path, &target)?;
            } else {
                tar.file(&entry.path, executable, size, &mut data)?;
            }
            if data.limit() > 0 {
                return Err(io::Error::other("git ended in the middle of a file"));
            }
            let mut newline = [0];
            objects.read_exact(&mut newline)?;
        }
    }
    let out = tar.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    TarSource::new(out)
}

/// Reads `<object> blob <size>`.
fn object_size(objects: &mut impl io::BufRead, object: &str) -> io::Result<u64> {
    let mut line = Vec::new();
    objects.by_ref().take(200).read_until(b'\n', &mut line)?;
    let line = String::from_utf8_lossy(&line);
    let size = line.trim_end().strip_prefix(object).and_then(|rest| rest.strip_prefix(" blob "));
    size.and_then(|size| size.parse().ok())
        .ok_or_else(|| io::Error::other(format!("git does not give the file {object}: {}", line.trim_end())))
}

/// Writes a folder that we made, below `root`, with all that is in it.
pub(crate) fn write_folder<W: io::Write>(tar: &mut TarWriter<W>, root: &Path, path: &[u8]) -> io::Result<()> {
    tar.folder(path)?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root.join(std::ffi::OsStr::from_bytes(path)))? {
        let entry = entry?;
        names.push((entry.file_name().as_bytes().to_vec(), entry.file_type()?.is_dir()));
    }
    names.sort();
    for (name, is_folder) in names {
        let path = [path, b"/", &name].concat();
        if is_folder {
            write_folder(tar, root, &path)?;
        } else {
            let file = File::open(root.join(std::ffi::OsStr::from_bytes(&path)))?;
            tar.file(&path, false, file.metadata()?.len(), file)?;
        }
    }
    Ok(())
}
