//! Gitea and Forgejo, whose APIs are identical for the calls made here.
//!
//! Statuses and webhooks are addressed by `owner/name`, which changes: each of these calls first looks up the current
//! name by the repository's id, since another repository may have the old name by now.

use longshore_core::commit_status::CommitState;
use serde::Deserialize;
use serde_json::json;

use crate::{
    Account, CallError, ForgeApi, Http, NewHook, NewStatus, RemoteRepo,
    github::{Comment, Hook, Permissions, User, ignore_not_found, with_repo_name, write_comment},
    http::Endpoint,
    pages::read_all,
};

/// A repository that does not exist. Posting to it shows whether the token may write: a missing permission is refused
/// before the repository is looked up.
const PROBE_REPO: &str = "longshore-asks-for-its-rights";

#[derive(Debug)]
pub(crate) struct Gitea {
    endpoint: Endpoint,
    /// The type of its webhooks.
    hook_type: &'static str,
}

#[derive(Deserialize)]
struct Repo {
    id: u64,
    full_name: String,
    default_branch: Option<String>,
    private: bool,
    permissions: Option<Permissions>,
}

impl From<Repo> for RemoteRepo {
    fn from(repo: Repo) -> Self {
        Self {
            id: repo.id.to_string(),
            name: repo.full_name,
            default_branch: repo.default_branch.filter(|branch| !branch.is_empty()),
            private: repo.private,
            admin: repo.permissions.is_some_and(|permissions| permissions.admin),
        }
    }
}

impl Gitea {
    pub(crate) fn new(http: &Http, address: &str, token: &str, hook_type: &'static str) -> Self {
        let (root, value) = (format!("{address}/api/v1"), format!("token {token}"));
        let expected = if hook_type == "forgejo" { "Forgejo" } else { "Gitea" };
        let endpoint = Endpoint::new(http.clone(), root, "authorization", &value, token, expected);
        Self { endpoint, hook_type }
    }

    /// Returns the current name of a repository.
    fn current_name(&self, repo: &str) -> Result<String, CallError> {
        let answer = self.endpoint.get(&format!("/repositories/{repo}"));
        let answer = answer.map_err(|error| with_repo_name(&self.endpoint, error, &format!("number {repo}")))?;
        Ok(answer.read::<Repo>().ok_or_else(|| self.endpoint.not_understood())?.full_name)
    }
}

impl ForgeApi for Gitea {
    fn check(&self) -> Result<Account, CallError> {
        let user = self.endpoint.get("/user").map_err(|error| self.with_permission(error, "user: read"))?;
        let user: User = user.read().ok_or_else(|| self.endpoint.not_understood())?;
        // A token's scopes are checked before the repository is looked up.
        let path = format!("/repos/{}/{PROBE_REPO}/hooks", user.login);
        match self.endpoint.post(&path, &json!({})) {
            Ok(_) | Err(CallError::NotFound { .. } | CallError::Refused { .. }) => {}
            Err(error) => return Err(self.with_permission(error, "repository: read and write")),
        }
        Ok(Account { login: user.login })
    }

    fn repos(&self) -> Result<Vec<RemoteRepo>, CallError> {
        let repos: Vec<Repo> = read_all(&self.endpoint, "/user/repos", "limit")?;
        Ok(repos.into_iter().map(RemoteRepo::from).collect())
    }

    fn repo(&self, name: &str) -> Result<RemoteRepo, CallError> {
        let answer = self
            .endpoint
            .get(&format!("/repos/{name}"))
            .map_err(|error| with_repo_name(&self.endpoint, error, name))?;
        answer.read::<Repo>().map(RemoteRepo::from).ok_or_else(|| self.endpoint.not_understood())
    }

    fn set_hook(&self, repo: &str, hook: NewHook<'_>) -> Result<String, CallError> {
        let path = format!("/repos/{}/hooks", self.current_name(repo)?);
        let hooks: Vec<Hook> = read_all(&self.endpoint, &path, "limit")?;
        // Without `active` the hook never fires. The event `pull_request` covers new commits and labels too, and
        // renaming a branch in the web UI sends only a `create` event.
        let body = json!({
            "type": self.hook_type,
            "active": true,
            "events": ["push", "create", "pull_request", "release"],
            "branch_filter": "*",
            "config": { "url": hook.url, "content_type": "json", "secret": hook.secret },
        });
        let made: Hook = self.endpoint.post(&path, &body)?.read().ok_or_else(|| self.endpoint.not_understood())?;
        for old in hooks.iter().filter(|old| old.config.url == hook.url) {
            ignore_not_found(self.endpoint.delete(&format!("{path}/{}", old.id)))?;
        }
        Ok(made.id.to_string())
    }

    fn remove_hook(&self, repo: &str, hook: &str) -> Result<(), CallError> {
        match self.current_name(repo) {
            Ok(name) => ignore_not_found(self.endpoint.delete(&format!("/repos/{name}/hooks/{hook}"))),
            Err(error) => ignore_not_found::<()>(Err(error)),
        }
    }

    fn set_status(&self, repo: &str, status: &NewStatus) -> Result<(), CallError> {
        let name = self.current_name(repo)?;
        let body = json!({
            "state": state(status.state),
            "context": status.context,
            "description": status.description,
            "target_url": status.target_url,
        });
        match self.endpoint.post(&format!("/repos/{name}/statuses/{}", status.commit), &body) {
            Ok(_) => Ok(()),
            // Gitea answers this for an unknown commit, as a server error; retrying would not help.
            Err(CallError::Unavailable { message, .. }) if message.contains("object does not exist") => {
                Err(self.endpoint.not_found(format!("commit {}", status.commit)))
            }
            Err(error) => Err(error),
        }
    }

    fn comment(&self, repo: &str, number: u64, comment: Option<&str>, body: &str) -> Result<String, CallError> {
        let issues = format!("/repos/{}/issues", self.current_name(repo)?);
        let written = write_comment(&self.endpoint, &issues, number, comment, body);
        written.map_err(|error| self.with_permission(error, "issue: read and write"))
    }

    fn find_comment(&self, repo: &str, number: u64, account: &str, begin: &str) -> Result<Option<String>, CallError> {
        // This endpoint is not paginated.
        let answer = self.endpoint.get(&format!("/repos/{}/issues/{number}/comments", self.current_name(repo)?));
        let answer = answer.map_err(|error| self.with_permission(error, "issue: read and write"))?;
        let all: Vec<Comment> = answer.read().ok_or_else(|| self.endpoint.not_understood())?;
        Ok(Comment::first(&all, account, begin))
    }
}

impl Gitea {
    fn with_permission(&self, error: CallError, right: &str) -> CallError {
        match error {
            CallError::MissingRight { needs, .. } => {
                self.endpoint.missing_right(format!("it needs the permission `{right}` ({needs})"))
            }
            error => error,
        }
    }
}

/// Returns Gitea's word for a state. Many servers are too old for `skipped`.
const fn state(state: CommitState) -> &'static str {
    match state {
        CommitState::Pending | CommitState::Running => "pending",
        CommitState::Success | CommitState::Skipped => "success",
        CommitState::Failure => "failure",
        CommitState::Error | CommitState::Canceled => "error",
    }
}
