//! Lines by their numbers: any window, whatever became of the index.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::{borrow::Cow, time::Instant};

use longshore_core::{JobId, Outcome, Record, RecordKind, Stream, Timestamp};
use longshore_files::logs::{LineRange, Listed, MarkKind, Search};
use longshore_store::{Store, jobs, logs};

mod world;
use world::{World, now};

fn record(step: u16, kind: RecordKind, data: &[u8]) -> Record<'_> {
    Record { seq: 1, time: Timestamp::from_millis(1_767_225_600_000), step, kind, data: Cow::Borrowed(data) }
}

async fn running_job(world: &World) -> JobId {
    let repo = world.repo("app").await;
    world.build(&repo, &[("a", &[])]).await;
    let mut tx = world.store.write().await.unwrap();
    let job = jobs::claim_next(&mut tx, now()).await.unwrap().unwrap().job.id;
    tx.commit().await.unwrap();
    job
}

async fn end(store: &Store, job: JobId) {
    let mut tx = store.write().await.unwrap();
    jobs::end_attempt(&mut tx, job, 1, Outcome::Success, now()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn texts(store: &Store, job: JobId, range: LineRange) -> Vec<(u64, String)> {
    let window = logs::window(store, job, None, range).await.unwrap();
    window.lines.into_iter().map(|line| (line.n, line.text)).collect()
}

/// Writes `count` lines in pieces that end anywhere, another stream's lines between them; gives the lines in their
/// order.
fn write(store: &Store, job: JobId, count: usize) -> Vec<String> {
    let mut writer = store.logs().open_writer(job, 1).unwrap();
    let text: String = (0..count).map(|n| format!("line {n} {}\n", "x".repeat(n % 90))).collect();
    let mut lines = Vec::new();
    writer.append(&[record(0, RecordKind::StepStarted, b"")]).unwrap();
    for (at, piece) in text.as_bytes().chunks(1000).enumerate() {
        let other = format!("other {at}\n");
        writer
            .append(&[
                record(0, RecordKind::Output(Stream::Stdout), piece),
                record(0, RecordKind::Output(Stream::Stderr), other.as_bytes()),
            ])
            .unwrap();
        lines.push(other.trim_end().to_owned());
    }
    // Lines are ordered by their ends: each piece first ends its own stream's lines, then those of the other stream.
    let mut expected = Vec::new();
    let (mut begun, mut others) = (String::new(), lines.into_iter());
    for piece in text.as_bytes().chunks(1000) {
        begun.push_str(std::str::from_utf8(piece).unwrap());
        while let Some((line, rest)) = begun.split_once('\n') {
            expected.push(line.to_owned());
            begun = rest.to_owned();
        }
        expected.extend(others.next());
    }
    expected
}

#[tokio::test]
async fn any_window_has_its_lines_live_and_over_with_an_index_and_without() {
    let world = World::new().await;
    let store = &world.store;
    let job = running_job(&world).await;
    let expected = write(store, job, 30_000);
    let index = store.logs().path(job, 1).with_extension("index");
    let written = std::fs::read(&index).unwrap();
    let check = async || {
        for from in [1, 2, 777, 12_345, expected.len() as u64 - 3] {
            let found = texts(store, job, LineRange::From(from, 50)).await;
            let wanted: Vec<_> = (from..).zip(expected[from as usize - 1..].iter().take(50).cloned()).collect();
            assert!(found == wanted, "from {from}: {found:?}");
        }
        let tail = texts(store, job, LineRange::Tail(3)).await;
        assert_eq!(tail.last().unwrap(), &(expected.len() as u64, expected.last().unwrap().clone()));
        assert_eq!(tail.len(), 3);
        assert!(texts(store, job, LineRange::From(expected.len() as u64 + 1, 5)).await.is_empty());
    };
    check().await;
    end(store, job).await;
    check().await;
    let lines: Vec<&[u8]> = written.split_inclusive(|byte| *byte == b'\n').collect();
    for damaged in [&written[..0], &written[..written.len() - 7], lines[1], b"\0\0\0\0\0", b"{\"checkpoint\":1}\n"] {
        std::fs::write(&index, damaged).unwrap();
        check().await;
    }
    std::fs::remove_file(&index).unwrap();
    check().await;
    // A log that is over gets its index back.
    assert!(std::fs::metadata(&index).unwrap().len() > 0);
}

#[tokio::test]
async fn the_next_writer_makes_the_index_whole_again() {
    let world = World::new().await;
    let job = running_job(&world).await;
    write(&world.store, job, 20_000);
    let index = world.store.logs().path(job, 1).with_extension("index");
    let whole = std::fs::read(&index).unwrap();
    for damaged in [&b""[..], &whole[..whole.len() / 2]] {
        std::fs::write(&index, damaged).unwrap();
        let mut writer = world.store.logs().open_writer(job, 1).unwrap();
        assert!(std::fs::read(&index).unwrap().starts_with(&whole));
        writer.append(&[record(0, RecordKind::Output(Stream::Stdout), b"more\n")]).unwrap();
    }
}

#[tokio::test]
async fn what_has_no_end_yet_is_open_and_ends_with_the_job() {
    let world = World::new().await;
    let job = running_job(&world).await;
    let mut writer = world.store.logs().open_writer(job, 1).unwrap();
    writer.append(&[record(0, RecordKind::Output(Stream::Stdout), b"one\nhalf")]).unwrap();
    let window = logs::window(&world.store, job, None, LineRange::From(1, 10)).await.unwrap();
    assert_eq!((window.total, window.lines.len(), window.open[0].text.as_str()), (1, 1, "half"));
    end(&world.store, job).await;
    let window = logs::window(&world.store, job, None, LineRange::From(1, 10)).await.unwrap();
    assert_eq!((window.total, window.lines[1].text.as_str(), window.open.len()), (2, "half", 0));
}

#[tokio::test]
async fn a_search_counts_what_lines_show_and_lists_it_in_pages() {
    let world = World::new().await;
    let job = running_job(&world).await;
    let mut writer = world.store.logs().open_writer(job, 1).unwrap();
    let data = b"\x1b[32mComp\x1b[0miling a\nhidden compiling\rdone\nno\nCOMPILING b\ncompiling c\n";
    writer.append(&[record(0, RecordKind::Output(Stream::Stdout), data)]).unwrap();
    let search = async |text: &str, case_sensitive, listed, limit| {
        let search = Search { text: text.to_owned(), case_sensitive, listed, limit };
        let found = logs::search(&world.store, job, None, search).await.unwrap();
        (found.count, found.skipped, found.lines)
    };
    assert_eq!(search("compiling", false, Listed::Skip(0), 10).await, (3, 0, vec![1, 4, 5]));
    assert_eq!(search("compiling", false, Listed::Skip(1), 1).await, (3, 1, vec![4]));
    assert_eq!(search("Compiling", true, Listed::Skip(0), 10).await, (1, 0, vec![1]));
    assert_eq!(search("compiling", false, Listed::FromLine(2), 10).await, (3, 1, vec![4, 5]));
    assert_eq!(search("[32m", false, Listed::Skip(0), 10).await.0, 0);
}

#[tokio::test]
async fn the_outline_tells_steps_groups_and_errors_with_their_lines() {
    let world = World::new().await;
    let job = running_job(&world).await;
    let mut writer = world.store.logs().open_writer(job, 1).unwrap();
    let filler = "nothing\n".repeat(50_000);
    let out = RecordKind::Output(Stream::Stdout);
    writer
        .append(&[
            record(Record::NO_STEP, RecordKind::Output(Stream::System), b"image busybox\n"),
            record(0, RecordKind::StepStarted, b""),
            record(0, out, b"::group::Install \x1b[1mit\x1b[0m\na\n::endgroup::\n"),
            record(0, out, filler.as_bytes()),
            record(0, out, filler.as_bytes()),
            record(0, out, b"::error file=a.c::broken\nmain.c:1:2: warning: odd"),
            record(0, RecordKind::StepFinished, b"{}"),
        ])
        .unwrap();
    let outline = logs::outline(&world.store, job, None).await.unwrap();
    assert_eq!(outline.total, 100_006);
    let marks: Vec<_> = outline.marks.iter().map(|mark| (mark.n, mark.kind, mark.text.as_str())).collect();
    let expected = [
        (2, MarkKind::Group, "Install it"),
        (4, MarkKind::EndGroup, ""),
        (100_005, MarkKind::Error, "broken"),
        (100_006, MarkKind::Warning, "main.c:1:2: warning: odd"),
    ];
    assert_eq!(marks, expected);
    let borders: Vec<_> = outline.borders.iter().map(|border| (border.lines, border.begins)).collect();
    assert_eq!(borders, [(1, true), (100_006, false)]);
}

#[tokio::test]
async fn whoever_has_seen_a_line_goes_on_behind_it() {
    let world = World::new().await;
    let job = running_job(&world).await;
    let expected = write(&world.store, job, 20_000);
    for seen in [0, 1, 9_999, expected.len() as u64 - 1] {
        let longshore_files::logs::Place { offset, mut cut, lines } =
            logs::place_of(&world.store, job, 1, seen).await.unwrap();
        let mut reader = logs::read(&world.store, job, offset).await.unwrap();
        let mut rest: Vec<String> = lines.into_iter().map(|line| line.text).collect();
        while let Some(batch) = reader.next().await.unwrap() {
            for (_, record) in batch.records() {
                cut.feed(&record, |line| rest.push(String::from_utf8_lossy(line.bytes).into_owned()));
            }
        }
        assert!(rest == expected[seen as usize..], "behind {seen}");
    }
}

/// Prints the cost of the index for its writer, and of any line for its reader.
#[tokio::test]
#[ignore = "a measurement"]
async fn measure() {
    let world = World::new().await;
    let job = running_job(&world).await;
    let mut writer = world.store.logs().open_writer(job, 1).unwrap();
    let text = "0123456789".repeat(9) + "01234\n";
    let data = text.repeat(341);
    let begin = Instant::now();
    for _ in 0..1_000_000 / 341 {
        writer.append(&[record(0, RecordKind::Output(Stream::Stdout), data.as_bytes())]).unwrap();
    }
    eprintln!("written: {:?}", begin.elapsed());
    end(&world.store, job).await;
    for from in [1, 500_000, 999_000] {
        let begin = Instant::now();
        texts(&world.store, job, LineRange::From(from, 500)).await;
        eprintln!("500 lines from {from}: {:?}", begin.elapsed());
    }
    for case_sensitive in [true, false] {
        let begin = Instant::now();
        let search = Search { text: "Absent".to_owned(), case_sensitive, listed: Listed::Skip(0), limit: 1000 };
        logs::search(&world.store, job, None, search).await.unwrap();
        eprintln!("search: {:?}", begin.elapsed());
    }
}
