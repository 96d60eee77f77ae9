//! What was fetched of each repository: a bare repository per registration, named by our id, never by an outsider's.
//!
//! Branches and tags follow the remote's. A commit outlives a forced push as long as a build of it is not over, and some time longer.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use longshore_core::RepoId;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use super::{CloneUrl, Git, GitError, command::Ended, remains};
use crate::{CommitId, RefName, Revision, text};

/// What is read of a commit's message, author and address: more than is kept of them.
const MAX_FACTS: u64 = 256 << 10;

/// How long a remote may take to name its default branch: a question that others wait for.
const ASKING: Duration = Duration::from_secs(30);

pub(super) const FETCH: [&str; 6] =
    ["fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"];

/// Names in full on both sides: git looks for no others that end so.
const BRANCHES_AND_TAGS: [&str; 2] = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];

/// The mirrors under a data folder; there is one `Mirrors` for one folder, so that fetches can wait for each other.
#[derive(Debug)]
pub struct Mirrors {
    git: Git,
    folder: PathBuf,
    open: Mutex<HashMap<RepoId, Arc<Mirror>>>,
}

impl Mirrors {
    #[must_use]
    pub fn new(git: Git, folder: impl Into<PathBuf>) -> Self {
        Self { git, folder: folder.into(), open: Mutex::default() }
    }

    /// The mirror of `repo`; made, empty, at the first call.
    ///
    /// # Errors
    /// When the disk or git does not let us.
    pub async fn mirror(&self, repo: RepoId) -> Result<Arc<Mirror>, GitError> {
        let mut open = self.open.lock().await;
        let folder = self.folder.join(format!("{repo}.git"));
        // They are caches: somebody may have removed it.
        if let Some(mirror) = open.get(&repo)
            && tokio::fs::try_exists(folder.join("HEAD")).await.unwrap_or(true)
        {
            return Ok(Arc::clone(mirror));
        }
        let mirror = Arc::new(Mirror::open_or_create(self.git.clone(), &folder).await?);
        open.insert(repo, Arc::clone(&mirror));
        Ok(mirror)
    }

    /// Of which repositories there are mirrors.
    ///
    /// # Errors
    /// When the disk does not let us.
    pub async fn kept(&self) -> Result<Vec<RepoId>, GitError> {
        let failed = GitError::io("listing the mirrors");
        let folder = self.folder.clone();
        let list = move || -> io::Result<Vec<RepoId>> {
            let names = match std::fs::read_dir(folder) {
                Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(error),
            };
            Ok(names.iter().filter_map(|name| name.to_str()?.strip_suffix(".git")?.parse().ok()).collect())
        };
        tokio::task::spawn_blocking(list).await.map_err(io::Error::other).flatten().map_err(failed)
    }

    /// Forgets the mirror of `repo` and removes it from the disk.
    ///
    /// # Errors
    /// When the disk does not let us.
    pub async fn remove(&self, repo: RepoId) -> Result<(), GitError> {
        let mut open = self.open.lock().await;
        let mirror = open.remove(&repo);
        // A fetch that is under way ends first.
        let _fetch = match &mirror {
            Some(mirror) => Some(mirror.fetching.lock().await),
            None => None,
        };
        match tokio::fs::remove_dir_all(self.folder.join(format!("{repo}.git"))).await {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(GitError::Io { what: "removing a mirror", source })
            }
            _ => Ok(()),
        }
    }
}

/// What a fetch is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// What the branch or tag points at now.
    Ref(RefName),
    /// One commit, wherever it is reachable from.
    Commit(CommitId),
    /// What a delivery told of: `after` (a commit, or an annotated tag's object), found on `git_ref` or, if the ref has
    /// moved on, still in the repository.
    Push { git_ref: RefName, after: CommitId },
    /// What a pull request brings: `head`, found on `refs/pull/<number>/head` or, if that has moved on, still in the repository. The
    /// branches come with it, so that the commit can be compared with the target.
    PullRequest { number: u64, head: CommitId },
}

impl Wanted {
    fn revision(&self) -> Revision {
        match self {
            Self::Ref(name) => Revision::Ref(name.clone()),
            Self::Commit(commit) | Self::Push { after: commit, .. } | Self::PullRequest { head: commit, .. } => {
                Revision::Commit(commit.clone())
            }
        }
    }
}

