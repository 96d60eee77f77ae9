//! Who may see and do what, route by route.

use longshore_store::tokens::Scope;
use serde_json::json;

use crate::world::{ADMIN, World};

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Nothing: anybody is answered.
    Nothing,
    /// To see something private; without a token it is not there.
    ToSee,
    /// A token of this scope; without one 401, with a lesser one 403.
    Token(Scope),
}

/// Every route but the hooks (which have signatures), for something private.
fn table(repo: &str, build: &str, job: &str, delivery: &str, token: &str) -> Vec<(&'static str, String, Needs)> {
    use Needs::{Nothing, ToSee, Token};
    let (build_scope, admin) = (Token(Scope::Build), Token(Scope::Admin));
    vec![
        ("GET", "/healthz".to_owned(), Nothing),
        ("GET", "/readyz".to_owned(), Nothing),
        ("GET", "/openapi.json".to_owned(), Nothing),
        ("GET", "/metrics".to_owned(), Token(Scope::Read)),
        ("GET", format!("/badges/{repo}.svg"), ToSee),
        ("GET", "/api/v1/repos".to_owned(), Nothing),
        ("POST", "/api/v1/repos".to_owned(), admin),
        ("GET", format!("/api/v1/repos/{repo}"), ToSee),
        ("PATCH", format!("/api/v1/repos/{repo}"), admin),
        ("POST", format!("/api/v1/repos/{repo}/hook-secret"), admin),
        ("GET", format!("/api/v1/repos/{repo}/secrets"), admin),
        ("PUT", format!("/api/v1/repos/{repo}/secrets/TOKEN"), admin),
        ("DELETE", format!("/api/v1/repos/{repo}/secrets/TOKEN"), admin),
        ("GET", format!("/api/v1/repos/{repo}/deliveries"), ToSee),
        ("GET", format!("/api/v1/repos/{repo}/schedules"), ToSee),
        ("GET", format!("/api/v1/repos/{repo}/builds"), ToSee),
        ("POST", format!("/api/v1/repos/{repo}/builds"), build_scope),
        ("GET", format!("/api/v1/deliveries/{delivery}"), ToSee),
        ("GET", "/api/v1/builds".to_owned(), Nothing),
        ("GET", format!("/api/v1/builds/{build}"), ToSee),
        ("GET", format!("/api/v1/builds/{build}/events"), ToSee),
        ("POST", format!("/api/v1/builds/{build}/cancel"), build_scope),
        ("POST", format!("/api/v1/builds/{build}/rerun"), build_scope),
        ("GET", "/api/v1/events".to_owned(), Nothing),
        ("GET", format!("/api/v1/jobs/{job}"), ToSee),
        ("GET", format!("/api/v1/jobs/{job}/log"), ToSee),
        ("GET", format!("/api/v1/jobs/{job}/log/stream"), ToSee),
        ("GET", format!("/api/v1/jobs/{job}/log/lines"), ToSee),
        ("GET", format!("/api/v1/jobs/{job}/log/lines/stream"), ToSee),
        ("GET", format!("/api/v1/jobs/{job}/log/outline"), ToSee),
        ("GET", format!("/api/v1/jobs/{job}/log/search?q=x"), ToSee),
        ("POST", format!("/api/v1/jobs/{job}/cancel"), build_scope),
        ("POST", format!("/api/v1/jobs/{job}/rerun"), build_scope),
        ("POST", format!("/api/v1/jobs/{job}/approve"), build_scope),
        ("POST", format!("/api/v1/jobs/{job}/decline"), build_scope),
        ("POST", "/api/v1/sign-in-links".to_owned(), Token(Scope::Read)),
        ("GET", "/api/v1/tokens".to_owned(), admin),
        ("POST", "/api/v1/tokens".to_owned(), admin),
        ("DELETE", format!("/api/v1/tokens/{token}"), admin),
        // Last: what was there is gone afterwards.
        ("DELETE", format!("/api/v1/repos/{repo}"), admin),
    ]
}

