//! Builds and jobs: claims, needs, ends, whatever comes in whatever order.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use longshore_core::{
    Diagnostic, ErrorKind, JobId, Outcome, Severity, Span, Status, StepResult, StepStatus,
    rules::state::{JobEvent, build_status},
};
use longshore_store::{
    Store, StoreError, builds, counts,
    jobs::{self, Applied},
    steps,
};
use proptest::prelude::*;

mod world;
use world::{World, new_build, now};

async fn apply(store: &Store, job: JobId, event: JobEvent) -> Applied {
    let mut tx = store.write().await.unwrap();
    let applied = jobs::apply(&mut tx, job, &event, now()).await.unwrap();
    tx.commit().await.unwrap();
    applied
}

async fn claim(store: &Store) -> Option<jobs::ClaimedJob> {
    let mut tx = store.write().await.unwrap();
    let claimed = jobs::claim_next(&mut tx, now()).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

fn failure() -> Outcome {
    Outcome::Failure { exit_code: 7, step: "build".to_owned(), out_of_memory: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_queued_job_is_claimed_by_exactly_one_of_many() {
    let world = Arc::new(World::new().await);
    let repo = world.repo("app").await;
    for _ in 0..10 {
        world.build(&repo, &[("a", &[]), ("b", &[]), ("c", &[])]).await;
    }
    let mut claimers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let world = Arc::clone(&world);
        claimers.spawn(async move {
            let mut claimed = Vec::new();
            while let Some(job) = claim(&world.store).await {
                claimed.push(job.job.id);
            }
            claimed
        });
    }
    let mut all: Vec<JobId> = claimers.join_all().await.into_iter().flatten().collect();
    assert_eq!(all.len(), 30);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 30, "a job was claimed twice");
    assert_eq!(counts::get(&world.store).await.unwrap().jobs, [(Status::Running, 30)]);
}

#[tokio::test]
async fn jobs_are_claimed_in_the_order_of_their_creation_with_all_that_running_them_takes() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let first = world.build(&repo, &[("b", &[]), ("a", &[])]).await;
    world.build(&repo, &[("c", &[])]).await;
    let claimed = claim(&world.store).await.unwrap();
    assert_eq!((claimed.job.key.as_str(), claimed.attempt, claimed.plan.clone()), ("b", 1, world::job("b", &[])));
    assert_eq!((claimed.repo, claimed.build.id), (repo, first.id));
    assert_eq!((claimed.build.status, claimed.build.started_at), (Status::Running, claimed.job.claimed_at));
    assert_eq!(claim(&world.store).await.unwrap().job.key, "a");
    assert_eq!(claim(&world.store).await.unwrap().job.key, "c");
    assert_eq!(claim(&world.store).await, None);
    assert_eq!(
        builds::plan(&world.store, first.id).await.unwrap(),
        Some(new_build(&claimed_repo(&world).await, &[("b", &[]), ("a", &[])]).plan)
    );
}

async fn claimed_repo(world: &World) -> longshore_store::repos::Repo {
    longshore_store::repos::by_name(&world.store, "app").await.unwrap().unwrap()
}

