//! What keeps jobs from running, and what lets them: conditions, approvals, groups, matrices, tries.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::collections::BTreeMap;

use longshore_core::{
    BuildPlan, ErrorKind, JobPlan, Outcome, Status,
    access::{Actor, Via},
    expression::Expression,
    plan::{Concurrency, MatrixGroup, Need, Retry, RetryOn},
};
use longshore_store::{
    StoreError,
    builds::{self, Build, NewBuild},
    jobs::{self, Job},
    repos::Repo,
};

mod world;
use world::{World, job, new_build, now};

fn failure() -> Outcome {
    Outcome::Failure { exit_code: 7, step: "build".to_owned(), out_of_memory: false }
}

fn when(condition: &str, plan: JobPlan) -> JobPlan {
    JobPlan { condition: Some(Expression::parse(condition).unwrap()), ..plan }
}

/// Three jobs of one matrix.
fn matrix(fail_fast: bool, max_parallel: Option<u32>) -> Vec<JobPlan> {
    let group = Some(MatrixGroup { fail_fast, max_parallel });
    let one = |name: &str| JobPlan { job: "m".to_owned(), matrix_group: group, ..job(name, &[]) };
    ["m (1)", "m (2)", "m (3)"].map(one).to_vec()
}

fn of_group(group: &str, cancel_in_progress: bool, plan: JobPlan) -> JobPlan {
    JobPlan { concurrency: Some(Concurrency { group: group.to_owned(), cancel_in_progress }), ..plan }
}

