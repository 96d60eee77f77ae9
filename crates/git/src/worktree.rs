//! A user's folder for `longshore run`: its files as they are now, including changes and new files, without ignored
//! ones.
//!
//! The job gets the same kind of `.git` as from a server, as deep as it asks for, with what `origin` had when it was
//! last fetched. It is not the user's own, which may be a file that leads elsewhere (worktrees, submodules), may be
//! large, and has its own configuration. `git status` in it shows what
//! is not committed. Nothing in the user's repository is written, run or locked.
//!
//! Files that are still pointers of Git LFS become their objects if a job asks for them: those that the repository has
//! here, or else those of the store that its remote `origin` has.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    ffi::OsStr,
    fs::File,
    io::{self, BufWriter},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use ignore::WalkBuilder;
use longshore_forge::{CloneUrl, CommitId, RefName};
use rustix::fs::{Mode, OFlags};
use tokio::task::spawn_blocking;

use super::{
    CommitFacts, Git, GitError, TarSource,
    checkout::{now, scratch, write_folder},
    checkout_history::CheckoutHistory,
    git_dir::GitDir,
    lfs::{self, Objects, Source},
    mirror::{LOG_ONE, parse_facts},
    tar_writer::TarWriter,
};

/// A folder, and its repository if it is the top of one.
#[derive(Debug)]
pub struct Worktree {
    git: Git,
    folder: PathBuf,
    repository: Option<Repository>,
    /// What a user should know about files that were left out.
    notes: Vec<String>,
}

#[derive(Debug)]
struct Repository {
    git_dir: PathBuf,
    branch: Option<RefName>,
    /// `None` before the first commit.
    head: Option<(CommitId, CommitFacts)>,
    origin: Option<String>,
    default_branch: Option<String>,
    /// The commits whose parents the repository does not have: it is a shallow clone.
    ends: HashSet<String>,
}

/// The facts about a folder that an event needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorktreeFacts {
    /// `refs/heads/…`, or `HEAD` if it is detached; `refs/heads/main` without git.
    pub git_ref: String,
    /// All zeros without git or before the first commit.
    pub commit: String,
    pub facts: CommitFacts,
    /// The address of `origin`, without credentials.
    pub origin: Option<String>,
    /// The branch of `origin`'s HEAD when it was cloned; otherwise the branch that is checked out.
    pub default_branch: Option<String>,
}

impl Worktree {
    /// Opens `folder`, and finds its repository.
    ///
    /// # Errors
    /// If there is no such folder, or git fails on it.
    pub async fn open(git: &Git, folder: &Path) -> Result<Self, GitError> {
        let folder = tokio::fs::canonicalize(folder).await.map_err(GitError::io("opening the folder"))?;
        let mut this = Self { git: git.clone(), folder, repository: None, notes: Vec::new() };
        let find = git.in_folder(&this.folder).args(["rev-parse", "--show-toplevel", "--absolute-git-dir"]);
        let found = match find.run("looking for a repository", &[]).await {
            Ok(ended) if ended.success => ended.stdout,
            Ok(_) => return Ok(this),
            Err(GitError::NoGit) => {
                this.notes.push("git is not installed: the folder is taken without its history".to_owned());
                return Ok(this);
            }
            Err(error) => return Err(error),
        };
        // The paths may contain line breaks. Then the folder is not recognised as the top, and is used without its
        // history.
        let mut lines = found.split(|byte| *byte == b'\n');
        let mut path = || PathBuf::from(OsStr::from_bytes(lines.next().unwrap_or_default()));
        let (top, git_dir) = (path(), path());
        if top != this.folder {
            let top = top.display();
            this.notes.push(format!("the folder is a part of the repository {top}: it is taken without its history"));
            return Ok(this);
        }
        this.repository = Some(this.read_repository(git_dir).await?);
        Ok(this)
    }

