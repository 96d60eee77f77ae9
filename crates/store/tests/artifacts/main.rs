//! Artifacts: stored once, whole or not at all, gone when nothing names them, whatever dies in between.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::{fs, io::Read as _};

use longshore_core::{ArtifactKind, Event, EventName, JobId, Outcome, Status, Timestamp, event::PullRequest};
use longshore_files::{
    artifacts::{Blobs, IncomingLimits},
    restore,
};
use longshore_store::{
    Store,
    artifacts::{self, Artifact, NewArtifact},
    backup,
    builds::{self, Build},
    check::{self, Depth},
    jobs, newest_schema, repos,
    retention::{Retention, remove_old},
    sweep_artifacts,
};

mod arrival;
#[path = "../world/mod.rs"]
mod world;
use world::{World, new_build, now};

const LIMITS: IncomingLimits = IncomingLimits { file_bytes: 1 << 20, job_bytes: 4 << 20, files: 1000 };

async fn claim(store: &Store) -> (JobId, u32) {
    let mut tx = store.write().await.unwrap();
    let claimed = jobs::claim_next(&mut tx, now()).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    (claimed.job.id, claimed.attempt)
}

/// Receives files as an executor does, and says that they are all.
fn receive(blobs: &Blobs, (job, attempt): (JobId, u32), files: &[(&str, &[u8])]) {
    let mut incoming = blobs.receive(job, attempt, LIMITS).unwrap();
    for (path, bytes) in files {
        incoming.begin(0, "out", path, bytes.len() as u64, false).unwrap();
        bytes.chunks(1000).for_each(|chunk| incoming.write(chunk).unwrap());
        incoming.end(true).unwrap();
    }
    incoming.complete(u32::try_from(files.len()).unwrap()).unwrap();
}

async fn end(store: &Store, (job, attempt): (JobId, u32), outcome: Outcome, expires_at: Option<Timestamp>) {
    let left = store.blobs().received_of(job, attempt).unwrap();
    let files: Vec<_> = left.files.into_iter().map(|left| left.file).collect();
    let new = NewArtifact { kind: ArtifactKind::Files, name: "out".to_owned(), expires_at, files };
    let new = if left.complete { vec![new] } else { Vec::new() };
    let mut tx = store.write().await.unwrap();
    artifacts::keep(&mut tx, job, attempt, &new, now()).await.unwrap();
    jobs::end_attempt(&mut tx, job, attempt, outcome, now()).await.unwrap();
    tx.commit().await.unwrap();
}

/// Runs the next job to its success, leaving these files.
async fn run(store: &Store, files: &[(&str, &[u8])]) -> JobId {
    let claimed = claim(store).await;
    receive(store.blobs(), claimed, files);
    end(store, claimed, Outcome::Success, None).await;
    claimed.0
}

async fn content(store: &Store, artifact: &Artifact, path: &str) -> Vec<u8> {
    let file = artifacts::file(store, artifact.id, path).await.unwrap().unwrap();
    store.blobs().read(&file.blob, 1 << 20).unwrap()
}

fn stored(store: &Store) -> usize {
    let folders = fs::read_dir(store.blobs().folder()).into_iter().flatten().flatten();
    folders.flat_map(|folder| fs::read_dir(folder.path()).unwrap()).count()
}

fn incoming(world: &World) -> usize {
    fs::read_dir(world.path().join("artifacts/incoming")).map_or(0, Iterator::count)
}

async fn assert_whole(world: &World) {
    let report = check::run(world.path(), Depth::Full).await.unwrap();
    assert_eq!(report.findings, [], "{:?}", report.counts);
}