#[tokio::test]
async fn a_job_waits_for_all_it_needs_and_is_skipped_with_all_that_need_it_when_one_fails() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let build = world
        .build(
            &repo,
            &[("lint", &[]), ("test", &[]), ("pack", &["lint", "test"]), ("ship", &["pack"]), ("note", &["lint"])],
        )
        .await;
    let jobs = jobs::of_build(&world.store, build.id).await.unwrap();
    assert_eq!(jobs[2].needs, ["lint", "test"]);
    let ids: HashMap<&str, JobId> = jobs.iter().map(|job| (job.key.as_str(), job.id)).collect();
    assert_eq!(claim(&world.store).await.unwrap().job.key, "lint");
    assert_eq!(claim(&world.store).await.unwrap().job.key, "test");
    assert_eq!(claim(&world.store).await, None);

    let applied = apply(&world.store, ids["lint"], JobEvent::Ended(Outcome::Success)).await;
    let Applied::Changed { followed, build_status, .. } = applied else { panic!("{applied:?}") };
    assert_eq!((followed, build_status), (vec![(ids["note"], Status::Queued)], Status::Running));

    let applied = apply(&world.store, ids["test"], JobEvent::Ended(failure())).await;
    let Applied::Changed { followed, .. } = applied else { panic!("{applied:?}") };
    assert_eq!(followed, [(ids["pack"], Status::Skipped), (ids["ship"], Status::Skipped)]);
    let ship = jobs::get(&world.store, ids["ship"]).await.unwrap().unwrap();
    assert_eq!(ship.reason.as_deref(), Some("needs `pack`, which was skipped"));
    assert!(ship.steps.iter().all(|step| step.status == Status::Skipped));

    claim(&world.store).await.unwrap();
    let applied = apply(&world.store, ids["note"], JobEvent::Ended(Outcome::Success)).await;
    let Applied::Changed { build_status, .. } = applied else { panic!("{applied:?}") };
    assert_eq!(build_status, Status::Failure);
    let build = builds::get(&world.store, build.id).await.unwrap().unwrap();
    assert_eq!(
        (build.status, build.reason.as_deref()),
        (Status::Failure, Some("test: step `build` failed with exit code 7"))
    );
    assert!(build.finished_at.is_some());
    assert_eq!(jobs::get(&world.store, ids["test"]).await.unwrap().unwrap().exit_code, Some(7));
}

#[tokio::test]
async fn canceling_a_build_cancels_what_waits_and_asks_what_runs() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let build = world.build(&repo, &[("a", &[]), ("b", &[]), ("c", &["b"])]).await;
    let a = claim(&world.store).await.unwrap().job.id;
    let mut tx = world.store.write().await.unwrap();
    assert_eq!(builds::cancel(&mut tx, build.id, now()).await.unwrap().len(), 3);
    assert_eq!(builds::cancel(&mut tx, build.id, now()).await.unwrap(), []);
    tx.commit().await.unwrap();
    let statuses: Vec<Status> =
        jobs::of_build(&world.store, build.id).await.unwrap().iter().map(|j| j.status).collect();
    assert_eq!(statuses, [Status::Canceling, Status::Canceled, Status::Canceled]);
    assert_eq!(builds::get(&world.store, build.id).await.unwrap().unwrap().status, Status::Canceling);
    assert_eq!(jobs::running(&world.store).await.unwrap().len(), 1);
    apply(&world.store, a, JobEvent::Ended(Outcome::Canceled)).await;
    assert_eq!(builds::get(&world.store, build.id).await.unwrap().unwrap().status, Status::Canceled);
}

#[tokio::test]
async fn a_broken_pipeline_is_a_build_that_shows_its_diagnostics() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let mut new = new_build(&repo, &[("a", &[])]);
    new.diagnostics = vec![Diagnostic {
        code: "LS001".to_owned(),
        severity: Severity::Error,
        file: ".longshore.yml".to_owned(),
        span: Span { line: 1, column: 1, length: 3 },
        message: "no".to_owned(),
        help: None,
        source: None,
    }];
    let build = world.create(&new).await;
    assert_eq!((build.status, build.number, build.diagnostics), (Status::Error, 1, new.diagnostics));
    assert!(build.finished_at.is_some());
    assert_eq!(jobs::of_build(&world.store, build.id).await.unwrap(), []);
    assert_eq!(claim(&world.store).await, None);
}

#[tokio::test]
async fn a_plan_that_cannot_run_is_refused_whole() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    for jobs in [&[][..], &[("a", &["b"][..])], &[("a", &[][..]), ("a", &[])]] {
        let mut tx = world.store.write().await.unwrap();
        let refused = builds::create(&mut tx, &new_build(&repo, jobs), now()).await.unwrap_err();
        assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
    }
    assert_eq!(world.build(&repo, &[("a", &[])]).await.number, 1);
}

