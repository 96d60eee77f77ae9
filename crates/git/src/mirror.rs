//! The fetched repositories: one bare repository per registration, named by our id, never by outsiders' text.
//!
//! Branches and tags follow the remote's. A commit survives a forced push until its builds are over, and some time
//! longer.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use longshore_core::RepoId;
use longshore_forge::{CloneUrl, CommitId, RefName, Revision, text};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, RwLock};

use super::{Git, GitError, Wanted, command::Ended, remains};

/// The most bytes read of a commit's message, author and address; more than is kept.
const MAX_FACTS: u64 = 256 << 10;

/// How long a remote may take to name its default branch. Others wait for the answer.
const ASKING: Duration = Duration::from_secs(30);

pub(super) const FETCH: [&str; 6] =
    ["fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"];

/// Full names on both sides; otherwise git would look for other refs with the same ending.
const BRANCHES_AND_TAGS: [&str; 2] = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];

/// The mirrors under a data folder. There is one `Mirrors` per folder, so that fetches can wait for each other.
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

    /// Returns the mirror of `repo`; the first call creates it, empty.
    ///
    /// # Errors
    /// If the disk or git fails.
    pub async fn mirror(&self, repo: RepoId) -> Result<Arc<Mirror>, GitError> {
        let mut open = self.open.lock().await;
        let folder = self.folder.join(format!("{repo}.git"));
        // Mirrors are caches: somebody may have removed it.
        if let Some(mirror) = open.get(&repo)
            && tokio::fs::try_exists(folder.join("HEAD")).await.unwrap_or(true)
        {
            return Ok(Arc::clone(mirror));
        }
        let mirror = Arc::new(Mirror::open_or_create(self.git.clone(), &folder).await?);
        open.insert(repo, Arc::clone(&mirror));
        Ok(mirror)
    }

    /// Returns the repositories that have a mirror.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn repositories(&self) -> Result<Vec<RepoId>, GitError> {
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
    /// If the disk fails.
    pub async fn remove(&self, repo: RepoId) -> Result<(), GitError> {
        let mut open = self.open.lock().await;
        let mirror = open.remove(&repo);
        // Wait for a running fetch.
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

/// A branch or tag of a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRef {
    pub name: RefName,
    /// Its target; for an annotated tag, the tag's own object.
    pub object: CommitId,
    /// The object that an annotated tag leads to.
    pub peeled: Option<CommitId>,
}

impl RemoteRef {
    /// Returns whether a delivery that names this object tells of the ref as it is. Of an annotated tag forges name
    /// either the tag's own object or its commit.
    #[must_use]
    pub fn is_at(&self, object: &str) -> bool {
        self.object.as_str() == object || self.peeled.as_ref().is_some_and(|peeled| peeled.as_str() == object)
    }
}

/// A commit's data for people; invalid UTF-8 is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitFacts {
    pub message: String,
    pub author: String,
    pub email: String,
}

/// The mirror of one repository.
#[derive(Debug)]
pub struct Mirror {
    git: Git,
    folder: PathBuf,
    pub(super) fetching: Mutex<()>,
    submodules: Mutex<HashMap<PathBuf, Arc<Self>>>,
    /// Held by those who read objects of Git LFS, and by whoever removes some.
    pub(super) lfs_in_use: Arc<RwLock<()>>,
}

