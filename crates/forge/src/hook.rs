//! The content of deliveries in Longshore's words, whatever the forge's are.

use longshore_core::{
    EventName, Person, Timestamp,
    event::{Fork, PullRequest},
};
use serde::{Deserialize, Serialize};

use crate::{CommitId, Forge, ForgeRepository, InvalidRevision, RefName, read};

/// What a delivery says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryContents {
    /// The repository that it is about; `None` if it does not say.
    pub repository: Option<ForgeRepository>,
    /// What happened there, in order. Most forges send one event in a delivery.
    pub hooks: Vec<Hook>,
}

/// One event of a delivery, as far as it matters to Longshore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// A branch or tag was created or moved.
    Push(Box<PushHook>),
    /// Something happened to a pull request.
    PullRequest(Box<PullRequestHook>),
    /// Something happened to a release.
    Release(Box<ReleaseHook>),
    /// A branch or tag was deleted; `from` is where it was.
    Deleted { git_ref: RefName, from: Option<CommitId> },
    /// The forge tests the connection.
    Ping,
    /// Understood, but no reason for a build; `reason` is for people.
    Ignored { event: String, reason: String },
}

/// A branch or tag that was created or moved. Texts are outsiders', with control characters replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushHook {
    /// `Push` for a branch, `Tag` for a tag, `MergeGroup` for a branch of a merge queue.
    pub event: EventName,
    pub git_ref: RefName,
    /// `None` for a new ref.
    pub before: Option<CommitId>,
    /// The ref's new target; for an annotated tag the tag's own object, not the commit.
    pub after: CommitId,
    /// The forge's name of the person who pushed; empty if unknown.
    pub sender: String,
    /// A page that shows the change.
    pub url: Option<String>,
    pub default_branch: Option<String>,
    /// The push option that asks that nothing is built.
    pub skip: Option<&'static str>,
}

/// A pull request's newest commit, as far as a delivery names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    Commit(CommitId),
    /// The beginning of its name: 7 to 39 hexadecimal digits.
    Short(String),
    /// Not at all: it is where [`PullRequestHook::served_at`] is.
    Newest,
}

impl Head {
    /// Returns what the delivery says of it; nothing if it does not name it.
    #[must_use]
    pub fn told(&self) -> &str {
        match self {
            Self::Commit(commit) => commit.as_str(),
            Self::Short(digits) => digits,
            Self::Newest => "",
        }
    }
}

/// An event of a pull request. Texts are outsiders', with control characters replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequestHook {
    pub number: u64,
    /// In Longshore's words: `opened`, `synchronize`, `reopened`, `closed`, `labeled`, ...; after [`Self::tell_apart`]
    /// neither [`Self::UPDATED`] nor [`Self::LABELS_CHANGED`].
    pub action: String,
    pub title: String,
    /// The newest commit to merge.
    pub head: Head,
    /// The ref under which the forge serves it: `refs/pull/7/head`, or a branch.
    pub served_at: String,
    /// The branch to merge, and the branch to merge it into. The first may be another repository's.
    pub source: RefName,
    pub target: RefName,
    /// Whether it comes from another repository, or from one that no longer exists.
    pub fork: bool,
    /// Which fork that is, if the forge says.
    pub from: Option<Fork>,
    /// The branch of this repository that it claims to come from, if there is none of that name: it was deleted, or
    /// never existed.
    pub former: Option<RefName>,
    /// The author of the pull request; `None` if the forge no longer knows them.
    pub author: Option<Person>,
    /// Whether the forge reports that its target branch has changed.
    pub retargeted: bool,
    /// Whether it is closed: other things may happen to it then, too.
    pub is_closed: bool,
    /// For a closed pull request: whether it was merged.
    pub merged: bool,
    /// The fields that this delivery has and the next one may lack.
    pub state: PullRequestState,
    /// When it changed, in the forge's words: distinguishes two changes of the same kind from one that is sent twice.
    pub changed_at: String,
    /// The forge's name of the person who acted; empty if unknown.
    pub sender: String,
    /// The pull request's page.
    pub url: Option<String>,
    pub default_branch: Option<String>,
}

/// The part of a pull request's last delivery that shows what the next one is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PullRequestState {
    /// `None` if the forge does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft: Option<bool>,
    /// Whether its commit was found on a branch of the repository itself. `None` before that was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own: Option<bool>,
    /// The branch to merge into. `None` before it is written down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// When it last changed, by the forge's clock. `None` if the forge does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
}

impl PullRequestHook {
    /// The action of forges that only say that something of a pull request changed.
    pub const UPDATED: &str = "updated";
    /// The action of forges that only say that labels were added or removed.
    pub const LABELS_CHANGED: &str = "labels-changed";

    /// Returns the time of the change, if the forge tells it.
    #[must_use]
    pub fn changed_at(&self) -> Option<Timestamp> {
        read::time(&self.changed_at)
    }

    /// Finds out what happened if the forge does not say it: compares with the last delivery, if there was one, and the
    /// commit that it named. A new target is like a new commit, whatever the forge calls it: other pipelines decide
    /// about what was built for the former target.
    pub fn tell_apart(&mut self, before: Option<&PullRequestState>, last_head: Option<&str>, head: &str) {
        let action = match self.action.as_str() {
            Self::UPDATED if last_head.is_none_or(|last| last != head) => "synchronize",
            Self::UPDATED => match (before.and_then(|before| before.draft), self.state.draft) {
                (Some(true), Some(false)) => "ready-for-review",
                (Some(false), Some(true)) => "converted-to-draft",
                (_, _) => "edited",
            },
            Self::LABELS_CHANGED => {
                let now = self.state.labels.as_deref().unwrap_or_default();
                let then = before.and_then(|before| before.labels.as_deref()).unwrap_or_default();
                let added = now.iter().any(|label| !then.contains(label));
                if added { "labeled" } else { "unlabeled" }
            }
            told => told,
        };
        let is_built_anyway = matches!(action, "opened" | "synchronize" | "reopened" | PullRequest::CLOSED);
        let is_retargeted = !is_built_anyway
            && match before.map(|before| &before.target) {
                Some(Some(target)) => target != self.target.as_str(),
                // Recorded by a version that did not check it.
                Some(None) => action == "edited",
                None => self.retargeted,
            };
        self.action = if is_retargeted { "synchronize" } else { action }.to_owned();
    }
}

/// An event of a release. Texts are outsiders', with control characters replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseHook {
    /// `published`, `edited`, `deleted`, ...
    pub action: String,
    pub tag: RefName,
    pub name: String,
    pub prerelease: bool,
    /// When it changed, in the forge's words.
    pub changed_at: String,
    pub sender: String,
    /// The release's page.
    pub url: Option<String>,
    pub default_branch: Option<String>,
}

/// Why a delivery cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    #[error("the header `{header}`, which names the event, is missing")]
    NoEvent { header: &'static str },
    #[error("the request body is a form: set the webhook's content type to application/json")]
    Form,
    #[error("the request body is not a valid `{event}` event of {forge}: {source}")]
    Shape { forge: Forge, event: String, source: serde_json::Error },
    #[error("the request body has no `{field}`")]
    Lacks { field: &'static str },
    #[error(transparent)]
    Revision(#[from] InvalidRevision),
}
