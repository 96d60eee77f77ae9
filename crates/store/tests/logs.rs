//! Logs: written by one, read by many, killed at any moment.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::{
    borrow::Cow,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use longshore_core::{JobId, Outcome, Record, RecordKind, Status, Stream, Timestamp};
use longshore_files::logs::{LogEvents, LogReader, Renderer, StepHead};
use longshore_store::{Store, jobs, logs};

mod world;
use world::{World, now};

fn output(seq: u64, data: &[u8]) -> Record<'_> {
    record(seq, 0, RecordKind::Output(Stream::Stdout), data)
}

fn record(seq: u64, step: u16, kind: RecordKind, data: &[u8]) -> Record<'_> {
    Record { seq, time: Timestamp::from_millis(1_767_225_600_000), step, kind, data: Cow::Borrowed(data) }
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

async fn raw(mut reader: LogReader) -> Vec<u8> {
    let (mut renderer, mut out) = (Renderer::raw(None), Vec::new());
    while let Some(batch) = reader.next().await.unwrap() {
        batch.records().for_each(|(_, record)| renderer.render(&record, &mut out));
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_follower_gets_every_byte_whenever_it_comes_and_ends_with_the_job() {
    let world = World::new().await;
    let job = running_job(&world).await;
    let mut followers = tokio::task::JoinSet::new();
    let follow = |followers: &mut tokio::task::JoinSet<_>| {
        let store = world.store.clone();
        followers.spawn(async move {
            let log = raw(logs::follow(&store, job, 0).await.unwrap()).await;
            // A reader who sees the end of the log sees the final status.
            (log, jobs::get(&store, job).await.unwrap().unwrap().status)
        });
    };
    follow(&mut followers);
    let mut writer = world.store.logs().open_writer(job, 1).unwrap();
    let mut expected = Vec::new();
    for n in 0..2_000_u64 {
        let line = vec![b'a' + (n % 26) as u8; if n % 500 == 7 { 300_000 } else { 40 }];
        writer.append(&[output(n + 1, &line), record(0, 0, RecordKind::Output(Stream::System), b"note\n")]).unwrap();
        expected.extend_from_slice(&line);
        if n % 400 == 0 {
            follow(&mut followers);
            tokio::task::yield_now().await;
        }
    }
    let len = writer.len();
    drop(writer);
    end(&world.store, job).await;
    follow(&mut followers);
    for (log, status) in followers.join_all().await {
        assert_eq!(log.len(), expected.len());
        assert!(log == expected);
        assert_eq!(status, Status::Success);
    }
    assert_eq!(jobs::get(&world.store, job).await.unwrap().unwrap().log_bytes, len);
}

#[tokio::test]
async fn a_follower_sees_a_line_at_once_and_resumes_behind_any_record() {
    let world = World::new().await;
    let job = running_job(&world).await;
    let mut writer = world.store.logs().open_writer(job, 1).unwrap();
    let mut reader = logs::follow(&world.store, job, 0).await.unwrap();
    writer.append(&[output(1, b"one\n"), output(2, b"two\n")]).unwrap();
    let batch = reader.next().await.unwrap().unwrap();
    let ends: Vec<u64> = batch.records().map(|(end, _)| end).collect();
    assert_eq!(ends.last(), Some(&batch.end()));
    // Nothing more is there: the reader waits, and waiting may be given up.
    assert!(tokio::time::timeout(Duration::from_millis(20), reader.next()).await.is_err());
    writer.append(&[output(3, b"three\n")]).unwrap();
    let resumed = logs::follow(&world.store, job, ends[0]).await.unwrap();
    end(&world.store, job).await;
    assert_eq!(raw(reader).await, b"three\n");
    assert_eq!(raw(resumed).await, b"two\nthree\n");
}

#[tokio::test]
async fn a_follower_of_a_job_that_never_printed_ends_with_it() {
    let world = World::new().await;
    let job = running_job(&world).await;
    let reader = logs::follow(&world.store, job, 0).await.unwrap();
    let reading = tokio::spawn(raw(reader));
    end(&world.store, job).await;
    assert_eq!(reading.await.unwrap(), b"");
    assert_eq!(raw(logs::follow(&world.store, job, 0).await.unwrap()).await, b"");
}

#[tokio::test]
async fn a_torn_end_is_cut_off_and_what_was_whole_stays() {
    let world = World::new().await;
    let job = running_job(&world).await;
    let mut whole = Vec::new();
    let mut writer = world.store.logs().open_writer(job, 1).unwrap();
    for n in 1..=20 {
        writer.append(&[output(n, &[b'x'; 30_000])]).unwrap();
        whole.extend_from_slice(&[b'x'; 30_000]);
    }
    let len = writer.len();
    drop(writer);
    let mut next = Vec::new();
    output(21, &[b'y'; 5_000]).encode(&mut next);
    for torn in [&next[..1], &next[..4], &next[..4_000], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
        let path = world.store.logs().path(job, 1);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(torn).unwrap();
        assert_eq!(raw(logs::read(&world.store, job, 0).await.unwrap()).await, whole);
        let writer = world.store.logs().open_writer(job, 1).unwrap();
        assert_eq!((writer.len(), writer.last_seq()), (len, 20));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), len);
    }
}

