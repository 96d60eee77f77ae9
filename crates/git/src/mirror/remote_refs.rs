//! The branches and tags of a mirror's remote. Asking for them fetches nothing.

use std::time::Duration;

use longshore_forge::{CloneUrl, CommitId, RefName};

use super::Mirror;
use crate::GitError;

/// How long a remote may take to name its default branch. Others wait for the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

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
    /// Returns whether a delivery that names this object is about the ref as it is. For an annotated tag, forges name
    /// either the tag's own object or its commit.
    #[must_use]
    pub fn is_at(&self, object: &str) -> bool {
        self.object.as_str() == object || self.peeled.as_ref().is_some_and(|peeled| peeled.as_str() == object)
    }
}

impl Mirror {
    /// Returns the object that the remote has under exactly this name; for an annotated tag, its own object. `None` if
    /// there is no such ref.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn remote_ref(&self, url: &CloneUrl, name: &str) -> Result<Option<CommitId>, GitError> {
        let ask = self.git.in_repository(&self.folder).remote(url, ANSWER_TIMEOUT.min(self.git.remote_limit()));
        let ask = ask.args(["ls-remote", "--quiet", "--end-of-options", url.address(), name]);
        let answer = ask.output("asking for a ref", &[]).await?;
        let answer = String::from_utf8_lossy(&answer);
        // The list includes every ref with this ending: `refs/heads/refs/tags/v1` for `refs/tags/v1`.
        let mut refs = answer.lines().filter_map(|line| line.split_once('\t'));
        Ok(refs.find(|(_, found)| *found == name).and_then(|(object, _)| object.parse().ok()))
    }

    /// Returns all branches and tags of the remote. Fetches nothing. Leaves out those whose names are not accepted
    /// here.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn remote_refs(&self, url: &CloneUrl) -> Result<Vec<RemoteRef>, GitError> {
        let ask = self.git.in_repository(&self.folder).remote(url, ANSWER_TIMEOUT.min(self.git.remote_limit()));
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
        let ask = self.git.in_repository(&self.folder).remote(url, ANSWER_TIMEOUT.min(self.git.remote_limit()));
        let ask = ask.args(["ls-remote", "--symref", "--end-of-options", url.address(), "HEAD"]);
        let answer = ask.output("asking for the default branch", &[]).await?;
        let answer = String::from_utf8_lossy(&answer);
        let head = answer.lines().find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"));
        Ok(head.and_then(|head| head.parse::<RefName>().ok()?.branch().map(str::to_owned)))
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