/// What people read about a commit; bytes that are not UTF-8 are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitFacts {
    pub message: String,
    pub author: String,
    pub email: String,
}

/// One repository's mirror.
#[derive(Debug)]
pub struct Mirror {
    git: Git,
    folder: PathBuf,
    pub(super) fetching: Mutex<()>,
    submodules: Mutex<HashMap<PathBuf, Arc<Self>>>,
}

impl Mirror {
    /// Opens the bare repository at `folder`, which no other process may use; makes it if it is missing.
    ///
    /// # Errors
    /// When the disk or git does not let us.
    pub async fn open_or_create(git: Git, folder: &Path) -> Result<Self, GitError> {
        let is_there =
            async |name| tokio::fs::try_exists(folder.join(name)).await.map_err(GitError::io("opening a mirror"));
        if is_there("HEAD").await? && is_there("objects").await? && is_there("refs").await? {
            let path = folder.to_owned();
            tokio::task::spawn_blocking(move || remains::remove_all(&path))
                .await
                .map_err(|e| GitError::Io { what: "opening a mirror", source: io::Error::other(e) })?
                .map_err(GitError::io("opening a mirror"))?;
        } else {
            // Made beside and renamed: git that is killed in the middle leaves no half of a repository under its name.
            let new = folder.with_extension("new");
            match tokio::fs::remove_dir_all(&new).await {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(GitError::Io { what: "making a mirror", source });
                }
                _ => {}
            }
            let options = ["init", "--quiet", "--bare", "--template=", "--object-format=sha1", "--"];
            let init = git.command().args(options).args([new.as_os_str()]);
            init.output("making a mirror", &[]).await?;
            // What stands there without its parts is no repository.
            let _ = tokio::fs::remove_dir_all(folder).await;
            tokio::fs::rename(&new, folder).await.map_err(GitError::io("making a mirror"))?;
        }
        Ok(Self { git, folder: folder.to_owned(), fetching: Mutex::default(), submodules: Mutex::default() })
    }

    /// Where its data lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The mirror of a submodule of this repository: in its folder, so that both go together; made, empty, at the first call. What was
    /// fetched with credentials is another one than what everybody may read.
    pub(crate) async fn submodule(&self, url: &CloneUrl) -> Result<Arc<Self>, GitError> {
        let name = hex::encode(Sha256::digest(format!("{} {}", url.has_credentials(), url.address())));
        let folder = self.folder.join("submodules").join(format!("{name}.git"));
        let mut open = self.submodules.lock().await;
        if let Some(mirror) = open.get(&folder) {
            return Ok(Arc::clone(mirror));
        }
        let mirror = Arc::new(Self::open_or_create(self.git.clone(), &folder).await?);
        open.insert(folder, Arc::clone(&mirror));
        Ok(mirror)
    }

    pub(crate) const fn git(&self) -> &Git {
        &self.git
    }

    /// Brings all branches and tags here, unless what is wanted is here already, and tells the wanted commit. One
    /// fetch runs at a time.
    ///
    /// # Errors
    /// Told apart by [`GitError`]: no such repository, not allowed in, not reachable, timed out, refused, and
    /// [`GitError::UnknownRevision`] when the talk went well and the commit is not there.
    pub async fn fetch(&self, url: &CloneUrl, wanted: &Wanted) -> Result<CommitId, GitError> {
        let _one = self.fetching.lock().await;
        if let Some(commit) = self.present(wanted).await? {
            return Ok(commit);
        }
        match wanted {
            Wanted::PullRequest { number, .. } => {
                let name = format!("refs/pull/{number}/head");
                let (fetched, request) = tokio::join!(self.fetch_branches_and_tags(url), self.at_remote(url, &name));
                fetched?;
                request?.ok_or(GitError::UnknownRevision { revision: name })?;
            }
            Wanted::Ref(_) | Wanted::Commit(_) | Wanted::Push { .. } => self.fetch_branches_and_tags(url).await?,
        }
        let revision = wanted.revision();
        match (self.resolve(&revision).await, &revision) {
            // A pull request's, or not reachable any more; many forges still give it by its name.
            (Err(GitError::UnknownRevision { .. }), Revision::Commit(commit)) => self.bring(url, commit).await,
            (result, _) => result,
        }
    }

    /// Brings one commit here, with its history and within the limits of what a stranger may bring, unless it is here already.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn fetch_only(&self, url: &CloneUrl, commit: &CommitId) -> Result<CommitId, GitError> {
        let _one = self.fetching.lock().await;
        match self.resolve(&Revision::Commit(commit.clone())).await {
            Err(GitError::UnknownRevision { .. }) => self.bring(url, commit).await,
            result => result,
        }
    }

    /// Brings all branches and tags here as they are now. One fetch runs at a time.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn update(&self, url: &CloneUrl) -> Result<(), GitError> {
        let _one = self.fetching.lock().await;
        self.fetch_branches_and_tags(url).await
    }

    /// The object that the remote has under exactly this name, an annotated tag's own; nothing where it has no such ref.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn at_remote(&self, url: &CloneUrl, name: &str) -> Result<Option<CommitId>, GitError> {
        let ask = self.git.in_repository(&self.folder).remote(url, ASKING.min(self.git.remote_limit()));
        let ask = ask.args(["ls-remote", "--quiet", "--end-of-options", url.address(), name]);
        let answer = ask.output("asking for a ref", &[]).await?;
        let answer = String::from_utf8_lossy(&answer);
        // It lists whatever ends so: `refs/heads/refs/tags/v1` where `refs/tags/v1` was asked for.
        let mut refs = answer.lines().filter_map(|line| line.split_once('\t'));
        Ok(refs.find(|(_, found)| *found == name).and_then(|(object, _)| object.parse().ok()))
    }

    /// The branch that the remote's HEAD is on, by its short name; nothing where the remote does not say, or has no such branch yet.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn default_branch(&self, url: &CloneUrl) -> Result<Option<String>, GitError> {
        let ask = self.git.in_repository(&self.folder).remote(url, ASKING.min(self.git.remote_limit()));
        let ask = ask.args(["ls-remote", "--symref", "--end-of-options", url.address(), "HEAD"]);
        let answer = ask.output("asking for the default branch", &[]).await?;
        let answer = String::from_utf8_lossy(&answer);
        let head = answer.lines().find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"));
        Ok(head.and_then(|head| head.parse::<RefName>().ok()?.branch().map(str::to_owned)))
    }

    async fn fetch_branches_and_tags(&self, url: &CloneUrl) -> Result<(), GitError> {
        let fetch = self.git.in_repository(&self.folder).remote(url, self.git.remote_limit());
        // A branch that is gone is not built any more, and does not stand in the way of a new branch below its name.
        let fetch = fetch.args(FETCH).args(["--prune", "--end-of-options", url.address()]).args(BRANCHES_AND_TAGS);
        let fetched = fetch.output("fetch", &[]).await;
        if fetched.is_err() {
            // A host that breaks off again and again would fill the disk.
            let folder = self.folder.clone();
            let _ = tokio::task::spawn_blocking(move || remains::remove_halves(&folder)).await;
        }
        fetched.map(drop)
    }

    /// What is wanted, if no fetch is needed for it.
    async fn present(&self, wanted: &Wanted) -> Result<Option<CommitId>, GitError> {
        let found = match wanted {
            // The target's newest commit is wanted, too.
            Wanted::Ref(_) | Wanted::PullRequest { .. } => return Ok(None),
            Wanted::Commit(commit) => self.resolve(&Revision::Commit(commit.clone())).await,
            Wanted::Push { git_ref, after } => {
                let commit = self.resolve(&Revision::Commit(after.clone())).await;
                // A tag on a commit that is here already has to come all the same.
                match (commit, self.resolve(&Revision::Ref(git_ref.clone())).await) {
                    (Ok(commit), Ok(tip)) if commit == tip => Ok(commit),
                    (Ok(_), Ok(_)) => return Ok(None),
                    (Err(error), _) | (_, Err(error)) => Err(error),
                }
            }
        };
        match found {
            Ok(commit) => Ok(Some(commit)),
            Err(GitError::UnknownRevision { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The commit that `revision` names in the mirror, through annotated tags. A branch or tag is the one of exactly that name.
    ///
    /// # Errors
    /// [`GitError::UnknownRevision`] when there is none, [`GitError::NotACommit`] when it leads to something else.
    pub async fn resolve(&self, revision: &Revision) -> Result<CommitId, GitError> {
        let unknown = || GitError::UnknownRevision { revision: revision.to_string() };
        let object = match revision {
            Revision::Commit(commit) => commit.clone(),
            Revision::Ref(name) => self.object_of(name).await?.ok_or_else(unknown)?,
        };
        let peeled = format!("{object}^{{commit}}");
        let resolve = ["rev-parse", "--verify", "--quiet", "--end-of-options", &peeled];
        let resolve = self.git.in_repository(&self.folder).args(resolve).run("resolving a revision", &[]).await?;
        if let Some(commit) = only_line(&resolve).and_then(|line| line.parse().ok()) {
            return Ok(commit);
        }
        let peeled = format!("{object}^{{}}");
        let kind = self.git.in_repository(&self.folder).args(["cat-file", "-t", &peeled]);
        let kind = kind.run("looking at an object", &[]).await?;
        match only_line(&kind) {
            Some(kind) => Err(GitError::NotACommit { revision: revision.to_string(), kind: kind.to_owned() }),
            None => Err(unknown()),
        }
    }

    /// What a branch or tag points at, an annotated tag at its own object. Most of git's commands take a name for other refs
    /// that end so where there is none of exactly that name; this one does not.
    async fn object_of(&self, name: &RefName) -> Result<Option<CommitId>, GitError> {
        let look = self.git.in_repository(&self.folder).args(["show-ref", "--verify", "--hash", name.as_str()]);
        let found = look.run("looking for a branch or tag", &[]).await?;
        Ok(only_line(&found).and_then(|line| line.parse().ok()))
    }

    /// Whether `commit` is `newest` or one that leads to it; none that is not here is.
    ///
    /// # Errors
    /// When git fails.
    pub async fn is_on(&self, commit: &CommitId, newest: &CommitId) -> Result<bool, GitError> {
        let operation = "looking for a commit on a branch";
        let is_ancestor = ["merge-base", "--is-ancestor", "--end-of-options", commit.as_str(), newest.as_str()];
        let ended = self.git.in_repository(&self.folder).args(is_ancestor).run(operation, &[]).await?;
        if ended.success || ended.complaint.is_empty() || ended.complaint.contains("Not a valid commit") {
            Ok(ended.success)
        } else {
            Err(GitError::Failed { operation, detail: ended.complaint })
        }
    }

    /// Message and author of a commit, cut where they are too long for people.
    ///
    /// # Errors
    /// When the commit is not here.
    pub async fn commit_facts(&self, commit: &CommitId) -> Result<CommitFacts, GitError> {
        let log = self.git.in_repository(&self.folder).at_most(MAX_FACTS);
        let log = log.args(LOG_ONE).args(["--end-of-options", commit.as_str()]);
        Ok(parse_facts(&log.output("reading a commit", &[]).await?).1)
    }
}

/// The line that git has printed, if it ended well.
fn only_line(ended: &Ended) -> Option<&str> {
    std::str::from_utf8(&ended.stdout).ok().filter(|_| ended.success).map(str::trim_end)
}

/// One commit's name, author, address and message, NUL between them.
pub(crate) const LOG_ONE: [&str; 5] =
    ["log", "-1", "--no-show-signature", "--no-color", "--format=%H%x00%an%x00%ae%x00%B"];

/// Reads what [`LOG_ONE`] prints.
pub(crate) fn parse_facts(output: &[u8]) -> (String, CommitFacts) {
    let output = String::from_utf8_lossy(output);
    let mut parts = output.splitn(4, '\0');
    let mut next = || parts.next().unwrap_or_default();
    let commit = next().to_owned();
    let (author, email) = (text::one_line(next()), text::one_line(next()));
    (commit, CommitFacts { author, email, message: text::many_lines(next().trim_end_matches('\n')) })
}
