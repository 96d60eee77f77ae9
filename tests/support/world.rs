//! A server and a git host that know each other. Most tests start with it.

use std::time::Duration;

use longshore_core::{RepoId, Timestamp};
use longshore_forge::{Forge, signature::sign};
use longshore_store::{Store, schedules};
use serde_json::{Value, json};

use super::{
    api::{Api, text},
    engine,
    git_host::{GitHost, git},
    polled,
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

    /// Waits for the build of a push of `commit`.
    pub fn build_of(&self, commit: &str) -> Value {
        until("the build of a push", || {
            let builds = self.api().get(&format!("/api/v1/repos/{}/builds", self.repo));
            builds["items"].as_array()?.iter().find(|build| build["commit"] == commit).cloned()
        })
    }

    /// Pushes a pipeline and waits for the end of its build.
    pub fn run(&self, pipeline: &str) -> Value {
        let commit = self.git.push(pipeline);
        let build = self.build_of(&commit);
        self.api().wait_for_build(&text(&build, "id"))
    }

    /// Starts a build of `main` by hand and returns it.
    pub fn start_build(&self) -> Value {
        let (status, build) =
            self.api().post(&format!("/api/v1/repos/{}/builds", self.repo), &json!({ "ref": "main" }));
        assert_eq!(status, 201, "{build}");
        build
    }

    /// Registers the repository once more, as one of a Forgejo, and uses it for further deliveries.
    pub fn becomes_forgejos(&mut self) {
        let new = json!({ "name": "team/forge", "clone_url": self.git.url(), "forge": "forgejo" });
        let (status, repo) = self.api().post("/api/v1/repos", &new);
        assert_eq!(status, 201, "{repo}");
        (self.repo, self.secret) = (text(&repo, "id"), text(&repo, "hook_secret"));
    }

    /// Delivers a recorded event of a pull request, changed to this commit. Returns what it becomes.
    pub fn pull_request(&self, action: &str, head: &str, fork: bool) -> Value {
        self.pull_request_called("A change; $(id) `x`", action, head, fork)
    }

    /// Like [`Self::pull_request`], with another title.
    pub fn pull_request_called(&self, title: &str, action: &str, head: &str, fork: bool) -> Value {
        let recorded = include_str!("../../crates/forge/tests/payloads/forgejo-pull-request.json");
        let mut body: Value = serde_json::from_str(recorded).expect("JSON");
        body["action"] = action.into();
        body["pull_request"]["title"] = title.into();
        body["repository"]["clone_url"] = self.git.url().into();
        body["pull_request"]["head"]["sha"] = head.into();
        match fork {
            true => {
                body["pull_request"]["base"]["repo"]["full_name"] = "app".into();
                body["pull_request"]["head"]["repo"]["id"] = 4711.into();
                body["pull_request"]["head"]["repo"]["full_name"] = "eve/app".into();
            }
            // The commits of the repository's own pull requests are on its branches. No webhook is sent for this one.
            false => drop(git(&self.git.bare(), &["update-ref", "refs/heads/feature/x", head])),
        }
        self.deliver("pull_request", &body)
    }

    /// Delivers an event as a Forgejo does, signed, and waits for what it becomes.
    pub fn deliver(&self, event: &str, body: &Value) -> Value {
        let body = body.to_string();
        let signature = sign(Forge::Forgejo, body.as_bytes(), self.secret.as_bytes());
        let id = rand::random::<u64>().to_string();
        let headers = [
            ("X-Forgejo-Event", event),
            ("X-Forgejo-Signature", signature.as_str()),
            ("X-Forgejo-Delivery", id.as_str()),
        ];
        let forge = Api::new(&self.server.url(), None);
        let (status, answer) = forge.post_bytes(&format!("/hooks/{}", self.repo), &headers, body.as_bytes());
        assert_eq!(status, 202, "{answer}");
        until("the delivery's end", || {
            let delivery = self.api().get(&format!("/api/v1/deliveries/{}", text(&answer, "delivery")));
            (delivery["status"] != "pending").then_some(delivery)
        })
    }

    /// Makes a schedule due since that time. The server must be down.
    pub fn was_due_at(&self, cron: &str, millis: i64) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let store = Store::open(self.server.data.path()).await.expect("nobody else has it");
            let repo: RepoId = self.repo.parse().expect("an id");
            let all = schedules::of_repo(&store, repo).await.expect("read");
            let row = all.iter().find(|row| row.key.cron == cron).expect("such a schedule");
            let mut tx = store.write().await.expect("a transaction");
            schedules::set_next(&mut tx, row, Timestamp::from_millis(millis)).await.expect("written");
            tx.commit().await.expect("committed");
            store.close().await;
        });
    }

    /// Returns the schedules of the repository.
    pub fn schedules(&self) -> Vec<Value> {
        let schedules = self.api().get(&format!("/api/v1/repos/{}/schedules", self.repo));
        schedules["items"].as_array().expect("a list").clone()
    }

    /// Waits until nothing of any job is left on the engine.
    pub fn nothing_is_left(&self) {
        let objects = || engine::objects(&self.server.instance, &["job", "volume"]);
        let limit = Duration::from_secs(600);
        if polled(limit, || objects().is_empty().then_some(())).is_none() {
            let left = engine::described(&self.server.instance);
            panic!("after {} s, of the instance's objects these are left: {left:#?}", limit.as_secs());
        }
    }
}

/// Finds a job of a build by its name.
pub fn job<'a>(build: &'a Value, name: &str) -> &'a Value {
    build["jobs"]
        .as_array()
        .and_then(|jobs| jobs.iter().find(|job| job["name"] == name))
        .unwrap_or_else(|| panic!("no job {name} in {build}"))
}

/// Returns a pipeline of one job with one step.
pub fn one_step(run: &str) -> String {
    let script = run.lines().map(|line| format!("          {line}\n")).collect::<String>();
    format!("jobs:\n  one:\n    image: {}\n    steps:\n      - run: |\n{script}", engine::BUSYBOX)
}
