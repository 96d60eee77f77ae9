//! Decides who is a stranger, and which of their jobs need approval. The only place that decides it.
//!
//! A stranger is a person who brings commits but may not push: the author of a fork's pull request. Everything that
//! treats strangers differently (approval, limits, a separate lane in the queue) asks here.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Event, JobPlan, docker::Docker};

/// A repository's setting: which pull requests of strangers need approval before any of their jobs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strangers {
    /// Only jobs that get secrets or a Docker API.
    None,
    /// Pull requests of authors who have had no commit approved in this repository.
    FirstTime,
    #[default]
    All,
}

impl Strangers {
    pub const ALL: [Self; 3] = [Self::None, Self::FirstTime, Self::All];

    /// Returns the word used in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::FirstTime => "first-time",
            Self::All => "all",
        }
    }
}

impl fmt::Display for Strangers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is not a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a policy for pull requests from forks: write none, first-time or all")]
pub struct NotStrangers(pub String);

impl FromStr for Strangers {
    type Err = NotStrangers;

    fn from_str(text: &str) -> Result<Self, NotStrangers> {
        Self::ALL.into_iter().find(|word| word.as_str() == text).ok_or_else(|| NotStrangers(text.to_owned()))
    }
}

/// A person at a forge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The forge's number for the person, which it gives to nobody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The account's ID at forges that do not number accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The forge's name for the person, which somebody else may get later.
    pub name: String,
}

impl Person {
    /// Returns what identifies the person: the number or account if the forge sent one, else the name. `None` if none
    /// is known.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        match (self.id, self.account.as_deref().filter(|account| !account.is_empty())) {
            (Some(id), _) => Some(format!("id {id}")),
            (None, Some(account)) => Some(format!("account {account}")),
            (None, None) => Some(&self.name).filter(|name| !name.is_empty()).map(|name| format!("name {name}")),
        }
    }
}

/// Returns whether the event's commits are by somebody who may not push to the repository.
#[must_use]
pub fn brings(event: &Event) -> bool {
    event.pull_request.as_ref().is_some_and(|pull_request| pull_request.fork)
}

/// Who brings an event's commit. Of several results for one commit, the first of these in order counts. The numbers are
/// in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BroughtBy {
    /// The repository's own people, or nobody.
    Own = 0,
    /// A stranger, to merge it into the default branch.
    StrangerIntoDefault = 1,
    /// A stranger, to merge it into another branch. The stranger chooses it, and with it whose rules count.
    StrangerIntoOther = 2,
}

impl BroughtBy {
    #[must_use]
    pub fn of(event: &Event) -> Self {
        let into_default = || event.branch().is_some_and(|target| event.default_branch.as_deref() == Some(target));
        match brings(event) {
            false => Self::Own,
            true if into_default() => Self::StrangerIntoDefault,
            true => Self::StrangerIntoOther,
        }
    }
}

/// Returns the number of a stranger's pull request; `None` for all other events.
#[must_use]
pub fn pull_request(event: &Event) -> Option<u64> {
    event.pull_request.as_ref().filter(|_| brings(event)).map(|pull_request| pull_request.number)
}

/// Returns the [key](Person::key) of the author of a stranger's pull request; `None` for all other events.
#[must_use]
pub fn author(event: &Event) -> Option<String> {
    event.pull_request.as_ref().filter(|_| brings(event))?.author.as_ref()?.key()
}

/// Returns the reason why a job waits until somebody approves the event's commit; `None` if it does not wait. `known`
/// says that the [`author`] has something approved here.
#[must_use]
pub fn question(setting: Strangers, known: bool, event: &Event, plan: &JobPlan) -> Option<String> {
    let number = pull_request(event)?;
    let mut gets: Vec<String> = plan.secrets.iter().map(|secret| format!("`{}`", secret.name)).collect();
    match plan.docker {
        Docker::None => {}
        Docker::Guarded => gets.push("a Docker API".to_owned()),
        Docker::Raw => gets.push("the engine's own socket".to_owned()),
    }
    let asked = match setting {
        Strangers::None => false,
        Strangers::FirstTime => !known,
        Strangers::All => true,
    };
    let what = match (gets.is_empty(), asked, setting) {
        (false, _, _) => format!(", which would get {}", gets.join(", ")),
        (true, false, _) => return None,
        (true, true, Strangers::FirstTime) => match &event.pull_request.as_ref()?.author {
            Some(author) if !author.name.is_empty() => {
                format!(" by first-time contributor `{}`", author.name)
            }
            Some(_) | None => " by a first-time contributor".to_owned(),
        },
        (true, true, Strangers::None | Strangers::All) => String::new(),
    };
    Some(format!("{}{what}", commit_of(number, event)))
}

