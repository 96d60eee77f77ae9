//! The server itself: health, figures, shutdown.

use std::time::Duration;

use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};

use crate::world::{ADMIN, World};

#[tokio::test]
async fn health_is_alive_and_ready_says_what_is_missing() {
    let world = World::new().await;
    assert_eq!(world.call("GET", "/healthz", None, "").await.text(), "ok\n");
    assert_eq!(world.call("GET", "/readyz", None, "").await.text(), "ready\n");
    *world.engine.lock().unwrap() = Some("does not answer".to_owned());
    let answer = world.call("GET", "/readyz", None, "").await;
    assert_eq!((answer.status, answer.text()), (503, "engine: does not answer\n"));
    assert_eq!(world.call("GET", "/healthz", None, "").await.status, 200);
}

#[tokio::test]
async fn a_panic_is_an_answer_without_its_cause_and_the_server_stays_up() {
    let world = World::new().await;
    // The probe panics on a poisoned lock.
    let engine = std::sync::Arc::clone(&world.engine);
    let poison = std::thread::spawn(move || {
        let _held = engine.lock().unwrap();
        panic!("on purpose");
    });
    assert!(poison.join().is_err());
    for _ in 0..3 {
        let answer = world.call("GET", "/readyz", None, "").await;
        assert_eq!(answer.status, 500);
        assert!(!answer.error().contains("Poison"), "{}", answer.text());
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(world.call("GET", "/healthz", None, "").await.status, 200);
}

#[tokio::test]
async fn figures_count_what_waits_and_what_was_answered() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    world.build(repo.id, "main", &["one"]).await;
    world.call("GET", "/nothing", None, "").await;
    let metrics = world.call("GET", "/metrics", Some(ADMIN), "").await;
    for line in [
        "longshore_info{version=\"1.2.3\"} 1",
        "longshore_capacity 2",
        "longshore_jobs{status=\"queued\"} 1",
        "longshore_jobs{status=\"running\"} 0",
        "longshore_deliveries_pending 0",
        "longshore_http_requests_total{status=\"4xx\"} 1",
    ] {
        assert!(metrics.text().lines().any(|l| l == line), "{line}: {}", metrics.text());
    }
    assert!(metrics.text().contains("process_resident_memory_bytes "));
}

#[tokio::test]
async fn the_end_comes_soon_whoever_is_connected() {
    let mut world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    world.build(repo.id, "main", &["one"]).await;
    let running = world.claim().await;
    let mut log = world.stream(&format!("/api/v1/jobs/{}/log/stream", running.id), None).await;
    let mut events = world.stream("/api/v1/events", None).await;
    // A connection that has sent half a request and nothing more.
    let mut idle = TcpStream::connect(world.addr).await.unwrap();
    idle.write_all(
        format!(
            "POST /hooks/{} HTTP/1.1\r\nX-Longshore-Signature-256: sha256={}\r\nContent-Length: 100\r\n\r\nhalf",
            repo.id,
            "0".repeat(64)
        )
        .as_bytes(),
    )
    .await
    .unwrap();

    world.shutdown.cancel();
    timeout(Duration::from_secs(60), &mut world.serving).await.expect("the server ends").unwrap();
    assert!(log.next().await.is_none());
    assert!(events.next().await.is_none());
}