    async fn read_repository(&self, git_dir: PathBuf) -> Result<Repository, GitError> {
        let ask = |args: &[&str]| self.git.in_repository(&git_dir).args(args).run("looking at the repository", &[]);
        let (head, log, origin, default) = tokio::try_join!(
            ask(&["symbolic-ref", "--quiet", "HEAD"]),
            ask(&LOG_ONE),
            ask(&["config", "--get", "remote.origin.url"]),
            ask(&["symbolic-ref", "--quiet", "refs/remotes/origin/HEAD"]),
        )?;
        let line = |output: &[u8]| String::from_utf8_lossy(output).trim_end().to_owned();
        let (commit, facts) = parse_facts(&log.stdout);
        let origin = line(&origin.stdout).parse::<CloneUrl>().ok().map(|url| url.address().to_owned());
        let (head, default) = (line(&head.stdout), line(&default.stdout));
        let default = default.strip_prefix("refs/remotes/origin/").or_else(|| head.strip_prefix("refs/heads/"));
        Ok(Repository {
            default_branch: default.map(str::to_owned),
            branch: head.parse().ok(),
            head: commit.parse().ok().map(|commit| (commit, facts)),
            origin,
            ends: shallow_ends(&git_dir),
            git_dir,
        })
    }

    /// Returns branch, commit, message and author.
    #[must_use]
    pub fn facts(&self) -> WorktreeFacts {
        let nobody = CommitFacts { message: String::new(), author: String::new(), email: String::new() };
        let (git_ref, head, origin) = match &self.repository {
            None => ("refs/heads/main", None, None),
            Some(Repository { branch, head, origin, .. }) => {
                (branch.as_ref().map_or("HEAD", RefName::as_str), head.as_ref(), origin.clone())
            }
        };
        let (commit, facts) = match head {
            Some((commit, facts)) => (commit.to_string(), facts.clone()),
            None => ("0".repeat(40), nobody),
        };
        let default_branch = self.repository.as_ref().and_then(|repository| repository.default_branch.clone());
        WorktreeFacts { git_ref: git_ref.to_owned(), commit, facts, origin, default_branch }
    }

    /// Returns the newest tag of the commit that is checked out.
    ///
    /// # Errors
    /// If git fails.
    pub async fn tag(&self) -> Result<Option<String>, GitError> {
        let Some(Repository { git_dir, head: Some((commit, _)), .. }) = &self.repository else { return Ok(None) };
        let at_commit = format!("--points-at={commit}");
        // Of two tags that were made in one second, the one with the higher version.
        let list = [
            "for-each-ref",
            "--sort=-version:refname",
            "--sort=-creatordate",
            "--format=%(refname:strip=2)",
            "--count=1",
        ];
        let list = self.git.in_repository(git_dir).args(list).args([at_commit.as_str(), "refs/tags"]);
        let found =
            String::from_utf8_lossy(&list.output("looking for the commit's tag", &[]).await?).trim_end().to_owned();
        Ok(Some(found).filter(|tag| format!("refs/tags/{tag}").parse::<RefName>().is_ok()))
    }

    /// Returns tars of the folder as it is now, one for each of `depths`, and notes about what is not in them. With
    /// `lfs`, pointers of Git LFS are replaced by their objects, and those that had to be fetched are kept in that
    /// folder.
    ///
    /// # Errors
    /// If a file cannot be read, git fails or the disk (of the folder for temporary files) is full.
    pub async fn tars(
        &self,
        depths: &BTreeSet<u32>,
        lfs: Option<&Path>,
    ) -> Result<(BTreeMap<u32, TarSource>, Vec<String>), GitError> {
        let mut notes = self.notes.clone();
        let mut scratches = Vec::new();
        for depth in depths {
            scratches.push((*depth, scratch(&std::env::temp_dir())?));
        }
        let files = match &self.repository {
            None => {
                // Attributes are git's.
                let folder = self.folder.clone();
                let walk = spawn_blocking(move || walk_folder(&folder)).await;
                let walk = walk.map_err(io::Error::other).and_then(|result| result);
                Files { paths: walk.map_err(GitError::io("reading the folder"))?, ..Files::default() }
            }
            Some(repository) => {
                if !repository.ends.is_empty() && depths.iter().any(|depth| *depth != 1) {
                    notes.push("this is a shallow clone: jobs get no more of the history than it has".to_owned());
                }
                let git_dirs = async {
                    for (depth, scratch) in &scratches {
                        self.write_git_dir(repository, *depth, scratch.path()).await?;
                    }
                    Ok(())
                };
                let (written, files) = tokio::join!(git_dirs, self.list_files(lfs, &mut notes));
                written?;
                files?
            }
        };
        let folder = self.folder.clone();
        let written = spawn_blocking(move || {
            let mut tars = BTreeMap::new();
            for (depth, scratch) in scratches {
                tars.insert(depth, write_tar(&folder, scratch.path(), &files, &mut notes)?);
            }
            let mut seen = HashSet::new();
            notes.retain(|note| seen.insert(note.clone()));
            Ok((tars, notes))
        });
        let written = written.await.map_err(io::Error::other).and_then(|result| result);
        written.map_err(GitError::io("packing the folder"))
    }