#[tokio::test]
async fn a_rerun_carries_over_what_succeeded_with_its_log() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let build = world.build(&repo, &[("a", &[]), ("b", &["a"])]).await;
    let a = claim(&world.store).await.unwrap().job.id;
    apply(&world.store, a, JobEvent::Ended(Outcome::Success)).await;
    let b = claim(&world.store).await.unwrap().job.id;
    apply(&world.store, b, JobEvent::Ended(failure())).await;

    let mut rerun = new_build(&repo, &[("a", &[]), ("b", &["a"])]);
    rerun.rerun_of = Some(build.id);
    rerun.carried_over = vec![("a".to_owned(), a)];
    let rerun = world.create(&rerun).await;
    let jobs = jobs::of_build(&world.store, rerun.id).await.unwrap();
    assert_eq!((jobs[0].status, jobs[0].log_of(), jobs[0].exit_code), (Status::Success, (a, 1), Some(0)));
    assert_eq!(jobs[1].status, Status::Queued);
    let claimed = claim(&world.store).await.unwrap();
    assert_eq!(claimed.job.key, "b");
    assert!(claimed.build.started_at.is_some());

    let mut wrong = new_build(&repo, &[("a", &[])]);
    wrong.carried_over = vec![("a".to_owned(), b)];
    let mut tx = world.store.write().await.unwrap();
    let refused = builds::create(&mut tx, &wrong, now()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
}

#[tokio::test]
async fn reports_of_steps_come_twice_and_late_and_change_nothing_then() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    world.build(&repo, &[("a", &[])]).await;
    let job = claim(&world.store).await.unwrap().job.id;
    let end = StepResult {
        status: StepStatus::Failure,
        exit_code: Some(7),
        signal: None,
        wall_ms: 12,
        cpu_ms: 3,
        peak_memory_bytes: 1 << 33,
        out_of_memory: false,
        outputs: BTreeMap::new(),
        summary: String::new(),
    };
    let mut tx = world.store.write().await.unwrap();
    assert!(jobs::mark_started(&mut tx, job, 1, now()).await.unwrap());
    assert!(!jobs::mark_started(&mut tx, job, 1, now()).await.unwrap());
    assert!(!steps::started(&mut tx, job, 2, 0, now()).await.unwrap(), "another attempt's");
    assert!(steps::started(&mut tx, job, 1, 0, now()).await.unwrap());
    assert!(!steps::started(&mut tx, job, 1, 0, now()).await.unwrap());
    assert!(steps::finished(&mut tx, job, 1, 0, &end, now()).await.unwrap());
    let late = StepResult { status: StepStatus::Success, ..end.clone() };
    assert!(!steps::finished(&mut tx, job, 1, 0, &late, now()).await.unwrap());
    let unchanged = jobs::end_attempt(&mut tx, job, 2, Outcome::Success, now()).await.unwrap();
    assert_eq!(unchanged, Applied::Unchanged { status: Status::Running });
    jobs::end_attempt(&mut tx, job, 1, failure(), now()).await.unwrap();
    assert!(!steps::started(&mut tx, job, 1, 1, now()).await.unwrap());
    tx.commit().await.unwrap();
    let job = jobs::get(&world.store, job).await.unwrap().unwrap();
    assert_eq!((job.steps[0].status, job.steps[0].exit_code), (Status::Failure, Some(7)));
    assert_eq!(job.steps[0].peak_memory_bytes, Some(1 << 33));
    assert_eq!((job.steps[1].status, job.steps[1].started_at), (Status::Skipped, None));
}

#[tokio::test]
async fn a_boot_finds_what_ran_with_the_last_session_of_each() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    world.build(&repo, &[("a", &[]), ("b", &[])]).await;
    let job = claim(&world.store).await.unwrap().job.id;
    let mut tx = world.store.write().await.unwrap();
    jobs::set_session(&mut tx, job, 1, 77).await.unwrap();
    let older = jobs::set_session(&mut tx, job, 0, 78).await.unwrap_err();
    assert!(matches!(older, StoreError::Conflict(_)), "{older}");
    tx.commit().await.unwrap();
    let World { store, dir } = world;
    store.close().await;
    drop(store);
    let store = Store::open(dir.path()).await.unwrap();
    let running = jobs::running(&store).await.unwrap();
    assert_eq!(running.len(), 1);
    assert_eq!((running[0].job.id, running[0].session), (job, 77));
    assert_eq!(running[0].plan, world::job("a", &[]));
    store.close().await;
}

