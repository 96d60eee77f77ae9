//! Decides what a mirror keeps beside branches and tags: the commits of unfinished builds. Other fetched objects are
//! removed some time after their last ref is gone: closed pull requests, deleted branches, commits replaced by a forced
//! push.

use std::{
    collections::HashSet,
    fmt::Write as _,
    io,
    sync::PoisonError,
    time::{Duration, Instant, SystemTime},
};

use longshore_forge::CommitId;

use super::{GitError, Mirror};

/// The refs that keep commits for their builds: `refs/kept/<commit>`.
pub(super) const KEPT: &str = "refs/kept";
/// The time limit for packing, which is slow for a large repository. After a kill it starts over.
const PACKING_LIMIT: Duration = Duration::from_secs(60 * 60);
/// How often unreachable objects are removed, and how long they stay before: every current reader has long finished by
/// then, and a commit that is needed again is fetched again.
const PRUNING_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest pause between two calls of [`Mirror::maintain`] that a flood of deliveries causes.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(60);
/// A file whose modification time is that of the last pruning.
const LAST_PRUNED: &str = "pruned";

impl Mirror {
    /// Returns whether the last maintenance began a minute ago or earlier. If so, the next minute begins, and the
    /// caller calls [`Self::maintain`]. What is fetched meanwhile stays for a day in any case.
    pub fn is_maintenance_due(&self) -> bool {
        let mut last = self.maintained_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= MAINTENANCE_INTERVAL);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }

    /// Keeps `commits`, those of unfinished builds, and packs the results of many small fetches if it is time. Once a
    /// day, removes what is no longer reachable. Nobody has to wait for it: git allows fetches and reads meanwhile, and
    /// packs one at a time.
    ///
    /// # Errors
    /// If git fails.
    pub async fn maintain(&self, commits: &[CommitId]) -> Result<(), GitError> {
        let failed = || GitError::io("looking after a mirror");
        let last_pruned = self.folder().join(LAST_PRUNED);
        let age = match tokio::fs::metadata(&last_pruned).await.and_then(|file| file.modified()) {
            // If the clock was set back, the mirror looks young for a while.
            Ok(time) => SystemTime::now().duration_since(time).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tokio::fs::write(&last_pruned, "").await.map_err(failed())?;
                Duration::ZERO
            }
            Err(error) => return Err(failed()(error)),
        };
        if age >= PRUNING_INTERVAL {
            tokio::fs::write(&last_pruned, "").await.map_err(failed())?;
            return self.prune(commits, PRUNING_INTERVAL).await;
        }
        self.update_kept_refs(commits).await?;
        let mut gc = self.git().in_repository(self.folder()).limit(PACKING_LIMIT);
        gc.config("gc.auto", "2000");
        gc.config("gc.cruftPacks", "true");
        gc.config("gc.pruneExpire", expiry(PRUNING_INTERVAL));
        gc.args(["gc", "--auto", "--quiet"]).output("packing a mirror", &[]).await.map(drop)
    }

    /// Keeps `commits`, and removes what no branch, tag or kept commit has reached for `unused`.
    ///
    /// # Errors
    /// If git fails.
    pub async fn prune(&self, commits: &[CommitId], unused: Duration) -> Result<(), GitError> {
        self.update_kept_refs(commits).await?;
        let mut gc = self.git().in_repository(self.folder()).limit(PACKING_LIMIT);
        gc.config("gc.cruftPacks", "true");
        let gc = gc.args(["gc", "--quiet", &format!("--prune={}", expiry(unused))]);
        gc.output("packing a mirror", &[]).await?;
        self.forget_received().await?;
        self.sweep_lfs().await
    }

    /// Makes the kept refs match `commits`, as far as the mirror has them.
    async fn update_kept_refs(&self, commits: &[CommitId]) -> Result<(), GitError> {
        let keeping = "keeping the commits of builds";
        let _one = self.fetching.lock().await;
        // Older versions kept pull requests under `refs/pull`.
        let list = ["for-each-ref", "--format=%(refname)", KEPT, "refs/pull"];
        let known = self.git().in_repository(self.folder()).args(list).output(keeping, &[]).await?;
        let known = String::from_utf8_lossy(&known);
        let known: HashSet<&str> = known.lines().collect();
        let wanted: HashSet<String> = commits.iter().map(|commit| format!("{KEPT}/{commit}")).collect();

        let missing: String = commits
            .iter()
            .filter(|commit| !known.contains(format!("{KEPT}/{commit}").as_str()))
            .map(|commit| format!("{commit}\n"))
            .collect();
        let mut changes = String::new();
        for name in known.iter().filter(|name| !wanted.contains(**name)) {
            let _ = writeln!(changes, "delete {name}");
        }
        if !missing.is_empty() {
            let cat_file = ["cat-file", "--batch-check=%(objectname) %(objecttype)"];
            let found =
                self.git().in_repository(self.folder()).args(cat_file).output(keeping, missing.as_bytes()).await?;
            let found = String::from_utf8_lossy(&found);
            let here: HashSet<&str> = found.lines().filter_map(|line| line.strip_suffix(" commit")).collect();
            for commit in here {
                let _ = writeln!(changes, "update {KEPT}/{commit} {commit}");
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let update = self.git().in_repository(self.folder()).args(["update-ref", "--stdin"]);
        update.output(keeping, changes.as_bytes()).await.map(drop)
    }
}

fn expiry(unused: Duration) -> String {
    match unused.as_secs() {
        0 => "now".to_owned(),
        seconds => format!("{seconds}.seconds.ago"),
    }
}
