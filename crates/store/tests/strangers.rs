//! Strangers' builds: they wait for a yes to their commit, newer commits cancel older ones, and nobody holds up others.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::time::{Duration, Instant};

use longshore_core::{
    BuildPlan, DeliveryId, Event, EventName, JobPlan, Outcome, Person, RepoId, Slots, Status,
    access::{Actor, Via},
    event::PullRequest,
    expression::Expression,
    template::{Part, Template},
};
use longshore_store::{
    StoreError,
    builds::{self, Build, NewBuild},
    deliveries::{self, NewDelivery},
    handing_on,
    jobs::{self, ClaimedJob, Job},
    people,
    repos::{self, Repo, RepoPatch},
    reuse::{self, Inputs},
    workspaces,
};

mod world;
use world::{World, job, new_build, now};

/// An event of a fork's pull request, of a commit that is made of this digit.
fn of_fork(number: u64, commit: char) -> Event {
    Event {
        name: EventName::PullRequest,
        git_ref: format!("refs/pull/{number}/head"),
        commit: commit.to_string().repeat(40),
        pull_request: Some(PullRequest {
            title: "A change".to_owned(),
            action: "synchronize".to_owned(),
            fork: true,
            author: Some(Person { id: Some(number), account: None, name: "ada".to_owned() }),
            ..PullRequest::opened(number, "topic", "main")
        }),
        ..world::event("main")
    }
}

/// A job that asks about the commit.
fn asks(key: &str, needs: &[&str]) -> JobPlan {
    JobPlan { stranger: Some("the commit".to_owned()), ..job(key, needs) }
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

    fn with(&self, event: Event, plans: Vec<JobPlan>) -> NewBuild {
        NewBuild { event, plan: BuildPlan::new(plans), ..new_build(&self.repo, &[]) }
    }

    async fn build(&self, event: Event, plans: Vec<JobPlan>) -> Build {
        self.world.create(&self.with(event, plans)).await
    }

    async fn delivery(&self) -> DeliveryId {
        let new = NewDelivery {
            repo: self.repo.id,
            key: rand::random::<u64>().to_string(),
            event: "pull_request".to_owned(),
            body: b"{}".to_vec(),
            body_key: None,
            is_unique: false,
            received_at: now(),
        };
        let mut tx = self.world.store.write().await.unwrap();
        let accepted = deliveries::accept(&mut tx, &new).await.unwrap();
        tx.commit().await.unwrap();
        accepted.id
    }

    /// Creates a build with one job, from a delivery.
    async fn delivered(&self, delivery: DeliveryId, event: Event) -> Build {
        let new = NewBuild { delivery: Some(delivery), ..self.with(event, vec![job("a", &[])]) };
        self.world.create(&new).await
    }

    async fn jobs(&self, build: &Build) -> Vec<Job> {
        jobs::of_build(&self.world.store, build.id).await.unwrap()
    }

    async fn now(&self, build: &Build) -> (Status, Option<String>) {
        let build = builds::get(&self.world.store, build.id).await.unwrap().unwrap();
        (build.status, build.reason)
    }

    async fn claim(&self) -> Option<ClaimedJob> {
        claim(&self.world).await
    }

    async fn approve(&self, build: &Build) -> Result<usize, StoreError> {
        let mut tx = self.world.store.write().await.unwrap();
        let grace = Actor { name: "grace".to_owned(), via: Via::Token, token: None };
        let approved = jobs::approve_build(&mut tx, build.id, &grace, now()).await?;
        tx.commit().await.map(|_| approved)
    }
}

