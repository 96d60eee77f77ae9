//! Builds over a limit go, whole, and nothing else does.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::{borrow::Cow, fs::File, time::Duration};

use longshore_core::{ErrorKind, EventName, JobId, Outcome, Record, RecordKind, Stream, Timestamp};
use longshore_core::{
    event::PullRequest,
    plan::{Retry, RetryOn},
};
use longshore_store::{
    builds::{self, Build, BuildFilter, NewBuild},
    check::{self, Depth},
    deliveries::{self, DeliveryEnd, NewDelivery},
    jobs, logs,
    repos::{self, Repo},
    retention::{self, Removed, Retention},
};
use tokio_util::sync::CancellationToken;

mod world;
use world::{World, new_build};

const DAY: i64 = 24 * 60 * 60 * 1000;

fn day(n: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + n * DAY)
}

fn days(n: u64) -> Option<Duration> {
    Some(Duration::from_secs(n * 24 * 60 * 60))
}

/// A build of one job that printed so many bytes and ended on that day.
async fn ended(world: &World, repo: &Repo, on: i64, bytes: usize) -> (Build, JobId) {
    ended_of(world, &new_build(repo, &[("a", &[])]), on, bytes).await
}

/// The same, for a pull request from a fork.
async fn ended_of_fork(world: &World, repo: &Repo, on: i64, bytes: usize) {
    let mut new = new_build(repo, &[("a", &[])]);
    new.event.name = EventName::PullRequest;
    new.event.pull_request = Some(PullRequest { fork: true, ..PullRequest::opened(7, "topic", "main") });
    ended_of(world, &new, on, bytes).await;
}

async fn ended_of(world: &World, new: &NewBuild, on: i64, bytes: usize) -> (Build, JobId) {
    let mut tx = world.store.write().await.unwrap();
    let build = builds::create(&mut tx, new, day(on)).await.unwrap();
    tx.commit().await.unwrap();
    let job = tried(world, on, bytes, Outcome::Success).await;
    (build, job)
}

/// The next try of the job whose turn it is.
async fn tried(world: &World, on: i64, bytes: usize, outcome: Outcome) -> JobId {
    let mut tx = world.store.write().await.unwrap();
    let claimed = jobs::claim_next(&mut tx, day(on)).await.unwrap().unwrap();
    let (job, attempt) = (claimed.job.id, claimed.job.attempt);
    tx.commit().await.unwrap();
    let mut writer = world.store.logs().open_writer(job, attempt).unwrap();
    let data = vec![b'x'; bytes];
    let output = |seq, kind, data| Record { seq, time: day(on), step: 0, kind, data: Cow::Borrowed(data) };
    writer.append(&[output(1, RecordKind::Output(Stream::Stdout), &data)]).unwrap();
    writer.append(&[output(2, RecordKind::JobFinished, b"{}")]).unwrap();
    let mut tx = world.store.write().await.unwrap();
    jobs::end_attempt(&mut tx, job, attempt, outcome, day(on)).await.unwrap();
    tx.commit().await.unwrap();
    job
}

async fn numbers(world: &World, repo: &Repo) -> Vec<u64> {
    let filter = BuildFilter { repo: Some(repo.id), ..BuildFilter::default() };
    builds::list(&world.store, &filter, None, 100).await.unwrap().items.iter().map(|build| build.number).collect()
}

async fn is_whole(world: &World) {
    let report = check::run(world.path(), Depth::Full).await.unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
}

#[tokio::test]
async fn by_age_whole_builds_go_but_no_repositorys_newest_and_none_that_is_not_over() {
    let world = World::new().await;
    let (app, quiet) = (world.repo("app").await, world.repo("quiet").await);
    ended(&world, &quiet, 0, 10).await;
    let (first, job) = ended(&world, &app, 0, 10).await;
    let log = world.store.logs().path(job, 1);
    let mut tx = world.store.write().await.unwrap();
    builds::create(&mut tx, &new_build(&app, &[("waits", &[])]), day(0)).await.unwrap();
    // It waits for its turn for ever: the tests claim the jobs after it themselves.
    let waiting = jobs::claim_next(&mut tx, day(0)).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    ended(&world, &app, 5, 10).await;
    ended(&world, &app, 20, 10).await;

    let keep = Retention { max_age: days(10), ..Retention::default() };
    assert_eq!(retention::remove_old(&world.store, &keep, day(10)).await.unwrap(), Removed::default(), "to the day");
    let mut watch = world.store.feed(None);
    let removed = retention::remove_old(&world.store, &keep, day(16)).await.unwrap();
    assert_eq!((removed.builds, numbers(&world, &app).await), (2, vec![4, 2]));
    assert_eq!(numbers(&world, &quiet).await, [1]);
    assert!(!log.exists());
    assert_eq!(jobs::get(&world.store, job).await.unwrap(), None);
    assert!(
        matches!(watch.next().await.unwrap(), Some(longshore_store::FeedItem::Change(c)) if c.build == Some(first.id))
    );
    is_whole(&world).await;
    // Ten years later the running build is still there, and the newest one.
    retention::remove_old(&world.store, &keep, day(3650)).await.unwrap();
    assert_eq!(numbers(&world, &app).await, [4, 2]);
    assert_eq!(jobs::running(&world.store).await.unwrap()[0].job.id, waiting.job.id);
}

