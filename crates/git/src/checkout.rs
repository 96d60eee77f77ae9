//! Turns a commit into a tar for a job: its files as git would check them out, and a working `.git`.
//!
//! The files go from git's objects into the tar without touching the disk in between. Git itself checks out only files
//! that an attribute changes (`eol=crlf`, `ident`, `working-tree-encoding`). No filter is defined here, so none runs;
//! `export-ignore` is for archives and does not apply.

mod tar;

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Seek as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use longshore_forge::{CloneUrl, CommitId, RefName};
use sha2::{Digest as _, Sha256};
use tokio::{sync::OnceCell, task::spawn_blocking};

pub(crate) use self::tar::write_folder;
use self::tar::write_tar;
use super::{
    FetchTarget, Git, GitError, Mirror, TarSource,
    checkout_history::CheckoutHistory,
    command::Streaming,
    git_dir::{GitDir, IndexEntry, configure_submodules},
    hash_files::FileFilter,
    index_stat, lfs, size,
    submodules::{self, MAX_NESTING, MAX_SUBMODULES, Submodule},
};

/// The most cached checkouts. Each holds a file open.
const MAX_CACHED: usize = 64;

/// How many seconds files of Git LFS are older than the index: git compares again the content of files that are as
/// young.
const LFS_AGE_SECONDS: u64 = 2;

/// What to check out.
#[derive(Debug, Clone, Copy)]
pub struct Checkout<'a> {
    pub commit: &'a CommitId,
    /// HEAD points at this branch. For a tag or `None`, HEAD is detached at the commit.
    pub git_ref: Option<&'a RefName>,
    /// Becomes `origin`, without credentials. Submodules are resolved against it.
    pub origin: &'a CloneUrl,
    /// Commits of history; 0 for all commits and all branches.
    pub depth: u32,
    pub submodules: bool,
    /// Whether files are what Git LFS has under their pointers.
    pub lfs: bool,
    /// The globs of the only files that are checked out, without a `.git`; empty for all files.
    pub only: &'a [String],
    /// Set if the commit's author may not push to the repository: only submodules that everybody may read are fetched.
    pub by_stranger: bool,
    /// The repositories on the origin's host that its credentials are used for when they are submodules: `team/lib`, or
    /// `team/*` for all below. All others are fetched as anybody may fetch them. Nothing of a stranger's is.
    pub trusted_submodules: &'a [String],
    /// The fork that the commit comes from, on the origin's host: anybody may ask there for objects of Git LFS that the
    /// repository does not have.
    pub fork: Option<&'a CloneUrl>,
}

/// Creates checkouts and caches the most recent ones, so that the jobs of one build share one.
#[derive(Debug)]
pub struct Checkouts {
    folder: PathBuf,
    max_bytes: u64,
    /// The most recently used one is last.
    cached: Mutex<Vec<(String, Slot)>>,
}

type Slot = Arc<OnceCell<TarSource>>;

impl Checkouts {
    /// Prepares checkouts in `folder`, which no other process may use, and caches at most `max_bytes` of them.
    ///
    /// # Errors
    /// If the folder cannot be created, or cleaned of what a killed process left.
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