/// The status of the answer's head; a stream is not read to its end.
async fn status(world: &World, method: &str, path: &str, token: Option<&str>) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(world.addr).await.unwrap();
    let bearer = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{bearer}Content-Length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_route_asks_for_its_scope_and_hides_what_may_not_be_seen() {
    let world = World::new().await;
    let repo = world.repo("secret/repo", "git", false).await;
    let job = world.finished(repo.id, b"x").await;
    let build = longshore_store::jobs::get(&world.store, job).await.unwrap().unwrap().build;
    let mut tx = world.store.write().await.unwrap();
    let new = longshore_store::deliveries::NewDelivery {
        repo: repo.id,
        key: "k".to_owned(),
        event: "push".to_owned(),
        body: Vec::new(),
        received_at: longshore_core::Timestamp::now(),
    };
    let value = longshore_store::secrets::SecretValue::new("value".to_owned()).unwrap();
    let patch = longshore_store::secrets::SecretPatch { value: Some(value), ..Default::default() };
    let name = "TOKEN".parse().unwrap();
    longshore_store::secrets::set(&mut tx, repo.id, &name, &patch, "x", longshore_core::Timestamp::now())
        .await
        .unwrap();
    let delivery = longshore_store::deliveries::accept(&mut tx, &new).await.unwrap().id.to_string();
    tx.commit().await.unwrap();
    let (read, build_token) = (world.token(Scope::Read).await, world.token(Scope::Build).await);
    let admin = world.token(Scope::Admin).await;
    world.token(Scope::Read).await;
    let victim = longshore_store::tokens::list(&world.store).await.unwrap().last().unwrap().id.to_string();

    let table = table(&repo.id.to_string(), &build.to_string(), &job.to_string(), &delivery, &victim);
    // Nothing is missing from the table.
    let described: serde_json::Value = serde_json::from_str(&longshore_api::openapi_json().unwrap()).unwrap();
    let operations: usize =
        described["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(table.len() + 1, operations, "a route of OpenAPI is not in this table, or the other way round");

    for (method, path, needs) in table {
        let callers = [(None, None), (Some(&read), Some(Scope::Read)), (Some(&build_token), Some(Scope::Build))];
        let callers = callers.into_iter().chain([(Some(&admin), Some(Scope::Admin))]);
        for (token, scope) in callers {
            let status = status(&world, method, &path, token.map(String::as_str)).await;
            let what = format!("{method} {path} with {scope:?}: {status}");
            match (needs, scope) {
                (Needs::Nothing, _) => assert_eq!(status, 200, "{what}"),
                (Needs::ToSee, None) => assert_eq!(status, 404, "{what}"),
                (Needs::ToSee, Some(_)) => assert_eq!(status, 200, "{what}"),
                (Needs::Token(_), None) => assert_eq!(status, 401, "{what}"),
                (Needs::Token(needed), Some(scope)) if scope < needed => assert_eq!(status, 403, "{what}"),
                (Needs::Token(_), Some(_)) => assert!(!matches!(status, 401 | 403 | 404 | 405 | 500), "{what}"),
            }
        }
        for bad in ["lsh_0000000000000000000000000000000000000000", "x", "the-administratoR"] {
            let health = matches!(path.as_str(), "/healthz" | "/readyz" | "/openapi.json");
            let status = status(&world, method, &path, Some(bad)).await;
            assert_eq!(status, if health { 200 } else { 401 }, "{method} {path} with a bad token");
        }
    }
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
    assert_eq!(world.call("DELETE", &format!("/api/v1/tokens/{id}"), Some(ADMIN), "").await.status, 204);
    assert_eq!(world.call("GET", "/metrics", Some(&secret), "").await.status, 401);

    for bad in
        [json!({ "name": "x", "scopes": [] }), json!({ "name": "x", "scopes": ["root"] }), json!({ "name": "x" })]
    {
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
            // Of the body only half comes before the answer.
            let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{credentials}Content-Length: 1000000\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&[b' '; 500_000]).await.unwrap();
            let mut status = [0; 12];
            let answer = tokio::time::timeout(std::time::Duration::from_secs(10), stream.read_exact(&mut status));
            answer.await.unwrap_or_else(|_| panic!("{method} {path} waits for the body")).unwrap();
            assert_eq!(std::str::from_utf8(&status[9..]).unwrap(), expected, "{method} {path} {credentials}");
            // The rest is thrown away, and does not break the connection.
            stream.write_all(&[b' '; 500_000]).await.unwrap();
        }
    }
}