    async fn write_git_dir(&self, repository: &Repository, depth: u32, scratch: &Path) -> Result<(), GitError> {
        let dot_git = scratch.join(".git");
        if let Some((commit, _)) = &repository.head {
            let branch = repository.branch.as_ref();
            let history =
                CheckoutHistory::of_clone(&self.git, &repository.git_dir, (commit, branch), depth, &repository.ends)
                    .await?;
            let git_dir = GitDir {
                source: &repository.git_dir,
                commit,
                branch,
                history: &history,
                origin: repository.origin.as_deref(),
            };
            git_dir.write(&self.git, &dot_git).await?;
        } else {
            let init = ["init", "--quiet", "--template=", "--"];
            self.git.command().args(init).args([scratch]).output("making an empty .git", &[]).await?;
        }
        Ok(())
    }

    /// Lists the files that git does not ignore, including those of checked-out submodules and of nested repositories.
    async fn list_files(&self, lfs: Option<&Path>, notes: &mut Vec<String>) -> Result<Files, GitError> {
        let mut files = Files::default();
        let mut folders = VecDeque::from([Vec::new()]);
        while let Some(prefix) = folders.pop_front() {
            let folder = self.folder.join(OsStr::from_bytes(&prefix));
            let list =
                self.git.in_folder(&folder).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
            let list = list.output("listing the folder's files", &[]).await?;
            let names: Vec<Vec<u8>> =
                list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
            if let Some(kept) = lfs {
                let objects = self.lfs_objects(&folder, &names, kept).await?;
                files
                    .objects
                    .extend(objects.into_iter().map(|(name, object)| ([prefix.as_slice(), &name].concat(), object)));
            }
            for name in &names {
                let path = [prefix.as_slice(), name].concat();
                let path = path.strip_suffix(b"/").unwrap_or(&path).to_vec();
                let place = self.folder.join(OsStr::from_bytes(&path));
                let is_folder = place.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
                // Without a `.git` in it, git would answer for the repository around it.
                if is_folder && place.join(".git").symlink_metadata().is_ok() {
                    let shown = String::from_utf8_lossy(&path);
                    notes
                        .push(format!("`{shown}` is a repository of its own: its files are taken without its history"));
                    folders.push_back([path.as_slice(), b"/"].concat());
                }
                files.paths.insert(path);
            }
        }
        Ok(files)
    }

    /// Finds the objects of a repository's pointers: among its own, or among those in `kept`, where missing ones are
    /// put.
    async fn lfs_objects(
        &self,
        folder: &Path,
        names: &[Vec<u8>],
        kept: &Path,
    ) -> Result<HashMap<Vec<u8>, PathBuf>, GitError> {
        let mut pointers = lfs::in_folder(&self.git, folder, names).await?;
        if pointers.is_empty() {
            return Ok(HashMap::new());
        }
        let ask = async |args: &[&str]| {
            let answer = self.git.in_folder(folder).args(args).run("looking at the repository", &[]).await?;
            Ok::<_, GitError>(String::from_utf8_lossy(&answer.stdout).trim_end().to_owned())
        };
        let own = Objects::of_mirror(&folder.join(ask(&["rev-parse", "--git-common-dir"]).await?));
        let mut found = HashMap::new();
        pointers.retain(|path, pointer| {
            let place = own.path(pointer);
            let is_here = place.metadata().is_ok_and(|facts| facts.is_file() && facts.len() == pointer.size());
            if is_here {
                found.insert(path.clone(), place);
            }
            !is_here
        });
        let origin = ask(&["config", "--get", "remote.origin.url"]).await?.parse::<CloneUrl>().ok();
        let config = match folder.join(".lfsconfig").is_file() {
            true => {
                let list = ["config", "--no-includes", "-z", "--file", ".lfsconfig", "--list"];
                lfs::read_config(self.git.in_folder(folder).args(list)).await?
            }
            false => String::new(),
        };
        let source = Source {
            git: &self.git,
            origin: origin.as_ref(),
            config: &config,
            by_stranger: false,
            trusted: &[],
            git_ref: None,
            taken: lfs::Taken::default(),
        };
        let kept = Objects::at(kept.to_owned());
        let fetched = source.fetch(&pointers, &kept, None).await;
        fetched.map_err(|error| GitError::NotPulled { detail: error.to_string() })?;
        found.extend(pointers.into_iter().map(|(path, pointer)| (path, kept.path(&pointer))));
        Ok(found)
    }
}

