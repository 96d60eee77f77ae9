//! The check finds what was done to a folder, and nothing in one that nothing was done to.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::{
    borrow::Cow,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use longshore_core::{Outcome, Record, RecordKind, Stream, Timestamp};
use longshore_store::{
    builds::{self},
    check::{self, Depth, Finding, Severity},
    jobs,
};

mod world;
use world::{World, new_build, now};

/// A folder with a finished build whose first job's log is at that path, and a rerun that carries it over.
async fn folder() -> (World, PathBuf) {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let build = world.build(&repo, &[("a", &[]), ("b", &[])]).await;
    let mut of_a = None;
    for outcome in [Outcome::Success, Outcome::Failure { exit_code: 1, step: "x".to_owned(), out_of_memory: false }] {
        let mut tx = world.store.write().await.unwrap();
        let job = jobs::claim_next(&mut tx, now()).await.unwrap().unwrap().job.id;
        tx.commit().await.unwrap();
        let mut writer = world.store.logs().open_writer(job, 1).unwrap();
        for n in 1..=50 {
            writer.append(&[record(n, RecordKind::Output(Stream::Stdout), b"0123456789")]).unwrap();
        }
        writer.append(&[record(51, RecordKind::JobFinished, b"{}")]).unwrap();
        let mut tx = world.store.write().await.unwrap();
        jobs::end_attempt(&mut tx, job, 1, outcome, now()).await.unwrap();
        tx.commit().await.unwrap();
        of_a.get_or_insert(job);
    }
    let job = of_a.unwrap();
    let mut again = new_build(&repo, &[("a", &[]), ("b", &[])]);
    (again.rerun_of, again.carried_over) = (Some(build.id), vec![("a".to_owned(), job)]);
    let mut tx = world.store.write().await.unwrap();
    builds::create(&mut tx, &again, now()).await.unwrap();
    tx.commit().await.unwrap();
    let path = world.store.logs().path(job, 1);
    (world, path)
}

fn record(seq: u64, kind: RecordKind, data: &[u8]) -> Record<'_> {
    Record { seq, time: Timestamp::from_millis(1_767_225_600_000), step: 0, kind, data: Cow::Borrowed(data) }
}

async fn found(path: &Path, depth: Depth) -> Vec<&'static str> {
    let report = check::run(path, depth).await.unwrap();
    let whole = report.findings.iter().all(|found| found.severity() == Severity::Warning);
    assert_eq!(report.is_whole(), whole, "{report:?}");
    let mut codes: Vec<_> = report.findings.iter().map(Finding::code).collect();
    codes.sort_unstable();
    codes
}

#[tokio::test]
async fn nothing_is_found_in_a_folder_that_is_whole_beside_its_server_or_without_it() {
    let (world, _) = folder().await;
    let report = check::run(world.path(), Depth::Full).await.unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
    assert_eq!((report.builds, report.jobs, report.logs), (2, 4, 2));
    assert!(report.log_bytes > 1000);
    let World { store, dir } = world;
    store.close().await;
    drop(store);
    let before = std::fs::read(dir.path().join("longshore.db")).unwrap();
    assert!(found(dir.path(), Depth::Full).await.is_empty());
    assert!(std::fs::read(dir.path().join("longshore.db")).unwrap() == before, "a check wrote");
}

#[tokio::test]
async fn every_byte_of_a_log_counts() {
    let (world, path) = folder().await;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let size = file.metadata().unwrap().len();
    for at in (0..size).step_by(7) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x20], at).unwrap();
        assert_eq!(found(world.path(), Depth::Full).await, ["log-damaged"], "byte {at}");
        file.write_all_at(&byte, at).unwrap();
    }
    assert!(found(world.path(), Depth::Full).await.is_empty());
    // The job that carried it over has the same log.
    file.set_len(size - 1).unwrap();
    assert_eq!(found(world.path(), Depth::Quick).await, ["log-length", "log-length"]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(found(world.path(), Depth::Quick).await, ["log-missing", "log-missing"]);
}

#[tokio::test]
async fn a_log_of_no_job_and_open_keys_are_said_and_are_no_damage() {
    let (world, path) = folder().await;
    let orphan = path.with_file_name("0199a000-0000-7000-8000-000000000000-1.log");
    std::fs::write(&orphan, "x").unwrap();
    let token = world.path().join("admin-token");
    std::fs::write(&token, "x").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(found(world.path(), Depth::Full).await, ["file-readable", "log-orphan"]);
}

#[tokio::test]
async fn a_damaged_database_is_found_and_a_folder_of_nothing_is_no_data_folder() {
    let (world, _) = folder().await;
    let World { store, dir } = world;
    store.close().await;
    drop(store);
    let path = dir.path().join("longshore.db");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let size = file.metadata().unwrap().len();
    // Every page but the first, which says what the file is.
    file.write_all_at(&vec![0xa5; usize::try_from(size).unwrap() - 4096], 4096).unwrap();
    assert!(found(dir.path(), Depth::Quick).await.contains(&"database-damaged"));
    let empty = tempfile::tempdir().unwrap();
    let refused = check::run(empty.path(), Depth::Full).await.unwrap_err();
    assert!(refused.to_string().contains("--data"), "{refused}");
}