#[derive(Debug, Clone)]
enum Happening {
    Claim,
    CancelBuild,
    To(usize, JobEvent),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Success),
        1 => Just(failure()),
        1 => Just(Outcome::TimedOut { limit_ms: 1 }),
        1 => Just(Outcome::Canceled),
        1 => Just(Outcome::Error { kind: ErrorKind::Lost, message: "lost".to_owned() }),
    ];
    let event = prop_oneof![
        6 => outcome.prop_map(JobEvent::Ended),
        2 => Just(JobEvent::CancelRequested),
        1 => Just(JobEvent::NeedsMet),
        1 => Just(JobEvent::DoesNotRun { reason: "x".to_owned() }),
        2 => Just(JobEvent::Claimed),
    ];
    let happening = prop_oneof![
        5 => Just(Happening::Claim),
        1 => Just(Happening::CancelBuild),
        10 => (0..6usize, event).prop_map(|(job, event)| Happening::To(job, event)),
    ];
    prop::collection::vec(happening, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_storm_of_events_leaves_a_final_status_or_a_build_that_never_ends(storm in happenings()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(weather(storm));
    }
}

async fn weather(storm: Vec<Happening>) {
    let dir = tempfile::tempdir().unwrap();
    let world = World { store: Store::open_ephemeral(dir.path()).await.unwrap(), dir };
    let repo = world.repo("app").await;
    let build = world
        .build(&repo, &[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"]), ("e", &[]), ("f", &["d", "e"])])
        .await;
    let ids: Vec<JobId> = jobs::of_build(&world.store, build.id).await.unwrap().iter().map(|job| job.id).collect();
    let mut before = vec![Status::Blocked; ids.len()];
    for happening in storm {
        match happening {
            Happening::Claim => drop(claim(&world.store).await),
            Happening::CancelBuild => {
                let mut tx = world.store.write().await.unwrap();
                builds::cancel(&mut tx, build.id, now()).await.unwrap();
                tx.commit().await.unwrap();
            }
            Happening::To(job, event) => drop(apply(&world.store, ids[job], event).await),
        }
        before = check(&world, build.id, &before).await;
    }
    // Whatever happened, the rest runs to its end.
    loop {
        let running = jobs::running(&world.store).await.unwrap();
        if running.is_empty() && claim(&world.store).await.is_none() {
            break;
        }
        for job in running {
            apply(&world.store, job.job.id, JobEvent::Ended(Outcome::Success)).await;
        }
        before = check(&world, build.id, &before).await;
    }
    assert!(before.iter().all(|status| status.is_final()), "{before:?}");
    assert!(builds::get(&world.store, build.id).await.unwrap().unwrap().status.is_final());
    world.store.close().await;
}

async fn check(world: &World, build: longshore_core::BuildId, before: &[Status]) -> Vec<Status> {
    let jobs = jobs::of_build(&world.store, build).await.unwrap();
    let by_key: HashMap<&str, Status> = jobs.iter().map(|job| (job.key.as_str(), job.status)).collect();
    for (job, before) in jobs.iter().zip(before) {
        assert!(!before.is_final() || job.status == *before, "`{}` left {before} for {}", job.key, job.status);
        assert_eq!(job.status.is_final(), job.finished_at.is_some());
        if job.status == Status::Blocked {
            assert!(
                job.needs
                    .iter()
                    .all(|need| !by_key[need.as_str()].is_final() || by_key[need.as_str()] == Status::Success)
            );
            assert!(
                job.needs.iter().any(|need| by_key[need.as_str()] != Status::Success),
                "`{}` waits for nothing",
                job.key
            );
        }
    }
    let statuses: Vec<Status> = jobs.iter().map(|job| job.status).collect();
    let build = builds::get(&world.store, build).await.unwrap().unwrap();
    assert_eq!(build.status, build_status(statuses.iter().copied()));
    assert_eq!(build.status.is_final(), build.finished_at.is_some());
    statuses
}