#[tokio::test]
async fn the_same_file_of_many_builds_is_stored_once_and_goes_with_the_last_of_them() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let mut all = Vec::new();
    for n in 0..5 {
        world.build(&repo, &[("a", &[])]).await;
        let own = format!("own {n}");
        all.push(run(&world.store, &[("same.txt", b"the same"), ("own.txt", own.as_bytes())]).await);
    }
    assert_eq!(stored(&world.store), 6);
    assert_eq!(incoming(&world), 0);
    let artifact = &artifacts::of_job(&world.store, all[3]).await.unwrap()[0];
    assert_eq!((artifact.files, artifact.bytes), (2, 13));
    assert_eq!(content(&world.store, artifact, "own.txt").await, b"own 3");
    assert_whole(&world).await;
    let keep = Retention { max_builds_per_repo: Some(2), ..Retention::default() };
    remove_old(&world.store, &keep, now()).await.unwrap();
    assert_eq!(stored(&world.store), 3, "the shared one, and those of two builds");
    assert_whole(&world).await;
    let mut tx = world.store.write().await.unwrap();
    repos::delete(&mut tx, repo.id).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(stored(&world.store), 0);
    assert_whole(&world).await;
}

#[tokio::test]
async fn a_removal_that_fails_while_another_one_wants_the_same_is_made_good() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    world.build(&repo, &[("a", &[])]).await;
    run(&world.store, &[("a", b"unique")]).await;
    world.build(&repo, &[("a", &[])]).await;
    run(&world.store, &[]).await;
    let failing = world.store.blobs().begin_removal(world.store.blobs().in_folder().unwrap()[0]).unwrap();
    let keep = Retention { max_builds_per_repo: Some(1), ..Retention::default() };
    assert_eq!(remove_old(&world.store, &keep, now()).await.unwrap().builds, 1);
    drop(failing);
    assert_eq!(stored(&world.store), 1);
    sweep_artifacts(&world.store).await.unwrap();
    assert_eq!(stored(&world.store), 0, "nobody knew that it was to go");
}

#[tokio::test]
async fn a_file_that_arrives_again_while_its_last_artifact_goes_is_there_afterwards() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    world.build(&repo, &[("a", &[])]).await;
    run(&world.store, &[("a", b"the same")]).await;
    world.build(&repo, &[("a", &[])]).await;
    let claimed = claim(&world.store).await;
    receive(world.store.blobs(), claimed, &[("b", b"the same")]);
    let keep = Retention { max_builds_per_repo: Some(1), ..Retention::default() };
    assert_eq!(remove_old(&world.store, &keep, now()).await.unwrap().builds, 1);
    assert_eq!(stored(&world.store), 1, "the job that still runs has it");
    end(&world.store, claimed, Outcome::Success, None).await;
    let kept = artifacts::of_job(&world.store, claimed.0).await.unwrap();
    assert_eq!(content(&world.store, &kept[0], "b").await, b"the same");
    assert_whole(&world).await;
}

#[tokio::test]
async fn artifacts_go_at_their_date_once_their_build_is_over() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let build = world.build(&repo, &[("a", &[]), ("b", &[])]).await;
    let claimed = claim(&world.store).await;
    receive(world.store.blobs(), claimed, &[("a", b"1")]);
    let soon = Timestamp::from_millis(now().as_millis() + 1000);
    end(&world.store, claimed, Outcome::Success, Some(soon)).await;
    let later = Timestamp::from_millis(soon.as_millis() + 1000);
    let all = Retention::default();
    assert_eq!(remove_old(&world.store, &all, later).await.unwrap().artifacts, 0, "a later job may need them");
    run(&world.store, &[("b", b"2")]).await;
    assert_eq!(remove_old(&world.store, &all, now()).await.unwrap().artifacts, 0);
    let distrusts = Retention { keeps_expired: true, ..all };
    assert_eq!(remove_old(&world.store, &distrusts, later).await.unwrap().artifacts, 0);
    assert_eq!(remove_old(&world.store, &all, later).await.unwrap().artifacts, 1);
    assert_eq!(artifacts::of_build(&world.store, build.id).await.unwrap().len(), 1, "the one without a date");
    assert_eq!(stored(&world.store), 1);
    assert_eq!(builds::get(&world.store, build.id).await.unwrap().unwrap().status, Status::Success);
}

