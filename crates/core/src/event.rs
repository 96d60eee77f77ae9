//! What happened at a forge (or at a keyboard) that may become a build.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{Timestamp, stranger::Person};

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventName {
    Push,
    Tag,
    PullRequest,
    Schedule,
    Manual,
}

impl EventName {
    /// The word, as in pipelines, the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Tag => "tag",
            Self::PullRequest => "pull-request",
            Self::Schedule => "schedule",
            Self::Manual => "manual",
        }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One event, with its commit resolved. Every text in it is an outsider's: never a path, an argument or an address by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub name: EventName,
    /// The full name, `refs/heads/main`, `refs/tags/v1` or, of a pull request, `refs/pull/7/head`.
    pub git_ref: String,
    /// The commit to build: 40 (or 64) hexadecimal digits.
    pub commit: String,
    /// The commit before a push; absent for a new branch, a tag, a manual build.
    pub before: Option<String>,
    /// The commit's message, whole.
    pub message: String,
    /// The commit's author: name and address.
    pub author: String,
    pub author_email: String,
    /// Who pushed or asked, by the forge's name for them; empty where unknown.
    pub sender: String,
    /// A page of the forge that shows the change.
    pub url: Option<String>,
    /// The repository's default branch where known.
    pub default_branch: Option<String>,
    /// Inputs of a manual build, as they were given.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// What a pull request's event says beyond that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
    /// Of a schedule's event: what was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<DueSchedule>,
}

/// An entry of `schedule` whose time has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DueSchedule {
    /// As it stands in the pipeline.
    pub cron: String,
    /// `UTC` where the pipeline names none.
    pub timezone: String,
    /// The time that was meant; the build may have been made later.
    pub due_at: Timestamp,
}

/// What asks to be merged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    pub number: u64,
    pub title: String,
    /// What happened to it: `opened`, `synchronize`, `reopened`, `closed`, ...
    pub action: String,
    /// The branch that is to be merged, and the one to merge it into: short names.
    pub source_branch: String,
    pub target_branch: String,
    /// Whether it comes from another repository.
    pub fork: bool,
    /// Who asks for it, where the forge says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Person>,
}

impl PullRequest {
    /// The action of one that is not open any more, merged or not.
    pub const CLOSED: &str = "closed";
}

impl Event {
    /// Creates an event that says nothing but its name, its ref and its commit.
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
        }
    }

    /// The branch's short name; a pull request's target; nothing for a tag.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        match &self.pull_request {
            Some(pull_request) => Some(&pull_request.target_branch),
            None => self.git_ref.strip_prefix("refs/heads/"),
        }
    }

    /// One line for people: the pull request's title, or the message's first line.
    #[must_use]
    pub fn title(&self) -> &str {
        match &self.pull_request {
            Some(pull_request) => &pull_request.title,
            None => self.message.lines().next().unwrap_or(""),
        }
    }

    /// The tag's short name; nothing for a branch.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.git_ref.strip_prefix("refs/tags/")
    }
}
