//! Reading logs.

use longshore_core::{Outcome, RecordKind, Stream};

use crate::{
    client::{Answer, send},
    world::{ADMIN, World},
};

async fn with_range(world: &World, path: &str, range: &str) -> Answer {
    let bearer = format!("Bearer {ADMIN}");
    send(world.addr, "GET", path, &[("authorization", &bearer), ("range", range)], "").await
}

#[tokio::test]
async fn raw_is_byte_for_byte_what_was_printed_and_text_says_more() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    world.build(repo.id, "main", &["first", "second"]).await;
    let mut running = world.claim().await;
    let path = format!("/api/v1/jobs/{}/log", running.id);
    assert_eq!(world.get(&path).await.text(), "");
    running.print(u16::MAX, Stream::System, b"pulling busybox\n");
    running.record(0, RecordKind::StepStarted, b"");
    running.print(0, Stream::Stdout, b"out\xff\x00");
    running.print(0, Stream::Stderr, b"err\n");
    running.print(1, Stream::Stdout, b"more");
    assert_eq!(&world.get(&format!("{path}?format=raw")).await.body[..], b"out\xff\x00err\nmore");
    running.end(Outcome::Success).await;

    let raw = world.get(&format!("{path}?format=raw")).await;
    assert_eq!(&raw.body[..], b"out\xff\x00err\nmore");
    assert_eq!(raw.header("content-type"), "text/plain; charset=utf-8");
    for step in ["2", "second"] {
        assert_eq!(world.get(&format!("{path}?format=raw&step={step}")).await.text(), "more");
    }
    assert_eq!(world.get(&format!("{path}?format=raw&offset=9")).await.text(), "more");
    assert_eq!(world.get(&format!("{path}?format=raw&offset=99")).await.text(), "");
    let text = world.get(&path).await;
    let text = String::from_utf8_lossy(&text.body);
    assert!(text.starts_with("--- pulling busybox\n==> first\n$ ./first\nout"), "{text}");

    let lines = world.get(&format!("{path}?format=jsonl")).await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    let lines: Vec<serde_json::Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown: Vec<_> = lines
        .iter()
        .map(|l| (l["step"].as_str(), l["stream"].as_str().unwrap(), l["text"].as_str().unwrap()))
        .collect();
    assert_eq!(
        shown,
        [
            (None, "system", "pulling busybox\n"),
            (Some("first"), "stdout", "out\u{fffd}\0"),
            (Some("first"), "stderr", "err\n"),
            (Some("second"), "stdout", "more"),
        ]
    );
    for bad in ["format=pdf", "colour=red", "offset=-1"] {
        assert_eq!(world.get(&format!("{path}?{bad}")).await.status, 400, "{bad}");
    }
    for none in ["0", "3", "third", "65537"] {
        assert_eq!(world.get(&format!("{path}?step={none}")).await.status, 404, "{none}");
    }
}

#[tokio::test]
async fn ranges_are_of_the_bytes_there_are() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    world.build(repo.id, "main", &["first"]).await;
    let mut running = world.claim().await;
    // Spans several of the windows that a journal is read in.
    let printed: Vec<u8> = (0..1_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for chunk in printed.chunks(50_000) {
        running.print(0, Stream::Stdout, chunk);
    }
    let path = format!("/api/v1/jobs/{}/log?format=raw", running.id);
    let check = async |printed: &[u8]| {
        let length = printed.len();
        let cases = [
            ("bytes=0-0".to_owned(), 0, 1),
            ("bytes=49990-150010".to_owned(), 49_990, 150_011),
            ("bytes=999999-".to_owned(), 999_999, length),
            ("bytes=-7".to_owned(), length - 7, length),
            (format!("bytes=5-{}", length * 2), 5, length),
        ];
        for (range, from, to) in cases {
            let answer = with_range(&world, &path, &range).await;
            assert_eq!(answer.status, 206, "{range}");
            assert!(answer.body[..] == printed[from..to], "{range}");
            assert_eq!(answer.header("content-range"), format!("bytes {from}-{}/{length}", to - 1));
            assert_eq!(answer.header("content-length"), (to - from).to_string());
        }
        let behind = with_range(&world, &path, &format!("bytes={length}-")).await;
        assert_eq!((behind.status, behind.header("content-range")), (416, format!("bytes */{length}").as_str()));
        assert!(behind.error().contains(&length.to_string()));
        let whole = with_range(&world, &path, "lines=1-2").await;
        assert!(whole.status == 200 && whole.body[..] == *printed);
        assert_eq!(whole.header("accept-ranges"), "bytes");
    };
    check(&printed).await;
    running.print(0, Stream::Stdout, b"the end");
    running.end(Outcome::Success).await;
    check(&[&printed[..], b"the end"].concat()).await;

    let text = format!("/api/v1/jobs/{}/log", world.job_of(&longshore_build(&world).await).await.id);
    let whole = world.get(&text).await.body;
    let part = with_range(&world, &text, "bytes=3-9").await;
    assert_eq!((part.status, &part.body[..]), (206, &whole[3..10]));
}

async fn longshore_build(world: &World) -> longshore_store::builds::Build {
    let filter = longshore_store::builds::BuildFilter::default();
    longshore_store::builds::list(&world.store, &filter, None, 1).await.unwrap().items.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sees_a_final_status_reads_the_whole_log() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    for round in 0..20 {
        let build = world.build(repo.id, "main", &["first"]).await;
        let mut running = world.claim().await;
        let job = running.id;
        let expected = format!("line of round {round}\n").repeat(100);
        let printed = expected.clone();
        let ends = tokio::spawn(async move {
            running.print(0, Stream::Stdout, printed.as_bytes());
            running.end(Outcome::Success).await;
        });
        loop {
            let shown = world.get(&format!("/api/v1/builds/{}", build.id)).await.json();
            if shown["status"] == "success" {
                break;
            }
        }
        assert_eq!(world.get(&format!("/api/v1/jobs/{job}/log?format=raw")).await.text(), expected);
        ends.await.unwrap();
    }
}
