//! A server and a forge that know each other by a connection.

use std::time::Duration;

use longshore_forge::{Forge, signature::sign};
use serde_json::{Value, json};

use super::{
    api::{Api, text},
    forge::{APP_ID, Forge as FakeForge, Kind, TOKEN},
    git_host::GitHost,
    server::Server,
    until, until_within,
    world::one_step,
};

/// A server that has registered `team/app` of a forge through a connection.
pub struct World {
    pub server: Server,
    pub git: GitHost,
    pub forge: FakeForge,
    pub repo: String,
    /// The keys of an App.
    keys: Option<tempfile::TempDir>,
}

impl World {
    pub fn start(kind: Kind) -> Self {
        Self::connected(kind, |forge| json!({ "kind": kind.word(), "url": forge.url(), "token": TOKEN }))
    }

    /// The same of a GitHub that knows an App alone.
    pub fn of_app() -> Self {
        Self::of_app_that(false)
    }

    /// The same of an App that may make check runs.
    pub fn of_app_with_checks() -> Self {
        Self::of_app_that(true)
    }

    fn of_app_that(checks: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut world = Self::connected(Kind::Github, |forge| {
            let key = forge.with_app(folder.path());
            forge.state().app.as_mut().expect("an App").checks = checks;
            json!({ "kind": "github", "url": forge.url(), "app_id": APP_ID, "token": key })
        });
        world.keys = Some(folder);
        world
    }

    fn connected(kind: Kind, connection: impl FnOnce(&FakeForge) -> Value) -> Self {
        let (server, git) = (Server::start(), GitHost::start());
        // A branch to clone has to be there.
        git.push(&one_step("true"));
        let forge = FakeForge::start(kind).with_git(&git.url());
        let (status, answer) = server.api().post("/api/v1/connections", &connection(&forge));
        assert_eq!(status, 201, "{answer}");
        let new = json!({ "name": "team/app", "connection": kind.word() });
        let (status, repo) = server.api().post("/api/v1/repos", &new);
        assert_eq!(status, 201, "{repo}");
        let repo = text(&repo, "id");
        Self { server, git, forge, repo, keys: None }
    }

    /// Pushes a pipeline and starts its build. Returns the commit and the build's id.
    pub fn build(&self, pipeline: &str) -> (String, String) {
        let commit = self.git.push(pipeline);
        let (status, build) =
            self.server.api().post(&format!("/api/v1/repos/{}/builds", self.repo), &json!({ "ref": "main" }));
        assert_eq!(status, 201, "{build}");
        (commit, text(&build, "id"))
    }

    /// Delivers a push of `main` as the forge does, with the webhook that was set up there. Returns the build's id.
    pub fn deliver_push(&self, commit: &str) -> String {
        let (name, secret) = {
            let state = self.forge.state();
            let secret = state.hooks[0].body["config"]["secret"].as_str().expect("a secret").to_owned();
            (state.repos[0].name.clone(), secret)
        };
        let recorded = include_str!("../../crates/forge/tests/payloads/forgejo-push.json");
        let mut body: Value = serde_json::from_str(recorded).expect("JSON");
        body["before"] = "0".repeat(40).into();
        body["after"] = commit.into();
        body["repository"]["id"] = 41.into();
        for (key, value) in [
            ("full_name", name.clone()),
            ("clone_url", format!("{}/{name}.git", self.forge.url())),
            ("html_url", format!("{}/{name}", self.forge.url())),
        ] {
            body["repository"][key] = value.into();
        }
        let body = body.to_string();
        let signature = sign(Forge::Forgejo, body.as_bytes(), secret.as_bytes());
        let headers =
            [("X-Forgejo-Event", "push"), ("X-Forgejo-Signature", &signature), ("X-Forgejo-Delivery", commit)];
        let path = format!("/hooks/{}", self.repo);
        let (status, answer) = Api::new(&self.server.url(), None).post_bytes(&path, &headers, body.as_bytes());
        assert_eq!(status, 202, "{answer}");
        let delivery = format!("/api/v1/deliveries/{}", text(&answer, "delivery"));
        let ended = until("the delivery's end", || {
            let delivery = self.server.api().get(&delivery);
            (delivery["status"] != "pending").then_some(delivery)
        });
        ended["builds"][0].as_str().unwrap_or_else(|| panic!("{ended}")).to_owned()
    }

    /// Waits until the forge shows a state. Returns its description.
    pub fn shows(&self, commit: &str, context: &str, state: &str) -> String {
        until_within(Duration::from_secs(600), &format!("{state} of {context}"), || {
            let (shown, description) = self.forge.shown(commit).remove(context)?;
            (shown == state).then_some(description)
        })
    }
}
