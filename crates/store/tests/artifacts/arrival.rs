//! Files arrive whole or not at all, whatever dies while they arrive.

use std::fs;

use longshore_core::Outcome;
use longshore_store::{Store, artifacts, jobs, sweep_artifacts};

use crate::{
    LIMITS, assert_whole, claim, end, incoming, receive, stored,
    world::{World, now},
};

#[tokio::test]
async fn what_an_attempt_left_half_is_no_artifact_and_leaves_nothing() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    world.build(&repo, &[("a", &[])]).await;
    let claimed = claim(&world.store).await;
    let mut half = world.store.blobs().receive(claimed.0, claimed.1, LIMITS).unwrap();
    half.begin(0, "out", "whole.txt", 5, false).unwrap();
    half.write(b"whole").unwrap();
    half.end(true).unwrap();
    half.begin(0, "out", "half.txt", 100, false).unwrap();
    half.write(b"half").unwrap();
    drop(half);
    end(&world.store, claimed, Outcome::Canceled, None).await;
    assert_eq!(artifacts::of_job(&world.store, claimed.0).await.unwrap(), []);
    assert_eq!((stored(&world.store), incoming(&world)), (0, 0));
    assert_whole(&world).await;
}

#[tokio::test]
async fn a_server_that_is_killed_while_files_arrive_asks_for_those_alone_that_it_does_not_have() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    world.build(&repo, &[("a", &[])]).await;
    let claimed = claim(&world.store).await;
    let names: Vec<String> = (0..300).map(|n| format!("f{n:03}")).collect();
    let mut first = world.store.blobs().receive(claimed.0, claimed.1, LIMITS).unwrap();
    for name in &names[..280] {
        first.begin(0, "out", name, 4, false).unwrap();
        first.write(name.as_bytes()).unwrap();
        first.end(true).unwrap();
    }
    first.begin(0, "out", &names[280], 4, false).unwrap();
    first.write(b"f2").unwrap();
    drop(first);
    let World { store, dir } = world;
    store.close().await;
    drop(store);

    let world = World { store: Store::open(dir.path()).await.unwrap(), dir };
    sweep_artifacts(&world.store).await.unwrap();
    let mut second = world.store.blobs().receive(claimed.0, claimed.1, LIMITS).unwrap();
    assert_eq!(second.files(), 256, "those that were settled");
    for name in &names[256..] {
        second.begin(0, "out", name, 4, false).unwrap();
        second.write(name.as_bytes()).unwrap();
        second.end(true).unwrap();
    }
    second.complete(300).unwrap();
    drop(second);
    end(&world.store, claimed, Outcome::Success, None).await;
    let kept = artifacts::of_job(&world.store, claimed.0).await.unwrap();
    assert_eq!((kept.len(), kept[0].files), (1, 300));
    assert_eq!((stored(&world.store), incoming(&world)), (300, 0));
    assert_whole(&world).await;
}

#[tokio::test]
async fn a_blob_that_a_list_names_and_a_crash_has_lost_is_asked_for_again() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    world.build(&repo, &[("a", &[])]).await;
    let claimed = claim(&world.store).await;
    receive(world.store.blobs(), claimed, &[("a", b"1"), ("b", b"2"), ("c", b"3")]);
    let left = world.store.blobs().received_of(claimed.0, claimed.1).unwrap();
    assert!(left.complete);
    fs::remove_file(world.store.blobs().path(&left.files[1].file.blob)).unwrap();
    let again = world.store.blobs().receive(claimed.0, claimed.1, LIMITS).unwrap();
    assert_eq!((again.files(), again.is_complete()), (1, false));
}