#[tokio::test]
async fn a_log_cut_at_any_byte_reads_up_to_its_last_whole_record_and_goes_on_from_there() {
    let world = World::new().await;
    let job = running_job(&world).await;
    let path = world.store.logs().path(job, 1);
    let datas: [&[u8]; 4] = [b"one\n", b"", b"three, longer\n", b"4"];
    let mut writer = world.store.logs().open_writer(job, 1).unwrap();
    let mut ends = vec![0];
    for (seq, data) in (1..).zip(datas) {
        writer.append(&[output(seq, data)]).unwrap();
        ends.push(writer.len());
    }
    drop(writer);
    let bytes = std::fs::read(&path).unwrap();
    for cut in 0..=bytes.len() {
        // A power cut may also leave zeros where data was to come.
        for tail in [0, 1, 64] {
            std::fs::write(&path, [&bytes[..cut], &vec![0; tail]].concat()).unwrap();
            let whole = ends.iter().rposition(|end| *end <= cut as u64).unwrap();
            let expected = datas[..whole].concat();
            assert_eq!(raw(logs::read(&world.store, job, 0).await.unwrap()).await, expected, "cut at {cut}");
            let mut writer = world.store.logs().open_writer(job, 1).unwrap();
            assert_eq!((writer.len(), writer.last_seq()), (ends[whole], whole as u64), "cut at {cut}");
            writer.append(&[output(whole as u64 + 1, b"next\n")]).unwrap();
            let after = [expected.as_slice(), b"next\n"].concat();
            assert_eq!(raw(logs::read(&world.store, job, 0).await.unwrap()).await, after, "cut at {cut}");
        }
    }
}

/// Not a test: what the next one kills.
#[test]
#[ignore = "run by the_log_of_a_killed_server_reads_up_to_its_last_whole_record"]
fn endless_writer() {
    let Some(folder) = std::env::var_os("LOG_TEST_FOLDER") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(Store::open(Path::new(&folder))).unwrap();
    let job = std::env::var("LOG_TEST_JOB").unwrap().parse().unwrap();
    let mut writer = store.logs().open_writer(job, 1).unwrap();
    for seq in 1.. {
        writer.append(&[output(seq, format!("{seq}\n").repeat(200).as_bytes())]).unwrap();
    }
}