/// Returns whether a stranger's job gets secrets or a Docker API.
#[must_use]
pub fn gets_something(event: &Event, plan: &JobPlan) -> bool {
    question(Strangers::None, true, event, plan).is_some()
}

/// Returns the reason why a job waits whose files or outputs go to a job with secrets or a Docker API.
#[must_use]
pub fn handing_on(event: &Event, job: &str) -> Option<String> {
    Some(format!("{}, whose files or outputs go to `{job}`", commit_of(pull_request(event)?, event)))
}

fn commit_of(number: u64, event: &Event) -> String {
    let commit: String = event.commit.chars().take(10).collect();
    format!("commit {commit} of pull request #{number} from a fork")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventName, event::PullRequest, plan::SecretUse};

    fn event(fork: bool, author: Option<Person>) -> Event {
        Event {
            pull_request: Some(PullRequest { fork, author, ..PullRequest::opened(7, "main", "main") }),
            ..Event::new(EventName::PullRequest, "refs/pull/7/head", "1f0c2d3e4a5b6c7d8e9f00112233445566778899")
        }
    }

    fn ada() -> Option<Person> {
        Some(Person { id: Some(42), account: None, name: "ada".to_owned() })
    }

    #[test]
    fn a_person_is_known_by_the_forges_number_and_by_name_only_without_one() {
        let key = |id, name: &str| Person { id, account: None, name: name.to_owned() }.key();
        assert_eq!(key(Some(42), "ada").as_deref(), Some("id 42"));
        // A name that became free may belong to another person now, and anybody can choose the name `id 42`.
        assert_ne!(key(Some(43), "ada"), key(Some(42), "ada"));
        assert_eq!(key(None, "id 42").as_deref(), Some("name id 42"));
        assert_eq!(key(None, ""), None);
        let of_account = Person { id: None, account: Some("{1-2}".to_owned()), name: "ada".to_owned() };
        assert_eq!(of_account.key().as_deref(), Some("account {1-2}"));
    }

    #[test]
    fn only_a_forks_pull_request_is_a_strangers() {
        assert!(brings(&event(true, ada())) && !brings(&event(false, ada())));
        assert_eq!((pull_request(&event(true, None)), pull_request(&event(false, None))), (Some(7), None));
        let mut push = event(true, None);
        push.pull_request = None;
        for setting in Strangers::ALL {
            assert_eq!(question(setting, false, &event(false, ada()), &JobPlan::default()), None);
            assert_eq!(question(setting, false, &push, &JobPlan::default()), None);
        }
    }

    #[test]
    fn every_setting_asks_about_whom_it_says_and_always_about_what_is_ours() {
        let secret = SecretUse { name: "TOKEN".to_owned(), variable: "TOKEN".to_owned(), file: false, by_name: false };
        let (plain, named) = (JobPlan::default(), JobPlan { secrets: vec![secret], ..JobPlan::default() });
        let asks = |setting, known, plan| question(setting, known, &event(true, ada()), plan).is_some();
        for (setting, of_unknown, of_known) in
            [(Strangers::None, false, false), (Strangers::FirstTime, true, false), (Strangers::All, true, true)]
        {
            assert_eq!(
                (asks(setting, false, &plain), asks(setting, true, &plain)),
                (of_unknown, of_known),
                "{setting}"
            );
            assert!(asks(setting, false, &named) && asks(setting, true, &named), "{setting}");
        }
        let asked = question(Strangers::FirstTime, false, &event(true, ada()), &plain).unwrap();
        assert_eq!(asked, "commit 1f0c2d3e4a of pull request #7 from a fork by first-time contributor `ada`");
    }
}
