//! Where a job's workspace comes from: a commit of a mirror, or a person's working tree.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use longshore_core::{Event, plan, stranger};
use longshore_executor::{CheckoutSource, CheckoutStream};
use longshore_forge::{CloneUrl, CommitId, RefName};
use longshore_git::{Checkout, Checkouts, GitError, Mirrors, TarSource, Wanted};
use longshore_store::repos::Repo;

/// Between two tries to make a checkout on a full disk.
const PAUSE: Duration = Duration::from_secs(2);

/// Gives each job its workspace.
#[derive(Debug, Clone)]
pub(crate) enum Sources {
    /// A server's: commits, from mirrors.
    Mirrors {
        mirrors: Arc<Mirrors>,
        checkouts: Arc<Checkouts>,
        /// How long a full disk is waited for.
        patience: Duration,
    },
    /// `longshore run`'s: one working tree as it was when the run began.
    Worktree(TarSource),
}

impl Sources {
    /// The workspace for an event of a repository; a text for people where there is none. A working tree comes as it is.
    pub(crate) fn of(
        &self,
        repo: &Repo,
        event: &Event,
        how: &plan::Checkout,
    ) -> Result<Arc<dyn CheckoutSource>, String> {
        match self {
            Self::Worktree(tar) => Ok(Arc::new(OfWorktree(tar.clone()))),
            Self::Mirrors { mirrors, checkouts, patience } => Ok(Arc::new(OfMirror {
                patience: *patience,
                mirrors: Arc::clone(mirrors),
                checkouts: Arc::clone(checkouts),
                repo: repo.id,
                commit: event.commit.parse().map_err(|e| format!("{e}"))?,
                git_ref: event.git_ref.parse().ok(),
                origin: repo.clone_url.parse().map_err(|e| format!("{e}"))?,
                depth: how.depth,
                submodules: how.submodules,
                by_stranger: stranger::brings(event),
            })),
        }
    }
}

struct OfMirror {
    patience: Duration,
    mirrors: Arc<Mirrors>,
    checkouts: Arc<Checkouts>,
    repo: longshore_core::RepoId,
    commit: CommitId,
    git_ref: Option<RefName>,
    origin: CloneUrl,
    depth: u32,
    submodules: bool,
    by_stranger: bool,
}

impl OfMirror {
    async fn tar(&self) -> Result<TarSource, String> {
        let said = |error: GitError| error.to_string();
        let mirror = self.mirrors.mirror(self.repo).await.map_err(said)?;
        let checkout = Checkout {
            commit: &self.commit,
            git_ref: self.git_ref.as_ref(),
            origin: &self.origin,
            depth: self.depth,
            submodules: self.submodules,
            by_stranger: self.by_stranger,
        };
        let error = match self.checkouts.tar(&mirror, &checkout).await {
            Ok(tar) => return Ok(tar),
            Err(error) => error,
        };
        // Mirrors are caches: this one may be new, after a restore.
        match mirror.fetch(&self.origin, &Wanted::Commit(self.commit.clone())).await {
            Ok(_) => self.checkouts.tar(&mirror, &checkout).await.map_err(said),
            Err(fetching) => Err(format!("{error}; and it cannot be fetched: {fetching}")),
        }
    }
}

impl CheckoutSource for OfMirror {
    fn open(&self) -> futures_util::future::BoxFuture<'_, io::Result<CheckoutStream>> {
        Box::pin(async {
            let give_up = Instant::now() + self.patience;
            loop {
                match self.tar().await {
                    Ok(tar) => return stream(&tar).await,
                    // As a log is: jobs that are over make room, and people do.
                    Err(why) if is_want_of_room(&why) && Instant::now() < give_up => {
                        tracing::error!(commit = %self.commit, why, "a job waits for room for its checkout");
                        tokio::time::sleep(PAUSE).await;
                    }
                    Err(why) => return Err(io::Error::other(why)),
                }
            }
        })
    }
}

/// The system's words, which git repeats, and git's own.
fn is_want_of_room(why: &str) -> bool {
    ["No space left on device", "Disk quota exceeded", "Out of diskspace"].iter().any(|words| why.contains(words))
}

struct OfWorktree(TarSource);

impl CheckoutSource for OfWorktree {
    fn open(&self) -> futures_util::future::BoxFuture<'_, io::Result<CheckoutStream>> {
        Box::pin(stream(&self.0))
    }
}

async fn stream(tar: &TarSource) -> io::Result<CheckoutStream> {
    Ok(CheckoutStream { tar: tar.number(), bytes: Box::pin(tar.open().await?) })
}
