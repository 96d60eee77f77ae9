//! GitHub, with a token: classic, fine-grained or of an OAuth app. Also GitHub Enterprise Server.
//!
//! Repositories are addressed by their number (`/repositories/{id}`), which GitHub accepts wherever it takes
//! `/repos/{owner}/{repo}`.

use longshore_core::commit_status::CommitState;
use serde::Deserialize;
use serde_json::json;

use crate::{Account, CallError, ForgeApi, Http, NewHook, NewStatus, RemoteRepo, http::Endpoint, pages::read_all};

#[derive(Debug)]
pub(crate) struct Github(pub(crate) Endpoint);

#[derive(Deserialize)]
pub(crate) struct User {
    pub(crate) login: String,
}

#[derive(Deserialize)]
pub(crate) struct Repo {
    id: u64,
    full_name: String,
    default_branch: Option<String>,
    private: bool,
    permissions: Option<Permissions>,
}

#[derive(Deserialize)]
pub(crate) struct Permissions {
    pub(crate) admin: bool,
}

impl From<Repo> for RemoteRepo {
    fn from(repo: Repo) -> Self {
        Self {
            id: repo.id.to_string(),
            name: repo.full_name,
            default_branch: repo.default_branch,
            private: repo.private,
            admin: repo.permissions.is_some_and(|permissions| permissions.admin),
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Hook {
    pub(crate) id: u64,
    pub(crate) config: HookConfig,
}

#[derive(Deserialize)]
pub(crate) struct HookConfig {
    #[serde(default)]
    pub(crate) url: String,
}

/// A comment in GitHub's shape, which other forges share.
#[derive(Deserialize)]
pub(crate) struct Comment {
    pub(crate) id: u64,
    #[serde(default)]
    body: String,
    user: Option<User>,
}

impl Comment {
    /// Returns the id of an account's first comment that begins so.
    pub(crate) fn first(all: &[Self], account: &str, begin: &str) -> Option<String> {
        let is_own = |comment: &&Self| comment.user.as_ref().is_some_and(|user| user.login == account);
        all.iter().filter(is_own).find(|comment| comment.body.starts_with(begin)).map(|comment| comment.id.to_string())
    }
}

impl Github {
    pub(crate) fn new(http: &Http, address: &str, token: &str) -> Self {
        let root = root_of(address);
        let value = format!("Bearer {token}");
        let endpoint = Endpoint::new(http.clone(), root, "authorization", &value, token, "GitHub");
        Self(endpoint.accepting("application/vnd.github+json"))
    }
}

/// Returns the address that every path of the API is appended to.
pub(crate) fn root_of(address: &str) -> String {
    match address {
        "https://github.com" | "https://www.github.com" => "https://api.github.com".to_owned(),
        server => format!("{server}/api/v3"),
    }
}

impl ForgeApi for Github {
    fn check(&self) -> Result<Account, CallError> {
        let answer = self.0.get("/user")?;
        // Only classic tokens have scopes; what a fine-grained one may do is seen at each repository.
        if let Some(scopes) = answer.header("x-oauth-scopes") {
            let has = |scope: &str| scopes.split(',').any(|one| one.trim() == scope);
            let public_only = has("public_repo") && has("admin:repo_hook");
            if !has("repo") && !public_only {
                let has = if scopes.trim().is_empty() { "none" } else { scopes };
                return Err(self.0.missing_right(format!(
                    "it needs the scope `repo` (for public repositories alone `public_repo` and `admin:repo_hook`), and has {has}"
                )));
            }
        }
        let user: User = answer.read().ok_or_else(|| self.0.not_understood())?;
        Ok(Account { login: user.login })
    }

    fn repos(&self) -> Result<Vec<RemoteRepo>, CallError> {
        let path = "/user/repos?affiliation=owner,collaborator,organization_member&sort=full_name";
        let repos: Vec<Repo> = read_all(&self.0, path, "per_page")?;
        Ok(repos.into_iter().map(RemoteRepo::from).collect())
    }

    fn repo(&self, name: &str) -> Result<RemoteRepo, CallError> {
        let answer = self.0.get(&format!("/repos/{name}")).map_err(|error| with_repo_name(&self.0, error, name))?;
        answer.read::<Repo>().map(RemoteRepo::from).ok_or_else(|| self.0.not_understood())
    }

    fn set_hook(&self, repo: &str, hook: NewHook<'_>) -> Result<String, CallError> {
        let path = format!("/repositories/{repo}/hooks");
        let hooks: Vec<Hook> = read_all(&self.0, &path, "per_page")?;
        let mut body = json!({
            "active": true,
            "events": ["push", "pull_request", "release", "merge_group"],
            "config": { "url": hook.url, "content_type": "json", "secret": hook.secret },
        });
        // It refuses a second one of the same address, so the first of before is changed.
        let mut before = hooks.iter().filter(|old| old.config.url == hook.url);
        let answer = match before.next() {
            Some(old) => self.0.patch(&format!("{path}/{}", old.id), &body)?,
            None => {
                body["name"] = "web".into();
                self.0.post(&path, &body)?
            }
        };
        let made: Hook = answer.read().ok_or_else(|| self.0.not_understood())?;
        for old in before {
            ignore_not_found(self.0.delete(&format!("{path}/{}", old.id)))?;
        }
        Ok(made.id.to_string())
    }

    fn remove_hook(&self, repo: &str, hook: &str) -> Result<(), CallError> {
        ignore_not_found(self.0.delete(&format!("/repositories/{repo}/hooks/{hook}")))
    }

    fn set_status(&self, repo: &str, status: &NewStatus) -> Result<(), CallError> {
        let mut body = json!({
            "state": state(status.state),
            "context": status.context,
            "description": status.description,
        });
        if !status.target_url.is_empty() {
            body["target_url"] = status.target_url.as_str().into();
        }
        self.0.post(&format!("/repositories/{repo}/statuses/{}", status.commit), &body).map(drop)
    }

    fn comment(&self, repo: &str, number: u64, comment: Option<&str>, body: &str) -> Result<String, CallError> {
        write_comment(&self.0, &format!("/repositories/{repo}/issues"), number, comment, body)
    }

    fn find_comment(&self, repo: &str, number: u64, account: &str, begin: &str) -> Result<Option<String>, CallError> {
        let all: Vec<Comment> =
            read_all(&self.0, &format!("/repositories/{repo}/issues/{number}/comments"), "per_page")?;
        Ok(Comment::first(&all, account, begin))
    }
}

const fn state(state: CommitState) -> &'static str {
    match state {
        CommitState::Pending | CommitState::Running => "pending",
        CommitState::Success | CommitState::Skipped => "success",
        CommitState::Failure => "failure",
        CommitState::Error | CommitState::Canceled => "error",
    }
}

/// Counts the removal of something that does not exist as a success.
pub(crate) fn ignore_not_found<T>(result: Result<T, CallError>) -> Result<(), CallError> {
    match result {
        Ok(_) | Err(CallError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Adds a comment to an issue or pull request, or changes the one with this ID. Returns its ID. `issues` is the path of
/// the repository's issues.
pub(crate) fn write_comment(
    endpoint: &Endpoint,
    issues: &str,
    number: u64,
    comment: Option<&str>,
    body: &str,
) -> Result<String, CallError> {
    let body = json!({ "body": body });
    let written = match comment {
        Some(id) => endpoint.patch(&format!("{issues}/comments/{id}"), &body)?,
        None => endpoint.post(&format!("{issues}/{number}/comments"), &body)?,
    };
    written.read::<Comment>().map(|comment| comment.id.to_string()).ok_or_else(|| endpoint.not_understood())
}

/// Names the repository in a `NotFound` error.
pub(crate) fn with_repo_name(endpoint: &Endpoint, error: CallError, repo: &str) -> CallError {
    match error {
        CallError::NotFound { .. } => endpoint.not_found(format!("repository `{repo}`")),
        error => error,
    }
}
