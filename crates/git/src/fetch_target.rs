//! The target of a fetch, and whether its commit is where it must be: a webhook can name any commit, and a forge serves
//! the commits of every fork.

use longshore_forge::{CommitId, RefName, Revision};

use super::{GitError, Mirror};

/// What has to be in the mirror after a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchTarget {
    /// The commit that the branch or tag points to now.
    Ref(RefName),
    /// A commit, wherever it is reachable from.
    Commit(CommitId),
    /// The content of a delivery: `after` (a commit, or an annotated tag's object), which is on `git_ref`.
    Push { git_ref: RefName, after: CommitId },
    /// A pull request: `head`, found on the ref at which the forge serves it or, if that has moved on, elsewhere in the
    /// repository. Without `served_at` the ref may be gone. The branches are fetched too, so that the commit can be
    /// compared with the target. One of the branches `held_by` must have the commit, unless the list is empty.
    PullRequest { served_at: Option<String>, head: CommitId, held_by: Vec<RefName> },
}

impl FetchTarget {
    pub(crate) fn revision(&self) -> Revision {
        match self {
            Self::Ref(name) => Revision::Ref(name.clone()),
            Self::Commit(commit) | Self::Push { after: commit, .. } | Self::PullRequest { head: commit, .. } => {
                Revision::Commit(commit.clone())
            }
        }
    }

    /// Returns whether it is a pull request from a fork, of which nobody has approved anything yet.
    pub(crate) const fn is_strangers(&self) -> bool {
        matches!(self, Self::PullRequest { served_at: Some(_), held_by, .. } if held_by.is_empty())
    }

    /// Returns the branches and tags of which one must have the commit. With none of them, it may be anywhere in the
    /// repository.
    #[must_use]
    pub fn held_by(&self) -> &[RefName] {
        match self {
            Self::Push { git_ref, .. } => std::slice::from_ref(git_ref),
            Self::PullRequest { held_by, .. } => held_by,
            Self::Ref(_) | Self::Commit(_) => &[],
        }
    }
}

impl Mirror {
    /// Returns where those of these branches and tags are that are in the mirror; of an annotated tag, its own object.
    pub(crate) async fn tips<'a>(&self, names: &'a [RefName]) -> Result<Vec<(&'a RefName, CommitId)>, GitError> {
        let mut tips = Vec::with_capacity(names.len());
        for name in names {
            tips.extend(self.find_ref_object(name).await?.map(|object| (name, object)));
        }
        Ok(tips)
    }

    /// Checks that a commit is on one of the branches, or is what one of the tags names, that must have it, now or
    /// `before` the last fetch. Anybody may have sent the webhook, and a forge serves the commits of every fork.
    pub(crate) async fn check_held(
        &self,
        target: &FetchTarget,
        commit: &CommitId,
        before: Vec<(&RefName, CommitId)>,
    ) -> Result<(), GitError> {
        let names = target.held_by();
        if names.is_empty() {
            return Ok(());
        }
        for (name, tip) in self.tips(names).await?.into_iter().chain(before) {
            let is_held = match name.branch() {
                _ if tip == *commit || target.revision() == Revision::Commit(tip.clone()) => true,
                Some(_) => self.is_on(commit, &tip).await?,
                None => match self.resolve(&Revision::Commit(tip)).await {
                    Ok(tagged) => tagged == *commit,
                    Err(GitError::UnknownRevision { .. } | GitError::NotACommit { .. }) => false,
                    Err(error) => return Err(error),
                },
            };
            if is_held {
                return Ok(());
            }
        }
        let names: Vec<&str> = names.iter().map(RefName::as_str).collect();
        Err(GitError::NotOnRef { commit: commit.to_string(), refs: names.join(" or ") })
    }
}
