//! Repositories and builds: shapes, filters, pages.

use longshore_core::{Event, EventName, Outcome};
use serde_json::{Value, json};

use crate::world::{ADMIN, World};

#[tokio::test]
async fn a_repository_is_registered_shown_changed_and_removed() {
    let world = World::new().await;
    let made = world
        .post("/api/v1/repos", json!({ "name": "o/r", "clone_url": "https://u:pass@forge.example/o/r.git" }))
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    let repo = made.json();
    let (id, secret) = (repo["id"].as_str().unwrap(), repo["hook_secret"].as_str().unwrap());
    assert_eq!(repo["hook_url"], format!("https://ci.example/hooks/{id}"));
    assert_eq!((&repo["forge"], &repo["public"]), (&json!("git"), &json!(false)));
    assert_eq!(repo["clone_url"], "https://forge.example/o/r.git");

    let path = format!("/api/v1/repos/{id}");
    let shown = world.get(&path).await;
    assert!(!shown.text().contains("pass") && !shown.text().contains(secret));
    let listed = world.get("/api/v1/repos?name=o/r").await.json();
    assert_eq!(listed["items"][0]["id"], repo["id"]);
    let patched = world.call("PATCH", &path, Some(ADMIN), r#"{"public":true,"default_branch":"main"}"#).await.json();
    assert_eq!((&patched["public"], &patched["default_branch"]), (&json!(true), &json!("main")));
    let renewed = world.post(&format!("{path}/hook-secret"), json!({})).await.json();
    assert!(renewed["hook_secret"].as_str().is_some_and(|new| new != secret));
    assert_eq!(world.post("/api/v1/repos", json!({ "name": "o/r", "clone_url": "https://h/r" })).await.status, 409);
    assert_eq!(world.call("DELETE", &path, Some(ADMIN), "").await.status, 204);
    assert_eq!(world.get(&path).await.status, 404);
}

#[tokio::test]
async fn a_body_that_is_not_understood_says_what_is_wrong() {
    let world = World::new().await;
    let url = "https://h.example/r";
    for (body, word) in [
        (json!({ "name": "r", "clone_url": url, "colour": "red" }), "colour"),
        (json!({ "name": "r" }), "clone_url"),
        (json!({ "name": "r", "clone_url": url, "forge": "svn" }), "svn"),
        (json!({ "name": "../r", "clone_url": url }), "../r"),
        (json!({ "name": "r", "clone_url": "file:///etc" }), "file"),
        (json!({ "name": "r", "clone_url": "ext::sh -c id" }), "spaces"),
        (json!({ "name": "r", "clone_url": url, "default_branch": "a..b" }), "default_branch"),
        (json!([1]), "body"),
    ] {
        let answer = world.post("/api/v1/repos", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.error().contains(word), "{body}: {}", answer.error());
    }
    let broken = world.call("POST", "/api/v1/repos", Some(ADMIN), "{\"name\": ").await;
    assert_eq!(broken.status, 400);
    let long = world.call("POST", "/api/v1/repos", Some(ADMIN), vec![b' '; (1 << 20) + 1]).await;
    assert_eq!((long.status, long.error().contains("1 MiB")), (413, true));
    for query in ["colour=red", "limit=0", "limit=x", "before=x", "before=-1", "status=green", "event=deploy"] {
        assert_eq!(world.get(&format!("/api/v1/builds?{query}")).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn builds_are_listed_newest_first_page_by_page_and_by_filter() {
    let world = World::new().await;
    let (one, two) = (world.repo("one", "git", false).await, world.repo("two", "git", false).await);
    let mut made = Vec::new();
    for number in 0..25 {
        let (repo, branch) = if number % 5 == 0 { (two.id, "dev") } else { (one.id, "main") };
        made.push(world.build(repo, branch, &["step"]).await.id.to_string());
    }
    let mut seen = Vec::new();
    let mut before = String::new();
    loop {
        let page = world.get(&format!("/api/v1/builds?limit=10{before}")).await.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 10);
        seen.extend(items.iter().map(|build| build["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    made.reverse();
    assert_eq!(seen, made);

    let count = async |path: String| world.get(&path).await.json()["items"].as_array().unwrap().len();
    assert_eq!(count(format!("/api/v1/repos/{}/builds", two.id)).await, 5);
    assert_eq!(count("/api/v1/builds?branch=dev".to_owned()).await, 5);
    assert_eq!(count("/api/v1/builds?status=queued&event=push&branch=main".to_owned()).await, 20);
    assert_eq!(count("/api/v1/builds?status=success".to_owned()).await, 0);
    let third = world.get(&format!("/api/v1/repos/{}/builds?number=3", two.id)).await.json();
    assert_eq!((&third["items"][0]["number"], third["items"].as_array().unwrap().len()), (&json!(3), 1));
    assert_eq!(count(format!("/api/v1/repos/{}/builds?number=99", two.id)).await, 0);
}

#[tokio::test]
async fn a_build_is_shown_with_its_jobs_and_steps() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build(repo.id, "main", &["first", "second"]).await;
    let running = world.claim().await;
    let outcome = Outcome::Failure { exit_code: 7, step: "first".to_owned(), out_of_memory: false };
    running.end(outcome).await;
    let shown = world.get(&format!("/api/v1/builds/{}", build.id)).await.json();
    for (field, value) in [
        ("number", json!(1)),
        ("repo", json!({ "id": repo.id, "name": "o/r" })),
        ("status", json!("failure")),
        ("event", json!("push")),
        ("branch", json!("main")),
        ("commit", json!("0123456789abcdef0123456789abcdef01234567")),
        ("message", json!("A change <b>\n\nwith more")),
        ("author", json!("Somebody")),
        ("diagnostics", json!([])),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    for field in ["created_at", "started_at", "finished_at"] {
        let time = shown[field].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{field}: {time}");
    }
    let job = &shown["jobs"][0];
    assert_eq!(
        (&job["name"], &job["exit_code"], &job["matrix"]),
        (&json!("test"), &json!(7), &json!({ "rust": "1.95" }))
    );
    assert_eq!((&job["steps"][1]["number"], &job["steps"][1]["name"]), (&json!(2), &json!("second")));
    let id = job["id"].as_str().unwrap();
    assert_eq!(world.get(&format!("/api/v1/jobs/{id}")).await.json(), *job);

    for page in [format!("/builds/{}", build.id), format!("/jobs/{id}"), "/".to_owned()] {
        let answer = world.get(&page).await;
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'; style-src 'self';"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(!answer.text().contains("A change <b>") && answer.text().contains("failure"), "{page}");
    }
    let badge = world.get(&format!("/badges/{}.svg?branch=main", repo.id)).await;
    assert_eq!(badge.header("content-type"), "image/svg+xml");
    assert!(badge.text().contains("failure"));
    assert!(world.get(&format!("/badges/{}.svg?branch=none", repo.id)).await.text().contains("no builds"));
    // The build of a pull request says nothing about the branch.
    world.build_of_event(repo.id, |event| event.name = EventName::PullRequest).await;
    world.claim().await.end(Outcome::Success).await;
    assert!(world.get(&format!("/badges/{}.svg?branch=main", repo.id)).await.text().contains("failure"));
    // Without a branch, the badge is that of the default branch, as the newest build's event named it.
    let elsewhere = |event: &mut Event| {
        (event.git_ref, event.default_branch) = ("refs/heads/elsewhere".to_owned(), Some("main".to_owned()));
    };
    world.build_of_event(repo.id, elsewhere).await;
    world.claim().await.end(Outcome::Success).await;
    assert!(world.get(&format!("/badges/{}.svg", repo.id)).await.text().contains("failure"));
    assert_eq!(
        world.get(&format!("/api/v1/builds/{}", build.id)).await.json()["jobs"],
        Value::Array(vec![job.clone()])
    );
}
