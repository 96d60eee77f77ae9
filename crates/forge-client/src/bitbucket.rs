//! Bitbucket Cloud. A repository is addressed by its UUID, with any workspace before it.
//!
//! A token is a repository's or workspace's access token, or `EMAIL:TOKEN` for an API token of a person.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use longshore_core::commit_status::CommitState;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    Account, CallError, ForgeApi, Http, NewHook, NewStatus, RemoteRepo,
    connection::percent_encoded,
    github::{ignore_not_found, with_repo_name},
    http::Endpoint,
};

/// The longest key of a status.
const MAX_KEY: usize = 40;
/// Pages of workspaces and of repositories that are read at most.
const MAX_PAGES: usize = 40;

/// The account of an access token of a repository or a workspace, which belongs to no person.
const ACCESS_TOKEN: &str = "access token";

#[derive(Debug)]
pub(crate) struct Bitbucket(Endpoint);

#[derive(Deserialize)]
struct Page<T> {
    values: Vec<T>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    nickname: String,
    #[serde(default)]
    display_name: String,
}

impl User {
    fn name(&self) -> &str {
        if self.nickname.is_empty() { &self.display_name } else { &self.nickname }
    }

    /// Returns whether it is this account. People have nicknames, access tokens do not.
    fn is(&self, account: &str) -> bool {
        self.name() == account || (account == ACCESS_TOKEN && self.nickname.is_empty())
    }
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    content: Content,
    user: Option<User>,
    #[serde(default)]
    deleted: bool,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    raw: String,
}

#[derive(Deserialize)]
struct WorkspaceAccess {
    workspace: Workspace,
}

#[derive(Deserialize)]
struct Workspace {
    slug: String,
}

#[derive(Deserialize)]
struct Repo {
    uuid: String,
    full_name: String,
    is_private: bool,
    mainbranch: Option<Branch>,
}

#[derive(Deserialize)]
struct Branch {
    name: String,
}

#[derive(Deserialize)]
struct Hook {
    uuid: String,
    #[serde(default)]
    url: String,
}

impl From<Repo> for RemoteRepo {
    fn from(repo: Repo) -> Self {
        let default_branch = repo.mainbranch.map(|branch| branch.name);
        Self { id: repo.uuid, name: repo.full_name, default_branch, private: repo.is_private, admin: true }
    }
}

impl Bitbucket {
    pub(crate) fn new(http: &Http, address: &str, token: &str) -> Self {
        let root = match address {
            "https://bitbucket.org" | "https://www.bitbucket.org" => "https://api.bitbucket.org/2.0".to_owned(),
            other => format!("{other}/2.0"),
        };
        let value = match token.contains(':') {
            true => format!("Basic {}", BASE64_STANDARD.encode(token)),
            false => format!("Bearer {token}"),
        };
        let secret = token.split_once(':').map_or(token, |(_, secret)| secret);
        Self(Endpoint::new(http.clone(), root, "authorization", &value, secret, "Bitbucket Cloud"))
    }

    fn pages<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, CallError> {
        let mut all = Vec::new();
        for page in 1..=MAX_PAGES {
            let sign = if path.contains('?') { '&' } else { '?' };
            let answer = self.0.get(&format!("{path}{sign}pagelen=50&page={page}"))?;
            let page: Page<T> = answer.read().ok_or_else(|| self.0.not_understood())?;
            all.extend(page.values);
            if page.next.is_none() {
                break;
            }
        }
        Ok(all)
    }
}

/// Returns the path of a repository, by its UUID.
fn path_of(repo: &str) -> String {
    format!("/repositories/%7B%7D/{}", percent_encoded(repo))
}

impl ForgeApi for Bitbucket {
    fn check(&self) -> Result<Account, CallError> {
        match self.0.get("/user") {
            Ok(answer) => {
                let user: User = answer.read().ok_or_else(|| self.0.not_understood())?;
                Ok(Account { login: user.name().to_owned() })
            }
            Err(CallError::MissingRight { .. } | CallError::NotFound { .. }) => {
                Ok(Account { login: ACCESS_TOKEN.to_owned() })
            }
            Err(error) => Err(error),
        }
    }

    fn repos(&self) -> Result<Vec<RemoteRepo>, CallError> {
        let mut all = Vec::new();
        for access in self.pages::<WorkspaceAccess>("/user/workspaces")? {
            let path = format!("/repositories/{}?role=admin&sort=full_name", percent_encoded(&access.workspace.slug));
            all.extend(self.pages::<Repo>(&path)?.into_iter().map(RemoteRepo::from));
        }
        Ok(all)
    }

