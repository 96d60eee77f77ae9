//! What a mirror keeps beside branches and tags: the commits of builds that are not over. Everything else that was fetched once goes some time
//! after the last ref let go of it: closed pull requests, branches that are gone, what a forced push took away.

use std::{
    collections::HashSet,
    fmt::Write as _,
    io,
    time::{Duration, SystemTime},
};

use super::{GitError, Mirror};
use crate::CommitId;

/// The refs of commits that are kept for their builds: `refs/kept/<commit>`.
pub(super) const KEPT: &str = "refs/kept";
/// Packing a large repository takes its time; what is killed in the middle begins anew.
const PACKING: Duration = Duration::from_secs(60 * 60);
/// How often a mirror is looked through for what nothing leads to, and how long that stays: whoever reads it now has long ended then, and a
/// commit that is wanted again is fetched again.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Its time is that of the last look.
const LOOKED: &str = "pruned";

impl Mirror {
    /// Keeps `commits`, those of builds that are not over, and packs what many small fetches left behind, if it is time. Once a day, what
    /// nothing leads to any more goes. Nobody has to wait for it: git lets others fetch and read meanwhile, and packs once at a time.
    ///
    /// # Errors
    /// When git fails.
    pub async fn maintain(&self, commits: &[CommitId]) -> Result<(), GitError> {
        let failed = || GitError::io("looking after a mirror");
        let looked = self.folder().join(LOOKED);
        let age = match tokio::fs::metadata(&looked).await.and_then(|file| file.modified()) {
            // A clock that was set back makes it look young for a while.
            Ok(time) => SystemTime::now().duration_since(time).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tokio::fs::write(&looked, "").await.map_err(failed())?;
                Duration::ZERO
            }
            Err(error) => return Err(failed()(error)),
        };
        if age >= DAY {
            tokio::fs::write(&looked, "").await.map_err(failed())?;
            return self.prune(commits, DAY).await;
        }
        self.keep(commits).await?;
        let mut gc = self.git().in_repository(self.folder()).limit(PACKING);
        gc.config("gc.auto", "2000");
        gc.config("gc.cruftPacks", "true");
        gc.config("gc.pruneExpire", expiry(DAY));
        gc.args(["gc", "--auto", "--quiet"]).output("packing a mirror", &[]).await.map(drop)
    }

    /// Keeps `commits`, and removes what no branch, tag or kept commit has led to for `unused`.
    ///
    /// # Errors
    /// When git fails.
    pub async fn prune(&self, commits: &[CommitId], unused: Duration) -> Result<(), GitError> {
        self.keep(commits).await?;
        let mut gc = self.git().in_repository(self.folder()).limit(PACKING);
        gc.config("gc.cruftPacks", "true");
        let gc = gc.args(["gc", "--quiet", &format!("--prune={}", expiry(unused))]);
        gc.output("packing a mirror", &[]).await.map(drop)
    }

    /// Makes the kept refs those of `commits`, as far as they are here.
    async fn keep(&self, commits: &[CommitId]) -> Result<(), GitError> {
        let keeping = "keeping the commits of builds";
        let _one = self.fetching.lock().await;
        // What older versions fetched of pull requests stood under its own name.
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
            let look = ["cat-file", "--batch-check=%(objectname) %(objecttype)"];
            let found = self.git().in_repository(self.folder()).args(look).output(keeping, missing.as_bytes()).await?;
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
