//! GitLab. Projects are addressed by their number everywhere.

use longshore_core::commit_status::CommitState;
use serde::Deserialize;
use serde_json::json;

use crate::{
    Account, CallError, ForgeApi, Http, NewHook, NewStatus, RemoteRepo,
    connection::percent_encoded,
    github::{ignore_not_found, with_repo_name},
    http::Endpoint,
    pages::read_all,
};

/// The least role that may set up webhooks: Maintainer.
const MAINTAINER: u32 = 40;

#[derive(Debug)]
pub(crate) struct Gitlab(Endpoint);

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct Token {
    scopes: Vec<String>,
}

#[derive(Deserialize)]
struct Project {
    id: u64,
    path_with_namespace: String,
    default_branch: Option<String>,
    #[serde(default)]
    visibility: String,
    permissions: Option<Permissions>,
}

#[derive(Deserialize)]
struct Permissions {
    project_access: Option<Access>,
    group_access: Option<Access>,
}

#[derive(Deserialize)]
struct Access {
    access_level: u32,
}

impl From<Project> for RemoteRepo {
    fn from(project: Project) -> Self {
        let levels = project.permissions.iter().flat_map(|rights| [&rights.project_access, &rights.group_access]);
        let admin = levels.flatten().any(|access| access.access_level >= MAINTAINER);
        Self {
            id: project.id.to_string(),
            name: project.path_with_namespace,
            default_branch: project.default_branch,
            private: project.visibility != "public",
            admin,
        }
    }
}

#[derive(Deserialize)]
struct Hook {
    id: u64,
    #[serde(default)]
    url: String,
}

#[derive(Deserialize)]
struct Note {
    id: u64,
    #[serde(default)]
    body: String,
    author: Option<User>,
}

impl Gitlab {
    pub(crate) fn new(http: &Http, address: &str, token: &str) -> Self {
        let root = format!("{address}/api/v4");
        Self(Endpoint::new(http.clone(), root, "private-token", token, token, "GitLab"))
    }
}

impl ForgeApi for Gitlab {
    fn check(&self) -> Result<Account, CallError> {
        let needs_api = |has: &str| self.0.missing_right(format!("it needs the scope `api`, and has {has}"));
        let user = self.0.get("/user").map_err(|error| match error {
            CallError::MissingRight { needs, .. } => needs_api(&format!("another ({needs})")),
            error => error,
        })?;
        let user: User = user.read().ok_or_else(|| self.0.not_understood())?;
        match self.0.get("/personal_access_tokens/self") {
            Ok(answer) => {
                let token: Token = answer.read().ok_or_else(|| self.0.not_understood())?;
                if !token.scopes.iter().any(|scope| scope == "api") {
                    return Err(needs_api(&token.scopes.join(", ")));
                }
            }
            // Versions before 15.5, and tokens of OAuth apps.
            Err(CallError::NotFound { .. } | CallError::BadToken { .. } | CallError::MissingRight { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(Account { login: user.username })
    }

    fn repos(&self) -> Result<Vec<RemoteRepo>, CallError> {
        let path = format!("/projects?membership=true&archived=false&min_access_level={MAINTAINER}&order_by=path");
        let projects: Vec<Project> = read_all(&self.0, &path, "per_page")?;
        // The items of this list have no `permissions`; its filter asks for maintainers' projects.
        Ok(projects.into_iter().map(|project| RemoteRepo { admin: true, ..project.into() }).collect())
    }

    fn repo(&self, name: &str) -> Result<RemoteRepo, CallError> {
        let answer = self.0.get(&format!("/projects/{}", percent_encoded(name)));
        let answer = answer.map_err(|error| with_repo_name(&self.0, error, name))?;
        answer.read::<Project>().map(RemoteRepo::from).ok_or_else(|| self.0.not_understood())
    }

    fn set_hook(&self, repo: &str, hook: NewHook<'_>) -> Result<String, CallError> {
        let path = format!("/projects/{repo}/hooks");
        let hooks: Vec<Hook> = read_all(&self.0, &path, "per_page")?;
        let body = json!({
            "url": hook.url,
            "token": hook.secret,
            "push_events": true,
            "tag_push_events": true,
            "merge_requests_events": true,
            "releases_events": true,
            "enable_ssl_verification": true,
        });
        let made: Hook = self.0.post(&path, &body)?.read().ok_or_else(|| self.0.not_understood())?;
        for old in hooks.iter().filter(|old| old.url == hook.url) {
            ignore_not_found(self.0.delete(&format!("{path}/{}", old.id)))?;
        }
        Ok(made.id.to_string())
    }

    fn remove_hook(&self, repo: &str, hook: &str) -> Result<(), CallError> {
        ignore_not_found(self.0.delete(&format!("/projects/{repo}/hooks/{hook}")))
    }

    fn set_status(&self, repo: &str, status: &NewStatus) -> Result<(), CallError> {
        let mut body = json!({
            "state": state(status.state),
            "name": status.context,
            "description": status.description,
        });
        if !status.target_url.is_empty() {
            body["target_url"] = status.target_url.as_str().into();
        }
        // Without it GitLab takes any ref with that commit, and shows the state in that one's pipeline.
        if let Some(name) = &status.ref_name {
            body["ref"] = name.as_str().into();
        }
        match self.0.post(&format!("/projects/{repo}/statuses/{}", status.commit), &body) {
            Ok(_) => Ok(()),
            // The context is in that state, or past it.
            Err(CallError::Refused { status: 400, message, .. }) if message.contains("Cannot transition") => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn comment(&self, repo: &str, number: u64, comment: Option<&str>, body: &str) -> Result<String, CallError> {
        let notes = format!("/projects/{repo}/merge_requests/{number}/notes");
        let body = json!({ "body": body });
        let written = match comment {
            Some(id) => self.0.put(&format!("{notes}/{id}"), &body)?,
            None => self.0.post(&notes, &body)?,
        };
        written.read::<Note>().map(|note| note.id.to_string()).ok_or_else(|| self.0.not_understood())
    }

    fn find_comment(&self, repo: &str, number: u64, account: &str, begin: &str) -> Result<Option<String>, CallError> {
        let path = format!("/projects/{repo}/merge_requests/{number}/notes?sort=asc&order_by=created_at");
        let all: Vec<Note> = read_all(&self.0, &path, "per_page")?;
        let is_own = |note: &&Note| note.author.as_ref().is_some_and(|author| author.username == account);
        let found = all.iter().filter(is_own).find(|note| note.body.starts_with(begin));
        Ok(found.map(|note| note.id.to_string()))
    }
}

/// Returns GitLab's word for a state. A skipped job does not let a merge request pass there.
const fn state(state: CommitState) -> &'static str {
    match state {
        CommitState::Pending => "pending",
        CommitState::Running => "running",
        CommitState::Success | CommitState::Skipped => "success",
        CommitState::Failure | CommitState::Error => "failed",
        CommitState::Canceled => "canceled",
    }
}
