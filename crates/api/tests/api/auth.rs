//! Tokens, and what callers without one see.

use longshore_core::Timestamp;
use longshore_store::{
    missed_pushes,
    refused_hooks::{self, RefusedHook},
    repos::{self, RepoPatch},
    tokens::Scope,
};
use serde_json::json;

use crate::world::{ADMIN, World};

/// Returns the status of an answer; a stream is not read to its end.
pub(crate) async fn status(world: &World, method: &str, path: &str, token: Option<&str>) -> u16 {
    status_of(world, method, path, token, "").await
}

pub(crate) async fn status_of(world: &World, method: &str, path: &str, token: Option<&str>, body: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(world.addr).await.unwrap();
    let bearer = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let length = body.len();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{bearer}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_public_repository_is_read_without_a_token_and_a_private_one_is_nowhere() {
    let world = World::new().await;
    let (open, hidden) = (world.repo("open", "git", true).await, world.repo("hidden", "git", false).await);
    let (open_job, _) = (world.finished(open.id, b"hello\n").await, world.finished(hidden.id, b"psst\n").await);
    let anyone = async |path: String| world.call("GET", &path, None, "").await;

    let repos = anyone("/api/v1/repos".to_owned()).await.json();
    assert_eq!(repos["items"].as_array().unwrap().len(), 1);
    assert_eq!(repos["items"][0]["name"], "open");
    assert_eq!(repos["items"][0]["clone_url"], "https://forge.example/r.git");
    assert!(anyone("/api/v1/repos?name=hidden".to_owned()).await.json()["items"].as_array().unwrap().is_empty());
    let builds = anyone("/api/v1/builds".to_owned()).await.json();
    assert_eq!(builds["items"].as_array().unwrap().len(), 1);
    assert_eq!(builds["items"][0]["repo"]["name"], "open");
    assert_eq!(anyone(format!("/api/v1/jobs/{open_job}/log?format=raw")).await.text(), "hello\n");
    assert_eq!(anyone(format!("/badges/{}.svg", open.id)).await.status, 200);
    let page = anyone("/".to_owned()).await;
    assert!(page.text().contains(">open<") && !page.text().contains(">hidden<"));
    assert!(world.get("/").await.text().contains(">hidden<"));
}

#[tokio::test]
async fn who_only_reads_a_repository_reads_nothing_of_other_repositories_connections_and_hosts() {
    let world = World::new().await;
    let repo = world.repo("open", "git", true).await;
    let mut tx = world.store.write().await.unwrap();
    let patch = RepoPatch { submodules: Some(vec!["team/top-secret".to_owned()]), ..RepoPatch::default() };
    repos::patch(&mut tx, repo.id, &patch).await.unwrap();
    missed_pushes::failed(&mut tx, repo.id, "internal.example cannot be reached").await.unwrap();
    let refused = RefusedHook { at: Timestamp::now(), reason: "of internal.example".to_owned(), calls: 1 };
    refused_hooks::note(&mut tx, repo.id, &refused).await.unwrap();
    tx.commit().await.unwrap();
    let read = world.token(Scope::Read).await;
    let api = [format!("/api/v1/repos/{}", repo.id), "/api/v1/repos".to_owned(), "/api/v1/repos?name=open".to_owned()];
    let pages = ["", "/deliveries"].map(|page| format!("/repos/{}{page}", repo.id));
    for path in api.iter().chain(&pages) {
        for token in [None, Some(read.as_str())] {
            let answer = world.call("GET", path, token, "").await;
            let text = answer.text();
            assert!(!text.contains("internal.example") && !text.contains("top-secret"), "{path}: {text}");
            assert!(text.contains("its administrators see the reason"), "{path}: {text}");
        }
        assert!(world.get(path).await.text().contains("internal.example"), "{path}");
    }
    let own = world.get(&api[0]).await.json();
    assert_eq!((&own["submodules"], &own["refused_hook"]["calls"]), (&json!(["team/top-secret"]), &json!(1)));
}

#[tokio::test]
async fn a_tokens_secret_is_shown_once_and_ends_with_its_revocation() {
    let world = World::new().await;
    let made = world.post("/api/v1/tokens", json!({ "name": "ci", "scopes": ["read"] })).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let (id, secret) =
        (made.json()["id"].as_str().unwrap().to_owned(), made.json()["token"].as_str().unwrap().to_owned());
    assert_eq!(world.call("GET", "/metrics", Some(&secret), "").await.status, 200);
    let list = world.get("/api/v1/tokens").await;
    assert!(!list.text().contains(&secret));
    assert_eq!(list.json()["items"][0]["scopes"], json!(["read"]));
    assert_eq!(list.json()["items"][0]["repos"], json!(null));
    assert_eq!(world.call("DELETE", &format!("/api/v1/tokens/{id}"), Some(ADMIN), "").await.status, 204);
    assert_eq!(world.call("GET", "/metrics", Some(&secret), "").await.status, 401);

    let nobody = "0197c5a0-7d3e-7000-8000-000000000000";
    for bad in [
        json!({ "name": "x", "scopes": ["read"], "repos": [] }),
        json!({ "name": "x", "scopes": ["read"], "repos": [nobody] }),
        json!({ "name": "x", "scopes": ["read"], "expires_in_days": 0 }),
        json!({ "name": "x", "scopes": [] }),
        json!({ "name": "x", "scopes": ["root"] }),
        json!({ "name": "x" }),
    ] {
        assert_eq!(world.post("/api/v1/tokens", bad.clone()).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn whoever_may_not_write_is_answered_before_the_body_is_read() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build(repo.id, "main", &["one"]).await;
    let read = format!("Authorization: Bearer {}\r\n", world.token(Scope::Read).await);
    let askers = [("", "401"), ("Authorization: Bearer wrong\r\n", "401"), (read.as_str(), "403")];
    for (method, path) in [
        ("POST", "/api/v1/repos".to_owned()),
        ("PATCH", format!("/api/v1/repos/{}", repo.id)),
        ("PUT", format!("/api/v1/repos/{}/secrets/TOKEN", repo.id)),
        ("POST", format!("/api/v1/repos/{}/builds", repo.id)),
        ("POST", format!("/api/v1/builds/{}/rerun", build.id)),
        ("POST", "/api/v1/tokens".to_owned()),
    ] {
        for (credentials, expected) in askers {
            let mut stream = tokio::net::TcpStream::connect(world.addr).await.unwrap();
            // Only half of the body is sent before the answer.
            let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{credentials}Content-Length: 1000000\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&[b' '; 500_000]).await.unwrap();
            let mut status = [0; 12];
            let answer = tokio::time::timeout(std::time::Duration::from_secs(300), stream.read_exact(&mut status));
            answer.await.unwrap_or_else(|_| panic!("{method} {path} waits for the body")).unwrap();
            assert_eq!(std::str::from_utf8(&status[9..]).unwrap(), expected, "{method} {path} {credentials}");
            // The rest is thrown away and does not break the connection.
            stream.write_all(&[b' '; 500_000]).await.unwrap();
        }
    }
}
