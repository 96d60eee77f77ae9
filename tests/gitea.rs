//! A real Gitea or Forgejo: connected, registered, pushed to, with pull requests from a fork, approvals, statuses,
//! comments, renamed, given to another owner, and away in the middle of it. `LONGSHORE_TEST_GITEA` names a folder with
//! its program, `gitea` or `forgejo`, and its source, `source`, whose templates it reads; without it nothing is tested.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};
use support::{
    api::text,
    git_host::git,
    server::{Server, free_port},
    until,
    world::one_step,
};

const PASSWORD: &str = "a-long-Pass-w0rd";

/// A Gitea or Forgejo with the users `robot`, who is its administrator, and `ada`. Ends when it is dropped.
struct Gitea {
    /// What it is: `gitea` or `forgejo`.
    kind: &'static str,
    process: Child,
    folder: tempfile::TempDir,
    program: PathBuf,
    port: u16,
    /// How many tokens it has made: each has a name of its own.
    tokens: AtomicU32,
}

impl Gitea {
    /// Starts it, if there is one.
    #[expect(clippy::print_stderr, reason = "whoever runs the test learns why it did nothing")]
    fn start() -> Option<Self> {
        let Some(built) = std::env::var_os("LONGSHORE_TEST_GITEA").map(PathBuf::from) else {
            eprintln!("skipped: LONGSHORE_TEST_GITEA names no folder with a Gitea or a Forgejo");
            return None;
        };
        let kind = ["gitea", "forgejo"].into_iter().find(|kind| built.join(kind).is_file()).unwrap();
        let program = built.join(kind);
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let root = folder.path().display().to_string();
        let settings = format!(
            "I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
WORK_PATH = {root}
RUN_MODE = prod
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = http://127.0.0.1:{port}/
DISABLE_SSH = true
OFFLINE_MODE = true
STATIC_ROOT_PATH = {}
[database]
DB_TYPE = sqlite3
PATH = {root}/gitea.db
[repository]
ROOT = {root}/repositories
[security]
INSTALL_LOCK = true
SECRET_KEY = of-a-test
[service]
DISABLE_REGISTRATION = true
[webhook]
ALLOWED_HOST_LIST = *
[queue]
TYPE = channel
[log]
MODE = file
LEVEL = Info
ROOT_PATH = {root}/log
",
            built.join("source").display()
        );
        std::fs::write(folder.path().join("app.ini"), settings).unwrap();
        let process = spawn(&program, folder.path());
        let mut gitea = Self { kind, process, folder, program, port, tokens: AtomicU32::new(0) };
        gitea.wait();
        for (user, more) in [("robot", &["--admin"][..]), ("ada", &[])] {
            let email = format!("{user}@example.org");
            let new = ["admin", "user", "create", "--username", user, "--password", PASSWORD, "--email", &email];
            gitea.run(&[&new[..], &["--must-change-password=false"], more].concat());
        }
        Some(gitea)
    }

