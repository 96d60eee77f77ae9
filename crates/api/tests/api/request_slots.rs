//! Callers who have not signed in take no place from those who have.

use longshore_core::Stream;
use longshore_store::tokens::Scope;

use crate::{auth::status, client::Events, world::World};

#[tokio::test]
async fn streams_of_the_anonymous_have_a_limit_and_those_who_signed_in_are_not_counted() {
    let world = World::new().await;
    let repo = world.repo("open/app", "git", true).await;
    world.build(repo.id, "main", &["one"]).await;
    let mut running = world.claim().await;
    running.print(0, Stream::Stdout, b"x\n");
    let token = world.token(Scope::Read).await;
    let log = format!("/api/v1/jobs/{}/log/stream", running.id);
    let lines = format!("/api/v1/jobs/{}/log/lines/stream", running.id);
    let of_build = format!("/api/v1/builds/{}/events", running.claimed.build.id);
    let all = [log.as_str(), lines.as_str(), of_build.as_str(), "/api/v1/events"];
    let mut open = Vec::new();
    for path in all.iter().cycle().take(256) {
        open.push(Events::open(world.addr, path, &[]).await);
    }
    for path in all {
        assert_eq!(status(&world, "GET", path, None).await, 429, "{path}");
        assert_eq!(status(&world, "GET", path, Some(&token)).await, 200, "{path}");
    }
    let refused = world.call("GET", &log, None, "").await;
    assert_eq!(refused.header("retry-after"), "5");
    assert!(refused.error().contains("sign in"), "{}", refused.error());
    // Cheap requests are still answered.
    assert_eq!(world.call("GET", "/api/v1/builds", None, "").await.status, 200);
    drop(open);
    // A place becomes free when its reader is gone.
    while status(&world, "GET", &log, None).await == 429 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn ranges_of_the_anonymous_have_a_limit_and_those_who_signed_in_are_not_counted() {
    let world = World::new().await;
    let repo = world.repo("open/app", "git", true).await;
    // More than socket buffers hold: a reader that reads nothing keeps its place.
    world.build(repo.id, "main", &["one"]).await;
    let mut running = world.claim().await;
    for _ in 0..512 {
        running.print(0, Stream::Stdout, &b"0123456789abcdef\n".repeat(2048));
    }
    let job = running.id;
    running.end(longshore_core::Outcome::Success).await;
    let token = world.token(Scope::Read).await;
    let path = format!("/api/v1/jobs/{job}/log?format=raw&offset=1");
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(crate::client::opened(world.addr, &path).await);
    }
    assert_eq!(status(&world, "GET", &path, None).await, 429);
    assert_eq!(status(&world, "GET", &path, Some(&token)).await, 200);
    let range = [("range", "bytes=0-9")];
    assert_eq!(
        crate::client::send(world.addr, "GET", &format!("/api/v1/jobs/{job}/log"), &range, "").await.status,
        429
    );
    drop(open);
    while status(&world, "GET", &path, None).await == 429 {
        tokio::task::yield_now().await;
    }
}
