//! The source of a job's workspace: a commit in a mirror, or a user's working tree.

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use longshore_core::{Event, RepoId, plan, stranger};
use longshore_executor::{CheckoutSource, CheckoutStream};
use longshore_forge::{CloneUrl, CommitId, RefName, fork};
use longshore_git::{Checkout, Checkouts, FetchTarget, GitError, Mirror, Mirrors, TarSource};
use longshore_scheduler::Logins;
use longshore_store::repos::Repo;
use tokio::sync::OnceCell;

/// The pause between two attempts to make a checkout on a full disk.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Provides the workspaces of jobs.
#[derive(Debug, Clone)]
pub(crate) enum Sources {
    /// For a server: commits from mirrors.
    Mirrors {
        mirrors: Arc<Mirrors>,
        checkouts: Arc<Checkouts>,
        logins: Logins,
        /// How long a checkout waits for space on a full disk.
        patience: Duration,
    },
    /// For `longshore run`: one working tree, as it was at the start of the run, with each depth of history that jobs
    /// ask for.
    Worktree(BTreeMap<u32, TarSource>),
}

impl Sources {
    /// Returns the workspace for an event of a repository, narrowed to the files that `only` names if it names any. Of
    /// `how`, only the depth applies to a working tree.
    ///
    /// # Errors
    /// A text for people if there is no workspace.
    pub(crate) async fn for_event(
        &self,
        repo: &Repo,
        event: &Event,
        how: &plan::Checkout,
        only: &[String],
    ) -> Result<Arc<dyn CheckoutSource>, String> {
        match self {
            Self::Worktree(tars) => {
                let tar = tars.get(&how.depth).ok_or_else(|| format!("no checkout of depth {} was made", how.depth))?;
                Ok(Arc::new(WorktreeSource { whole: tar.clone(), only: only.to_vec(), narrowed: OnceCell::new() }))
            }
            Self::Mirrors { mirrors, checkouts, logins, patience } => {
                let origin = logins.clone_url_if_any(repo).await.map_err(|error| error.to_string())?;
                let from = event.pull_request.as_ref().and_then(|pull_request| pull_request.from.as_ref());
                Ok(Arc::new(MirrorSource {
                    patience: *patience,
                    mirrors: Arc::clone(mirrors),
                    checkouts: Arc::clone(checkouts),
                    repo: repo.id,
                    commit: event.commit.parse().map_err(|e| format!("{e}"))?,
                    git_ref: event.git_ref.parse().ok(),
                    fork: from.and_then(|from| fork::address(&origin, from)),
                    origin,
                    depth: how.depth,
                    submodules: how.submodules,
                    lfs: how.lfs,
                    only: only.to_vec(),
                    by_stranger: stranger::brings(event),
                    trusted_submodules: repo.submodules.clone(),
                    merge: merge_of(event),
                }))
            }
        }
    }
}

impl Sources {
    /// Computes `hash-files` of an event's files, before any container exists. The inner error is for people: a pattern
    /// is invalid.
    ///
    /// # Errors
    /// A text for people if the files cannot be had.
    pub(crate) async fn hash_files(
        &self,
        repo: &Repo,
        event: &Event,
        patterns: &[String],
    ) -> Result<Result<String, String>, String> {
        let failed = |error: &dyn std::fmt::Display| format!("`hash-files` of `cache`: {error}");
        match self {
            Self::Worktree(tars) => match tars.values().next() {
                Some(tar) => tar.hash_files(patterns).await.map_err(|error| failed(&error)),
                None => Err(failed(&"the run has no files")),
            },
            Self::Mirrors { mirrors, logins, .. } => {
                let commit: CommitId = event.commit.parse().map_err(|error| failed(&error))?;
                let mirror = mirrors.mirror(repo.id).await.map_err(|error| failed(&error))?;
                if let Ok(hash) = mirror.hash_files(&commit, patterns).await {
                    return Ok(hash);
                }
                // Mirrors are caches. After a restore this one may be empty.
                let origin = logins.clone_url(repo).await.map_err(|error| failed(&error))?;
                mirror.fetch(&origin, &FetchTarget::Commit(commit.clone())).await.map_err(|error| failed(&error))?;
                mirror.hash_files(&commit, patterns).await.map_err(|error| failed(&error))
            }
        }
    }

    /// Computes a hash over the files of an event's commit that these globs name. `None` if that cannot be said, or of
    /// a working tree.
    pub(crate) async fn hash_tree(&self, repo: &Repo, event: &Event, globs: &[String]) -> Option<String> {
        let Self::Mirrors { mirrors, logins, .. } = self else { return None };
        let commit: CommitId = event.commit.parse().ok()?;
        let mirror = mirrors.mirror(repo.id).await.ok()?;
        if let Ok(hash) = mirror.hash_tree(&commit, globs).await {
            return hash;
        }
        // Mirrors are caches. After a restore this one may be empty.
        let origin = logins.clone_url(repo).await.ok()?;
        mirror.fetch(&origin, &FetchTarget::Commit(commit.clone())).await.ok()?;
        mirror.hash_tree(&commit, globs).await.ok()?
    }

