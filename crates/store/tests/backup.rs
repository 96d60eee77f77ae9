//! Backups: made while others write, back to the byte, and never taken for whole when they are not.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::{
    borrow::Cow,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use longshore_core::{JobId, Outcome, Record, RecordKind, Status, Stream, Timestamp};
use longshore_files::{FilesError, logs::Renderer, restore};
use longshore_store::{
    Store, backup,
    builds::{self, BuildFilter},
    check::{self, Depth},
    jobs, logs, newest_schema,
};
use tempfile::TempDir;

mod world;
use world::{World, now};

fn record(seq: u64, kind: RecordKind, data: &[u8]) -> Record<'_> {
    Record { seq, time: Timestamp::from_millis(1_767_225_600_000), step: 0, kind, data: Cow::Borrowed(data) }
}

fn output(seq: u64, data: &[u8]) -> Record<'_> {
    record(seq, RecordKind::Output(Stream::Stdout), data)
}

/// Runs the next queued job: a log of these lines, then success.
async fn run_one(store: &Store, lines: u64) -> Option<JobId> {
    let mut tx = store.write().await.unwrap();
    let claimed = jobs::claim_next(&mut tx, now()).await.unwrap()?;
    tx.commit().await.unwrap();
    let mut writer = store.logs().open_writer(claimed.job.id, 1).unwrap();
    for n in 1..=lines {
        writer.append(&[output(n, format!("line {n}\n").as_bytes())]).unwrap();
    }
    writer.append(&[record(lines + 1, RecordKind::JobFinished, b"{}")]).unwrap();
    let mut tx = store.write().await.unwrap();
    jobs::end_attempt(&mut tx, claimed.job.id, 1, Outcome::Success, now()).await.unwrap();
    tx.commit().await.unwrap();
    Some(claimed.job.id)
}

fn lines(count: u64) -> Vec<u8> {
    (1..=count).flat_map(|n| format!("line {n}\n").into_bytes()).collect()
}

async fn raw_log(store: &Store, job: JobId) -> Vec<u8> {
    let mut reader = logs::read(store, job, 0).await.unwrap();
    let (mut renderer, mut out) = (Renderer::raw(None), Vec::new());
    while let Some(batch) = reader.next().await.unwrap() {
        batch.records().for_each(|(_, record)| renderer.render(&record, &mut out));
    }
    out
}

/// A backup of the folder as bytes.
async fn backed_up(data: &Path, secrets: bool) -> (Vec<u8>, backup::Backup) {
    let mut file = tempfile::tempfile().unwrap();
    let backup = backup::write(data, secrets, "1.2.3", file.try_clone().unwrap()).await.unwrap();
    let mut bytes = Vec::new();
    std::io::Seek::rewind(&mut file).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    (bytes, backup)
}

fn restored(tar: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    restore::read(dir.path(), tar, newest_schema()).unwrap();
    dir
}

