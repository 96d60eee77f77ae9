//! Reruns that people ask for at GitHub: signed by GitHub, of those who may write there, and of what is this
//! repository's.

use longshore_core::{BuildId, Outcome, RepoId, Status};
use longshore_forge::{Forge as Hooks, signature::sign};
use longshore_store::{acts, builds, connections};
use serde_json::{Value, json};

use crate::{
    forge::{APP_ID, Forge, Kind, TOKEN},
    world::World,
};

struct App {
    world: World,
    forge: Forge,
    repo: RepoId,
    path: String,
    secret: String,
    folder: tempfile::TempDir,
}

impl App {
    async fn new() -> Self {
        let (world, forge) = (World::with_dispatcher().await, Forge::start(Kind::Github));
        let folder = tempfile::tempdir().unwrap();
        let key = forge.with_app(folder.path());
        let new = json!({ "kind": "github", "url": forge.url(), "app_id": APP_ID, "token": key });
        let made = world.post("/api/v1/connections", new).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let connection = made.json()["id"].as_str().unwrap().parse().unwrap();
        let hook = forge.state().app.as_ref().unwrap().hook.clone();
        let url = hook["url"].as_str().unwrap();
        let path = url.strip_prefix("https://ci.example").unwrap().to_owned();
        assert_eq!(path, format!("/hooks/apps/{connection}"));
        let secret = hook["secret"].as_str().unwrap().to_owned();
        assert!(secret.len() >= 32 && !made.text().contains(&secret));
        let repo = world.repo("team/app", "github", false).await.id;
        let mut tx = world.store.write().await.unwrap();
        connections::attach(&mut tx, repo, connection, "41").await.unwrap();
        tx.commit().await.unwrap();
        Self { world, forge, repo, path, secret, folder }
    }

    /// A build of two jobs, of which the second failed.
    async fn failed(&self) -> BuildId {
        let build = self.world.build_of_jobs(self.repo, 2, |_| {}).await;
        self.world.claim().await.end(Outcome::Success).await;
        let outcome = Outcome::Failure { exit_code: 1, step: "one".to_owned(), out_of_memory: false };
        self.world.claim().await.end(outcome).await;
        build.id
    }

    async fn asks(&self, event: &str, sender: &str, what: Value) -> (u16, Value) {
        let mut body = json!({
            "action": "rerequested", "repository": { "id": 41, "full_name": "team/app" }, "sender": { "login": sender },
        });
        body[event] = what;
        self.deliver(event, &body.to_string(), &self.secret).await
    }

    async fn deliver(&self, event: &str, body: &str, secret: &str) -> (u16, Value) {
        let signature = sign(Hooks::Github, body.as_bytes(), secret.as_bytes());
        let headers = [
            ("x-github-event", event),
            ("x-hub-signature-256", signature.as_str()),
            ("content-type", "application/json"),
        ];
        let answer = crate::client::send(self.world.addr, "POST", &self.path, &headers, body.to_owned()).await;
        (answer.status, answer.json())
    }

    fn check(&self, build: BuildId) -> Value {
        json!({ "name": "longshore/ci", "external_id": build.to_string() })
    }
}

#[tokio::test]
async fn a_rerun_that_is_asked_for_at_github_runs_what_failed_once_and_says_who_asked() {
    let app = App::new().await;
    let first = app.failed().await;
    let (status, answer) = app.asks("check_run", "ada", app.check(first)).await;
    assert_eq!(status, 202, "{answer}");
    let again: BuildId = answer["builds"][0].as_str().unwrap().parse().unwrap();
    let build = builds::get(&app.world.store, again).await.unwrap().unwrap();
    assert_eq!(build.rerun_of, Some(first));
    let jobs = longshore_store::jobs::of_build(&app.world.store, again).await.unwrap();
    let statuses: Vec<Status> = jobs.iter().map(|job| job.status).collect();
    assert_eq!(statuses, [Status::Success, Status::Queued]);
    let acts = acts::of_builds(&app.world.store, &[first]).await.unwrap();
    assert!(acts.iter().any(|act| act.by.name == "ada" && act.made.is_some_and(|(id, _)| id == again)), "{acts:?}");
    // Once more while that runs is not once more.
    let (status, answer) = app.asks("check_run", "ada", app.check(first)).await;
    assert_eq!(status, 409, "{answer}");
}