#[tokio::test]
async fn by_number_each_repository_keeps_its_newest() {
    let world = World::new().await;
    let (app, other) = (world.repo("app").await, world.repo("other").await);
    for n in 0..20 {
        ended(&world, &app, n, 10).await;
    }
    ended(&world, &other, 0, 10).await;
    let keep = Retention { max_builds_per_repo: Some(3), ..Retention::default() };
    let removed = retention::remove_old(&world.store, &keep, day(20)).await.unwrap();
    assert_eq!((removed.builds, numbers(&world, &app).await), (17, vec![20, 19, 18]));
    assert_eq!(numbers(&world, &other).await, [1]);
    is_whole(&world).await;
}

#[tokio::test]
async fn builds_from_forks_remove_none_of_the_repositorys_own() {
    let world = World::new().await;
    let app = world.repo("app").await;
    for n in 0..4 {
        ended(&world, &app, n, 10_000).await;
    }
    for n in 4..24 {
        ended_of_fork(&world, &app, n, 10_000).await;
    }
    let keep = Retention { max_builds_per_repo: Some(3), ..Retention::default() };
    retention::remove_old(&world.store, &keep, day(30)).await.unwrap();
    assert_eq!(numbers(&world, &app).await, [24, 23, 22, 4, 3, 2]);
    // Both have as much, and give in turn; the newest of all stays.
    let keep = Retention { max_log_bytes: Some(45_000), ..Retention::default() };
    retention::remove_old(&world.store, &keep, day(30)).await.unwrap();
    assert_eq!(numbers(&world, &app).await, [24, 23, 4, 3]);
    is_whole(&world).await;
}

#[tokio::test]
async fn by_size_the_repository_with_the_most_logs_gives() {
    let world = World::new().await;
    let (app, loud) = (world.repo("app").await, world.repo("loud").await);
    for n in 0..3 {
        ended(&world, &app, n, 10_000).await;
    }
    for n in 3..20 {
        ended(&world, &loud, n, 10_000).await;
    }
    let keep = Retention { max_log_bytes: Some(75_000), ..Retention::default() };
    retention::remove_old(&world.store, &keep, day(30)).await.unwrap();
    assert_eq!((numbers(&world, &app).await.len(), numbers(&world, &loud).await), (3, vec![17, 16, 15, 14]));
    is_whole(&world).await;
}

#[tokio::test]
async fn by_size_the_oldest_logs_go_until_the_rest_fits() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    for n in 0..20 {
        ended(&world, &repo, n, 10_000).await;
    }
    let keep = Retention { max_log_bytes: Some(75_000), ..Retention::default() };
    let removed = retention::remove_old(&world.store, &keep, day(20)).await.unwrap();
    assert_eq!((removed.builds, numbers(&world, &repo).await.last()), (13, Some(&14)));
    let again = retention::remove_old(&world.store, &keep, day(20)).await.unwrap();
    assert_eq!(again, Removed::default());
    is_whole(&world).await;
}

#[tokio::test]
async fn by_size_earlier_tries_count_and_each_repository_keeps_its_newest() {
    let world = World::new().await;
    let (app, other) = (world.repo("app").await, world.repo("other").await);
    let mut flaky = new_build(&app, &[("a", &[])]);
    flaky.plan.jobs[0].retry = Some(Retry { max: 1, on: vec![RetryOn::Error] });
    let mut tx = world.store.write().await.unwrap();
    builds::create(&mut tx, &flaky, day(0)).await.unwrap();
    tx.commit().await.unwrap();
    tried(&world, 0, 50_000, Outcome::Error { kind: ErrorKind::Lost, message: "gone".to_owned() }).await;
    tried(&world, 0, 10_000, Outcome::Success).await;
    ended(&world, &app, 1, 10_000).await;
    ended(&world, &app, 2, 10_000).await;
    ended(&world, &other, 2, 10_000).await;
    // 90 kB and the heads of the records: the flaky build alone is enough.
    let keep = Retention { max_log_bytes: Some(75_000), ..Retention::default() };
    let removed = retention::remove_old(&world.store, &keep, day(3)).await.unwrap();
    assert_eq!((removed.builds, numbers(&world, &app).await), (1, vec![3, 2]));
    let keep = Retention { max_log_bytes: Some(1), ..Retention::default() };
    retention::remove_old(&world.store, &keep, day(3)).await.unwrap();
    assert_eq!((numbers(&world, &app).await, numbers(&world, &other).await), (vec![3], vec![1]));
    is_whole(&world).await;
}