/// A folder with a finished build, closed.
async fn small_folder() -> (TempDir, JobId) {
    let world = World::new().await;
    let repo = world.repo("app").await;
    world.build(&repo, &[("a", &[])]).await;
    let job = run_one(&world.store, 3).await.unwrap();
    let World { store, dir } = world;
    store.close().await;
    (dir, job)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_made_while_builds_run_holds_every_byte_that_its_database_speaks_of() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let stop = Arc::new(AtomicBool::new(false));
    let (store, stopped, of) = (world.store.clone(), Arc::clone(&stop), repo.clone());
    world.build(&repo, &[("endless", &[])]).await;
    let mut tx = world.store.write().await.unwrap();
    let endless = jobs::claim_next(&mut tx, now()).await.unwrap().unwrap().job.id;
    tx.commit().await.unwrap();
    let mut writer = world.store.logs().open_writer(endless, 1).unwrap();
    let (end, logs) = (Arc::clone(&stop), world.store.clone());
    let printing = std::thread::spawn(move || {
        let _store = logs;
        for n in 1.. {
            if end.load(Ordering::Relaxed) {
                return;
            }
            writer.append(&[output(n, format!("line {n}\n").as_bytes())]).unwrap();
            std::thread::yield_now();
        }
    });
    let working = tokio::spawn(async move {
        let mut built = 0;
        while !stopped.load(Ordering::Relaxed) {
            let mut tx = store.write().await.unwrap();
            builds::create(&mut tx, &world::new_build(&of, &[("a", &[])]), now()).await.unwrap();
            tx.commit().await.unwrap();
            run_one(&store, 200).await.unwrap();
            built += 1;
        }
        built
    });
    let mut watch = world.store.watch();
    let mut newest = 0;
    for _ in 0..3 {
        watch.changed().await.unwrap();
        let (tar, backup) = backed_up(world.path(), true).await;
        assert_eq!((backup.warnings.as_slice(), backup.manifest.running_jobs >= 1), ([].as_slice(), true));
        assert!(!world.path().join("backup").exists());
        let dir = restored(&tar);
        let report = check::run(dir.path(), Depth::Full).await.unwrap();
        assert!(report.findings.is_empty(), "{report:?}");

        let copy = Store::open(dir.path()).await.unwrap();
        assert_eq!(copy.copy_of(), Some(world.store.instance()));
        let page = builds::list(&copy, &BuildFilter::default(), None, 100).await.unwrap();
        for build in &page.items {
            let job = &jobs::of_build(&copy, build.id).await.unwrap()[0];
            if job.status == Status::Success {
                assert_eq!(raw_log(&copy, job.id).await, lines(200));
            }
        }
        assert!(page.items[0].number >= newest, "a later backup knows less");
        newest = page.items[0].number;
        let (log, printed) = (raw_log(&copy, endless).await, lines(20_000));
        assert!(printed.starts_with(&log) || log.starts_with(&printed), "not what was printed");
        // The job that was running can be adopted where its log ends.
        assert_eq!(jobs::running(&copy).await.unwrap()[0].job.id, endless);
        copy.logs().open_writer(endless, 1).unwrap();
        copy.close().await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(working.await.unwrap() > 0);
    printing.join().unwrap();
}

#[tokio::test]
async fn a_backup_that_is_cut_or_damaged_anywhere_is_refused_and_leaves_the_folder_empty() {
    let (folder, job) = small_folder().await;
    let (tar, backup) = backed_up(folder.path(), true).await;
    // The database, the key and the log.
    assert_eq!(backup.manifest.files, 3, "{backup:?}");
    let refused = |bytes: &[u8], what: &str| {
        let dir = tempfile::tempdir().unwrap();
        let error = restore::read(dir.path(), bytes, newest_schema()).unwrap_err();
        assert!(matches!(error, FilesError::Backup(_)), "{what}: {error}");
        assert_eq!(names(dir.path()), ["lock"], "{what}");
    };
    // The tar ends in two blocks of zeros. The manifest's own block is the last that has to be there.
    let last = tar.iter().rposition(|byte| *byte != 0).unwrap();
    for cut in (0..last).step_by(1024).chain([last]) {
        refused(&tar[..cut], &format!("cut at {cut}"));
    }
    // Changes one byte of every file's content and of every header.
    let mut archive = tar::Archive::new(tar.as_slice());
    let places: Vec<(String, u64, u64, u64)> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            (name, entry.raw_header_position(), entry.raw_file_position(), entry.size())
        })
        .collect();
    assert_eq!(places.len(), 5);
    for (name, header, start, size) in places {
        for at in [header, start, start + size / 2, start + size - 1] {
            let mut changed = tar.clone();
            changed[usize::try_from(at).unwrap()] ^= 0x01;
            if name != "manifest.json" {
                refused(&changed, &format!("{name}, byte {at}"));
            }
        }
    }
    let dir = restored(&tar);
    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(raw_log(&store, job).await, lines(3));
    store.close().await;
}

#[tokio::test]
async fn a_restore_takes_only_an_empty_folder_that_no_server_uses() {
    let (folder, _) = small_folder().await;
    let (tar, _) = backed_up(folder.path(), true).await;
    let world = World::new().await;
    let locked = restore::read(world.path(), tar.as_slice(), newest_schema()).unwrap_err();
    assert!(matches!(locked, FilesError::Locked(_)), "{locked}");
    let World { store, dir } = world;
    store.close().await;
    drop(store);
    let before = names(dir.path());
    let full = restore::read(dir.path(), tar.as_slice(), newest_schema()).unwrap_err();
    assert!(matches!(&full, FilesError::NotEmpty(message) if message.contains("not empty")), "{full}");
    assert_eq!(names(dir.path()), before);
}