    /// Waits until it answers.
    fn wait(&mut self) {
        until("Gitea", || {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("{status}: {}", std::fs::read_to_string(self.folder.path().join("out")).unwrap());
            }
            ureq::get(&format!("{}/api/healthz", self.url())).call().ok()
        });
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn start_again(&mut self) {
        self.process = spawn(&self.program, self.folder.path());
        self.wait();
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn run(&self, args: &[&str]) -> String {
        let run = Command::new(&self.program)
            .args(args)
            .arg("--config")
            .arg(self.folder.path().join("app.ini"))
            .env("HOME", self.folder.path())
            .output()
            .unwrap();
        assert!(run.status.success(), "{args:?}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap().trim().to_owned()
    }

    /// Makes a token with these scopes.
    fn token(&self, user: &str, scopes: &str) -> String {
        let name = format!("token-{}", self.tokens.fetch_add(1, Ordering::Relaxed));
        let new = ["admin", "user", "generate-access-token", "--username", user, "--token-name", &name, "--raw"];
        let said = self.run(&[&new[..], &["--scopes", scopes]].concat());
        // A warning may stand before it.
        said.lines().last().unwrap_or_default().to_owned()
    }

    fn ask(&self, method: &str, path: &str, token: &str, body: &Value) -> Value {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/api/v1{path}", self.url()))
            .header("authorization", format!("token {token}"))
            .header("content-type", "application/json");
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = match body {
            Value::Null => agent.run(request.body(()).unwrap()),
            body => agent.run(request.body(body.to_string()).unwrap()),
        }
        .unwrap();
        let said = answer.body_mut().read_to_string().unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {} {said}", answer.status());
        serde_json::from_str(&said).unwrap_or(Value::Null)
    }

    fn clone_url(&self, user: &str, path: &str) -> String {
        format!("http://{user}:{PASSWORD}@127.0.0.1:{}/{path}.git", self.port)
    }
}

fn spawn(program: &Path, folder: &Path) -> Child {
    let log = std::fs::File::create(folder.join("out")).unwrap();
    Command::new(program)
        .args(["web", "--config"])
        .arg(folder.join("app.ini"))
        .env("HOME", folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Drop for Gitea {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A Longshore that is connected to it, with `robot/app` registered.
struct World {
    server: Server,
    gitea: Gitea,
    token: String,
    repo: String,
    work: PathBuf,
}

impl World {
    fn start() -> Option<Self> {
        let gitea = Gitea::start()?;
        let server = Server::start();
        let token = gitea.token("robot", "read:user,write:repository,write:issue");
        let admin = gitea.token("robot", "all");
        gitea.ask("POST", "/user/repos", &admin, &json!({ "name": "app", "default_branch": "main" }));
        let work = gitea.folder.path().join("work");
        std::fs::create_dir(&work).unwrap();
        git(&work, &["init", "-q", "-b", "main"]);
        git(&work, &["remote", "add", "origin", &gitea.clone_url("robot", "robot/app")]);
        let mut world = Self { server, gitea, token, repo: String::new(), work };
        world.commit("pipeline", &one_step("true"));
        world.push("main");

        let connection = json!({ "kind": world.gitea.kind, "url": world.gitea.url(), "token": world.token });
        let (status, made) = world.server.api().post("/api/v1/connections", &connection);
        assert_eq!(status, 201, "{made}");
        let listed = world.server.api().get(&format!("/api/v1/connections/{}/repos", text(&made, "id")));
        assert_eq!(listed["items"][0]["name"], "robot/app", "{listed}");
        let new = json!({ "name": "robot/app", "connection": world.gitea.kind });
        let (status, repo) = world.server.api().post("/api/v1/repos", &new);
        assert_eq!(status, 201, "{repo}");
        world.repo = text(&repo, "id");
        let (status, answer) =
            world.server.api().patch(&format!("/api/v1/repos/{}", world.repo), &json!({ "comments": true }));
        assert_eq!(status, 200, "{answer}");
        Some(world)
    }

    /// Commits a pipeline with a file beside it. Returns the commit.
    fn commit(&self, message: &str, pipeline: &str) -> String {
        std::fs::write(self.work.join(".longshore.yml"), pipeline).unwrap();
        std::fs::write(self.work.join("message"), message).unwrap();
        git(&self.work, &["add", "-A"]);
        git(&self.work, &["commit", "-q", "-m", message]);
        git(&self.work, &["rev-parse", "HEAD"]).trim().to_owned()
    }

    fn push(&self, what: &str) {
        git(&self.work, &["push", "-q", "origin", what]);
    }

    /// Waits for the end of the build of a commit.
    fn build_of(&self, commit: &str) -> Value {
        let build = until("the build", || {
            let builds = self.server.api().get(&format!("/api/v1/repos/{}/builds", self.repo));
            builds["items"].as_array()?.iter().find(|build| build["commit"] == commit).cloned()
        });
        self.server.api().get(&format!("/api/v1/builds/{}", text(&build, "id")))
    }

    /// Waits until Gitea shows this beside a commit. Returns its description.
    fn shows(&self, repo: &str, commit: &str, state: &str) -> String {
        until("the status at Gitea", || {
            let path = format!("/repos/{repo}/commits/{commit}/status");
            let shown = self.gitea.ask("GET", &path, &self.token, &Value::Null);
            let one = shown["statuses"].as_array()?.first()?.clone();
            let is_it = one["status"] == state && shown["state"] == state;
            is_it.then(|| text(&one, "description"))
        })
    }
}

#[test]
fn a_real_gitea_shows_every_state_of_pushes_tags_forks_and_renamed_repositories() {
    let Some(world) = World::start() else { return };
    // A push, and three branches and a tag in one.
    let works = world.commit("works", &one_step("true"));
    world.push("main");
    world.shows("robot/app", &works, "success");
    let fails = world.commit("fails", &one_step("exit 7"));
    git(&world.work, &["tag", "-a", "-m", "m", "v1"]);
    for branch in ["one", "two", "three"] {
        git(&world.work, &["branch", branch]);
    }
    git(&world.work, &["push", "-q", "origin", "main", "one", "two", "three", "v1"]);
    assert_eq!(world.shows("robot/app", &fails, "failure"), "one: step `exit 7` failed with exit code 7");

    // A pull request from a fork waits for approval, and says what failed.
    let ada = world.gitea.token("ada", "all");
    world.gitea.ask("POST", "/repos/robot/app/forks", &ada, &json!({}));
    git(&world.work, &["checkout", "-q", "-b", "topic"]);
    let head = world.commit("by ada", &one_step("exit 7"));
    git(&world.work, &["push", "-q", &world.gitea.clone_url("ada", "ada/app"), "topic"]);
    let opened = json!({ "title": "by ada", "head": "ada:topic", "base": "main" });
    let request = world.gitea.ask("POST", "/repos/robot/app/pulls", &ada, &opened);
    let waiting = world.build_of(&head);
    assert!(world.shows("robot/app", &head, "pending").contains("approv"), "{waiting}");
    let approve = format!("/api/v1/builds/{}/approve", text(&waiting, "id"));
    let (status, answer) = world.server.api().post(&approve, &json!({}));
    assert!(status < 300, "{answer}");
    world.shows("robot/app", &head, "failure");
    let comment = until("the comment", || {
        let path = format!("/repos/robot/app/issues/{}/comments", request["number"]);
        let all = world.gitea.ask("GET", &path, &world.token, &Value::Null);
        Some(text(all.as_array()?.first()?, "body"))
    });
    assert!(comment.contains("failed with exit code 7"), "{comment}");

    // So does one without a fork: to push for review (AGit), reading is enough.
    git(&world.work, &["checkout", "-q", "-b", "review", "main"]);
    let head = world.commit("for review", &one_step("true"));
    let as_ada = world.gitea.clone_url("ada", "robot/app");
    git(&world.work, &["push", "-q", "-o", "topic=review", &as_ada, "HEAD:refs/for/main"]);
    assert!(world.shows("robot/app", &head, "pending").contains("approv"));

    // It stays the same repository under another name.
    let admin = world.gitea.token("robot", "write:repository");
    world.gitea.ask("PATCH", "/repos/robot/app", &admin, &json!({ "name": "renamed" }));
    git(&world.work, &["checkout", "-q", "main"]);
    git(&world.work, &["remote", "set-url", "origin", &world.gitea.clone_url("robot", "robot/renamed")]);
    let renamed = world.commit("renamed", &one_step("true"));
    world.push("main");
    world.shows("robot/renamed", &renamed, "success");
    let clone_url = || text(&world.server.api().get(&format!("/api/v1/repos/{}", world.repo)), "clone_url");
    assert!(clone_url().contains("robot/renamed"), "{}", clone_url());

    // And of another owner.
    let all = world.gitea.token("robot", "all");
    world.gitea.ask("POST", "/repos/robot/renamed/transfer", &all, &json!({ "new_owner": "ada" }));
    git(&world.work, &["remote", "set-url", "origin", &world.gitea.clone_url("ada", "ada/renamed")]);
    let given = world.commit("given", &one_step("true"));
    world.push("main");
    world.shows("ada/renamed", &given, "success");
    assert!(clone_url().contains("ada/renamed"), "{}", clone_url());
}

#[test]
fn a_real_gitea_that_was_away_shows_how_the_build_ended_meanwhile() {
    let Some(mut world) = World::start() else { return };
    let commit = world.commit("asks", &one_step("true").replacen("steps:", "approval: 'Ship it?'\n    steps:", 1));
    world.push("main");
    world.shows("robot/app", &commit, "pending");
    let build = world.build_of(&commit);
    world.gitea.stop();
    let approve = format!("/api/v1/builds/{}/approve", text(&build, "id"));
    let (status, answer) = world.server.api().post(&approve, &json!({}));
    assert!(status < 300, "{answer}");
    until("the end of the build", || {
        let build = world.server.api().get(&format!("/api/v1/builds/{}", text(&build, "id")));
        (build["status"] == "success").then_some(())
    });
    world.gitea.start_again();
    world.shows("robot/app", &commit, "success");
}

#[test]
fn a_real_gitea_tells_drafts_labels_merges_and_renamed_branches_apart() {
    let Some(world) = World::start() else { return };
    let robot = world.gitea.token("robot", "all");
    let ask = |method: &str, path: &str, body: Value| {
        world.gitea.ask(method, &format!("/repos/robot/app{path}"), &robot, &body)
    };
    let on = "on:\n  push: { branches: [main, next] }\n  pull-request: { types: [ready-for-review, unlabeled, merged, declined] }\n";
    let pipeline = format!("{on}{}", one_step("true"));
    world.commit("listens", &pipeline);
    world.push("main");

    let actions = || {
        let builds = world.server.api().get(&format!("/api/v1/repos/{}/builds?event=pull-request", world.repo));
        let mut actions: Vec<(u64, String)> = builds["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|build| &build["pull_request"])
            .map(|request| {
                let action = match (text(request, "action").as_str(), &request["merged"]) {
                    ("closed", Value::Bool(true)) => "merged".to_owned(),
                    ("closed", _) => "declined".to_owned(),
                    (action, _) => action.to_owned(),
                };
                (request["number"].as_u64().unwrap(), action)
            })
            .collect();
        actions.sort();
        actions
    };
    let expect = |expected: &[(u64, &str)]| {
        let expected: Vec<(u64, String)> =
            expected.iter().map(|(number, action)| (*number, (*action).into())).collect();
        until(&format!("{expected:?}"), || (actions() == expected).then_some(()));
    };
    let open = |branch: &str, title: &str| {
        git(&world.work, &["checkout", "-q", "-b", branch, "main"]);
        world.commit(branch, &pipeline);
        world.push(branch);
        ask("POST", "/pulls", json!({ "title": title, "head": branch, "base": "main" }))["number"].as_u64().unwrap()
    };

    // A draft whose title loses its mark, and a label that is taken away.
    let merged = open("first", "WIP: first");
    ask("PATCH", &format!("/pulls/{merged}"), json!({ "title": "first" }));
    expect(&[(merged, "ready-for-review")]);
    let label = ask("POST", "/labels", json!({ "name": "later", "color": "#00aabb" }))["id"].clone();
    ask("POST", &format!("/issues/{merged}/labels"), json!({ "labels": [label] }));
    ask("DELETE", &format!("/issues/{merged}/labels/{label}"), Value::Null);
    expect(&[(merged, "ready-for-review"), (merged, "unlabeled")]);

    // One that is merged, its branch deleted with it, and one that is declined.
    let merge = json!({ "Do": "merge", "delete_branch_after_merge": true });
    until("the merge", || {
        let request = ask("GET", &format!("/pulls/{merged}"), Value::Null);
        (request["mergeable"] == true).then_some(())
    });
    ask("POST", &format!("/pulls/{merged}/merge"), merge);
    let declined = open("second", "second");
    ask("PATCH", &format!("/pulls/{declined}"), json!({ "state": "closed" }));
    expect(&[(merged, "merged"), (merged, "ready-for-review"), (merged, "unlabeled"), (declined, "declined")]);

    // Gitea tells of a branch that gets another name only that it was created.
    git(&world.work, &["checkout", "-q", "-b", "before", "main"]);
    let commit = world.commit("before", &pipeline);
    world.push("before");
    ask("PATCH", "/branches/before", json!({ "name": "next" }));
    assert_eq!(world.build_of(&commit)["branch"], "next");
    world.shows("robot/app", &commit, "success");
}
