//! A server and a git host that know each other: what most tests start from.

use serde_json::{Value, json};

use super::{
    api::{Api, text},
    engine,
    git_host::GitHost,
    server::Server,
    until,
};

/// A server with one registered repository whose pushes arrive as webhooks.
pub struct World {
    pub server: Server,
    pub git: GitHost,
    pub repo: String,
    pub secret: String,
}

impl World {
    pub fn start() -> Self {
        Self::of(Server::start())
    }

    pub fn of(server: Server) -> Self {
        let git = GitHost::start();
        let (repo, secret) = server.api().add_repo("team/app", &git.url());
        git.hook(&format!("{}/hooks/{repo}", server.url()), &secret);
        Self { server, git, repo, secret }
    }

    pub fn api(&self) -> Api {
        self.server.api()
    }

    /// The build that a push of `commit` became, as soon as it is there.
    pub fn build_of(&self, commit: &str) -> Value {
        until("the build of a push", || {
            let builds = self.api().get(&format!("/api/v1/repos/{}/builds", self.repo));
            builds["items"].as_array()?.iter().find(|build| build["commit"] == commit).cloned()
        })
    }

    /// Pushes a pipeline and waits for its build's end.
    pub fn run(&self, pipeline: &str) -> Value {
        let commit = self.git.push(pipeline);
        let build = self.build_of(&commit);
        self.api().wait_for_build(&text(&build, "id"))
    }

    /// Starts a build of `main` by hand and gives it.
    pub fn start_build(&self) -> Value {
        let (status, build) =
            self.api().post(&format!("/api/v1/repos/{}/builds", self.repo), &json!({ "ref": "main" }));
        assert_eq!(status, 201, "{build}");
        build
    }

    /// Waits until nothing of jobs is left on the engine.
    pub fn nothing_is_left(&self) {
        until("the engine to be clean of jobs", || {
            engine::objects(&self.server.instance, &["job", "volume"]).is_empty().then_some(())
        });
    }
}

/// A job of a build by its name.
pub fn job<'a>(build: &'a Value, name: &str) -> &'a Value {
    build["jobs"]
        .as_array()
        .and_then(|jobs| jobs.iter().find(|job| job["name"] == name))
        .unwrap_or_else(|| panic!("no job {name} in {build}"))
}

/// A pipeline of one job of one step.
pub fn one_step(run: &str) -> String {
    let script = run.lines().map(|line| format!("          {line}\n")).collect::<String>();
    format!("jobs:\n  one:\n    image: {}\n    steps:\n      - run: |\n{script}", engine::BUSYBOX)
}
