//! The fetched repositories: one bare repository per registration, named by our id, never by outsiders' text.
//!
//! Branches and tags follow the remote's. A commit survives a forced push until its builds are over, and some time
//! longer.

mod remote_refs;
mod revisions;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use longshore_core::RepoId;
use longshore_forge::{CloneUrl, CommitId, RefName, Revision};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, RwLock};

pub(crate) use self::revisions::{LOG_ONE, parse_facts};
pub use self::{remote_refs::RemoteRef, revisions::CommitFacts};
use super::{FetchTarget, Git, GitError, remains};

pub(super) const FETCH: [&str; 6] =
    ["fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"];

/// Full names on both sides; otherwise git would look for other refs with the same ending.
const BRANCHES_AND_TAGS: [&str; 2] = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];

/// How the name of a mirror's folder ends that is about to be deleted.
const REMOVED: &str = ".removed";

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
        Ok(self.folders().await?.iter().filter_map(|name| name.strip_suffix(".git")?.parse().ok()).collect())
    }

    async fn folders(&self) -> Result<Vec<String>, GitError> {
        let folder = self.folder.clone();
        let list = move || -> io::Result<Vec<String>> {
            let names = match std::fs::read_dir(folder) {
                Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(error),
            };
            Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
        };
        let listed = tokio::task::spawn_blocking(list).await.map_err(io::Error::other).flatten();
        listed.map_err(GitError::io("listing the mirrors"))
    }

    /// Forgets the mirror of `repo`. Its folder is deleted in the background, after a fetch that still runs: nobody else
    /// waits for that.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn remove(&self, repo: RepoId) -> Result<(), GitError> {
        let removed = self.folder.join(format!("{repo}{REMOVED}"));
        let mirror = {
            let mut open = self.open.lock().await;
            match tokio::fs::rename(self.folder.join(format!("{repo}.git")), &removed).await {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(GitError::Io { what: "removing a mirror", source });
                }
                _ => open.remove(&repo),
            }
        };
        tokio::spawn(async move {
            let _fetch = match &mirror {
                Some(mirror) => Some(mirror.fetching.lock().await),
                None => None,
            };
            // What stays is deleted at the next start.
            let _ = tokio::fs::remove_dir_all(&removed).await;
        });
        Ok(())
    }

    /// Deletes what an earlier process has not come to. For the start, before anything is removed.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn delete_removed(&self) -> Result<(), GitError> {
        for name in self.folders().await?.iter().filter(|name| name.ends_with(REMOVED)) {
            tokio::fs::remove_dir_all(self.folder.join(name)).await.map_err(GitError::io("removing a mirror"))?;
        }
        Ok(())
    }
}

/// The mirror of one repository.
#[derive(Debug)]
pub struct Mirror {
    git: Git,
    folder: PathBuf,
    pub(super) fetching: Mutex<()>,
    /// When maintenance last began.
    pub(super) maintained_at: std::sync::Mutex<Option<Instant>>,
    submodules: Mutex<HashMap<PathBuf, Arc<Self>>>,
    /// Held by those who read objects of Git LFS, and by those who remove some.
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
            maintained_at: std::sync::Mutex::default(),
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

    /// Fetches all branches and tags, unless the commit is in the mirror already. Returns the commit. One
    /// fetch runs at a time.
    ///
    /// # Errors
    /// Distinguished by [`GitError`]: no such repository, no access, not reachable, timed out, refused, and if the
    /// fetch succeeded, [`GitError::UnknownRevision`] for a commit that does not exist and [`GitError::NotOnRef`] for
    /// one that is not where it has to be.
    pub async fn fetch(&self, url: &CloneUrl, target: &FetchTarget) -> Result<CommitId, GitError> {
        let _one = self.fetching.lock().await;
        let before = self.tips(target.held_by()).await?;
        if let Some(commit) = self.find_present(target, &before).await? {
            return Ok(commit);
        }
        match target {
            FetchTarget::PullRequest { served_at: Some(served_at), .. } => {
                let (fetched, request) =
                    tokio::join!(self.fetch_branches_and_tags(url), self.remote_ref(url, served_at));
                fetched?;
                request?.ok_or_else(|| GitError::UnknownRevision { revision: served_at.clone() })?;
            }
            FetchTarget::PullRequest { served_at: None, .. }
            | FetchTarget::Ref(_)
            | FetchTarget::Commit(_)
            | FetchTarget::Push { .. } => {
                self.fetch_branches_and_tags(url).await?;
            }
        }
        let revision = target.revision();
        let commit = match (self.resolve(&revision).await, &revision) {
            // A pull request's commit, or one that is no longer reachable; many forges still serve it by name.
            (Err(GitError::UnknownRevision { .. }), Revision::Commit(commit)) if target.held_by().is_empty() => {
                self.fetch_commit(url, commit, target.is_strangers()).await
            }
            (result, _) => result,
        }?;
        self.check_held(target, &commit, before).await?;
        Ok(commit)
    }

    /// Fetches one commit with its history, within the limits for strangers, unless it is in the mirror already.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn fetch_only(&self, url: &CloneUrl, commit: &CommitId) -> Result<CommitId, GitError> {
        let _one = self.fetching.lock().await;
        match self.resolve(&Revision::Commit(commit.clone())).await {
            Err(GitError::UnknownRevision { .. }) => self.fetch_commit(url, commit, false).await,
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

    /// Returns the commit if no fetch is needed. `tips` are those of the branches and tags that must have it.
    async fn find_present(
        &self,
        target: &FetchTarget,
        tips: &[(&RefName, CommitId)],
    ) -> Result<Option<CommitId>, GitError> {
        let found = match target {
            // The newest commit of the branch is needed too.
            FetchTarget::Ref(_) | FetchTarget::PullRequest { .. } => return Ok(None),
            // A tag on a known commit still has to be fetched.
            FetchTarget::Push { after, .. } if !tips.iter().any(|(_, tip)| tip == after) => return Ok(None),
            FetchTarget::Push { after: commit, .. } | FetchTarget::Commit(commit) => {
                self.resolve(&Revision::Commit(commit.clone())).await
            }
        };
        match found {
            Ok(commit) => Ok(Some(commit)),
            Err(GitError::UnknownRevision { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