    fn repo(&self, name: &str) -> Result<RemoteRepo, CallError> {
        let answer =
            self.0.get(&format!("/repositories/{name}")).map_err(|error| with_repo_name(&self.0, error, name))?;
        answer.read::<Repo>().map(RemoteRepo::from).ok_or_else(|| self.0.not_understood())
    }

    fn set_hook(&self, repo: &str, hook: NewHook<'_>) -> Result<String, CallError> {
        let path = format!("{}/hooks", path_of(repo));
        let hooks = self.pages::<Hook>(&path)?;
        // New commits of a pull request are not among the events that Bitbucket chooses by itself.
        let body = json!({
            "description": "Longshore",
            "url": hook.url,
            "active": true,
            "secret": hook.secret,
            "events": [
                "repo:push", "pullrequest:created", "pullrequest:updated", "pullrequest:fulfilled", "pullrequest:rejected",
            ],
        });
        let made: Hook = self.0.post(&path, &body)?.read().ok_or_else(|| self.0.not_understood())?;
        for old in hooks.iter().filter(|old| old.url == hook.url) {
            ignore_not_found(self.0.delete(&format!("{path}/{}", percent_encoded(&old.uuid))))?;
        }
        Ok(made.uuid)
    }

    fn remove_hook(&self, repo: &str, hook: &str) -> Result<(), CallError> {
        ignore_not_found(self.0.delete(&format!("{}/hooks/{}", path_of(repo), percent_encoded(hook))))
    }

    fn set_status(&self, repo: &str, status: &NewStatus) -> Result<(), CallError> {
        let mut body = json!({
            "key": key(&status.context),
            "state": state(status.state),
            "name": status.context,
            "url": status.target_url,
            "description": status.description,
        });
        if let Some(name) = &status.ref_name {
            body["refname"] = name.as_str().into();
        }
        self.0.post(&format!("{}/commit/{}/statuses/build", path_of(repo), status.commit), &body).map(drop)
    }

    fn comment(&self, repo: &str, number: u64, comment: Option<&str>, body: &str) -> Result<String, CallError> {
        let comments = format!("{}/pullrequests/{number}/comments", path_of(repo));
        let body = json!({ "content": { "raw": shown(body) } });
        let written = match comment {
            Some(id) => self.0.put(&format!("{comments}/{id}"), &body),
            None => self.0.post(&comments, &body),
        };
        let written = written.map_err(|error| match error {
            CallError::MissingRight { needs, .. } => {
                self.0.missing_right(format!("it needs read:pullrequest and write:pullrequest ({needs})"))
            }
            error => error,
        })?;
        written.read::<Comment>().map(|comment| comment.id.to_string()).ok_or_else(|| self.0.not_understood())
    }

    fn find_comment(&self, repo: &str, number: u64, account: &str, begin: &str) -> Result<Option<String>, CallError> {
        let all: Vec<Comment> = self.pages(&format!("{}/pullrequests/{number}/comments", path_of(repo)))?;
        let begin = shown(begin);
        let is_own = |comment: &&Comment| {
            !comment.deleted
                && comment.user.as_ref().is_some_and(|user| user.is(account))
                && comment.content.raw.starts_with(begin.as_ref())
        };
        Ok(all.iter().find(is_own).map(|comment| comment.id.to_string()))
    }
}

/// Bitbucket shows comments of HTML as text, and does not show a link's address that nothing refers to.
fn shown(text: &str) -> Cow<'_, str> {
    match text.strip_prefix("<!-- ").and_then(|rest| rest.split_once(" -->")) {
        Some((mark, rest)) => Cow::Owned(format!("[//]: # ({mark})\n{rest}")),
        None => Cow::Borrowed(text),
    }
}

const fn state(state: CommitState) -> &'static str {
    match state {
        CommitState::Pending | CommitState::Running => "INPROGRESS",
        CommitState::Success | CommitState::Skipped => "SUCCESSFUL",
        CommitState::Failure | CommitState::Error => "FAILED",
        CommitState::Canceled => "STOPPED",
    }
}

/// Returns the key of a context: the context, or a hash of one that is too long.
fn key(context: &str) -> String {
    if context.len() <= MAX_KEY && context.is_ascii() {
        return context.to_owned();
    }
    hex::encode(Sha256::digest(context)).chars().take(MAX_KEY).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_context_has_a_key_of_its_own_that_bitbucket_takes() {
        let long = |n: u32| format!("longshore/a-pipeline-with-a-long-name/test ({n}, linux)");
        assert_eq!(key("longshore/ci"), "longshore/ci");
        assert_eq!(key(&long(1)).len(), MAX_KEY);
        assert_ne!(key(&long(1)), key(&long(2)));
    }
}
