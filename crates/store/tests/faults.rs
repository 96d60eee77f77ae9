//! The store on a disk that fills up, with a database that another process locks, and with a clock that is set.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::{borrow::Cow, time::Duration};

use longshore_core::{Outcome, Record, RecordKind, Status, Stream, Timestamp, access::Rights, rules::state::JobEvent};
use longshore_files::FilesError;
use longshore_store::{
    Store, StoreError,
    builds::{self},
    check::{self, Depth},
    deliveries::{self, NewDelivery},
    jobs, logs,
    repos::{self, NewRepo, Repo},
    tokens::{self, NewToken, Scope},
};
use sqlx::ConnectOptions as _;

mod small_disk;
mod world;
use small_disk::SmallDisk;
use world::{World, new_build, now};

fn delivery(repo: &Repo, n: u64, received_at: Timestamp) -> NewDelivery {
    NewDelivery {
        repo: repo.id,
        key: format!("d{n}"),
        event: "push".to_owned(),
        body: vec![b'x'; 20_000],
        body_key: None,
        is_unique: false,
        received_at,
    }
}

async fn repo(store: &Store) -> Repo {
    let mut tx = store.write().await.unwrap();
    let new = NewRepo {
        name: "app".to_owned(),
        forge: "git".to_owned(),
        clone_url: "https://git.example/app.git".to_owned(),
        public: false,
        default_branch: None,
    };
    let repo = repos::create(&mut tx, &new, now()).await.unwrap();
    tx.commit().await.unwrap();
    repo
}

async fn accept(store: &Store, delivery: &NewDelivery) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    deliveries::accept(&mut tx, delivery).await?;
    tx.commit().await.map(drop)
}

async fn accepted(store: &Store) -> Vec<String> {
    let repo = repos::by_name(store, "app").await.unwrap().unwrap();
    let (mut keys, mut before) = (Vec::new(), None);
    loop {
        let page = deliveries::list(store, repo.id, before, 100).await.unwrap();
        keys.extend(page.items.into_iter().map(|delivery| delivery.key));
        before = page.next;
        if before.is_none() {
            keys.reverse();
            return keys;
        }
    }
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_acknowledged_that_is_not_stored_and_work_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(6) else { return };
    let store = Store::open(disk.path()).await.unwrap();
    let repo = repo(&store).await;
    let (mut stored, mut refused) = (Vec::new(), 0);
    for n in 0.. {
        match accept(&store, &delivery(&repo, n, now())).await {
            Ok(()) => stored.push(format!("d{n}")),
            Err(error) => {
                assert!(matches!(error, StoreError::DiskFull(_)), "{error:?}");
                refused += 1;
            }
        }
        if refused == 0 && n == 20 {
            disk.fill();
        }
        if refused == 10 {
            break;
        }
    }
    assert_eq!(accepted(&store).await, stored);
    disk.free();
    accept(&store, &delivery(&repo, 9999, now())).await.unwrap();
    stored.push("d9999".to_owned());
    assert_eq!(accepted(&store).await, stored);
    assert!(check::run(disk.path(), Depth::Full).await.unwrap().findings.is_empty());
    store.close().await;
    drop(store);
    // The same after a start on a disk that is full again.
    disk.fill();
    let opened = Store::open(disk.path()).await;
    disk.free();
    let store = match opened {
        Ok(store) => store,
        Err(error) => {
            assert!(matches!(error, StoreError::DiskFull(_)), "{error:?}");
            Store::open(disk.path()).await.unwrap()
        }
    };
    assert_eq!(accepted(&store).await, stored);
    store.close().await;
}

#[tokio::test]
async fn a_log_on_a_full_disk_holds_what_was_acknowledged_and_takes_the_rest_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(6) else { return };
    let store = Store::open(disk.path()).await.unwrap();
    let repo = repo(&store).await;
    let mut tx = store.write().await.unwrap();
    builds::create(&mut tx, &new_build(&repo, &[("a", &[])]), now()).await.unwrap();
    let job = jobs::claim_next(&mut tx, now()).await.unwrap().unwrap().job.id;
    tx.commit().await.unwrap();
    let mut writer = store.logs().open_writer(job, 1).unwrap();
    disk.fill();
    let line = |n: u64| Record {
        seq: n,
        time: now(),
        step: 0,
        kind: RecordKind::Output(Stream::Stdout),
        data: Cow::Owned(vec![b'0' + u8::try_from(n % 10).unwrap(); 3000]),
    };
    let mut failed = 0;
    for n in 1..=40 {
        while let Err(error) = writer.append(&[line(n)]) {
            assert!(matches!(error, FilesError::DiskFull(_)), "{error:?}");
            assert_eq!(writer.last_seq(), n - 1);
            failed += 1;
            if failed == 3 {
                disk.free();
            }
        }
    }
    assert!(failed >= 3, "the disk was never full");
    let mut reader = logs::read(&store, job, 0).await.unwrap();
    let mut seqs = Vec::new();
    while let Some(batch) = reader.next().await.unwrap() {
        seqs.extend(batch.records().map(|(_, record)| (record.seq, record.data.len())));
    }
    assert_eq!(seqs, (1..=40).map(|n| (n, 3000)).collect::<Vec<_>>());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_another_program_locks_for_seconds_is_waited_for_and_read_meanwhile() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.path().join("longshore.db"));
    let mut other = options.connect().await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    let (store, new) = (world.store.clone(), delivery(&repo, 1, now()));
    let hook = tokio::spawn(async move { accept(&store, &new).await });
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(repos::by_name(&world.store, "app").await.unwrap().is_some());
        assert!(!hook.is_finished(), "it did not wait");
    }
    sqlx::query("COMMIT").execute(&mut other).await.unwrap();
    hook.await.unwrap().unwrap();
    assert_eq!(accepted(&world.store).await, ["d1"]);
}

