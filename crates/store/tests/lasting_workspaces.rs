//! Workspaces that outlive their builds: whom they belong to, and when they may go.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use longshore_core::{BuildPlan, JobId, JobPlan, Outcome, plan::Need};
use longshore_store::{
    builds::{Build, NewBuild},
    jobs,
    reuse::{self, Inputs},
    workspaces,
};

mod world;
use world::{World, job, new_build, now};

async fn build(world: &World) -> Build {
    let repo = match longshore_store::repos::by_name(&world.store, "app").await.unwrap() {
        Some(repo) => repo,
        None => world.repo("app").await,
    };
    let needs = vec![Need { key: "build".to_owned(), job: "build".to_owned(), ..Need::default() }];
    let test = JobPlan { workspace_of: Some("build".to_owned()), needs, ..job("test", &[]) };
    let new = NewBuild { plan: BuildPlan::new(vec![job("build", &[]), test]), ..new_build(&repo, &[]) };
    world.create(&new).await
}

async fn job_of(world: &World, build: &Build, key: &str) -> JobId {
    jobs::of_build(&world.store, build.id).await.unwrap().into_iter().find(|job| job.key == key).unwrap().id
}

/// Claims the next job, and ends it well.
async fn run_next(world: &World, inputs: Option<&Inputs>) -> JobId {
    let mut tx = world.store.write().await.unwrap();
    let claimed = jobs::claim_next(&mut tx, now()).await.unwrap().unwrap();
    if let Some(inputs) = inputs {
        reuse::keep(&mut tx, claimed.job.id, claimed.attempt, inputs, now()).await.unwrap();
    }
    jobs::end_attempt(&mut tx, claimed.job.id, claimed.attempt, Outcome::Success, now()).await.unwrap();
    tx.commit().await.unwrap();
    claimed.job.id
}

async fn goes(world: &World, job: JobId) -> bool {
    let mut tx = world.store.write().await.unwrap();
    let gone = workspaces::remove_unused(&mut tx, job, 1).await.unwrap();
    drop(tx);
    gone
}

#[tokio::test]
async fn a_workspace_is_let_go_only_when_no_job_waits_for_it_or_claims_it() {
    let world = World::new().await;
    let inputs = Inputs { hash: "h".to_owned(), images: "i".to_owned(), has_workspace: true };
    let first = build(&world).await;
    let made = run_next(&world, Some(&inputs)).await;
    assert_eq!(made, job_of(&world, &first, "build").await);
    assert!(!goes(&world, made).await, "a job of its build begins on it");
    run_next(&world, None).await;
    assert!(goes(&world, made).await, "its build is over");
    assert!(workspaces::kept(&world.store).await.unwrap().contains(&(made, 1)), "and it is kept all the same");

    build(&world).await;
    let mut tx = world.store.write().await.unwrap();
    let claimed = jobs::claim_next(&mut tx, now()).await.unwrap().unwrap();
    assert!(workspaces::claim(&mut tx, claimed.job.id, (made, 1), now()).await.unwrap());
    assert!(!workspaces::claim(&mut tx, claimed.job.id, (claimed.job.id, 1), now()).await.unwrap(), "there is none");
    tx.commit().await.unwrap();
    assert!(!goes(&world, made).await, "a job is about to take it over");

    let lane = reuse::lane(&world.store, claimed.job.id).await.unwrap();
    let candidates = reuse::candidates(&world.store, claimed.job.id, lane, "h", 0).await.unwrap();
    assert_eq!(candidates[0].workspace, Some((made, 1)));
    let taken = Inputs { has_workspace: false, ..inputs };
    let mut tx = world.store.write().await.unwrap();
    reuse::take(&mut tx, claimed.job.id, claimed.attempt, &candidates[0], &taken, now()).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!goes(&world, made).await, "a job of the second build begins on it");
    let chain = workspaces::of_job(&world.store, claimed.build.id, "test").await.unwrap();
    assert_eq!(chain.base.iter().map(|base| (base.job, base.attempt)).collect::<Vec<_>>(), [(made, Some(1))]);
    run_next(&world, None).await;
    assert!(goes(&world, made).await);

    // The second build's success stands for others still, when the first is gone.
    let mut tx = world.store.write().await.unwrap();
    assert_eq!(workspaces::forget_useless(&mut tx).await.unwrap(), 0);
    drop(tx);
    let mut tx = world.store.write().await.unwrap();
    longshore_store::repos::delete(&mut tx, first.repo).await.unwrap();
    assert_eq!(workspaces::forget_useless(&mut tx).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert!(workspaces::kept(&world.store).await.unwrap().is_empty());
}