#[tokio::test]
async fn a_request_for_a_rerun_that_is_sent_again_reruns_nothing_and_one_of_which_nothing_came_may_be() {
    let app = App::new().await;
    let build = app.world.build_of_jobs(app.repo, 1, |_| {}).await.id;
    // It is not over.
    assert_eq!(app.asks("check_run", "ada", app.check(build)).await.0, 409);
    let failure = || Outcome::Failure { exit_code: 1, step: "one".to_owned(), out_of_memory: false };
    app.world.claim().await.end(failure()).await;
    assert_eq!(app.asks("check_run", "ada", app.check(build)).await.0, 202);
    app.world.claim().await.end(failure()).await;
    assert!(builds::open_rerun(&app.world.store, build).await.unwrap().is_none());
    let (status, answer) = app.asks("check_run", "ada", app.check(build)).await;
    assert_eq!(status, 409, "{answer}");
    assert!(answer.to_string().contains("delivered before"), "{answer}");
    assert!(builds::open_rerun(&app.world.store, build).await.unwrap().is_none());
}

#[tokio::test]
async fn a_suite_that_is_asked_for_reruns_all_of_its_commit() {
    let app = App::new().await;
    let first = app.failed().await;
    let commit = builds::get(&app.world.store, first).await.unwrap().unwrap().event.commit;
    let (status, answer) = app.asks("check_suite", "ada", json!({ "head_sha": commit })).await;
    assert_eq!((status, answer["builds"].as_array().map(Vec::len)), (202, Some(1)), "{answer}");
    let again: BuildId = answer["builds"][0].as_str().unwrap().parse().unwrap();
    assert_eq!(builds::get(&app.world.store, again).await.unwrap().unwrap().rerun_of, Some(first));
    let jobs = longshore_store::jobs::of_build(&app.world.store, again).await.unwrap();
    assert!(jobs.iter().all(|job| job.status != Status::Success), "{jobs:?}");
    let (status, answer) = app.asks("check_suite", "ada", json!({ "head_sha": commit })).await;
    assert_eq!(status, 409, "{answer}");
}

#[tokio::test]
async fn nobody_reruns_without_githubs_signature_the_right_to_write_and_a_build_of_that_repository() {
    let app = App::new().await;
    let build = app.failed().await;
    let other = app.world.repo("team/other", "git", false).await;
    let foreign = app.world.build(other.id, "main", &["one"]).await;
    for (sender, what, refused) in [
        ("eve", app.check(build), 403),
        ("ada/../x", app.check(build), 403),
        ("ada", app.check(foreign.id), 404),
        ("ada", app.check(BuildId::new()), 404),
        ("ada", json!({ "name": "x", "external_id": "" }), 404),
        ("ada", json!({}), 400),
    ] {
        let (status, answer) = app.asks("check_run", sender, what).await;
        assert_eq!(status, refused, "{sender}: {answer}");
    }
    let body = json!({ "action": "rerequested", "repository": { "id": 42 }, "sender": { "login": "ada" }, "check_run": app.check(build) });
    assert_eq!(app.deliver("check_run", &body.to_string(), &app.secret).await.0, 404);
    let wrong = app.deliver("check_run", &body.to_string(), TOKEN).await;
    assert_eq!(wrong.0, 401, "{}", wrong.1);
    // A connection that is not there, and one that is not an App, look the same.
    let made = app.world.post(
        "/api/v1/connections",
        json!({ "kind": "gitea", "url": Forge::start(Kind::Gitea).url(), "token": TOKEN }),
    );
    let gitea = made.await.json()["id"].as_str().unwrap().to_owned();
    for id in [gitea, BuildId::new().to_string(), "x".to_owned()] {
        let path = format!("/hooks/apps/{id}");
        let signature = sign(Hooks::Github, b"{}", b"x");
        let headers = [("x-hub-signature-256", signature.as_str())];
        let answer = crate::client::send(app.world.addr, "POST", &path, &headers, "{}".to_owned()).await;
        assert_eq!((answer.status, answer.json()), wrong, "{path}");
    }
    // An event that nobody asked GitHub for is no error.
    let (status, answer) = app.deliver("installation", "{\"action\":\"created\"}", &app.secret).await;
    assert_eq!((status, &answer["builds"]), (202, &json!([])));
    assert!(builds::open_rerun(&app.world.store, build).await.unwrap().is_none());
}

#[tokio::test]
async fn a_webhook_of_the_app_that_leads_elsewhere_stays() {
    let app = App::new().await;
    let elsewhere = json!({ "url": "https://other.example/hook" });
    app.forge.state().app.as_mut().unwrap().hook = elsewhere.clone();
    let key = std::fs::read_to_string(app.folder.path().join("app.pem")).unwrap();
    let new = json!({ "kind": "github", "url": app.forge.url(), "app_id": APP_ID, "token": key });
    assert_eq!(app.world.post("/api/v1/connections", new).await.status, 200);
    assert_eq!(app.forge.state().app.as_ref().unwrap().hook, elsewhere);
}