#[tokio::test]
async fn what_arrived_of_a_job_that_ended_without_this_process_is_swept_at_the_start() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    world.build(&repo, &[("a", &[])]).await;
    let claimed = claim(&world.store).await;
    receive(world.store.blobs(), claimed, &[("a", b"1")]);
    let mut tx = world.store.write().await.unwrap();
    jobs::end_attempt(&mut tx, claimed.0, claimed.1, Outcome::Canceled, now()).await.unwrap();
    tx.commit().await.unwrap();
    let World { store, dir } = world;
    store.close().await;
    drop(store);
    let world = World { store: Store::open(dir.path()).await.unwrap(), dir };
    assert_eq!(stored(&world.store), 1);
    sweep_artifacts(&world.store).await.unwrap();
    assert_eq!((stored(&world.store), incoming(&world)), (0, 0));
}

#[tokio::test]
async fn an_older_attempt_that_reports_late_leaves_nothing() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    world.build(&repo, &[("a", &[])]).await;
    let claimed = claim(&world.store).await;
    receive(world.store.blobs(), (claimed.0, 7), &[("a", b"1")]);
    end(&world.store, (claimed.0, 7), Outcome::Success, None).await;
    assert_eq!(artifacts::of_job(&world.store, claimed.0).await.unwrap(), []);
    assert_eq!(stored(&world.store), 0);
}

#[tokio::test]
async fn an_agent_that_sends_what_it_may_not_is_refused() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    world.build(&repo, &[("a", &[])]).await;
    let (job, attempt) = claim(&world.store).await;
    let mut incoming = world.store.blobs().receive(job, attempt, LIMITS).unwrap();
    for path in ["../evil", "/etc/passwd", "a/../../b", "", "a\\b", "a\0b", "./x", ".git/hooks/post-checkout"] {
        assert!(incoming.begin(0, "out", path, 1, false).is_err(), "{path:?}");
    }
    for name in ["../x", "", ".", "a/b"] {
        assert!(incoming.begin(0, name, "x", 1, false).is_err(), "{name:?}");
    }
    assert!(incoming.begin(0, "out", "huge", 2 << 20, false).is_err());
    incoming.begin(0, "out", "x", 2, false).unwrap();
    incoming.write(b"ab").unwrap();
    assert!(incoming.write(b"c").is_err(), "longer than announced");
    incoming.begin(0, "out", "y", 2, false).unwrap();
    incoming.write(b"a").unwrap();
    assert!(incoming.end(true).is_err(), "shorter than announced");
    assert!(incoming.complete(9).is_err());
}

#[tokio::test]
async fn a_place_of_the_plan_has_one_name_also_after_a_restart() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    world.build(&repo, &[("a", &[])]).await;
    let (job, attempt) = claim(&world.store).await;
    let begin = |path: &str, artifact: u16, name: &str| {
        world.store.blobs().receive(job, attempt, LIMITS).unwrap().begin(artifact, name, path, 1, false)
    };
    let mut incoming = world.store.blobs().receive(job, attempt, LIMITS).unwrap();
    for n in 0..300 {
        incoming.begin(0, "out", &format!("f{n}"), 1, false).unwrap();
        incoming.write(b"a").unwrap();
        incoming.end(true).unwrap();
    }
    assert!(incoming.begin(0, "other", "x", 1, false).is_err());
    incoming.begin(1, "other", "x", 1, false).unwrap();
    drop(incoming);
    assert!(begin("x", 0, "other").is_err(), "what was settled has its name");
    begin("x", 0, "out").unwrap();
    begin("x", 1, "other").unwrap();
}

#[tokio::test]
async fn a_list_that_is_torn_is_read_up_to_the_tear() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    world.build(&repo, &[("a", &[])]).await;
    let claimed = claim(&world.store).await;
    receive(world.store.blobs(), claimed, &[("a", b"1"), ("b", b"2")]);
    let list = world.path().join(format!("artifacts/incoming/{}-{}.list", claimed.0, claimed.1));
    let text = fs::read(&list).unwrap();
    for cut in 0..text.len() {
        fs::write(&list, &text[..cut]).unwrap();
        let left = world.store.blobs().received_of(claimed.0, claimed.1).unwrap();
        assert!(!left.complete);
        assert_eq!(left.files.len(), text[..cut].iter().filter(|byte| **byte == b'\n').count());
    }
}
