//! Logs that are packed after their jobs' end: nobody sees the difference, and nothing is lost whatever happens
//! meanwhile.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::{borrow::Cow, collections::HashSet, os::unix::fs::FileExt as _, path::PathBuf, time::Duration};

use longshore_core::{JobId, Outcome, Record, RecordKind, Stream, Timestamp};
use longshore_files::{
    logs::{
        LineRange, Listed, Search,
        pack::{self, Packed},
    },
    restore,
};
use longshore_store::{
    Store, backup,
    check::{self, Depth},
    jobs, logs, newest_schema,
    repos::Repo,
    retention::{self, Retention},
};

mod world;
use world::{World, now};

fn record(kind: RecordKind, data: &[u8]) -> Record<'_> {
    Record { seq: 1, time: Timestamp::from_millis(1_767_225_600_000), step: 0, kind, data: Cow::Borrowed(data) }
}

async fn pass(world: &World, rest: Duration) -> Packed {
    let standing = |job| logs::standing(&world.store, job);
    pack::pass(world.store.logs(), &standing, rest, &mut HashSet::new()).await.unwrap()
}

/// A job with so many lines in its log.
async fn job(world: &World, lines: usize) -> JobId {
    let repo = world.repo("app").await;
    job_of(world, &repo, lines).await
}

async fn job_of(world: &World, repo: &Repo, lines: usize) -> JobId {
    world.build(repo, &[("a", &[])]).await;
    let mut tx = world.store.write().await.unwrap();
    let job = jobs::claim_next(&mut tx, now()).await.unwrap().unwrap().job.id;
    tx.commit().await.unwrap();
    let mut writer = world.store.logs().open_writer(job, 1).unwrap();
    writer.append(&[record(RecordKind::StepStarted, b"")]).unwrap();
    let text: String = (0..lines).map(|n| format!("line {n} {:x}\n", n * n * 2_654_435_761 % 1_000_003)).collect();
    for piece in text.as_bytes().chunks(3000) {
        writer.append(&[record(RecordKind::Output(Stream::Stdout), piece)]).unwrap();
    }
    writer.append(&[record(RecordKind::JobFinished, b"{}")]).unwrap();
    job
}