const HOUR: i64 = 60 * 60 * 1000;

fn at(hours: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + hours * HOUR)
}

#[tokio::test]
async fn a_clock_that_is_set_holds_up_no_delivery_and_changes_no_order() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    // Received while the clock was a year ahead, and after it was corrected.
    accept(&world.store, &delivery(&repo, 1, at(24 * 365))).await.unwrap();
    accept(&world.store, &delivery(&repo, 2, at(0))).await.unwrap();
    let first = deliveries::next_pending(&world.store, repo.id, at(0)).await.unwrap().unwrap();
    let listed = deliveries::get(&world.store, first.id).await.unwrap().unwrap();
    assert_eq!(listed.received_at, at(24 * 365), "not in the order in which they came");
    // Put off while the clock was ahead: due at once, not in a year.
    let mut tx = world.store.write().await.unwrap();
    deliveries::retry_later(&mut tx, first.id, at(24 * 365), "the git host does not answer").await.unwrap();
    tx.commit().await.unwrap();
    let due = deliveries::next_due(&world.store, at(0)).await.unwrap().unwrap();
    assert!(due.since(at(0)) <= deliveries::MAX_PAUSE_MS);
    assert_eq!(deliveries::next_pending(&world.store, repo.id, at(0)).await.unwrap().unwrap().id, first.id);
    // A delivery that the correct clock puts off waits for its time.
    let soon = Timestamp::from_millis(at(0).as_millis() + 60_000);
    let mut tx = world.store.write().await.unwrap();
    deliveries::retry_later(&mut tx, first.id, soon, "the git host does not answer").await.unwrap();
    tx.commit().await.unwrap();
    assert_ne!(deliveries::next_pending(&world.store, repo.id, at(0)).await.unwrap().unwrap().id, first.id);
    assert_eq!(deliveries::next_pending(&world.store, repo.id, soon).await.unwrap().unwrap().id, first.id);
}

#[tokio::test]
async fn no_job_and_no_build_ends_before_it_began_and_lists_keep_their_order_when_the_clock_is_set_back() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let mut tx = world.store.write().await.unwrap();
    let first = builds::create(&mut tx, &new_build(&repo, &[("a", &[]), ("b", &["a"])]), at(10)).await.unwrap();
    let a = jobs::claim_next(&mut tx, at(10)).await.unwrap().unwrap().job.id;
    jobs::mark_started(&mut tx, a, 1, at(11)).await.unwrap();
    // From here on the clock is ten hours behind.
    jobs::end_attempt(&mut tx, a, 1, Outcome::Success, at(1)).await.unwrap();
    let b = jobs::claim_next(&mut tx, at(1)).await.unwrap().unwrap().job.id;
    jobs::apply(&mut tx, b, &JobEvent::Ended(Outcome::Success), at(2)).await.unwrap();
    let second = builds::create(&mut tx, &new_build(&repo, &[("a", &[])]), at(2)).await.unwrap();
    tx.commit().await.unwrap();
    for job in [a, b] {
        let job = jobs::get(&world.store, job).await.unwrap().unwrap();
        assert!(job.finished_at >= job.started_at.max(job.claimed_at), "{job:?}");
    }
    let build = builds::get(&world.store, first.id).await.unwrap().unwrap();
    assert_eq!(build.status, Status::Success);
    assert!(build.finished_at >= Some(at(11)) && build.started_at >= Some(build.created_at), "{build:?}");
    let page = builds::list(&world.store, &builds::BuildFilter::default(), None, 10).await.unwrap();
    assert_eq!(page.items.iter().map(|build| build.id).collect::<Vec<_>>(), [second.id, first.id]);
}

#[tokio::test]
async fn a_token_ends_by_the_calendar_whatever_the_clock_did_before() {
    let world = World::new().await;
    let rights = Rights::new(vec![Scope::Read], None);
    let new = NewToken { name: "ci".to_owned(), rights, expires_at: Some(at(24)) };
    let mut tx = world.store.write().await.unwrap();
    let made = tokens::create(&mut tx, &new, at(0)).await.unwrap();
    tx.commit().await.unwrap();
    for (hour, valid) in [(23, true), (25, false), (1, true), (24 * 365, false)] {
        let token = tokens::verify(&world.store, &made.secret, at(hour)).await.unwrap();
        assert_eq!(token.is_some(), valid, "hour {hour}");
    }
}