#[tokio::test]
async fn a_repository_whose_artifacts_are_too_large_loses_the_oldest() {
    let world = World::new().await;
    let (repo, other) = (world.repo("app").await, world.repo("other").await);
    world.build(&other, &[("a", &[])]).await;
    run(&world.store, &[("a", &[9; 3000])]).await;
    for n in 0..4_u8 {
        world.build(&repo, &[("a", &[])]).await;
        run(&world.store, &[("a", &[n; 1000])]).await;
    }
    assert_eq!(artifacts::bytes_of_repo(&world.store, repo.id).await.unwrap(), 4000);
    let keep = Retention { max_artifact_bytes_per_repo: Some(3500), ..Retention::default() };
    assert_eq!(remove_old(&world.store, &keep, now()).await.unwrap().artifacts, 1);
    assert_eq!(artifacts::bytes_of_repo(&world.store, repo.id).await.unwrap(), 3000);
    let keep = Retention { max_artifact_bytes_per_repo: Some(1), ..Retention::default() };
    assert_eq!(remove_old(&world.store, &keep, now()).await.unwrap().artifacts, 2, "the newest builds' stay");
    assert_eq!(stored(&world.store), 2);
    assert_whole(&world).await;
}

#[tokio::test]
async fn a_rerun_carries_the_artifacts_of_the_jobs_that_it_carries_over() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let build = world.build(&repo, &[("a", &[]), ("b", &[])]).await;
    let carried = run(&world.store, &[("a", b"1")]).await;
    let failed = claim(&world.store).await;
    let failure = Outcome::Failure { exit_code: 1, step: "build".to_owned(), out_of_memory: false };
    end(&world.store, failed, failure, None).await;
    let mut new = new_build(&repo, &[("a", &[]), ("b", &[])]);
    (new.rerun_of, new.carried_over) = (Some(build.id), vec![("a".to_owned(), carried)]);
    let rerun = world.create(&new).await;
    let kept = artifacts::of_build(&world.store, rerun.id).await.unwrap();
    assert_eq!(kept.len(), 1);
    run(&world.store, &[("b", b"2")]).await;
    // The first build goes; what was carried over stays.
    let keep = Retention { max_builds_per_repo: Some(1), ..Retention::default() };
    assert_eq!(remove_old(&world.store, &keep, now()).await.unwrap().builds, 1);
    let kept = artifacts::of_build(&world.store, rerun.id).await.unwrap();
    assert_eq!(kept.len(), 2);
    assert_eq!(content(&world.store, &kept[0], "a").await, b"1");
    assert_whole(&world).await;
}

#[tokio::test]
async fn a_backup_holds_every_file_of_an_artifact_and_a_check_finds_one_that_is_gone_or_damaged() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    world.build(&repo, &[("a", &[])]).await;
    let large: Vec<u8> = (0..600_000_u32).map(|n| (n % 251) as u8).collect();
    let job = run(&world.store, &[("a", b"1"), ("large", &large), ("empty", b"")]).await;
    let mut tar = tempfile::tempfile().unwrap();
    let made = backup::write(world.path(), true, "1", tar.try_clone().unwrap()).await.unwrap();
    assert_eq!(made.warnings, [] as [String; 0]);
    let mut bytes = Vec::new();
    std::io::Seek::rewind(&mut tar).unwrap();
    tar.read_to_end(&mut bytes).unwrap();
    let dir = tempfile::tempdir().unwrap();
    restore::read(dir.path(), bytes.as_slice(), newest_schema()).unwrap();
    let back = World { store: Store::open(dir.path()).await.unwrap(), dir };
    let kept = artifacts::of_job(&back.store, job).await.unwrap();
    assert_eq!(content(&back.store, &kept[0], "large").await, large);
    assert_eq!(content(&back.store, &kept[0], "empty").await, b"");
    assert_whole(&back).await;

    let file = artifacts::file(&back.store, kept[0].id, "large").await.unwrap().unwrap();
    let path = back.store.blobs().path(&file.blob);
    let packed = fs::read(&path).unwrap();
    let mut other = packed.clone();
    other[20] ^= 0xff;
    fs::write(&path, other).unwrap();
    let code = async || check::run(back.path(), Depth::Full).await.unwrap().findings[0].code();
    assert_eq!(code().await, "artifact-file-damaged");
    fs::remove_file(&path).unwrap();
    assert_eq!(code().await, "artifact-file-missing");
    fs::write(&path, packed).unwrap();
    fs::write(path.with_file_name(format!("{}.zst", "0".repeat(64))), "x").unwrap();
    assert_eq!(code().await, "artifact-file-orphan");
}