struct Scene {
    world: World,
    repo: Repo,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let repo = world.repo("app").await;
        Self { world, repo }
    }

    async fn build(&self, plans: Vec<JobPlan>) -> Build {
        let new = NewBuild { plan: BuildPlan::new(plans), ..new_build(&self.repo, &[]) };
        self.world.create(&new).await
    }

    async fn jobs(&self, build: &Build) -> Vec<Job> {
        jobs::of_build(&self.world.store, build.id).await.unwrap()
    }

    async fn job(&self, build: &Build, key: &str) -> Job {
        self.jobs(build).await.into_iter().find(|job| job.key == key).unwrap()
    }

    async fn statuses(&self, build: &Build) -> Vec<Status> {
        self.jobs(build).await.iter().map(|job| job.status).collect()
    }

    async fn now(&self, build: &Build) -> (Status, Option<String>) {
        let build = builds::get(&self.world.store, build.id).await.unwrap().unwrap();
        (build.status, build.reason)
    }

    async fn claim(&self) -> Option<String> {
        let mut tx = self.world.store.write().await.unwrap();
        let claimed = jobs::claim_next(&mut tx, now()).await.unwrap();
        tx.commit().await.unwrap();
        claimed.map(|claimed| claimed.job.key)
    }

    async fn end(&self, build: &Build, key: &str, outcome: Outcome) {
        let job = self.job(build, key).await;
        let mut tx = self.world.store.write().await.unwrap();
        jobs::end_attempt(&mut tx, job.id, job.attempt, outcome, now()).await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_condition_is_asked_when_all_needs_are_over_and_sees_their_outputs() {
    let scene = Scene::new().await;
    let build = scene
        .build(vec![
            job("a", &[]),
            when("needs.a.outputs.version == '2'", job("b", &["a"])),
            when("needs.a.outputs.version == '3'", job("c", &["a"])),
            job("d", &["c"]),
            when("always()", job("e", &["a", "d"])),
            when("build.number == 7", job("f", &[])),
        ])
        .await;
    assert_eq!(scene.job(&build, "f").await.status, Status::Skipped);
    scene.claim().await;
    let a = scene.job(&build, "a").await;
    let mut tx = scene.world.store.write().await.unwrap();
    let outputs = BTreeMap::from([("version".to_owned(), "2".to_owned())]);
    jobs::set_outputs(&mut tx, a.id, a.attempt, &outputs).await.unwrap();
    tx.commit().await.unwrap();
    scene.end(&build, "a", Outcome::Success).await;
    use Status::{Queued, Skipped, Success};
    assert_eq!(scene.statuses(&build).await, [Success, Queued, Skipped, Skipped, Queued, Skipped]);
    assert_eq!(scene.job(&build, "a").await.outputs, outputs);
    let reason = |job: Job| job.reason.unwrap();
    assert_eq!(reason(scene.job(&build, "c").await), "`if: needs.a.outputs.version == '3'` was false");
    assert_eq!(reason(scene.job(&build, "d").await), "needs `c`, which was skipped");
}

#[tokio::test]
async fn an_optional_need_is_waited_for_and_its_result_does_not_matter() {
    let scene = Scene::new().await;
    let mut optional = job("b", &["a"]);
    optional.needs = vec![Need { key: "a".to_owned(), job: "a".to_owned(), optional: true, ..Need::default() }];
    let build = scene.build(vec![job("a", &[]), optional]).await;
    scene.claim().await;
    assert_eq!(scene.job(&build, "b").await.status, Status::Blocked);
    scene.end(&build, "a", failure()).await;
    assert_eq!(scene.job(&build, "b").await.status, Status::Queued);
}

#[tokio::test]
async fn a_job_that_may_fail_fails_neither_its_build_nor_those_that_need_it() {
    let scene = Scene::new().await;
    let build = scene.build(vec![JobPlan { continue_on_error: true, ..job("a", &[]) }, job("b", &["a"])]).await;
    scene.claim().await;
    scene.end(&build, "a", failure()).await;
    assert_eq!(scene.claim().await.as_deref(), Some("b"));
    scene.end(&build, "b", Outcome::Success).await;
    let (status, reason) = scene.now(&build).await;
    assert_eq!(status, Status::Success);
    assert!(reason.unwrap().starts_with("allowed to fail: a: step `build` failed"));
    assert_eq!(scene.job(&build, "a").await.status, Status::Failure);
}

#[tokio::test]
async fn a_build_says_how_many_failures_it_passed_over() {
    let scene = Scene::new().await;
    let may_fail = |key: &str| JobPlan { continue_on_error: true, ..job(key, &[]) };
    let build = scene.build(["a", "b", "c"].map(may_fail).to_vec()).await;
    for key in ["a", "b", "c"] {
        scene.claim().await;
        scene.end(&build, key, failure()).await;
    }
    let (status, reason) = scene.now(&build).await;
    assert_eq!(status, Status::Success);
    assert!(reason.as_deref().unwrap().starts_with("allowed to fail: a and 2 more: step `build` failed"), "{reason:?}");
}

#[tokio::test]
async fn a_matrix_that_fails_fast_skips_what_waits_and_stops_what_runs() {
    let scene = Scene::new().await;
    let build = scene.build([matrix(true, None), vec![job("other", &[])]].concat()).await;
    scene.claim().await;
    scene.claim().await;
    scene.end(&build, "m (1)", failure()).await;
    use Status::{Canceling, Failure, Queued, Skipped};
    assert_eq!(scene.statuses(&build).await, [Failure, Canceling, Skipped, Queued]);
    let canceling = scene.job(&build, "m (2)").await;
    assert_eq!(jobs::canceling(&scene.world.store).await.unwrap(), [canceling.id]);
    scene.end(&build, "m (2)", Outcome::Canceled).await;
    let reason = "`m (1)` in the same matrix failed".to_owned();
    assert_eq!(scene.job(&build, "m (2)").await.reason, Some(reason.clone()));
    assert_eq!(scene.job(&build, "m (3)").await.reason, Some(reason));

    let build = scene.build(matrix(false, None)).await;
    scene.claim().await;
    scene.claim().await;
    scene.end(&build, "m (1)", failure()).await;
    assert!(!scene.statuses(&build).await.contains(&Status::Skipped));
}

#[tokio::test]
async fn no_more_of_a_matrix_run_at_once_than_it_says() {
    let scene = Scene::new().await;
    let build = scene.build(matrix(false, Some(2))).await;
    use Status::{Blocked, Queued, Running, Success};
    assert_eq!(scene.statuses(&build).await, [Queued, Queued, Blocked]);
    assert_eq!(
        scene.job(&build, "m (3)").await.reason.as_deref(),
        Some("waiting for other jobs of the matrix `m` (`max-parallel: 2`)")
    );
    scene.claim().await;
    scene.end(&build, "m (1)", Outcome::Success).await;
    assert_eq!(scene.statuses(&build).await, [Success, Queued, Queued]);
    assert_eq!(scene.job(&build, "m (3)").await.reason, None);
    scene.claim().await;
    assert_eq!(scene.statuses(&build).await, [Success, Running, Queued]);
}

#[tokio::test]
async fn builds_of_a_group_run_one_after_the_other_in_the_order_of_creation() {
    let scene = Scene::new().await;
    let plans = || vec![of_group("deploy", false, job("a", &[])), of_group("deploy", false, job("b", &["a"]))];
    let (first, second, third) = (scene.build(plans()).await, scene.build(plans()).await, scene.build(plans()).await);
    let other = scene.build(vec![of_group("other", false, job("a", &[]))]).await;
    assert_eq!(scene.now(&other).await.0, Status::Queued);
    let (status, reason) = scene.now(&third).await;
    assert_eq!(status, Status::Blocked);
    assert_eq!(reason.as_deref(), Some("a: waiting for #1 (concurrency group `deploy`)"));
    scene.claim().await;
    scene.end(&first, "a", Outcome::Success).await;
    assert_eq!(scene.now(&second).await.0, Status::Blocked, "the group is held to the pipeline's end");
    scene.claim().await;
    scene.end(&first, "b", Outcome::Success).await;
    assert_eq!((scene.now(&second).await.0, scene.now(&third).await.0), (Status::Queued, Status::Blocked));
    let reason = scene.job(&third, "a").await.reason.unwrap();
    assert_eq!(reason, "waiting for #2 (concurrency group `deploy`)");
    let mut tx = scene.world.store.write().await.unwrap();
    builds::cancel(&mut tx, second.id, now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(scene.now(&third).await.0, Status::Queued);
}

#[tokio::test]
async fn a_newer_build_takes_its_group_from_the_older_ones() {
    let scene = Scene::new().await;
    let plans = || vec![of_group("deploy", true, job("a", &[])), of_group("deploy", true, job("b", &["a"]))];
    let first = scene.build(plans()).await;
    scene.claim().await;
    let second = scene.build(plans()).await;
    assert_eq!(scene.statuses(&first).await, [Status::Canceling, Status::Canceled]);
    assert_eq!(scene.now(&second).await.0, Status::Blocked, "what runs has to end first");
    scene.end(&first, "a", Outcome::Canceled).await;
    let reason = "superseded by #2 (concurrency group `deploy`)".to_owned();
    assert_eq!(scene.job(&first, "a").await.reason.as_ref(), Some(&reason));
    assert_eq!(scene.now(&first).await, (Status::Canceled, Some(format!("a: {reason}; b: {reason}"))));
    assert_eq!(scene.now(&second).await.0, Status::Queued);
}

#[tokio::test]
async fn a_job_that_asks_waits_for_a_yes_and_a_no_ends_it() {
    let scene = Scene::new().await;
    let asks = || JobPlan { approval: Some("Deploy?".to_owned()), ..job("deploy", &["test"]) };
    let build = scene.build(vec![job("test", &[]), asks(), job("after", &["deploy"])]).await;
    let ada = Actor { name: "ada".to_owned(), via: Via::Token, token: None };
    let decide = async |build: &Build, yes: bool| {
        let id = scene.job(build, "deploy").await.id;
        let mut tx = scene.world.store.write().await.unwrap();
        match yes {
            true => jobs::approve(&mut tx, id, &ada, now()).await?,
            false => jobs::decline(&mut tx, id, &ada, now()).await?,
        }
        tx.commit().await.map(drop)
    };
    assert!(matches!(decide(&build, true).await, Err(StoreError::Conflict(_))), "it is not its turn yet");
    scene.claim().await;
    scene.end(&build, "test", Outcome::Success).await;
    let (status, reason) = (scene.job(&build, "deploy").await.status, scene.job(&build, "deploy").await.reason);
    assert_eq!((status, reason.as_deref()), (Status::Blocked, Some("awaiting approval: Deploy?")));
    decide(&build, true).await.unwrap();
    assert_eq!(scene.job(&build, "deploy").await.status, Status::Queued);
    assert!(matches!(decide(&build, false).await, Err(StoreError::Conflict(_))));
    scene.claim().await;
    scene.end(&build, "deploy", Outcome::Success).await;
    assert_eq!(scene.job(&build, "after").await.status, Status::Queued);

    let build = scene.build(vec![JobPlan { needs: Vec::new(), ..asks() }, job("after", &["deploy"])]).await;
    decide(&build, false).await.unwrap();
    assert_eq!(scene.statuses(&build).await, [Status::Canceled, Status::Skipped]);
    assert_eq!(scene.now(&build).await, (Status::Canceled, Some("deploy: declined by ada".to_owned())));
}

#[tokio::test]
async fn a_job_is_tried_again_after_the_ends_it_names_and_its_tries_are_kept() {
    let scene = Scene::new().await;
    let retry = Some(Retry { max: 1, on: vec![RetryOn::Error] });
    let build = scene.build(vec![JobPlan { retry, ..job("a", &[]) }, job("b", &["a"])]).await;
    let lost = || Outcome::Error { kind: ErrorKind::Lost, message: "gone".to_owned() };
    scene.claim().await;
    scene.end(&build, "a", lost()).await;
    let waiting = scene.job(&build, "a").await;
    assert_eq!((waiting.status, waiting.reason.as_deref()), (Status::Queued, Some("retrying (attempt 2 of 2): gone")));
    assert_eq!(scene.job(&build, "b").await.status, Status::Blocked);
    assert_eq!(scene.claim().await.as_deref(), Some("a"));
    // A late report of the first attempt changes nothing.
    let mut tx = scene.world.store.write().await.unwrap();
    jobs::end_attempt(&mut tx, waiting.id, 1, Outcome::Success, now()).await.unwrap();
    tx.commit().await.unwrap();
    scene.end(&build, "a", lost()).await;
    let ended = scene.job(&build, "a").await;
    assert_eq!((ended.status, ended.attempt), (Status::Error, 2));
    let tries: Vec<_> = ended.attempts.iter().map(|one| (one.attempt, one.status, one.reason.as_deref())).collect();
    assert_eq!(tries, [(1, Status::Error, Some("gone")), (2, Status::Error, Some("gone"))]);

    let retry = Some(Retry { max: 5, on: vec![RetryOn::Error] });
    let build = scene.build(vec![JobPlan { retry, ..job("a", &[]) }]).await;
    scene.claim().await;
    scene.end(&build, "a", failure()).await;
    assert_eq!(scene.job(&build, "a").await.status, Status::Failure);
}

#[tokio::test]
async fn a_failure_is_seen_through_all_the_jobs_that_it_has_skipped() {
    let scene = Scene::new().await;
    let lax = |key: &str, need: &str| JobPlan {
        needs: vec![Need { key: need.to_owned(), job: need.to_owned(), optional: true, ..Need::default() }],
        ..job(key, &[need])
    };
    let build = scene
        .build(vec![
            job("test", &[]),
            job("package", &["test"]),
            job("deploy", &["package"]),
            when("failure()", job("notify", &["deploy"])),
            when("cancelled()", job("undo", &["deploy"])),
            when("always()", job("clean", &["deploy"])),
            job("after", &["deploy"]),
            when("failure()", lax("whatever", "deploy")),
        ])
        .await;
    scene.claim().await;
    scene.end(&build, "test", failure()).await;
    use Status::{Failure, Queued, Skipped};
    assert_eq!(scene.statuses(&build).await, [Failure, Skipped, Skipped, Queued, Skipped, Queued, Skipped, Skipped]);
}

#[tokio::test]
async fn who_asks_how_it_went_waits_for_what_still_runs_behind_a_skipped_job() {
    let scene = Scene::new().await;
    let build = scene
        .build(vec![
            job("quick", &[]),
            job("long", &[]),
            job("deploy", &["quick", "long"]),
            when("always()", job("clean", &["deploy"])),
            when("failure()", job("notify", &["deploy"])),
        ])
        .await;
    scene.claim().await;
    scene.claim().await;
    scene.end(&build, "quick", failure()).await;
    use Status::{Blocked, Failure, Queued, Running, Skipped, Success};
    assert_eq!(scene.statuses(&build).await, [Failure, Running, Skipped, Blocked, Blocked]);
    scene.end(&build, "long", Outcome::Success).await;
    assert_eq!(scene.statuses(&build).await, [Failure, Success, Skipped, Queued, Queued]);
}

#[tokio::test]
async fn a_condition_of_a_job_finds_all_of_the_build() {
    let scene = Scene::new().await;
    scene.world.store.use_url("https://ci.example".to_owned());
    let build = scene
        .build(vec![
            when("starts-with(build.url, 'https://ci.example/builds/')", job("url", &[])),
            when("ends-with(build.url, build.id)", job("id", &[])),
            when("build.number == 1", job("number", &[])),
        ])
        .await;
    assert_eq!(scene.statuses(&build).await, [Status::Queued; 3]);
}
