//! The commits of a mirror: which one a name means, where it is, and what it says.

use longshore_forge::{CommitId, RefName, Revision, text};

use super::Mirror;
use crate::{GitError, command::GitOutput};

/// The most bytes of a commit's message, author and address that are read. Less is kept of them.
const MAX_FACTS: u64 = 256 << 10;

/// What people see of a commit. Invalid UTF-8 is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitFacts {
    pub message: String,
    pub author: String,
    pub email: String,
}

impl Mirror {
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

    /// Returns the id of a commit's tree: the same for all commits with the same files. `None` if the commit is not in
    /// the mirror.
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
        let show_ref = self.git.in_repository(&self.folder).args(["show-ref", "--verify", "--hash", name.as_str()]);
        let found = show_ref.run("looking for a branch or tag", &[]).await?;
        Ok(only_line(&found).and_then(|line| line.parse().ok()))
    }

    /// Returns the commit on a branch whose ID begins with these digits. The branch has to be fetched.
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
        // The digits may be the name of a branch.
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

    /// Returns the message and the author of a commit, each cut to what people see of it.
    ///
    /// # Errors
    /// If the commit is not in the mirror.
    pub async fn commit_facts(&self, commit: &CommitId) -> Result<CommitFacts, GitError> {
        let log = self.git.in_repository(&self.folder).max_output(MAX_FACTS);
        let log = log.args(LOG_ONE).args(["--end-of-options", commit.as_str()]);
        Ok(parse_facts(&log.output("reading a commit", &[]).await?).1)
    }
}

/// Returns the line that git has printed, if it succeeded.
fn only_line(ended: &GitOutput) -> Option<&str> {
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
