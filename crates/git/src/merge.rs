//! Makes the commit that merging a pull request would give. The same two commits always give the same one, so that it
//! can be made again where the mirror was lost.

use std::time::Duration;

use longshore_forge::{CommitId, Revision};

use super::{GitError, Mirror};

/// The author of the merge commit.
const NAME: &str = "Longshore";
const EMAIL: &str = "longshore@localhost";
/// The most files in conflict that are named.
const MAX_NAMED_FILES: usize = 5;
/// The most removed and the most new files that are compared with each other to find renames. Beyond that, only
/// unchanged files are recognized: the time grows with the square of this.
const RENAMES: &str = "400";

/// The result of merging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    Commit(CommitId),
    /// Both sides changed these files in ways that cannot be put together.
    Conflict(Vec<String>),
    /// The two have no commit in common.
    Unrelated,
    /// Git has not merged them within this time. Another try would take as long.
    TooLong(Duration),
}

impl Merged {
    /// The reason why there is no commit.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Commit(_) => None,
            Self::Unrelated => Some("it has no commit in common with its target".to_owned()),
            Self::TooLong(limit) => Some(format!(
                "git did not finish within {} s, which is the limit: rename and change fewer files at once, or merge the target \
                 branch into the pull request's branch",
                limit.as_secs()
            )),
            Self::Conflict(files) => {
                let named: Vec<String> = files.iter().take(MAX_NAMED_FILES).map(|file| format!("`{file}`")).collect();
                let more = files.len().saturating_sub(MAX_NAMED_FILES);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                Some(format!("conflicts in {}{more}", named.join(", ")))
            }
        }
    }
}

impl Mirror {
    /// Merges `head` into `target`, both in the mirror. `number` is the pull request's, for the message.
    ///
    /// # Errors
    /// If git fails. Commits that cannot be merged are not an error.
    pub async fn merge(&self, target: &CommitId, head: &CommitId, number: u64) -> Result<Merged, GitError> {
        let operation = "merging a pull request";
        let args = ["merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", "--end-of-options"];
        let limit = self.git().merge_limit();
        let mut merge = self.git().in_repository(self.folder()).args(args).args([target.as_str(), head.as_str()]);
        merge.config("merge.renameLimit", RENAMES);
        let ended = match merge.limit(limit).run(operation, &[]).await {
            Err(GitError::Timeout { limit, .. }) => return Ok(Merged::TooLong(limit)),
            ended => ended?,
        };
        let mut parts = ended.stdout.split(|byte| *byte == 0).filter(|part| !part.is_empty());
        // The tree comes first, also one with conflicts.
        let tree = parts.next().and_then(|tree| std::str::from_utf8(tree).ok()?.trim().parse::<CommitId>().ok());
        let Some(tree) = tree else {
            if ended.message.contains("unrelated histories") {
                return Ok(Merged::Unrelated);
            }
            return Err(GitError::Failed { operation, detail: ended.message });
        };
        if !ended.success {
            let mut files: Vec<String> =
                parts.map(|file| longshore_forge::text::one_line(&String::from_utf8_lossy(file))).collect();
            files.dedup();
            return Ok(Merged::Conflict(files));
        }
        let of_head = self.resolve(&Revision::Commit(head.clone())).await?;
        let date = ["log", "-1", "--no-show-signature", "--format=%ct", "--end-of-options", of_head.as_str()];
        let date = self.git().in_repository(self.folder()).args(date).output(operation, &[]).await?;
        // With the sign, git takes the times of the first years too.
        let date = format!("@{} +0000", String::from_utf8_lossy(&date).trim());
        let mut commit = self.git().in_repository(self.folder());
        for side in ["AUTHOR", "COMMITTER"] {
            commit = commit
                .env(&format!("GIT_{side}_NAME"), NAME)
                .env(&format!("GIT_{side}_EMAIL"), EMAIL)
                .env(&format!("GIT_{side}_DATE"), date.clone());
        }
        let parents = ["commit-tree", tree.as_str(), "-p", target.as_str(), "-p", head.as_str(), "-F", "-"];
        let message = format!("Merge pull request #{number}: {head} into {target}\n");
        let made = commit.args(parents).output(operation, message.as_bytes()).await?;
        let made = String::from_utf8_lossy(&made);
        let made =
            made.trim().parse().map_err(|_| GitError::Failed { operation, detail: "no commit was made".to_owned() });
        made.map(Merged::Commit)
    }
}