    /// Returns the tree of a commit; the commit itself if its tree is not known.
    pub(crate) async fn tree_of(&self, repo: RepoId, commit: &str) -> String {
        let find = async |mirrors: &Mirrors| {
            let mirror = mirrors.mirror(repo).await.ok()?;
            mirror.tree_of(&commit.parse().ok()?).await.ok()?
        };
        let tree = match self {
            Self::Mirrors { mirrors, .. } => find(mirrors).await,
            Self::Worktree(_) => None,
        };
        tree.unwrap_or_else(|| commit.to_owned())
    }
}

struct MirrorSource {
    patience: Duration,
    mirrors: Arc<Mirrors>,
    checkouts: Arc<Checkouts>,
    repo: RepoId,
    commit: CommitId,
    git_ref: Option<RefName>,
    origin: CloneUrl,
    depth: u32,
    submodules: bool,
    lfs: bool,
    only: Vec<String>,
    by_stranger: bool,
    trusted_submodules: Vec<String>,
    fork: Option<CloneUrl>,
    merge: Option<MergeSides>,
}

/// The two sides of a merge commit that no git host has.
struct MergeSides {
    number: u64,
    head: CommitId,
    target: CommitId,
}

fn merge_of(event: &Event) -> Option<MergeSides> {
    let pull_request = event.pull_request.as_ref()?;
    let merge = pull_request.merge.as_ref()?;
    Some(MergeSides { number: pull_request.number, head: merge.head.parse().ok()?, target: merge.target.parse().ok()? })
}

impl MirrorSource {
    async fn tar(&self) -> Result<TarSource, String> {
        let message = |error: GitError| error.to_string();
        let mirror = self.mirrors.mirror(self.repo).await.map_err(message)?;
        let checkout = Checkout {
            commit: &self.commit,
            git_ref: self.git_ref.as_ref(),
            origin: &self.origin,
            depth: self.depth,
            submodules: self.submodules,
            lfs: self.lfs,
            only: &self.only,
            by_stranger: self.by_stranger,
            trusted_submodules: &self.trusted_submodules,
            fork: self.fork.as_ref(),
        };
        let error = match self.checkouts.tar(&mirror, &checkout).await {
            Ok(tar) => return Ok(tar),
            Err(error) => error,
        };
        // Mirrors are caches. After a restore this one may be empty.
        let fetched = match &self.merge {
            None => mirror.fetch(&self.origin, &FetchTarget::Commit(self.commit.clone())).await.map(drop),
            Some(merge) => self.merge_again(&mirror, merge).await,
        };
        match fetched {
            Ok(()) => self.checkouts.tar(&mirror, &checkout).await.map_err(message),
            Err(fetching) => Err(format!("{error}; and it cannot be fetched: {fetching}")),
        }
    }
}

impl MirrorSource {
    /// Makes a merged commit again: of the same two commits it is the same.
    async fn merge_again(&self, mirror: &Mirror, merge: &MergeSides) -> Result<(), GitError> {
        for side in [&merge.target, &merge.head] {
            mirror.fetch(&self.origin, &FetchTarget::Commit(side.clone())).await?;
        }
        mirror.merge(&merge.target, &merge.head, merge.number).await.map(drop)
    }
}

impl CheckoutSource for MirrorSource {
    fn open(&self) -> futures_util::future::BoxFuture<'_, io::Result<CheckoutStream>> {
        Box::pin(async {
            let give_up = Instant::now() + self.patience;
            loop {
                match self.tar().await {
                    Ok(tar) => return stream(&tar).await,
                    // Like the log of a job: finished jobs and people make room.
                    Err(why) if is_disk_full(&why) && Instant::now() < give_up => {
                        tracing::error!(commit = %self.commit, why, "a job waits for disk space for its checkout");
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                    Err(why) => return Err(io::Error::other(why)),
                }
            }
        })
    }
}

/// Recognizes a full disk in a message of git, which repeats the system's message or has its own.
fn is_disk_full(why: &str) -> bool {
    ["No space left on device", "Disk quota exceeded", "Out of diskspace"].iter().any(|words| why.contains(words))
}

struct WorktreeSource {
    whole: TarSource,
    /// Empty for all files.
    only: Vec<String>,
    narrowed: OnceCell<TarSource>,
}

impl CheckoutSource for WorktreeSource {
    fn open(&self) -> futures_util::future::BoxFuture<'_, io::Result<CheckoutStream>> {
        Box::pin(async {
            if self.only.is_empty() {
                return stream(&self.whole).await;
            }
            let narrow = || async { self.whole.only(&self.only).await.map_err(io::Error::other) };
            stream(self.narrowed.get_or_try_init(narrow).await?).await
        })
    }
}

async fn stream(tar: &TarSource) -> io::Result<CheckoutStream> {
    Ok(CheckoutStream { tar: tar.number(), bytes: Box::pin(tar.open().await?) })
}