async fn end(world: &World, job: JobId) {
    let mut tx = world.store.write().await.unwrap();
    jobs::end_attempt(&mut tx, job, 1, Outcome::Success, now()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn pack(world: &World) -> Packed {
    pass(world, Duration::ZERO).await
}

/// The files of a job's log: as it was written, and packed.
fn files(world: &World, job: JobId) -> (PathBuf, PathBuf) {
    let plain = world.store.logs().path(job, 1);
    (plain.clone(), plain.with_extension("zst"))
}

/// Everything that is read out of a log, from `from` on.
async fn journal(store: &Store, job: JobId, from: u64) -> Vec<u8> {
    let mut reader = logs::follow(store, job, from).await.unwrap();
    let mut all = Vec::new();
    while let Some(batch) = reader.next().await.unwrap() {
        batch.records().for_each(|(_, record)| record.encode(&mut all));
    }
    all
}

#[tokio::test]
async fn a_packed_log_is_read_followed_searched_and_windowed_as_it_was() {
    let world = World::new().await;
    let job = job(&world, 60_000).await;
    end(&world, job).await;
    let look = async || {
        let (text, listed) = ("line 31415 ".to_owned(), Listed::FromLine(1));
        let search = Search { text, case_sensitive: true, listed, limit: 10 };
        (
            journal(&world.store, job, 0).await,
            logs::window(&world.store, job, None, LineRange::From(40_000, 100)).await.unwrap(),
            logs::window(&world.store, job, None, LineRange::Tail(5)).await.unwrap(),
            logs::outline(&world.store, job, None).await.unwrap(),
            logs::search(&world.store, job, None, search).await.unwrap(),
        )
    };
    let before = look().await;
    let (plain, packed) = files(&world, job);
    let bytes = std::fs::metadata(&plain).unwrap().len();
    let done = pack(&world).await;
    assert_eq!((done.logs, done.bytes, done.left), (1, bytes, std::fs::metadata(&packed).unwrap().len()));
    assert!(!plain.exists() && done.left * 2 < bytes, "{done:?}");
    assert!(look().await == before);
    // From every place where a reader may continue.
    let mut reader = logs::read(&world.store, job, 0).await.unwrap();
    while let Some(batch) = reader.next().await.unwrap() {
        let from = batch.end();
        assert!(journal(&world.store, job, from).await == before.0[usize::try_from(from).unwrap()..], "from {from}");
    }
    assert_eq!(pack(&world).await, Packed::default(), "once");
    let report = check::run(world.path(), Depth::Full).await.unwrap();
    assert!(report.findings.is_empty() && report.log_bytes == bytes, "{report:?}");
}

#[tokio::test]
async fn who_reads_a_log_while_it_is_packed_reads_all_of_it() {
    let world = World::new().await;
    let job = job(&world, 60_000).await;
    end(&world, job).await;
    let whole = journal(&world.store, job, 0).await;
    let mut reader = logs::follow(&world.store, job, 0).await.unwrap();
    let mut read = Vec::new();
    let mut packed = false;
    while let Some(batch) = reader.next().await.unwrap() {
        batch.records().for_each(|(_, record)| record.encode(&mut read));
        if !std::mem::replace(&mut packed, true) {
            assert_eq!(pack(&world).await.logs, 1);
        }
    }
    assert!(read == whole);
}

#[tokio::test]
async fn a_log_that_is_written_still_or_was_lately_or_is_small_stays_as_it_is() {
    let world = World::new().await;
    let running = job(&world, 60_000).await;
    assert_eq!(pack(&world).await, Packed::default());
    end(&world, running).await;
    let rest = Duration::from_secs(3600);
    assert_eq!(pass(&world, rest).await, Packed::default());
    assert!(files(&world, running).0.exists());
    let world = World::new().await;
    let small = job(&world, 100).await;
    end(&world, small).await;
    assert_eq!(pack(&world).await, Packed::default());
    assert!(files(&world, small).0.exists());
}

#[tokio::test]
async fn a_kill_at_any_moment_of_the_packing_leaves_a_whole_log_and_the_next_pass_ends_it() {
    let world = World::new().await;
    let job = job(&world, 60_000).await;
    end(&world, job).await;
    let whole = journal(&world.store, job, 0).await;
    let (plain, packed) = files(&world, job);
    let (kept, half) = (plain.with_extension("kept"), plain.with_extension("packing"));
    std::fs::copy(&plain, &kept).unwrap();
    assert_eq!(pack(&world).await.logs, 1);
    let bytes = std::fs::read(&packed).unwrap();
    // Before the packed file was complete, and before it got its name.
    for length in [0, 1000, bytes.len()] {
        std::fs::rename(&packed, &half).unwrap_or_default();
        std::fs::copy(&kept, &plain).unwrap();
        std::fs::write(&half, &bytes[..length]).unwrap();
        assert!(journal(&world.store, job, 0).await == whole);
        assert_eq!(pack(&world).await.logs, 1);
        assert!(!plain.exists() && !half.exists() && journal(&world.store, job, 0).await == whole);
    }
    // Before the other file was removed.
    std::fs::copy(&kept, &plain).unwrap();
    assert!(journal(&world.store, job, 0).await == whole);
    assert_eq!(pack(&world).await.logs, 1);
    assert!(!plain.exists() && journal(&world.store, job, 0).await == whole);
}

#[tokio::test]
async fn a_changed_byte_of_a_packed_log_is_found_by_the_check_and_given_to_nobody() {
    let world = World::new().await;
    let job = job(&world, 60_000).await;
    end(&world, job).await;
    let whole = journal(&world.store, job, 0).await;
    assert_eq!(pack(&world).await.logs, 1);
    let (_, packed) = files(&world, job);
    let bytes = std::fs::read(&packed).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&packed).unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        file.write_all_at(&[bytes[at] ^ 0x10], at as u64).unwrap();
        let report = check::run(world.path(), Depth::Full).await.unwrap();
        assert!(!report.findings.is_empty(), "byte {at} of {}", bytes.len());
        if let Ok(mut reader) = logs::read(&world.store, job, 0).await {
            let mut read = Vec::new();
            while let Ok(Some(batch)) = reader.next().await {
                batch.records().for_each(|(_, record)| record.encode(&mut read));
            }
            assert!(whole.starts_with(&read), "byte {at}");
        }
        file.write_all_at(&bytes[at..=at], at as u64).unwrap();
    }
    assert!(check::run(world.path(), Depth::Full).await.unwrap().findings.is_empty());
}

#[tokio::test]
async fn a_backup_holds_packed_logs_as_they_were_written() {
    let world = World::new().await;
    let job = job(&world, 60_000).await;
    end(&world, job).await;
    let whole = journal(&world.store, job, 0).await;
    assert_eq!(pack(&world).await.logs, 1);
    let elsewhere = tempfile::tempdir().unwrap();
    let tar = elsewhere.path().join("backup.tar");
    let made = backup::write(world.path(), true, "test", std::fs::File::create(&tar).unwrap()).await.unwrap();
    assert!(made.warnings.is_empty(), "{made:?}");
    let folder = elsewhere.path().join("data");
    restore::read(&folder, std::fs::File::open(&tar).unwrap(), newest_schema()).unwrap();
    let restored = Store::open(&folder).await.unwrap();
    assert!(journal(&restored, job, 0).await == whole);
}

#[tokio::test]
async fn a_packed_log_goes_with_its_build() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let (old, new) = (job_of(&world, &repo, 60_000).await, job_of(&world, &repo, 60_000).await);
    end(&world, old).await;
    end(&world, new).await;
    assert_eq!(pack(&world).await.logs, 2);
    let keep = Retention { max_builds_per_repo: Some(1), ..Retention::default() };
    assert_eq!(retention::remove_old(&world.store, &keep, now()).await.unwrap().builds, 1);
    assert!(!files(&world, old).1.exists() && files(&world, new).1.exists());
    assert!(check::run(world.path(), Depth::Full).await.unwrap().findings.is_empty());
}