#[tokio::test]
async fn files_stay_while_a_backup_is_made() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    for n in 0..2_u8 {
        world.build(&repo, &[("a", &[])]).await;
        run(&world.store, &[("a", &[n])]).await;
    }
    let turn = longshore_files::turn::backup(world.path()).unwrap();
    let keep = Retention { max_builds_per_repo: Some(1), ..Retention::default() };
    remove_old(&world.store, &keep, now()).await.unwrap();
    assert_eq!(stored(&world.store), 2);
    drop(turn);
    sweep_artifacts(&world.store).await.unwrap();
    assert_eq!(stored(&world.store), 1);
}

#[tokio::test]
async fn artifacts_of_forks_go_before_the_repositorys_own_and_never_instead_of_them() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let of_fork = Event {
        name: EventName::PullRequest,
        pull_request: Some(PullRequest {
            title: "A change".to_owned(),
            action: "synchronize".to_owned(),
            fork: true,
            ..PullRequest::opened(7, "topic", "main")
        }),
        ..world::event("main")
    };
    let leave = async |of_a_fork: bool, jobs: &[(&str, &[&str])], bytes: usize, fill: u8| {
        let mut new = new_build(&repo, jobs);
        if of_a_fork {
            new.event = of_fork.clone();
        }
        let build = world.create(&new).await;
        run(&world.store, &[("a", &vec![fill; bytes])]).await;
        build
    };
    let kept = async |build: &Build| artifacts::of_build(&world.store, build.id).await.unwrap().len();
    let release = leave(false, &[("a", &[])], 1000, 1).await;
    let old_fork = leave(true, &[("a", &[])], 1000, 2).await;
    let newer = leave(false, &[("a", &[])], 1000, 3).await;
    let new_fork = leave(true, &[("a", &[])], 1000, 4).await;
    // Its second job waits, so the build is not over, and nothing of it goes.
    let open = leave(true, &[("a", &[]), ("b", &["a"])], 9000, 5).await;
    let keep = Retention { max_artifact_bytes_per_repo: Some(12_500), ..Retention::default() };
    assert_eq!(remove_old(&world.store, &keep, now()).await.unwrap().artifacts, 1);
    assert_eq!((kept(&release).await, kept(&old_fork).await, kept(&new_fork).await), (1, 0, 1), "the oldest of a fork");
    let keep = Retention { max_artifact_bytes_per_repo: Some(2000), ..Retention::default() };
    assert_eq!(remove_old(&world.store, &keep, now()).await.unwrap().artifacts, 1);
    assert_eq!((kept(&release).await, kept(&newer).await), (1, 1), "what a fork has too much takes nothing of ours");
    assert_eq!((kept(&new_fork).await, kept(&open).await), (0, 1));
    let keep = Retention { max_artifact_bytes_per_repo: Some(1500), ..Retention::default() };
    assert_eq!(remove_old(&world.store, &keep, now()).await.unwrap().artifacts, 1);
    assert_eq!((kept(&release).await, kept(&newer).await), (0, 1), "our own are too many by themselves");
    assert_whole(&world).await;
}