async fn claim(world: &World) -> Option<ClaimedJob> {
    let mut tx = world.store.write().await.unwrap();
    let claimed = jobs::claim_next(&mut tx, now()).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

/// Ends a job well, whose success other jobs may use, with its workspace or without.
async fn end_reusable(world: &World, claimed: &ClaimedJob, has_workspace: bool) {
    let inputs = Inputs { hash: "h".to_owned(), images: String::new(), has_workspace };
    let mut tx = world.store.write().await.unwrap();
    reuse::keep(&mut tx, claimed.job.id, claimed.attempt, &inputs, now()).await.unwrap();
    tx.commit().await.unwrap();
    end(world, claimed).await;
}

async fn end(world: &World, claimed: &ClaimedJob) {
    let mut tx = world.store.write().await.unwrap();
    jobs::end_attempt(&mut tx, claimed.job.id, claimed.attempt, Outcome::Success, now()).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn one_yes_to_a_build_answers_for_all_jobs_that_ask_about_its_commit_and_for_no_other_build() {
    let scene = Scene::new().await;
    let deploy = JobPlan { approval: Some("Deploy?".to_owned()), ..asks("deploy", &["a"]) };
    let plans = || vec![asks("a", &[]), asks("b", &[]), asks("after", &["a"]), deploy.clone()];
    let build = scene.build(of_fork(7, '1'), plans()).await;
    let newer = scene.build(of_fork(7, '2'), plans()).await;
    assert!(scene.claim().await.is_none(), "nothing of a stranger's runs");
    let before = scene.jobs(&build).await;
    assert_eq!((before[0].asks.as_deref(), before[2].asks.as_deref()), (Some("the commit"), None));
    assert_eq!(before[0].reason.as_deref(), Some("awaiting approval: the commit"));

    assert_eq!(scene.approve(&build).await.unwrap(), 3);
    let a = scene.claim().await.unwrap();
    assert_eq!((a.job.key.as_str(), a.job.approved_by.as_deref()), ("a", Some("grace")));
    assert_eq!(scene.claim().await.unwrap().job.key, "b");
    end(&scene.world, &a).await;
    assert_eq!(scene.claim().await.unwrap().job.key, "after", "it was answered before its need was over");
    // The question of the pipeline's author had not been asked yet.
    assert_eq!(scene.jobs(&build).await[3].asks.as_deref(), Some("Deploy? (the commit)"));
    assert_eq!(scene.approve(&build).await.unwrap(), 1);
    assert_eq!(scene.claim().await.unwrap().job.key, "deploy");
    assert!(matches!(scene.approve(&build).await, Err(StoreError::Conflict(_))));

    assert!(scene.claim().await.is_none());
    assert!(scene.jobs(&newer).await.iter().all(|job| job.status == Status::Blocked && job.approved_by.is_none()));
}

#[tokio::test]
async fn whose_build_was_approved_is_known_here_and_nowhere_else() {
    let scene = Scene::new().await;
    let knows = async |repo: RepoId, event: &Event| people::is_known(&scene.world.store, repo, event).await.unwrap();
    let (event, other) = (of_fork(7, '1'), scene.world.repo("other").await);
    let build = scene.build(event.clone(), vec![asks("a", &[])]).await;
    assert!(!knows(scene.repo.id, &event).await);
    scene.approve(&build).await.unwrap();
    assert!(knows(scene.repo.id, &event).await && !knows(other.id, &event).await);
    // Somebody with the same name and another id.
    assert!(!knows(scene.repo.id, &of_fork(8, '1')).await);
}

#[tokio::test]
async fn newer_commits_of_a_pull_request_cancel_its_older_builds_that_wait_or_run() {
    let scene = Scene::new().await;
    let [first, second, third, late] = [(); 4].map(|()| scene.delivery());
    let (first, second, late, third) = (first.await, second.await, late.await, third.await);
    let runs = scene.delivered(first, of_fork(7, '1')).await;
    let running = scene.claim().await.unwrap();
    let other = scene.delivered(scene.delivery().await, of_fork(8, '1')).await;
    let waits = scene.delivered(second, of_fork(7, '2')).await;
    assert_eq!(scene.now(&runs).await.0, Status::Canceling);
    let newest = scene.delivered(third, of_fork(7, '3')).await;
    let reason = |number: u64| Some(format!("a: superseded by #{number} (newer commit of the pull request)"));
    assert_eq!(scene.now(&waits).await, (Status::Canceled, reason(newest.number)));
    let mut tx = scene.world.store.write().await.unwrap();
    jobs::end_attempt(&mut tx, running.job.id, 1, Outcome::Canceled, now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(scene.now(&runs).await, (Status::Canceled, reason(waits.number)));
    // A build of the same commit is not newer, and neither is a delivery that had to wait: its build is canceled.
    let again = scene.delivered(scene.delivery().await, of_fork(7, '3')).await;
    let late = scene.delivered(late, of_fork(7, '4')).await;
    assert_eq!(scene.now(&late).await, (Status::Canceled, reason(again.number)));
    for build in [&other, &newest, &again] {
        assert_eq!(scene.now(build).await.0, Status::Queued);
    }
    // A build that a person asked for again cancels nothing; a newer commit cancels it.
    let new = NewBuild { rerun_of: Some(runs.id), ..scene.with(of_fork(7, '1'), vec![job("a", &[])]) };
    let rerun = scene.world.create(&new).await;
    assert_eq!((scene.now(&again).await.0, scene.now(&rerun).await.0), (Status::Queued, Status::Queued));
    scene.delivered(scene.delivery().await, of_fork(7, '5')).await;
    assert_eq!((scene.now(&again).await.0, scene.now(&rerun).await.0), (Status::Canceled, Status::Canceled));
}

#[tokio::test]
async fn a_repository_may_let_older_builds_of_pull_requests_go_on() {
    let scene = Scene::new().await;
    let mut tx = scene.world.store.write().await.unwrap();
    let patch = RepoPatch { cancel_older: Some(false), ..RepoPatch::default() };
    assert!(!repos::patch(&mut tx, scene.repo.id, &patch).await.unwrap().cancel_older);
    tx.commit().await.unwrap();
    let older = scene.delivered(scene.delivery().await, of_fork(7, '1')).await;
    scene.delivered(scene.delivery().await, of_fork(7, '2')).await;
    assert_eq!(scene.now(&older).await, (Status::Queued, None));
}

#[tokio::test]
async fn what_the_closing_of_a_pull_request_started_outlives_newer_commits() {
    let scene = Scene::new().await;
    let mut closed = of_fork(7, '1');
    closed.pull_request.as_mut().unwrap().action = PullRequest::CLOSED.to_owned();
    let cleaning = scene.delivered(scene.delivery().await, closed).await;
    scene.delivered(scene.delivery().await, of_fork(7, '2')).await;
    assert_eq!(scene.now(&cleaning).await.0, Status::Queued);
}

#[tokio::test]
async fn a_flood_of_one_repository_delays_another_repositorys_only_job_by_one_slot_at_most() {
    let world = World::new().await;
    world.store.use_slots(Slots { all: 1, strangers: 1 });
    let (flood, other) = (world.repo("flood").await, world.repo("other").await);
    let many: Vec<JobPlan> = (0..200).map(|n| job(&format!("job-{n}"), &[])).collect();
    world.create(&NewBuild { plan: BuildPlan::new(many), ..new_build(&flood, &[]) }).await;
    let first = claim(&world).await.unwrap();
    world.build(&other, &[("only", &[])]).await;
    assert!(claim(&world).await.is_none(), "the slot is taken");
    end(&world, &first).await;
    let next = claim(&world).await.unwrap();
    assert_eq!((next.repo.id, next.job.key.as_str()), (other.id, "only"));
    end(&world, &next).await;
    assert_eq!(claim(&world).await.unwrap().job.key, "job-1", "then in order");
}

#[tokio::test]
async fn strangers_never_have_more_slots_than_are_theirs_and_share_them() {
    let scene = Scene::new().await;
    scene.world.store.use_slots(Slots { all: 4, strangers: 2 });
    let many = || (0..50).map(|n| job(&format!("job-{n}"), &[])).collect::<Vec<_>>();
    scene.build(of_fork(7, '1'), many()).await;
    scene.build(of_fork(8, '1'), vec![job("quiet", &[])]).await;
    let first = scene.claim().await.unwrap();
    let second = scene.claim().await.unwrap();
    assert_eq!((first.job.key.as_str(), second.job.key.as_str()), ("job-0", "quiet"));
    assert!(scene.claim().await.is_none());
    assert!(!jobs::any_to_claim(&scene.world.store).await.unwrap());
    scene.world.build(&scene.repo, &[("ours", &[])]).await;
    assert_eq!(scene.claim().await.unwrap().job.key, "ours");
    end(&scene.world, &second).await;
    assert_eq!(scene.claim().await.unwrap().job.key, "job-1");
}

#[tokio::test]
async fn a_claim_from_a_queue_of_ten_thousand_jobs_costs_what_one_from_a_short_queue_does() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    world.store.use_slots(Slots { all: 100_000, strangers: 1 });
    // The fastest of many: whatever else the machine does only adds to one.
    let round = async |claims: u32| {
        let mut fastest = Duration::MAX;
        for _ in 0..claims {
            let began = Instant::now();
            let claimed = claim(&world).await.unwrap();
            end(&world, &claimed).await;
            fastest = fastest.min(began.elapsed());
        }
        fastest
    };
    // No build has enough jobs for the sums within one build to matter.
    let fill = async |builds: usize| {
        let mut tx = world.store.write().await.unwrap();
        for _ in 0..builds {
            let plans = (0..20).map(|n| job(&format!("job-{n}"), &[])).collect();
            let new = NewBuild { plan: BuildPlan::new(plans), ..new_build(&repo, &[]) };
            builds::create(&mut tx, &new, now()).await.unwrap();
        }
        tx.commit().await.unwrap();
    };
    fill(4).await;
    let short = round(60).await;
    fill(500).await;
    let long = round(60).await;
    assert!(long < short * 4, "{long:?} a claim with its end, with ten thousand waiting; {short:?} with eighty");
}

#[tokio::test]
async fn what_nobody_approved_is_found_however_it_reaches_a_job_and_an_approval_is_carried_over() {
    let scene = Scene::new().await;
    let store = &scene.world.store;
    let with = |key: &str, of: &str| {
        let mut plan = job(key, &[of]);
        plan.needs[0].artifacts = vec!["*".to_owned()];
        plan
    };
    let plans = |asked: bool| {
        let build = if asked { asks("build", &[]) } else { job("build", &[]) };
        let pack = JobPlan { workspace_of: Some("build".to_owned()), ..job("pack", &["build"]) };
        let pack = JobPlan { stranger: asked.then(|| "the commit".to_owned()), ..pack };
        let version = Expression::parse("needs.lint.outputs.version").unwrap();
        let env = [("VERSION".to_owned(), Template::new([Part::Expression(version)]))].into();
        let say = JobPlan { env, ..job("say", &["lint"]) };
        vec![build, pack, with("publish", "pack"), job("lint", &[]), job("tell", &["lint"]), say]
    };
    let of_open = scene.build(of_fork(7, '1'), plans(false)).await;
    let unapproved = async |build: &Build, key: &str| handing_on::unapproved(store, build.id, key).await.unwrap();
    assert_eq!(unapproved(&of_open, "publish").await, None, "nothing has run");
    let run_all = async || {
        let mut last = None;
        while let Some(claimed) = scene.claim().await {
            end(&scene.world, &claimed).await;
            last = Some(claimed);
        }
        last
    };
    run_all().await;
    assert!(unapproved(&of_open, "publish").await.is_some());
    assert_eq!(unapproved(&of_open, "pack").await.as_deref(), Some("build"));
    assert_eq!(unapproved(&of_open, "tell").await, None, "nothing of `lint` goes there");
    assert_eq!(unapproved(&of_open, "say").await.as_deref(), Some("lint"), "its output does");

    let of_asked = scene.build(of_fork(8, '2'), plans(true)).await;
    scene.approve(&of_asked).await.unwrap();
    run_all().await;
    assert_eq!(unapproved(&of_asked, "publish").await, None);
    for (build, plans, expected) in [(&of_asked, plans(true), false), (&of_open, plans(false), true)] {
        let done = scene.jobs(build).await;
        let carried_over =
            done.iter().filter(|job| job.key != "publish").map(|job| (job.key.clone(), job.id)).collect();
        let new = NewBuild { rerun_of: Some(build.id), carried_over, ..scene.with(build.event.clone(), plans) };
        let rerun = scene.world.create(&new).await;
        assert_eq!(unapproved(&rerun, "publish").await.is_some(), expected);
    }
}

#[tokio::test]
async fn an_approved_job_reuses_only_what_ran_with_an_approval_or_is_the_repositorys_own() {
    let scene = Scene::new().await;
    let store = &scene.world.store;
    // Runs the next job. Returns the builds whose success it could have taken over.
    let run = async || {
        let claimed = scene.claim().await.unwrap();
        let lane = reuse::lane(store, claimed.job.id).await.unwrap();
        let found = reuse::candidates(store, claimed.job.id, lane, "h", 0).await.unwrap();
        end_reusable(&scene.world, &claimed, false).await;
        found.into_iter().map(|one| one.build).collect::<Vec<_>>()
    };
    let approved = async |commit: char| {
        let build = scene.build(of_fork(7, commit), vec![asks("a", &[])]).await;
        scene.approve(&build).await.unwrap();
    };
    scene.build(of_fork(7, '1'), vec![job("a", &[])]).await;
    assert_eq!(run().await, [0; 0]);
    approved('2').await;
    assert_eq!(run().await, [0; 0], "nobody has approved the first");
    approved('3').await;
    assert_eq!(run().await, [2]);
    scene.build(of_fork(7, '4'), vec![job("a", &[])]).await;
    assert_eq!(run().await, [3, 2, 1], "a job without an approval may use all");
    scene.build(world::event("main"), vec![job("a", &[])]).await;
    assert_eq!(run().await, [0; 0], "the repository uses nothing of a stranger's");
    approved('6').await;
    assert_eq!(run().await, [5, 3, 2]);
}

#[tokio::test]
async fn it_is_known_which_workspaces_only_strangers_wait_for_and_which_they_left() {
    let scene = Scene::new().await;
    let store = &scene.world.store;
    let run = async || {
        let claimed = scene.claim().await.unwrap();
        end_reusable(&scene.world, &claimed, true).await;
        (claimed.job.id, claimed.attempt)
    };
    let plans = || vec![job("a", &[]), JobPlan { workspace_of: Some("a".to_owned()), ..job("b", &["a"]) }];
    scene.build(world::event("main"), plans()).await;
    let own = run().await;
    assert_eq!(scene.claim().await.unwrap().job.key, "b");
    scene.build(of_fork(7, '1'), plans()).await;
    let theirs = run().await;
    let kept = workspaces::kept(store).await.unwrap();
    assert!(kept.wanted.contains(&own) && kept.wanted.contains(&theirs), "{kept:?}");
    assert!(!kept.wanted_by_strangers.contains(&own) && kept.wanted_by_strangers.contains(&theirs), "{kept:?}");
    let lasting = workspaces::by_last_use(store).await.unwrap();
    let left: Vec<_> = lasting.iter().map(|one| ((one.job, one.attempt), one.of_stranger)).collect();
    assert_eq!(left, [(own, false), (theirs, true)]);
}
