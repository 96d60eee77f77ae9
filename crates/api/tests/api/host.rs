//! The names that the server answers to.

use serde_json::json;

use crate::{client::send, world::World};

/// Returns the status of an answer to a request for this name.
async fn asked_by(world: &World, path: &str, host: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(world.addr).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_name_that_somebody_else_points_at_the_server_reads_nothing() {
    let world = World::new().await;
    world.repo("o/r", "git", true).await;
    for path in ["/", "/api/v1/repos", "/api/v1/events", "/sign-in", "/openapi.json", "/nowhere"] {
        for host in ["evil.example", "evil.example:8080", "ci.example.evil.example", "127.0.0.1.evil.example"] {
            assert_eq!(asked_by(&world, path, host).await, 421, "{path} by {host}");
        }
        for host in ["ci.example", "ci.lan:8080", "127.0.0.1:8080", "localhost", "[::1]:8080", "longshore:8080"] {
            assert_ne!(asked_by(&world, path, host).await, 421, "{path} by {host}");
        }
        // The absolute address of the request counts, too.
        assert_eq!(asked_by(&world, &format!("http://evil.example{path}"), "ci.example").await, 421, "{path}");
    }
}

#[tokio::test]
async fn what_tells_nobody_anything_is_answered_by_any_name() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", true).await;
    for (path, expected) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 401)] {
        assert_eq!(asked_by(&world, path, "longshore.internal").await, expected, "{path}");
    }
    // A forge may know the server by a name of its own.
    assert_eq!(asked_by(&world, &format!("/hooks/{}", repo.id), "longshore.internal").await, 405);
}

#[tokio::test]
async fn whoever_comes_by_another_name_is_told_which_setting_says_it() {
    let world = World::new().await;
    let answer = send(world.addr, "GET", "http://other.example/api/v1/repos", &[], "").await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (421, &json!("wrong-host")));
    for words in ["`other.example`", "https://ci.example", "LONGSHORE_URL", "LONGSHORE_HOSTS"] {
        assert!(answer.error().contains(words), "{words}: {}", answer.error());
    }
    let page = send(world.addr, "GET", "http://other.example/", &[("accept", "text/html")], "").await;
    assert_eq!((page.status, page.header("content-type")), (421, "text/html; charset=utf-8"));
    assert!(page.text().contains("LONGSHORE_URL"));
}
