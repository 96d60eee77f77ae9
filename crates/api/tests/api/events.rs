//! Following changes.

use longshore_core::{Outcome, Stream};
use serde_json::json;

use crate::{client::Events, world::World};

#[tokio::test]
async fn a_builds_life_is_followed_from_its_beginning_to_its_end() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build(repo.id, "main", &["one"]).await;
    let mut events = world.stream(&format!("/api/v1/builds/{}/events", build.id), None).await;
    for name in ["job", "build"] {
        let event = events.next().await.unwrap();
        assert_eq!((event.name.as_str(), &event.json()["status"]), (name, &json!("queued")));
    }

    // Changes of another build are not sent.
    world.build(repo.id, "main", &["one"]).await;
    let mut running = world.claim().await;
    running.print(0, Stream::Stdout, b"x");
    running.end(Outcome::Success).await;
    let mut seen = Vec::new();
    loop {
        let event = events.next().await.unwrap();
        let data = event.json();
        let of = data["build"].as_str().or(data["id"].as_str()).unwrap().to_owned();
        assert_eq!(of, build.id.to_string());
        let status = data["status"].as_str().or(data["step"]["status"].as_str()).unwrap().to_owned();
        seen.push((event.name.clone(), status.clone()));
        if event.name == "build" && status == "success" {
            break;
        }
    }
    assert!(seen.contains(&("job".to_owned(), "success".to_owned())), "{seen:?}");
    assert!(seen.iter().any(|(name, _)| name == "step"), "{seen:?}");
}

#[tokio::test]
async fn a_reader_resumes_behind_its_last_event_and_is_told_when_it_missed_some() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let mut events = world.stream("/api/v1/events", None).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(world.build(repo.id, "main", &["one"]).await.id.to_string());
    }
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(events.next().await.unwrap());
    }
    drop(events);
    let mut resumed = world.stream("/api/v1/events", Some(&seen[1].id)).await;
    for _ in 2..5 {
        seen.push(resumed.next().await.unwrap());
    }
    let ids: Vec<String> = seen.iter().map(|event| event.json()["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, made);

    let mut lost = world.stream("/api/v1/events", Some("99999999")).await;
    assert_eq!(lost.next().await.unwrap().name, "reset");
    let newest = world.build(repo.id, "main", &["one"]).await.id.to_string();
    assert_eq!(lost.next().await.unwrap().json()["id"], newest);
    assert_eq!(world.get("/api/v1/events?last_event_id=x").await.status, 400);
}

#[tokio::test]
async fn without_a_token_only_public_changes_are_seen() {
    let world = World::new().await;
    let (open, hidden) = (world.repo("open", "git", true).await, world.repo("hidden", "git", false).await);
    let mut events = Events::open(world.addr, "/api/v1/events", &[]).await;
    world.build(hidden.id, "main", &["one"]).await;
    let build = world.build(open.id, "main", &["one"]).await;
    assert_eq!(events.next().await.unwrap().json()["id"], build.id.to_string());
}