/// What is packed.
#[derive(Debug, Default)]
struct Files {
    paths: BTreeSet<Vec<u8>>,
    /// Where the content of those files is that are pointers of Git LFS.
    objects: HashMap<Vec<u8>, PathBuf>,
}

/// Returns the commits whose parents a repository does not have.
fn shallow_ends(git_dir: &Path) -> HashSet<String> {
    // A linked working tree shares them with the others of its repository.
    let common = std::fs::read_to_string(git_dir.join("commondir"));
    let common = common.map_or_else(|_| git_dir.to_owned(), |common| git_dir.join(common.trim_end()));
    let ends = std::fs::read_to_string(common.join("shallow")).unwrap_or_default();
    ends.lines().map(str::to_owned).collect()
}

/// Lists the files of a folder without git, respecting the ignore files in and above it.
fn walk_folder(folder: &Path) -> io::Result<BTreeSet<Vec<u8>>> {
    let mut walk = WalkBuilder::new(folder);
    walk.hidden(false).git_global(false).git_exclude(false).require_git(false).follow_links(false);
    walk.filter_entry(|entry| entry.file_name() != ".git");
    let mut files = BTreeSet::new();
    for entry in walk.build() {
        let entry = entry.map_err(io::Error::other)?;
        if let Ok(path) = entry.path().strip_prefix(folder)
            && entry.depth() > 0
        {
            files.insert(path.as_os_str().to_owned().into_vec());
        }
    }
    Ok(files)
}

fn write_tar(folder: &Path, scratch: &Path, files: &Files, notes: &mut Vec<String>) -> io::Result<TarSource> {
    let out = tempfile::tempfile()?;
    let mut tar = TarWriter::new(BufWriter::with_capacity(256 * 1024, out), now());
    if scratch.join(".git").is_dir() {
        write_folder(&mut tar, &scratch.join(".git"), b".git")?;
    }
    for path in files.paths.iter().filter(|path| !path.is_empty()) {
        if tar.is_behind_link(path) {
            continue;
        }
        let place = folder.join(OsStr::from_bytes(path));
        // In git's index but deleted, or removed since it was listed: not part of the folder as it is now.
        let Ok(metadata) = place.symlink_metadata() else { continue };
        let kind = metadata.file_type();
        if kind.is_symlink() {
            let target = std::fs::read_link(&place)?;
            tar.link(path, target.as_os_str().as_bytes())?;
        } else if kind.is_dir() {
            tar.folder(path)?;
        } else if kind.is_file() {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = match rustix::fs::open(&place, flags, Mode::empty()) {
                Ok(file) => File::from(file),
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => {
                    return Err(io::Error::new(io::Error::from(error).kind(), format!("{}: {error}", place.display())));
                }
            };
            let executable = std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions()) & 0o100 != 0;
            let file = match files.objects.get(path) {
                Some(object) => File::open(object)?,
                None => file,
            };
            let metadata = file.metadata()?;
            tar.file(path, executable, metadata.len(), file)?;
        } else {
            notes.push(format!("`{}` is not a file, folder or link and was left out", String::from_utf8_lossy(path)));
        }
    }
    let out = tar.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    TarSource::new(out)
}
