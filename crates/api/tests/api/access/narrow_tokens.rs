//! Tokens that are limited to some repositories: no others exist for them.

use longshore_core::access::{Rights, Scope};
use longshore_store::deliveries;
use serde_json::{Value, json};

use super::{Scene, routes};
use crate::{
    client::Events,
    world::{ADMIN, World},
};

#[tokio::test]
async fn no_answer_tells_a_token_for_one_repository_of_another() {
    let world = World::new().await;
    let listed = Scene::new(&world, "listed/app", false).await;
    let hidden = Scene::new(&world, "hidden/app", false).await;
    let public = Scene::new(&world, "public/app", true).await;
    let rights = Rights::new(vec![Scope::Admin], Some(vec![listed.repo.id]));
    let token = world.token_of(rights).await.secret;
    let asset = [("{file}", "none".to_owned()), ("{token}", "none".to_owned())];
    let mut looked = 0;
    let lists = ["/api/v1/repos?name=hidden/app", "/?q=app", "/api/v1/repos?limit=1", "/api/v1/builds?limit=1"];
    let lists = lists.map(str::to_owned).into_iter();
    let all = routes().into_iter().filter(|(method, path)| {
        method == "GET" && !path.ends_with("/stream") && !path.ends_with("/events") && !path.starts_with("/openapi")
    });
    for path in all.map(|(_, path)| path).chain(lists) {
        let answer = world.call("GET", &listed.address(&path, &asset), Some(&token), "").await;
        for mark in hidden.marks.iter().chain(&public.marks) {
            assert!(!String::from_utf8_lossy(&answer.body).contains(mark), "GET {path} has {mark}");
        }
        looked += usize::from(answer.status == 200);
    }
    assert!(looked > 20, "{looked}");
    // It sees only its own: how many others there are appears nowhere.
    let queue = world.call("GET", "/queue", Some(&token), "").await;
    assert!(queue.text().contains("Queue: 0 running, 1 waiting"), "{}", queue.text());
    assert!(world.get("/queue").await.text().contains("Queue: 0 running, 3 waiting"));
    let found = world.call("GET", "/api/v1/builds?limit=2", Some(&token), "").await.json();
    assert_eq!((found["items"].as_array().unwrap().len(), &found["next"]), (2, &Value::Null));
    let first = world.call("GET", "/api/v1/builds?limit=1", Some(&token), "").await.json();
    let next = format!("/api/v1/builds?limit=1&before={}", first["next"].as_str().unwrap());
    let second = world.call("GET", &next, Some(&token), "").await.json();
    assert_eq!(second["items"][0]["id"], found["items"][1]["id"]);
    let missing = world.call("GET", "/api/v1/builds/0197c5a0-7d3e-7000-8000-000000000000", Some(&token), "").await;
    let other = world.call("GET", &hidden.address("/api/v1/builds/{build}", &[]), Some(&token), "").await;
    assert_eq!((other.status, other.text()), (missing.status, missing.text()));
}

#[tokio::test]
async fn a_stream_tells_a_token_for_one_repository_of_no_other() {
    let world = World::new().await;
    let (listed, other) = (world.repo("listed/app", "git", false).await, world.repo("other/app", "git", true).await);
    let token = world.token_of(Rights::new(vec![Scope::Read], Some(vec![listed.id]))).await.secret;
    let bearer = format!("Bearer {token}");
    let mut events = Events::open(world.addr, "/api/v1/events", &[("authorization", &bearer)]).await;
    world.build(other.id, "main", &["one"]).await;
    world.deliver(other.id, "key").await;
    let build = world.build(listed.id, "main", &["one"]).await;
    let first = events.next().await.unwrap();
    assert_eq!((first.name.as_str(), first.json()["id"].clone()), ("build", json!(build.id)));
}

#[tokio::test]
async fn an_administrator_of_one_repository_points_it_nowhere_else() {
    let world = World::new().await;
    let repo = world.repo("one/app", "git", false).await;
    let token = world.token_of(Rights::new(vec![Scope::Admin], Some(vec![repo.id]))).await.secret;
    let address = format!("/api/v1/repos/{}", repo.id);
    let to = json!({ "clone_url": "ssh://git@forge.example/others/private.git" }).to_string();
    assert_eq!(world.call("PATCH", &address, Some(&token), to.clone()).await.status, 403);
    assert_eq!(world.call("PATCH", &address, Some(&token), r#"{"default_branch": "trunk"}"#).await.status, 200);
    assert_eq!(world.call("PATCH", &address, Some(ADMIN), to).await.status, 200);
}

/// A delivery of a hidden repository cannot be taken in again, even by somebody who knows its id.
#[tokio::test]
async fn a_token_for_one_repository_redelivers_nothing_of_another() {
    let world = World::new().await;
    let (listed, other) = (world.repo("listed/app", "git", false).await, world.repo("other/app", "git", false).await);
    let token = world.token_of(Rights::new(vec![Scope::Build], Some(vec![listed.id]))).await.secret;
    let delivery = world.deliver(other.id, "key").await;
    let answer = world.call("POST", &format!("/deliveries/{delivery}/redeliver"), Some(&token), "").await;
    assert_eq!(answer.status, 404);
    assert_eq!(deliveries::list(&world.store, other.id, None, 10).await.unwrap().items.len(), 1);
}
