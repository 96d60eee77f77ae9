//! Calls to forges: what the token of a connection may do, which repositories it reaches, their webhooks, the statuses
//! of commits, and comments on pull requests.
//!
//! One file for each forge behind the trait [`ForgeApi`]; [`Connection::api`] picks it. All calls block; the callers,
//! which are the API and the reporter, make them on threads of their own. Nothing here stores anything, and no error
//! contains a token.
//!
//! A forge knows a repository by its number ([`RemoteRepo::id`]), which stays when it is renamed or transferred. Calls
//! that need a name ask for it first.

mod answer;
mod bitbucket;
mod checks;
mod connection;
mod error;
mod gitea;
mod github;
mod github_app;
mod github_checks;
mod gitlab;
mod gogs;
mod http;
mod kind;
mod pages;

pub use checks::{CheckAnnotation, CheckRun, Grade};
pub use connection::{Connection, InvalidAddress};
pub use error::CallError;
pub use github_app::app_token;
pub use http::Http;
pub use kind::{Kind, NotAKind};

use longshore_core::commit_status::CommitState;

/// The account that a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub login: String,
}

/// A repository at its forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRepo {
    /// The forge's number (at Bitbucket: its UUID), which no rename changes.
    pub id: String,
    /// `owner/name`, as it is now.
    pub name: String,
    pub default_branch: Option<String>,
    pub private: bool,
    /// Whether the account may set up webhooks.
    pub admin: bool,
}

/// A webhook to set up.
#[derive(Debug, Clone, Copy)]
pub struct NewHook<'a> {
    pub url: &'a str,
    pub secret: &'a str,
}

/// The status of a commit to set, in one context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStatus {
    pub commit: String,
    pub context: String,
    pub state: CommitState,
    /// At most [`MAX_DESCRIPTION`](longshore_core::commit_status::MAX_DESCRIPTION) characters.
    pub description: String,
    /// The build's page; empty if there is no build.
    pub target_url: String,
    /// The branch or tag by its short name; of a pull request, its source branch.
    pub ref_name: Option<String>,
}

/// A forge, reached with one token.
pub trait ForgeApi {
    /// Returns the token's account.
    ///
    /// # Errors
    /// [`CallError::MissingRight`] names the right that the token lacks.
    fn check(&self) -> Result<Account, CallError>;

    /// Returns the repositories that the account may administer or write to.
    ///
    /// # Errors
    /// If the forge does not list them.
    fn repos(&self) -> Result<Vec<RemoteRepo>, CallError>;

    /// Returns the accounts that have suspended the connection's App: [`repos`](Self::repos) leaves out what is theirs.
    ///
    /// # Errors
    /// As [`repos`](Self::repos).
    fn suspended_by(&self) -> Result<Vec<String>, CallError> {
        Ok(Vec::new())
    }

    /// Returns a repository by its full name.
    ///
    /// # Errors
    /// [`CallError::NotFound`] also if the account may not see it.
    fn repo(&self, name: &str) -> Result<RemoteRepo, CallError>;

    /// Sets up a webhook for everything that may start a build, in place of those with the same address. Returns its
    /// id. There is one at every moment: those of before go after it is there.
    ///
    /// # Errors
    /// If the forge refuses it.
    fn set_hook(&self, repo: &str, hook: NewHook<'_>) -> Result<String, CallError>;

    /// Removes a webhook. Succeeds if it is gone already.
    ///
    /// # Errors
    /// If the forge refuses it.
    fn remove_hook(&self, repo: &str, hook: &str) -> Result<(), CallError>;

    /// Sets the state of a commit's context. Succeeds if the context has that state already.
    ///
    /// # Errors
    /// [`CallError::may_pass`] says whether another try may succeed.
    fn set_status(&self, repo: &str, status: &NewStatus) -> Result<(), CallError>;

    /// Shows the state of a commit's context as a check run. Returns its id at the forge; nothing where the connection
    /// can make none, and [`set_status`](Self::set_status) shows it.
    ///
    /// # Errors
    /// As [`set_status`](Self::set_status).
    fn show_check_run(&self, _repo: &str, _check: &CheckRun) -> Result<Option<String>, CallError> {
        Ok(None)
    }

    /// Has the forge send what people ask of check runs to this webhook, unless it sends that elsewhere already.
    /// Returns whether it does.
    ///
    /// # Errors
    /// If the forge refuses it.
    fn set_app_hook(&self, _hook: NewHook<'_>) -> Result<bool, CallError> {
        Ok(false)
    }

    /// Returns whether somebody may write to a repository, and so ask for reruns there.
    ///
    /// # Errors
    /// If the forge does not say it.
    fn may_write(&self, _repo: &str, _login: &str) -> Result<bool, CallError> {
        Ok(false)
    }

    /// Writes a comment on a pull request in place of this one, or adds one. Returns its id.
    ///
    /// # Errors
    /// [`CallError::NotFound`] also if the comment is gone.
    fn comment(&self, repo: &str, number: u64, comment: Option<&str>, body: &str) -> Result<String, CallError>;

    /// Finds the first comment of an account on a pull request that begins so.
    ///
    /// # Errors
    /// If the forge does not list the comments.
    fn find_comment(&self, repo: &str, number: u64, account: &str, begin: &str) -> Result<Option<String>, CallError>;
}