#[tokio::test]
async fn after_a_restore_that_was_killed_no_server_starts_until_another_one_is_done() {
    let (folder, job) = small_folder().await;
    let (tar, _) = backed_up(folder.path(), true).await;
    let dir = tempfile::tempdir().unwrap();
    // The state that a kill leaves while files are put into place.
    std::fs::create_dir_all(dir.path().join("restore/logs")).unwrap();
    std::fs::create_dir_all(dir.path().join("logs/2026-01/01")).unwrap();
    std::fs::write(dir.path().join("logs/2026-01/01/half.log"), "x").unwrap();
    let refused = Store::open(dir.path()).await.unwrap_err();
    assert!(refused.to_string().contains("longshore restore"), "{refused}");
    let report = check::run(dir.path(), Depth::Full).await.unwrap();
    assert_eq!(report.findings[0].code(), "unfinished-restore");
    restore::read(dir.path(), tar.as_slice(), newest_schema()).unwrap();
    assert!(!dir.path().join("logs/2026-01/01/half.log").exists());
    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(raw_log(&store, job).await, lines(3));
    store.close().await;
}

#[tokio::test]
async fn a_data_folder_that_longshore_makes_is_its_owners_alone() {
    let outer = tempfile::tempdir().unwrap();
    let data = outer.path().join("data");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let store = Store::open(&data).await.unwrap();
    assert_eq!((mode(&data), mode(&data.join("longshore.db"))), (0o700, 0o600));
    assert_eq!(mode(&data.join("longshore.db-wal")), 0o600);
    store.close().await;
    drop(store);
    // Another version left this file readable.
    std::fs::set_permissions(data.join("longshore.db"), std::fs::Permissions::from_mode(0o644)).unwrap();
    Store::open(&data).await.unwrap().close().await;
    assert_eq!(mode(&data.join("longshore.db")), 0o600);
}

#[tokio::test]
async fn keys_are_in_a_backup_unless_they_are_left_out_and_stay_private() {
    let (folder, _) = small_folder().await;
    for name in ["secrets.key", "admin-token"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    let dir = restored(&backed_up(folder.path(), true).await.0);
    for name in ["secrets.key", "admin-token", "longshore.db"] {
        let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let (tar, backup) = backed_up(folder.path(), false).await;
    assert!(!backup.manifest.secrets);
    let dir = restored(&tar);
    assert_eq!(names(dir.path()), ["identity", "lock", "logs", "longshore.db"]);
}

#[tokio::test]
async fn a_backup_of_a_later_schema_or_format_is_refused_with_the_version_to_use() {
    let (folder, _) = small_folder().await;
    let (tar, _) = backed_up(folder.path(), true).await;
    let rewritten = |change: fn(&mut serde_json::Value)| {
        let mut builder = tar::Builder::new(Vec::new());
        for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let (mut header, path) = (entry.header().clone(), entry.path().unwrap().into_owned());
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            if path == Path::new("manifest.json") {
                let mut manifest = serde_json::from_slice(&bytes).unwrap();
                change(&mut manifest);
                bytes = serde_json::to_vec(&manifest).unwrap();
            }
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, bytes.as_slice()).unwrap();
        }
        builder.into_inner().unwrap()
    };
    for tar in [rewritten(|m| m["schema"] = 9999.into()), rewritten(|m| m["format"] = 2.into())] {
        let dir = tempfile::tempdir().unwrap();
        let refused = restore::read(dir.path(), tar.as_slice(), newest_schema()).unwrap_err();
        assert!(refused.to_string().contains("1.2.3"), "{refused}");
    }
}

#[tokio::test]
async fn one_backup_of_a_folder_at_a_time() {
    let (folder, _) = small_folder().await;
    let (tar, second) = tokio::join!(backed_up(folder.path(), true), backed_up(folder.path(), true));
    // Both backups are complete: the second one waited.
    for tar in [&tar.0, &second.0] {
        assert!(check::run(restored(tar).path(), Depth::Full).await.unwrap().is_whole());
    }
}