#[tokio::test]
async fn a_log_that_a_rerun_carries_over_stays_until_the_last_rerun_goes() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let (first, job) = ended(&world, &repo, 0, 100).await;
    let log = world.store.logs().path(job, 1);
    let mut again = new_build(&repo, &[("a", &[]), ("b", &[])]);
    (again.rerun_of, again.carried_over) = (Some(first.id), vec![("a".to_owned(), job)]);
    let mut reruns = Vec::new();
    for on in [1, 2] {
        let mut tx = world.store.write().await.unwrap();
        let rerun = builds::create(&mut tx, &again, day(on)).await.unwrap();
        let b = jobs::claim_next(&mut tx, day(on)).await.unwrap().unwrap().job.id;
        jobs::end_attempt(&mut tx, b, 1, Outcome::Success, day(on)).await.unwrap();
        tx.commit().await.unwrap();
        reruns.push(rerun);
    }
    ended(&world, &repo, 30, 10).await;
    let keep = Retention { max_age: days(10), ..Retention::default() };
    for (on, left, kept) in [(11, 3, true), (12, 2, true), (13, 1, false)] {
        // Each pass removes one more, the original first.
        retention::remove_old(&world.store, &keep, Timestamp::from_millis(day(on).as_millis() - 1)).await.unwrap();
        assert_eq!((numbers(&world, &repo).await.len(), log.exists()), (left, kept), "day {on}");
        is_whole(&world).await;
    }
    // The last rerun's copy was readable as long as the rerun was there.
    assert!(logs::read(&world.store, job, 0).await.is_err());
    assert_eq!(reruns.len(), 2);
}

#[tokio::test]
async fn a_repository_goes_with_the_logs_that_only_its_reruns_still_had() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let (_, job) = ended(&world, &repo, 0, 100).await;
    let mut again = new_build(&repo, &[("a", &[])]);
    again.carried_over = vec![("a".to_owned(), job)];
    let mut tx = world.store.write().await.unwrap();
    builds::create(&mut tx, &again, day(1)).await.unwrap();
    tx.commit().await.unwrap();
    let keep = Retention { max_builds_per_repo: Some(1), ..Retention::default() };
    retention::remove_old(&world.store, &keep, day(2)).await.unwrap();
    let log = world.store.logs().path(job, 1);
    assert!(log.exists());
    let mut tx = world.store.write().await.unwrap();
    repos::delete(&mut tx, repo.id).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!log.exists());
}

#[tokio::test]
async fn while_a_backup_is_made_logs_stay_and_go_afterwards() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let (_, job) = ended(&world, &repo, 0, 100).await;
    ended(&world, &repo, 30, 10).await;
    let log = world.store.logs().path(job, 1);
    // The lock that a backup holds.
    let lock = File::create(world.path().join("backup.lock")).unwrap();
    lock.lock().unwrap();
    let keep = Retention { max_age: days(10), ..Retention::default() };
    retention::remove_old(&world.store, &keep, day(31)).await.unwrap();
    assert_eq!((numbers(&world, &repo).await, log.exists()), (vec![2], true));
    is_whole(&world).await;
    drop(lock);
    // The state after a kill: when the task starts it finds the removals that were noted.
    let end = CancellationToken::new();
    let task = tokio::spawn(retention::run(world.store.clone(), Retention::default(), end.clone()));
    let deadline = std::time::Instant::now() + Duration::from_secs(300);
    while log.exists() {
        assert!(std::time::Instant::now() < deadline, "the log stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    end.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn deliveries_go_by_their_age_and_their_builds_stay() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let delivery = |key: &str| NewDelivery {
        repo: repo.id,
        key: key.to_owned(),
        event: "push".to_owned(),
        body: vec![b'x'; 1000],
        body_key: None,
        is_unique: false,
        received_at: day(0),
    };
    let mut tx = world.store.write().await.unwrap();
    let done = deliveries::accept(&mut tx, &delivery("done")).await.unwrap().id;
    let pending = deliveries::accept(&mut tx, &delivery("pending")).await.unwrap().id;
    let mut new = new_build(&repo, &[("a", &[])]);
    new.delivery = Some(done);
    let build = builds::create(&mut tx, &new, day(0)).await.unwrap();
    deliveries::finish(&mut tx, done, &DeliveryEnd::Done { note: None }, day(0)).await.unwrap();
    tx.commit().await.unwrap();
    let keep = Retention { max_delivery_age: days(90), ..Retention::default() };
    let removed = retention::remove_old(&world.store, &keep, day(91)).await.unwrap();
    assert_eq!(removed, Removed { deliveries: 1, ..Removed::default() });
    assert_eq!(deliveries::get(&world.store, done).await.unwrap(), None);
    assert!(deliveries::get(&world.store, pending).await.unwrap().is_some());
    assert_eq!(builds::get(&world.store, build.id).await.unwrap().unwrap().delivery, None);
    is_whole(&world).await;
}
