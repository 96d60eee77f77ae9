//! Gogs, which has webhooks and no statuses, and no repositories by number: there a name is all that there is.

use serde::Deserialize;
use serde_json::json;

use crate::{
    Account, CallError, ForgeApi, Http, NewHook, NewStatus, RemoteRepo,
    github::{Comment, Hook, Permissions, ignore_not_found, with_repo_name, write_comment},
    http::Endpoint,
};

#[derive(Debug)]
pub(crate) struct Gogs(Endpoint);

#[derive(Deserialize)]
struct Repo {
    full_name: String,
    default_branch: Option<String>,
    private: bool,
    permissions: Option<Permissions>,
}

impl From<Repo> for RemoteRepo {
    fn from(repo: Repo) -> Self {
        Self {
            id: repo.full_name.clone(),
            name: repo.full_name,
            default_branch: repo.default_branch.filter(|branch| !branch.is_empty()),
            private: repo.private,
            admin: repo.permissions.is_some_and(|permissions| permissions.admin),
        }
    }
}

impl Gogs {
    pub(crate) fn new(http: &Http, address: &str, token: &str) -> Self {
        let (root, value) = (format!("{address}/api/v1"), format!("token {token}"));
        Self(Endpoint::new(http.clone(), root, "authorization", &value, token, "Gogs"))
    }
}

impl ForgeApi for Gogs {
    fn check(&self) -> Result<Account, CallError> {
        // Both names may be in one answer.
        let answer = self.0.get("/user")?;
        let login = ["login", "username"].iter().find_map(|key| answer.body[*key].as_str());
        login.map(|login| Account { login: login.to_owned() }).ok_or_else(|| self.0.not_understood())
    }

    fn repos(&self) -> Result<Vec<RemoteRepo>, CallError> {
        let repos: Vec<Repo> = self.0.get("/user/repos")?.read().ok_or_else(|| self.0.not_understood())?;
        Ok(repos.into_iter().map(RemoteRepo::from).collect())
    }

    fn repo(&self, name: &str) -> Result<RemoteRepo, CallError> {
        let answer = self.0.get(&format!("/repos/{name}")).map_err(|error| with_repo_name(&self.0, error, name))?;
        answer.read::<Repo>().map(RemoteRepo::from).ok_or_else(|| self.0.not_understood())
    }

    fn set_hook(&self, repo: &str, hook: NewHook<'_>) -> Result<String, CallError> {
        let path = format!("/repos/{repo}/hooks");
        let hooks: Vec<Hook> = self.0.get(&path)?.read().ok_or_else(|| self.0.not_understood())?;
        let body = json!({
            "type": "gogs",
            "active": true,
            "events": ["push", "create", "pull_request", "release"],
            "config": { "url": hook.url, "content_type": "json", "secret": hook.secret },
        });
        let made: Hook = self.0.post(&path, &body)?.read().ok_or_else(|| self.0.not_understood())?;
        for old in hooks.iter().filter(|old| old.config.url == hook.url) {
            ignore_not_found(self.0.delete(&format!("{path}/{}", old.id)))?;
        }
        Ok(made.id.to_string())
    }

    fn remove_hook(&self, repo: &str, hook: &str) -> Result<(), CallError> {
        ignore_not_found(self.0.delete(&format!("/repos/{repo}/hooks/{hook}")))
    }

    fn set_status(&self, _: &str, _: &NewStatus) -> Result<(), CallError> {
        Err(CallError::NotSupported("Gogs has no commit statuses"))
    }

    fn comment(&self, repo: &str, number: u64, comment: Option<&str>, body: &str) -> Result<String, CallError> {
        write_comment(&self.0, &format!("/repos/{repo}/issues"), number, comment, body)
    }

    fn find_comment(&self, repo: &str, number: u64, account: &str, begin: &str) -> Result<Option<String>, CallError> {
        // It lists all comments at once.
        let answer = self.0.get(&format!("/repos/{repo}/issues/{number}/comments"))?;
        let all: Vec<Comment> = answer.read().ok_or_else(|| self.0.not_understood())?;
        Ok(Comment::first(&all, account, begin))
    }
}
