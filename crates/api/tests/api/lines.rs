//! Reading a log by its lines.

use longshore_core::{Outcome, RecordKind, Stream};
use serde_json::{Value, json};

use crate::{client::Events, world::World};

/// Returns the lines of events up to the end, and the end's data.
async fn to_end(events: &mut Events) -> (Vec<(u64, String)>, Value) {
    let mut lines = Vec::new();
    while let Some(event) = events.next().await {
        let data = event.json();
        if event.name == "end" {
            return (lines, data);
        }
        for line in data["lines"].as_array().unwrap() {
            lines.push((line["n"].as_u64().unwrap(), line["text"].as_str().unwrap().to_owned()));
        }
        assert_eq!(event.id, data["total"].to_string());
    }
    panic!("the stream ended without an end");
}

#[tokio::test]
async fn windows_outline_and_search_tell_of_one_log() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    world.build(repo.id, "main", &["first", "second"]).await;
    let mut running = world.claim().await;
    let path = format!("/api/v1/jobs/{}/log", running.id);
    let empty = world.get(&format!("{path}/lines")).await.json();
    assert_eq!(empty, json!({ "first": 1, "total": 0, "items": [], "open": [] }));
    running.record(0, RecordKind::StepStarted, b"");
    running.print(0, Stream::Stdout, b"::group::Set up\none\n::endgroup::\n::error file=a::no <b>\nhal");
    let all = world.get(&format!("{path}/lines?from=2&count=3")).await.json();
    let texts: Vec<&str> = all["items"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!((texts, &all["first"], &all["total"]), (vec!["one", "", "no <b>"], &json!(2), &json!(4)));
    assert_eq!((&all["items"][2]["mark"], &all["items"][0]["step"]), (&json!("error"), &json!(1)));
    assert_eq!(all["open"][0]["text"], "hal");
    running.end(Outcome::Success).await;

    let tail = world.get(&format!("{path}/lines?tail=1")).await.json();
    assert_eq!((&tail["items"][0]["n"], &tail["items"][0]["text"]), (&json!(5), &json!("hal")));
    let outline = world.get(&format!("{path}/outline")).await.json();
    assert_eq!(outline["marks"][0], json!({ "n": 1, "kind": "group", "text": "Set up" }));
    assert_eq!((&outline["steps"][0]["lines"], &outline["truncated"]), (&json!(0), &json!(false)));
    let found = world.get(&format!("{path}/search?q=NO&limit=1")).await.json();
    assert_eq!(found, json!({ "total": 5, "count": 1, "skipped": 0, "lines": [4], "next": null }));
    assert_eq!(world.get(&format!("{path}/search?q=NO&case_sensitive=true")).await.json()["count"], 0);
    for bad in ["lines?tail=1&from=2", "search?q=", "search", "search?q=a&from=1&skip=1", "lines?from=x"] {
        assert_eq!(world.get(&format!("{path}/{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_stream_of_lines_resumes_behind_any_line_with_every_line_once() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    world.build(repo.id, "main", &["one"]).await;
    let mut running = world.claim().await;
    let path = format!("/api/v1/jobs/{}/log/lines/stream", running.id);
    let mut expected = Vec::new();
    for number in 0..9000_u64 {
        let line = format!("{number} {}", "x".repeat(60));
        let (head, tail) = line.split_at(3);
        running.print(0, Stream::Stdout, head.as_bytes());
        running.print(0, Stream::Stdout, format!("{tail}\n").as_bytes());
        expected.push((number + 1, line));
    }
    running.print(0, Stream::Stdout, b"without an end");
    expected.push((9001, "without an end".to_owned()));
    // Before the job's end, and after it.
    let mut early = Vec::new();
    for seen in [0, 1, 4_000, 9_000] {
        early.push((seen, world.stream(&path, Some(&seen.to_string())).await));
    }
    running.end(Outcome::Success).await;
    for seen in [0, 8_999, 9_001] {
        early.push((seen, world.stream(&path, Some(&seen.to_string())).await));
    }
    for (seen, mut events) in early {
        let (lines, end) = to_end(&mut events).await;
        assert!(lines == expected[seen as usize..], "behind {seen}: {} lines", lines.len());
        assert_eq!(end, json!({ "status": "success", "total": 9001 }));
    }
    assert_eq!(world.get(&format!("{path}?last_event_id=x")).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_followers_get_every_line_once() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    world.build(repo.id, "main", &["one"]).await;
    let mut running = world.claim().await;
    let path = format!("/api/v1/jobs/{}/log/lines/stream", running.id);
    let mut followers = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let mut events = world.stream(&path, None).await;
        followers.spawn(async move { to_end(&mut events).await.0 });
    }
    let expected: Vec<_> = (1..=500_u64).map(|n| (n, format!("line {n}"))).collect();
    for (_, line) in &expected {
        running.print(0, Stream::Stdout, format!("{line}\n").as_bytes());
        tokio::task::yield_now().await;
    }
    running.end(Outcome::Success).await;
    for lines in followers.join_all().await {
        assert!(lines == expected, "{} lines", lines.len());
    }
}

#[tokio::test]
async fn what_may_not_be_seen_is_not_there() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let job = world.finished(repo.id, b"secret\n").await;
    for path in ["lines", "outline", "search?q=secret", "lines/stream"] {
        let answer = world.call("GET", &format!("/api/v1/jobs/{job}/log/{path}"), None, "").await;
        assert_eq!(answer.status, 404, "{path}");
    }
}
