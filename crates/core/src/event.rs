//! Events that may start a build: at a forge, by hand, or by a schedule.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{Timestamp, stranger::Person};

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventName {
    Push,
    Tag,
    PullRequest,
    Schedule,
    Manual,
    /// Something happened to a release of a forge.
    Release,
    /// A merge queue asks whether what it is about to merge is sound.
    MergeGroup,
}

impl EventName {
    pub const ALL: [Self; 7] =
        [Self::Push, Self::Tag, Self::PullRequest, Self::Release, Self::MergeGroup, Self::Schedule, Self::Manual];

    /// Returns the word used in pipelines, the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Tag => "tag",
            Self::PullRequest => "pull-request",
            Self::Schedule => "schedule",
            Self::Manual => "manual",
            Self::Release => "release",
            Self::MergeGroup => "merge-group",
        }
    }
}

impl EventName {
    /// Returns the word that people read: on pages, on the command line and in sentences.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::PullRequest => "pull request",
            Self::MergeGroup => "merge group",
            Self::Push | Self::Tag | Self::Schedule | Self::Manual | Self::Release => self.as_str(),
        }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An event, with its commit resolved. Outsiders write all of its texts, so none may be used as a path, an argument or
/// an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub name: EventName,
    /// The full name of the ref: `refs/heads/main`, `refs/tags/v1`, or `refs/pull/7/head` for a pull request.
    pub git_ref: String,
    /// The commit to build: 40 (or 64) hexadecimal digits.
    pub commit: String,
    /// The commit before a push; `None` for a new branch, a tag and a manual build.
    pub before: Option<String>,
    /// The commit's whole message.
    pub message: String,
    /// The name and the address of the commit's author.
    pub author: String,
    pub author_email: String,
    /// The forge's name for the person who pushed or acted; empty if unknown.
    pub sender: String,
    /// The forge's page that shows the change.
    pub url: Option<String>,
    /// The repository's default branch, if it is known.
    pub default_branch: Option<String>,
    /// The inputs of a manual build, as given.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// More about a pull request's event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
    /// More about a schedule's event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<DueSchedule>,
    /// More about a release's event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// Whether no webhook announced it: it was found by checking the repository.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub found: bool,
}

/// An entry of `schedule` that is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DueSchedule {
    /// As written in the pipeline.
    pub cron: String,
    /// `UTC` if the pipeline names none.
    pub timezone: String,
    /// The time that the entry names. The build may have been created later.
    pub due_at: Timestamp,
}

/// The release of an event, whose tag is the event's ref.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// What happened: `published`, `edited`, `deleted`, ...
    pub action: String,
    /// Its title; may be empty.
    pub name: String,
    pub prerelease: bool,
}

/// The pull request of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    pub number: u64,
    pub title: String,
    /// What happened: `opened`, `synchronize`, `reopened`, `closed`, ...
    pub action: String,
    /// The short names of the branch to merge and of the branch to merge it into.
    pub source_branch: String,
    pub target_branch: String,
    /// Whether it comes from another repository.
    pub fork: bool,
    /// The author of the pull request; `None` if the forge does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Person>,
    /// For a closed pull request: whether it was merged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merged: bool,
    /// Whether it is a draft.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draft: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// What the event's commit merges, if it is what merging would give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merge>,
    /// The newest commit of a closed pull request, if it is gone and the event's commit is the newest of the target
    /// branch. What the forge says of it: all of its name, the beginning or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<String>,
    /// Which fork it comes from, if the forge says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Fork>,
}

/// A fork and what it is a fork of, by the forge's names: `eve/app` and `team/app`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    pub name: String,
    pub of: String,
}

/// The two commits that a merge brings together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// The newest commit of the pull request.
    pub head: String,
    /// The commit of the target branch.
    pub target: String,
}

impl PullRequest {
    /// The action for a pull request that was closed, merged or not.
    pub const CLOSED: &str = "closed";

    /// Returns a pull request between two branches of one repository that was just opened.
    #[must_use]
    pub fn opened(number: u64, source_branch: impl Into<String>, target_branch: impl Into<String>) -> Self {
        Self {
            number,
            title: String::new(),
            action: "opened".to_owned(),
            source_branch: source_branch.into(),
            target_branch: target_branch.into(),
            fork: false,
            author: None,
            merged: false,
            draft: false,
            labels: Vec::new(),
            merge: None,
            gone: None,
            from: None,
        }
    }
}

impl Event {
    /// Creates an event with only a name, a ref and a commit. All other fields are empty.
    pub fn new(name: EventName, git_ref: impl Into<String>, commit: impl Into<String>) -> Self {
        Self {
            name,
            git_ref: git_ref.into(),
            commit: commit.into(),
            before: None,
            message: String::new(),
            author: String::new(),
            author_email: String::new(),
            sender: String::new(),
            url: None,
            default_branch: None,
            inputs: BTreeMap::new(),
            pull_request: None,
            schedule: None,
            release: None,
            found: false,
        }
    }

    /// Returns the commit that the forge knows the event by: the pull request's newest one if the build is of what
    /// merging would give, or of the target branch because that commit is gone.
    #[must_use]
    pub fn commit_at_forge(&self) -> &str {
        let Some(pull_request) = &self.pull_request else { return &self.commit };
        let gone = pull_request.gone.as_ref().filter(|head| !head.is_empty());
        pull_request.merge.as_ref().map(|merge| &merge.head).or(gone).unwrap_or(&self.commit)
    }

    /// Returns the branch's short name, or the target of a pull request; `None` for a tag.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        match &self.pull_request {
            Some(pull_request) => Some(&pull_request.target_branch),
            None => self.git_ref.strip_prefix("refs/heads/"),
        }
    }

    /// Returns what happened to the pull request or the release; `None` for other events.
    #[must_use]
    pub fn action(&self) -> Option<&str> {
        let of_pull_request = self.pull_request.as_ref().map(|pull_request| pull_request.action.as_str());
        of_pull_request.or(self.release.as_ref().map(|release| release.action.as_str()))
    }

    /// Returns the pull request's title, or the first line of the message.
    #[must_use]
    pub fn title(&self) -> &str {
        match &self.pull_request {
            Some(pull_request) => &pull_request.title,
            None => self.message.lines().next().unwrap_or(""),
        }
    }

    /// Returns the tag's short name; `None` for a branch.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.git_ref.strip_prefix("refs/tags/")
    }
}
