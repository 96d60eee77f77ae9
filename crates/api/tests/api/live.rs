//! Following logs.

use longshore_core::{
    Outcome, RecordKind, Stream,
    access::Rights,
    plan::{Retry, RetryOn},
};
use longshore_store::{
    jobs,
    tokens::{self, Scope},
};

use crate::{
    client::{Event, Events},
    world::World,
};

/// Returns all texts up to the end, and the status that the end carries.
async fn to_end(events: &mut Events) -> (Vec<Event>, String) {
    let mut logs = Vec::new();
    while let Some(event) = events.next().await {
        match event.name.as_str() {
            "log" => logs.push(event),
            "end" => {
                assert!(events.next().await.is_none(), "something comes after the end");
                return (logs, event.json()["status"].as_str().unwrap().to_owned());
            }
            other => panic!("an event `{other}`"),
        }
    }
    panic!("the stream ended without an end");
}

/// Returns the next event with a line that has ended.
async fn next_line(events: &mut Events) -> Event {
    loop {
        let event = events.next().await.unwrap();
        if event.json()["lines"].as_array().is_some_and(|lines| !lines.is_empty()) {
            return event;
        }
    }
}

fn text(events: &[Event]) -> String {
    events.iter().map(|event| event.json()["text"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jobs_only_line_is_seen_though_it_ends_at_once() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    for _ in 0..20 {
        let build = world.build(repo.id, "main", &["only"]).await;
        let job = world.job_of(&build).await.id;
        // Before the job is claimed: the stream waits for it.
        let mut events = world.stream(&format!("/api/v1/jobs/{job}/log/stream"), None).await;
        assert_eq!(events.headers["content-type"], "text/event-stream; charset=utf-8");
        assert_eq!(events.headers["x-accel-buffering"], "no");
        let mut running = world.claim().await;
        running.print(0, Stream::Stdout, b"the only line\n");
        running.end(Outcome::Failure { exit_code: 1, step: "only".to_owned(), out_of_memory: false }).await;
        let (logs, status) = to_end(&mut events).await;
        assert_eq!((text(&logs).as_str(), status.as_str()), ("the only line\n", "failure"));
        let data = logs[0].json();
        assert_eq!((&data["step"], &data["stream"]), (&"only".into(), &"stdout".into()));
        assert_eq!(data["time"].as_str().unwrap().len(), 24);
        // A later reader gets it too.
        let mut late = world.stream(&format!("/api/v1/jobs/{job}/log/stream"), None).await;
        assert_eq!(text(&to_end(&mut late).await.0), "the only line\n");
    }
}

#[tokio::test]
async fn a_job_that_never_ran_ends_its_stream() {
    let world = World::with_dispatcher().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build(repo.id, "main", &["only"]).await;
    let job = world.job_of(&build).await.id;
    let mut events = world.stream(&format!("/api/v1/jobs/{job}/log/stream"), None).await;
    world.post(&format!("/api/v1/builds/{}/cancel", build.id), serde_json::json!({})).await;
    assert_eq!(to_end(&mut events).await, (Vec::new(), "canceled".to_owned()));
}

#[tokio::test]
async fn a_stream_resumes_anywhere_with_every_byte_once() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    world.build(repo.id, "main", &["one", "two"]).await;
    let mut running = world.claim().await;
    let path = format!("/api/v1/jobs/{}/log/stream", running.id);
    let mut expected = String::new();
    for number in 0..3000_u16 {
        // Characters of three bytes, cut between records of either stream.
        let line = format!("{number} \u{20ac}\u{1f6a2}\n");
        let (head, tail) = line.as_bytes().split_at(line.len() - 1 - usize::from(number % 7));
        let stream = if number % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
        running.print(number % 2, stream, head);
        running.print(number % 2, stream, tail);
        expected.push_str(&line);
    }
    running.end(Outcome::Success).await;

    let (whole, _) = to_end(&mut world.stream(&path, None).await).await;
    assert_eq!(text(&whole), expected);
    for at in [0, 1, 2, whole.len() / 3, whole.len() / 2, whole.len() - 2, whole.len() - 1] {
        let (rest, status) = to_end(&mut world.stream(&path, Some(&whole[at].id)).await).await;
        assert_eq!(status, "success");
        assert_eq!(text(&whole[..=at]) + &text(&rest), expected, "resumed behind event {at} ({})", whole[at].id);
    }
    let by_query = format!("{path}?last_event_id={}", whole[5].id);
    let (rest, _) = to_end(&mut world.stream(&by_query, None).await).await;
    assert_eq!(text(&whole[..=5]) + &text(&rest), expected);
    assert_eq!(world.get(&format!("{path}?last_event_id=x")).await.status, 400);
}

#[tokio::test]
async fn a_character_cut_between_two_records_comes_whole_and_a_broken_one_is_replaced() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    world.build(repo.id, "main", &["one"]).await;
    let mut running = world.claim().await;
    let path = format!("/api/v1/jobs/{}/log/stream", running.id);
    let mut events = world.stream(&path, None).await;
    running.print(0, Stream::Stdout, b"a\xe2\x82");
    let first = events.next().await.unwrap();
    assert_eq!(first.json()["text"], "a");
    // A reader that resumes now gets the character whole, too.
    let mut resumed = world.stream(&path, Some(&first.id)).await;
    running.print(0, Stream::Stdout, b"\xac\n\xff\n\xe2");
    running.record(0, RecordKind::StepFinished, br#"{"status":"success","exit_code":0,"signal":null,"wall_ms":1,"cpu_ms":1,"peak_memory_bytes":1,"out_of_memory":false}"#);
    running.end(Outcome::Success).await;
    for events in [&mut events, &mut resumed] {
        assert_eq!(text(&to_end(events).await.0), "\u{20ac}\n\u{fffd}\n\u{fffd}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_seen_before_the_next_is_printed() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    world.build(repo.id, "main", &["one"]).await;
    let mut running = world.claim().await;
    let mut events = world.stream(&format!("/api/v1/jobs/{}/log/stream", running.id), None).await;
    for number in 0..200 {
        let line = format!("line {number}\n");
        running.print(0, Stream::Stdout, line.as_bytes());
        assert_eq!(events.next().await.unwrap().json()["text"], line);
    }
    running.end(Outcome::Success).await;
}

#[tokio::test]
async fn whoever_follows_a_job_that_is_tried_again_is_told_so_and_sees_the_new_try_whole() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let twice = Some(Retry { max: 1, on: vec![RetryOn::Failure] });
    world.build_of_jobs(repo.id, 1, |job| job.retry.clone_from(&twice)).await;
    let mut first = world.claim().await;
    let (path, lines) =
        (format!("/api/v1/jobs/{}/log/stream", first.id), format!("/api/v1/jobs/{}/log/lines/stream", first.id));
    let (mut events, mut line_events) = (world.stream(&path, None).await, world.stream(&lines, None).await);
    first.print(0, Stream::Stdout, b"of the first\n");
    let seen = events.next().await.unwrap();
    assert_eq!(seen.json()["text"], "of the first\n");
    let seen_line = next_line(&mut line_events).await.id;
    first.end(Outcome::Failure { exit_code: 1, step: "one".to_owned(), out_of_memory: false }).await;

    // The first attempt's readers are dropped when the next attempt begins, without an end.
    let mut second = world.claim().await;
    assert!(events.next().await.is_none() && line_events.next().await.is_none());
    // A reader that arrives before anything was printed does not get the pieces of the earlier attempt's readers.
    let mut fresh = world.stream(&path, None).await;
    second.print(0, Stream::Stdout, b"of the second\n");
    let (mut resumed, mut resumed_lines) =
        (world.stream(&path, Some(&seen.id)).await, world.stream(&lines, Some(&seen_line)).await);
    for events in [&mut resumed, &mut resumed_lines] {
        let reset = events.next().await.unwrap();
        assert_eq!((reset.name.as_str(), reset.json()["attempt"].as_u64()), ("reset", Some(2)));
    }
    let line = next_line(&mut resumed_lines).await;
    assert_eq!((&line.json()["lines"][0]["text"], line.id.as_str()), (&"of the second".into(), "2:1"));
    second.print(0, Stream::Stdout, b"more\n");
    second.end(Outcome::Success).await;
    for events in [&mut fresh, &mut resumed] {
        let (logs, status) = to_end(events).await;
        assert_eq!((text(&logs).as_str(), status.as_str()), ("of the second\nmore\n", "success"));
        assert!(logs.iter().all(|event| event.id.starts_with("2:")));
    }
}

#[tokio::test]
async fn what_a_reader_says_it_saw_changes_nothing_for_another() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    world.build(repo.id, "main", &["one"]).await;
    let mut running = world.claim().await;
    let path = format!("/api/v1/jobs/{}/log/stream", running.id);
    running.print(0, Stream::Stdout, b"before\n");
    let mut honest = world.stream(&path, None).await;
    let seen = honest.next().await.unwrap().id;
    let mut liar = world.stream(&path, Some(&format!("{seen},0.stdout.e282"))).await;
    running.print(0, Stream::Stdout, b"\xac after\n");
    assert_eq!(liar.next().await.unwrap().json()["text"], "\u{20ac} after\n");
    assert_eq!(honest.next().await.unwrap().json()["text"], "\u{fffd} after\n");
    running.end(Outcome::Success).await;
}

#[tokio::test]
async fn streams_end_with_the_token_that_opened_them() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    world.build(repo.id, "main", &["one"]).await;
    let mut running = world.claim().await;
    let token = world.token_of(Rights::new(vec![Scope::Read], None)).await;
    let bearer = format!("Bearer {}", token.secret);
    let log = format!("/api/v1/jobs/{}/log/stream", running.id);
    let mut streams = Vec::new();
    for path in [log.as_str(), "/api/v1/events"] {
        streams.push(Events::open(world.addr, path, &[("authorization", &bearer)]).await);
    }
    running.print(0, Stream::Stdout, b"seen\n");
    assert_eq!(streams[0].next().await.unwrap().json()["text"], "seen\n");
    let mut tx = world.store.write().await.unwrap();
    tokens::revoke(&mut tx, token.token.id).await.unwrap();
    tx.commit().await.unwrap();
    for events in &mut streams {
        while events.next().await.is_some() {}
    }
    running.end(Outcome::Success).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_log_reaches_a_live_reader_whole_and_before_the_end() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    world.build(repo.id, "main", &["one"]).await;
    let mut running = world.claim().await;
    let job = running.id;
    let mut events = world.stream(&format!("/api/v1/jobs/{job}/log/stream"), None).await;
    let writer = tokio::spawn(async move {
        for chunk in 0..200 {
            let lines: String = (0..1000).map(|line| format!("{}\n", chunk * 1000 + line)).collect();
            running.print(0, Stream::Stdout, lines.as_bytes());
        }
        running.end(Outcome::Success).await;
    });
    let (logs, status) = to_end(&mut events).await;
    assert_eq!(status, "success");
    assert!(jobs::get(&world.store, job).await.unwrap().unwrap().status.is_final());
    let expected: String = (0..200_000).map(|line| format!("{line}\n")).collect();
    assert!(text(&logs) == expected);
    writer.await.unwrap();
}