impl Mirror {
    /// Opens the bare repository at `folder`, which no other process may use, or creates it if it is missing.
    ///
    /// # Errors
    /// If the disk or git fails.
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
            // Created beside and renamed, so that a killed git leaves no half repository under this name.
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
            // A folder without these parts is not a repository.
            let _ = tokio::fs::remove_dir_all(folder).await;
            tokio::fs::rename(&new, folder).await.map_err(GitError::io("making a mirror"))?;
        }
        Ok(Self {
            git,
            folder: folder.to_owned(),
            fetching: Mutex::default(),
            submodules: Mutex::default(),
            lfs_in_use: Arc::default(),
        })
    }

    /// Returns the folder with its data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the mirror of a submodule, inside this repository's folder, so that both are removed together. The first
    /// call creates it, empty. Data fetched with credentials is kept apart from data that everybody may read.
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

    /// Returns the mirrors of all submodules that there are, used since the start or not.
    pub(crate) async fn all_submodules(&self) -> Result<Vec<Arc<Self>>, GitError> {
        let mut open = self.submodules.lock().await;
        let mut entries = match tokio::fs::read_dir(self.folder.join("submodules")).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(GitError::io("looking for submodules"))?,
        };
        while let Some(entry) = entries.next_entry().await.map_err(GitError::io("looking for submodules"))? {
            let folder = entry.path();
            if folder.extension().is_some_and(|extension| extension == "git") && !open.contains_key(&folder) {
                let mirror = Arc::new(Self::open_or_create(self.git.clone(), &folder).await?);
                open.insert(folder, mirror);
            }
        }
        Ok(open.values().cloned().collect())
    }

    pub(crate) const fn git(&self) -> &Git {
        &self.git
    }

    /// Fetches all branches and tags, unless the wanted commit is in the mirror already. Returns the wanted commit. One
    /// fetch runs at a time.
    ///
    /// # Errors
    /// Distinguished by [`GitError`]: no such repository, no access, not reachable, timed out, refused, and if the fetch
    /// succeeded, [`GitError::UnknownRevision`] for a commit that is not there and [`GitError::NotOnRef`] for one that is
    /// not where it has to be.
    pub async fn fetch(&self, url: &CloneUrl, wanted: &Wanted) -> Result<CommitId, GitError> {
        let _one = self.fetching.lock().await;
        let before = self.tips(wanted.held_by()).await?;
        if let Some(commit) = self.find_present(wanted, &before).await? {
            return Ok(commit);
        }
        match wanted {
            Wanted::PullRequest { served_at, .. } => {
                let (fetched, request) =
                    tokio::join!(self.fetch_branches_and_tags(url), self.remote_ref(url, served_at));
                fetched?;
                request?.ok_or_else(|| GitError::UnknownRevision { revision: served_at.clone() })?;
            }
            Wanted::Ref(_) | Wanted::Commit(_) | Wanted::Push { .. } => self.fetch_branches_and_tags(url).await?,
        }
        let revision = wanted.revision();
        let commit = match (self.resolve(&revision).await, &revision) {
            // A pull request's commit, or one that is no longer reachable; many forges still serve it by name.
            (Err(GitError::UnknownRevision { .. }), Revision::Commit(commit)) if wanted.held_by().is_empty() => {
                self.fetch_commit(url, commit).await
            }
            (result, _) => result,
        }?;
        self.check_held(wanted, &commit, before).await?;
        Ok(commit)
    }

    /// Fetches one commit with its history, within the limits for strangers, unless it is in the mirror already.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn fetch_only(&self, url: &CloneUrl, commit: &CommitId) -> Result<CommitId, GitError> {
        let _one = self.fetching.lock().await;
        match self.resolve(&Revision::Commit(commit.clone())).await {
            Err(GitError::UnknownRevision { .. }) => self.fetch_commit(url, commit).await,
            result => result,
        }
    }

    /// Fetches the current state of all branches and tags. One fetch runs at a time.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn update(&self, url: &CloneUrl) -> Result<(), GitError> {
        let _one = self.fetching.lock().await;
        self.fetch_branches_and_tags(url).await
    }

    /// Returns the object that the remote has under exactly this name; for an annotated tag, its own object. `None` if
    /// there is no such ref.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn remote_ref(&self, url: &CloneUrl, name: &str) -> Result<Option<CommitId>, GitError> {
        let ask = self.git.in_repository(&self.folder).remote(url, ASKING.min(self.git.remote_limit()));
        let ask = ask.args(["ls-remote", "--quiet", "--end-of-options", url.address(), name]);
        let answer = ask.output("asking for a ref", &[]).await?;
        let answer = String::from_utf8_lossy(&answer);
        // The list includes every ref with this ending: `refs/heads/refs/tags/v1` for `refs/tags/v1`.
        let mut refs = answer.lines().filter_map(|line| line.split_once('\t'));
        Ok(refs.find(|(_, found)| *found == name).and_then(|(object, _)| object.parse().ok()))
    }

    /// Returns all branches and tags of the remote. Fetches nothing. Leaves out those whose names are not accepted here.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn remote_refs(&self, url: &CloneUrl) -> Result<Vec<RemoteRef>, GitError> {
        let ask = self.git.in_repository(&self.folder).remote(url, ASKING.min(self.git.remote_limit()));
        let ask = ask.args(["ls-remote", "--quiet", "--heads", "--tags", "--end-of-options", url.address()]);
        let answer = ask.output("asking for branches and tags", &[]).await?;
        Ok(parse_remote_refs(&String::from_utf8_lossy(&answer)))
    }

    /// Returns the short name of the branch of the remote's HEAD. `None` if the remote does not tell, or has no such
    /// branch yet.
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
        // A deleted branch is not built any more, and does not block a new branch below its name.
        let fetch = fetch.args(FETCH).args(["--prune", "--end-of-options", url.address()]).args(BRANCHES_AND_TAGS);
        let fetched = fetch.output("fetch", &[]).await;
        if fetched.is_err() {
            // A host that breaks off again and again would fill the disk.
            let folder = self.folder.clone();
            let _ = tokio::task::spawn_blocking(move || remains::remove_halves(&folder)).await;
        }
        fetched.map(drop)
    }

    /// Returns the wanted commit if no fetch is needed. `tips` are those of the branches and tags that must have it.
    async fn find_present(&self, wanted: &Wanted, tips: &[(&RefName, CommitId)]) -> Result<Option<CommitId>, GitError> {
        let found = match wanted {
            // The target's newest commit is needed too.
            Wanted::Ref(_) | Wanted::PullRequest { .. } => return Ok(None),
            // A tag on a known commit still has to be fetched.
            Wanted::Push { after, .. } if !tips.iter().any(|(_, tip)| tip == after) => return Ok(None),
            Wanted::Push { after: commit, .. } | Wanted::Commit(commit) => {
                self.resolve(&Revision::Commit(commit.clone())).await
            }
        };
        match found {
            Ok(commit) => Ok(Some(commit)),
            Err(GitError::UnknownRevision { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the commit that `revision` names in the mirror, through annotated tags. Branches and tags are matched by
    /// their exact name.
    ///
    /// # Errors
    /// [`GitError::UnknownRevision`] if there is none, [`GitError::NotACommit`] if it leads to another kind of object.
    pub async fn resolve(&self, revision: &Revision) -> Result<CommitId, GitError> {
        let unknown = || GitError::UnknownRevision { revision: revision.to_string() };
        let object = match revision {
            Revision::Commit(commit) => commit.clone(),
            Revision::Ref(name) => self.find_ref_object(name).await?.ok_or_else(unknown)?,
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

    /// Returns the id of a commit's tree: the same for all commits with the same files. `None` if the commit is not in the mirror.
    ///
    /// # Errors
    /// If git fails.
    pub async fn tree_of(&self, commit: &CommitId) -> Result<Option<String>, GitError> {
        let tree = format!("{commit}^{{tree}}");
        let resolve = ["rev-parse", "--verify", "--quiet", "--end-of-options", &tree];
        let resolve = self.git.in_repository(&self.folder).args(resolve).run("looking for a tree", &[]).await?;
        Ok(only_line(&resolve).map(str::to_owned))
    }

    /// Returns the target of a branch or tag; for an annotated tag, its own object. Without an exact match, most git
    /// commands accept other refs with the same ending; this one does not.
    pub(crate) async fn find_ref_object(&self, name: &RefName) -> Result<Option<CommitId>, GitError> {
        let look = self.git.in_repository(&self.folder).args(["show-ref", "--verify", "--hash", name.as_str()]);
        let found = look.run("looking for a branch or tag", &[]).await?;
        Ok(only_line(&found).and_then(|line| line.parse().ok()))
    }

    /// Returns the commit on a branch whose name begins with these digits. The branch has to be fetched.
    ///
    /// # Errors
    /// [`GitError::UnknownRevision`] if there is none, or more than one.
    pub async fn expand(&self, digits: &str, branch: &CommitId) -> Result<CommitId, GitError> {
        let unknown = || GitError::UnknownRevision { revision: digits.to_owned() };
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        if branch.as_str().starts_with(digits) {
            return Ok(branch.clone());
        }
        let found = ["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{digits}^{{commit}}")];
        let found = self.git.in_repository(&self.folder).args(found).run("resolving a short commit", &[]).await?;
        let commit: CommitId = only_line(&found).and_then(|line| line.parse().ok()).ok_or_else(unknown)?;
        // A branch may be called like the digits.
        if !commit.as_str().starts_with(digits) || !self.is_on(&commit, branch).await? {
            return Err(unknown());
        }
        Ok(commit)
    }

    /// Returns whether `commit` is `newest` or an ancestor of it; `false` if it is not in the mirror.
    ///
    /// # Errors
    /// If git fails.
    pub async fn is_on(&self, commit: &CommitId, newest: &CommitId) -> Result<bool, GitError> {
        let operation = "looking for a commit on a branch";
        let is_ancestor = ["merge-base", "--is-ancestor", "--end-of-options", commit.as_str(), newest.as_str()];
        let ended = self.git.in_repository(&self.folder).args(is_ancestor).run(operation, &[]).await?;
        if ended.success || ended.message.is_empty() || ended.message.contains("Not a valid commit") {
            Ok(ended.success)
        } else {
            Err(GitError::Failed { operation, detail: ended.message })
        }
    }

    /// Returns message and author of a commit, cut to a length for people.
    ///
    /// # Errors
    /// If the commit is not in the mirror.
    pub async fn commit_facts(&self, commit: &CommitId) -> Result<CommitFacts, GitError> {
        let log = self.git.in_repository(&self.folder).max_output(MAX_FACTS);
        let log = log.args(LOG_ONE).args(["--end-of-options", commit.as_str()]);
        Ok(parse_facts(&log.output("reading a commit", &[]).await?).1)
    }
}

/// Parses the output of `git ls-remote`, where what an annotated tag leads to follows the tag, as `refs/tags/v1^{}`.
fn parse_remote_refs(answer: &str) -> Vec<RemoteRef> {
    let mut refs: Vec<RemoteRef> = Vec::new();
    for (object, name) in answer.lines().filter_map(|line| line.split_once('\t')) {
        let Ok(object) = object.parse::<CommitId>() else { continue };
        match (name.strip_suffix("^{}"), refs.last_mut()) {
            (Some(tag), Some(last)) if last.name.as_str() == tag => last.peeled = Some(object),
            (Some(_), _) => {}
            (None, _) => refs.extend(name.parse().ok().map(|name| RemoteRef { name, object, peeled: None })),
        }
    }
    refs
}

/// Returns the line that git has printed, if it succeeded.
fn only_line(ended: &Ended) -> Option<&str> {
    std::str::from_utf8(&ended.stdout).ok().filter(|_| ended.success).map(str::trim_end)
}

/// Prints one commit's name, author, address and message, separated by NUL.
pub(crate) const LOG_ONE: [&str; 5] =
    ["log", "-1", "--no-show-signature", "--no-color", "--format=%H%x00%an%x00%ae%x00%B"];

/// Parses the output of [`LOG_ONE`].
pub(crate) fn parse_facts(output: &[u8]) -> (String, CommitFacts) {
    let output = String::from_utf8_lossy(output);
    let mut parts = output.splitn(4, '\0');
    let mut next = || parts.next().unwrap_or_default();
    let commit = next().to_owned();
    let (author, email) = (text::one_line(next()), text::one_line(next()));
    (commit, CommitFacts { author, email, message: text::many_lines(next().trim_end_matches('\n')) })
}