    /// Returns the tar of a commit that `mirror` holds. Concurrent callers with the same request share one preparation;
    /// if the caller that prepares goes away, another takes over.
    ///
    /// # Errors
    /// If git fails or the disk is full.
    pub async fn tar(&self, mirror: &Mirror, checkout: &Checkout<'_>) -> Result<TarSource, GitError> {
        let history = CheckoutHistory::find(mirror.git(), mirror.folder(), checkout.commit, checkout.depth).await?;
        let key = cache_key(mirror, checkout, &history);
        let slot = self.slot(&key);
        let tar = slot.get_or_try_init(|| prepare(&self.folder, mirror, checkout, &history)).await?.clone();
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

    /// Drops the least recently used checkouts until the rest fits. Open readers continue.
    fn evict(&self, keep: &str) {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let length = |slot: &Slot| slot.get().map_or(0, TarSource::length);
        let mut total: u64 = cached.iter().map(|(_, slot)| length(slot)).sum();
        let mut count = cached.len();
        cached.retain(|(key, slot)| {
            // A checkout in preparation has users; a failed one does not.
            let unused = slot.initialized() || Arc::strong_count(slot) == 1;
            let goes = (total > self.max_bytes || count > MAX_CACHED) && unused && key != keep;
            if goes {
                total -= length(slot);
                count -= 1;
            }
            !goes
        });
    }
}

const PREPARE: &str = "prepare-";

/// Returns a hash of everything that the tar's bytes depend on.
fn cache_key(mirror: &Mirror, checkout: &Checkout<'_>, history: &CheckoutHistory) -> String {
    let mut hash = Sha256::new();
    let git_ref = checkout.git_ref.map_or("", RefName::as_str);
    let (history, submodules) = (
        history.lines(),
        format!(
            "{} {} {} {:?} {:?} {:?}",
            checkout.submodules,
            checkout.lfs,
            checkout.by_stranger,
            checkout.trusted_submodules,
            checkout.only,
            checkout.fork.map(CloneUrl::address)
        ),
    );
    let texts = [checkout.commit.as_str(), git_ref, checkout.origin.address(), &history, &submodules];
    for text in [mirror.folder().as_os_str().as_bytes()].into_iter().chain(texts.map(str::as_bytes)) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hex::encode(hash.finalize())
}

/// Creates a temporary folder for a preparation.
pub(crate) fn scratch(folder: &Path) -> Result<tempfile::TempDir, GitError> {
    // Checkouts are a cache: somebody may have removed the whole folder.
    let made =
        std::fs::create_dir_all(folder).and_then(|()| tempfile::Builder::new().prefix(PREPARE).tempdir_in(folder));
    made.map_err(GitError::io("making a folder for the checkout"))
}

/// Returns the current time in seconds, which all files of the tar get, as in a checkout by git.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// A repository of a checkout: the requested one, or a submodule.
struct Part {
    /// Its path in the workspace: empty, or ending in a slash.
    prefix: Vec<u8>,
    /// Holds its `.git`, and those of its files that git checked out.
    root: PathBuf,
    entries: Vec<IndexEntry>,
    converted: HashSet<Vec<u8>>,
    /// Those of its files that Git LFS has, and the time that they get, in seconds since 1970.
    lfs: lfs::Files,
    lfs_time: u64,
    /// Whether its `.git` is left out.
    bare: bool,
    /// Yields the other files, in order.
    objects: Streaming,
}

async fn prepare(
    folder: &Path,
    mirror: &Mirror,
    checkout: &Checkout<'_>,
    history: &CheckoutHistory,
) -> Result<TarSource, GitError> {
    let scratch = scratch(folder)?;
    let mut parts = Vec::new();
    add_parts(scratch.path(), mirror, checkout, history, Vec::new(), 0, &mut parts).await?;
    let out = tempfile::tempfile_in(folder).map_err(GitError::io("making the checkout"))?;
    let mut readers = Vec::new();
    for part in &parts {
        readers.push(part.objects.stdout.try_clone().map_err(GitError::io("making the checkout"))?);
    }
    let written = spawn_blocking(move || {
        let tar = write_tar(out, &parts, readers)?;
        drop(scratch);
        Ok::<_, io::Error>((tar, parts))
    });
    let written = written.await.map_err(io::Error::other).and_then(|result| result);
    let (tar, parts) = written.map_err(GitError::io("writing the checkout"))?;
    let mut received = false;
    for part in parts {
        received |= part.lfs.received;
        part.objects.end("reading the commit's files").await?;
    }
    if received {
        mirror.sweep_lfs().await?;
    }
    Ok(tar)
}

/// Adds the repository of `checkout`, then its submodules.
async fn add_parts(
    scratch: &Path,
    mirror: &Mirror,
    checkout: &Checkout<'_>,
    history: &CheckoutHistory,
    prefix: Vec<u8>,
    nesting: usize,
    parts: &mut Vec<Part>,
) -> Result<(), GitError> {
    if checkout.by_stranger {
        mirror.check_size(checkout.commit).await?;
    }
    let git = mirror.git();
    let root = scratch.join(parts.len().to_string());
    let dot_git = root.join(".git");
    let git_dir = GitDir {
        source: mirror.folder(),
        commit: checkout.commit,
        branch: checkout.git_ref.filter(|name| name.branch().is_some()),
        history,
        origin: Some(checkout.origin.address()),
    };
    let entries = git_dir.write(git, &dot_git).await?;
    refuse_files_behind_links(&entries)?;
    let inside = match checkout.submodules {
        true => submodules::list(git, mirror.folder(), checkout, &entries).await?,
        false => Vec::new(),
    };
    let narrowed = !checkout.only.is_empty();
    let (entries, others) = match narrowed && nesting == 0 {
        true => narrow(checkout, entries)?,
        false => (entries, Vec::new()),
    };
    if entries.is_empty() && narrowed {
        let detail = "the globs of `reuse` name no file".to_owned();
        return Err(GitError::Failed { operation: "checking out", detail });
    }
    let is_attributes = |entry: &IndexEntry| entry.path.rsplit(|byte| *byte == b'/').next() == Some(b".gitattributes");
    let has_attributes = entries.iter().chain(&others).any(is_attributes);
    configure_submodules(&dot_git, &inside).await?;
    let lfs = match checkout.lfs && has_attributes {
        true => {
            let taken = lfs::Taken::by(parts.iter().map(|part| &part.lfs));
            lfs::for_checkout(mirror, checkout, &dot_git, (&entries, &others), taken).await?
        }
        false => lfs::Files::none(),
    };
    let lfs_time = now().saturating_sub(LFS_AGE_SECONDS);
    tell_index(&dot_git, &lfs, lfs_time).await?;
    let converted = match has_attributes {
        true => check_out_converted(git, &root, checkout, &entries, &lfs).await?,
        false => HashSet::new(),
    };
    let names = list_objects(scratch, &entries, &converted, &lfs).map_err(GitError::io("making the checkout"))?;
    let objects = git.in_repository(&dot_git).args(["cat-file", "--batch", "--buffer"]).stream(names)?;
    parts.push(Part { prefix: prefix.clone(), root, entries, converted, lfs, lfs_time, bare: narrowed, objects });

    for submodule in inside {
        let refused = |detail| Err(GitError::Failed { operation: "checking out the submodules", detail });
        if parts.len() > MAX_SUBMODULES {
            return refused(format!("there are more than {MAX_SUBMODULES}"));
        }
        if nesting >= MAX_NESTING {
            return refused(format!("they lie in each other more than {MAX_NESTING} deep"));
        }
        add_submodule(scratch, mirror, checkout, &submodule, (&prefix, nesting + 1), parts).await?;
    }
    Ok(())
}

/// Adds a submodule of `checkout`, with its own submodules.
async fn add_submodule(
    scratch: &Path,
    mirror: &Mirror,
    checkout: &Checkout<'_>,
    submodule: &Submodule,
    (prefix, nesting): (&[u8], usize),
    parts: &mut Vec<Part>,
) -> Result<(), GitError> {
    let mirror = mirror.submodule(&submodule.url).await?;
    let fetched = match checkout.by_stranger {
        // The stranger chooses which of the host's repositories it is.
        true => mirror.fetch_only(&submodule.url, &submodule.commit).await,
        false => mirror.fetch(&submodule.url, &FetchTarget::Commit(submodule.commit.clone())).await,
    };
    fetched.map_err(|error| submodules::explained(error, checkout, &submodule.url))?;
    let history = CheckoutHistory::find(mirror.git(), mirror.folder(), &submodule.commit, checkout.depth).await?;
    let checkout =
        Checkout { commit: &submodule.commit, git_ref: None, origin: &submodule.url, fork: None, ..*checkout };
    let prefix = [prefix, &submodule.path, b"/"].concat();
    Box::pin(add_parts(scratch, &mirror, &checkout, &history, prefix, nesting, parts)).await
}

/// Divides the files of a commit into those that the globs of `reuse` name, and the others. A submodule is one thing,
/// which the globs do not divide.
fn narrow(checkout: &Checkout<'_>, entries: Vec<IndexEntry>) -> Result<(Vec<IndexEntry>, Vec<IndexEntry>), GitError> {
    let filter = FileFilter::parse(checkout.only)?;
    let is_named = |entry: &IndexEntry| (entry.is_gitlink() && checkout.submodules) || filter.admits(&entry.path);
    Ok(entries.into_iter().partition(is_named))
}

/// Lists the objects of the files that are read from git as they are, one a line, for `git cat-file`.
fn list_objects(
    scratch: &Path,
    entries: &[IndexEntry],
    converted: &HashSet<Vec<u8>>,
    lfs: &lfs::Files,
) -> io::Result<File> {
    let is_read =
        |entry: &&IndexEntry| !entry.is_gitlink() && !converted.contains(&entry.path) && !lfs.contains(&entry.path);
    let list: String = entries.iter().filter(is_read).map(|entry| format!("{}\n", entry.object)).collect();
    let mut file = tempfile::tempfile_in(scratch)?;
    file.write_all(list.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// Rejects a crafted tree that contains a link and files below it: when unpacked, the files would land where the link
/// leads.
fn refuse_files_behind_links(entries: &[IndexEntry]) -> Result<(), GitError> {
    let links: HashSet<&[u8]> = entries.iter().filter(|e| e.is_link()).map(|e| e.path.as_slice()).collect();
    let behind_link =
        |path: &[u8]| path.iter().enumerate().any(|(at, byte)| *byte == b'/' && links.contains(&path[..at]));
    if !links.is_empty() && entries.iter().any(|entry| behind_link(&entry.path)) {
        let detail = "its tree has files behind a symbolic link".to_owned();
        return Err(GitError::Failed { operation: "checking out", detail });
    }
    Ok(())
}

/// Checks out, below `root`, the files that an attribute changes. Returns their paths.
async fn check_out_converted(
    git: &Git,
    root: &Path,
    checkout: &Checkout<'_>,
    entries: &[IndexEntry],
    lfs: &lfs::Files,
) -> Result<HashSet<Vec<u8>>, GitError> {
    let in_root = || git.in_repository(&root.join(".git")).env("GIT_WORK_TREE", root);
    let files = entries.iter().filter(|entry| entry.is_file() && !lfs.contains(&entry.path));
    let list: Vec<u8> = files.flat_map(|entry| entry.path.iter().copied().chain([0])).collect();
    let attributes = ["check-attr", "--cached", "--stdin", "-z", "eol", "ident", "working-tree-encoding"];
    let answer = in_root().args(attributes).output("reading attributes", &list).await?;
    let fields: Vec<&[u8]> = answer.split(|byte| *byte == 0).collect();
    // The factor by which its attributes can enlarge a file: `$Id$` becomes 47 bytes with an object's name, and an
    // encoding takes up to four bytes per character.
    let mut growth: HashMap<Vec<u8>, u64> = HashMap::new();
    for record in fields.chunks_exact(3) {
        let times = match (record[1], record[2]) {
            (b"eol", b"crlf") => 2,
            (b"ident", b"set") => 12,
            (b"eol" | b"ident", _) | (_, b"unspecified" | b"unset") => continue,
            _ => 4,
        };
        *growth.entry(record[0].to_vec()).or_insert(1) *= times;
    }
    if checkout.by_stranger {
        size::check_grown(git, &root.join(".git"), checkout.commit, entries, &growth).await?;
    }
    let converted: HashSet<Vec<u8>> = growth.into_keys().collect();
    if !converted.is_empty() {
        let list: Vec<u8> = converted.iter().flat_map(|path| path.iter().copied().chain([0])).collect();
        in_root().args(["checkout-index", "-z", "--stdin", "--quiet"]).output("checking out files", &list).await?;
    }
    Ok(converted)
}

/// Lets the checkout's git know the files of Git LFS as they are.
async fn tell_index(dot_git: &Path, lfs: &lfs::Files, time: u64) -> Result<(), GitError> {
    if lfs.pointers.is_empty() {
        return Ok(());
    }
    let sizes = lfs.pointers.iter().map(|(path, pointer)| (path.as_slice(), pointer.size())).collect();
    index_stat::write(&dot_git.join("index"), &sizes, time)
        .and_then(|()| File::options().append(true).open(dot_git.join("config")))
        .and_then(|mut config| config.write_all(b"[core]\n\tcheckStat = minimal\n"))
        .map_err(GitError::io("writing the checkout's .git"))
}