#[tokio::test]
async fn the_log_of_a_killed_server_reads_up_to_its_last_whole_record() {
    let World { store, dir } = World::new().await;
    let world = World { store, dir };
    let job = running_job(&world).await;
    let path = world.store.logs().path(job, 1);
    let World { store, dir } = world;
    store.close().await;
    drop(store);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "endless_writer", "--ignored"])
        .env("LOG_TEST_FOLDER", dir.path())
        .env("LOG_TEST_JOB", job.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(300);
    while std::fs::metadata(&path).map_or(0, |file| file.len()) < 1_000_000 {
        assert!(Instant::now() < deadline, "the child writes nothing");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();

    // Its lock was released with it.
    let store = Store::open(dir.path()).await.unwrap();
    let before = raw(logs::read(&store, job, 0).await.unwrap()).await;
    let mut writer = store.logs().open_writer(job, 1).unwrap();
    let expected: String = (1..=writer.last_seq()).map(|seq| format!("{seq}\n").repeat(200)).collect();
    assert!(before == expected.as_bytes());
    // The next writer continues where it was.
    let follower = logs::follow(&store, job, 0).await.unwrap();
    writer.append(&[output(writer.last_seq() + 1, b"adopted\n")]).unwrap();
    end(&store, job).await;
    assert!(raw(follower).await == format!("{expected}adopted\n").as_bytes());
    store.close().await;
}

fn heads() -> Vec<StepHead> {
    StepHead::from_plan(&world::job("a", &[]))
}

fn story() -> Vec<Record<'static>> {
    vec![
        record(0, Record::NO_STEP, RecordKind::Output(Stream::System), b"image busybox\n"),
        record(1, 0, RecordKind::StepStarted, b""),
        record(2, 0, RecordKind::Output(Stream::Stdout), b"caf\xc3"),
        record(3, 0, RecordKind::Output(Stream::Stderr), b"warn\xff\n"),
        record(4, 0, RecordKind::Output(Stream::Stdout), b"\xa9\nend"),
        record(5, 0, RecordKind::StepFinished, br#"{"status":"failure","exit_code":7,"signal":null,"wall_ms":1200,"cpu_ms":1,"peak_memory_bytes":1,"out_of_memory":false}"#),
        record(6, 1, RecordKind::StepStarted, b""),
        record(7, 1, RecordKind::Output(Stream::Stdout), b"ok\n"),
        record(8, 1, RecordKind::StepFinished, br#"{"status":"success","exit_code":0,"signal":null,"wall_ms":1,"cpu_ms":1,"peak_memory_bytes":1,"out_of_memory":false}"#),
        record(9, Record::NO_STEP, RecordKind::JobFinished, b"{}"),
    ]
}

fn rendered(mut renderer: Renderer) -> Vec<u8> {
    let mut out = Vec::new();
    story().iter().for_each(|record| renderer.render(record, &mut out));
    out
}

#[test]
fn raw_is_what_the_processes_wrote_byte_for_byte() {
    assert_eq!(rendered(Renderer::raw(None)), b"caf\xc3warn\xff\n\xa9\nendok\n");
    assert_eq!(rendered(Renderer::raw(Some(1))), b"ok\n");
}

#[test]
fn text_shows_scripts_notes_output_and_what_went_wrong() {
    let expected = b"--- image busybox\n==> build\n$ make build\ncaf\xc3warn\xff\n\xa9\nend\n\
                     <== build: exit code 7 after 1.2 s\n==> test\n$ make test\nok\n";
    assert_eq!(String::from_utf8_lossy(&rendered(Renderer::text(heads(), None))), String::from_utf8_lossy(expected));
    assert_eq!(rendered(Renderer::text(heads(), Some(1))), b"==> test\n$ make test\nok\n");
}

#[test]
fn json_lines_hold_a_line_each_and_no_character_is_cut_by_a_record() {
    let lines = rendered(Renderer::jsonl(heads(), Some(0)));
    let lines: Vec<serde_json::Value> =
        std::str::from_utf8(&lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<&str> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["caf", "warn\u{fffd}\n", "é\n", "end"]);
    assert_eq!(lines[1]["stream"], "stderr");
    assert_eq!((&lines[0]["step"], &lines[0]["number"]), (&"build".into(), &1.into()));
    assert_eq!(lines[0]["time"], "2026-01-01T00:00:00.000Z");
}

proptest::proptest! {
    #[test]
    fn any_text_cut_anywhere_is_the_same_text(text in "\\PC{0,40}", cuts in proptest::collection::vec(0..200_usize, 0..6)) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let (mut events, mut out) = (LogEvents::new(heads()), String::new());
        for pair in cuts.windows(2) {
            let record = output(1, &text.as_bytes()[pair[0]..pair[1]]);
            if let Some(event) = events.event(&record) {
                out.push_str(&event.text);
            }
        }
        proptest::prop_assert_eq!(out, text);
    }
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_one_and_the_same_records_may_come_again() {
    let world = World::new().await;
    let job = running_job(&world).await;
    let path = world.store.logs().path(job, 1);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let mut writer = world.store.logs().open_writer(job, 1).unwrap();
    let full = writer.append(&[output(1, b"x\n")]).unwrap_err();
    assert!(matches!(full, longshore_files::FilesError::DiskFull(_)), "{full}");
    assert_eq!((writer.len(), writer.last_seq()), (0, 0));
    assert_eq!(std::io::Error::from(full).kind(), std::io::ErrorKind::StorageFull);
}
