//! Which entries of caches a job begins with, and what belongs to whom.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod world;

use std::collections::BTreeSet;

use longshore_core::{CacheAccess, Event, EventName, JobId, RepoId, Timestamp, event::PullRequest};
use longshore_store::{
    StoreError,
    caches::{self, FoundEntry, Layers, RequestedCache, Saving},
    repos,
};
use world::{World, now};

/// A push to a branch, where the default branch is `main`.
fn on(branch: &str) -> CacheAccess {
    CacheAccess::of(&event(branch))
}

fn stranger(target: &str) -> CacheAccess {
    let request = PullRequest { fork: true, ..PullRequest::opened(7, "main", target) };
    CacheAccess::of(&Event { pull_request: Some(request), ..event("main") })
}

fn event(branch: &str) -> Event {
    let event = Event::new(EventName::Push, format!("refs/heads/{branch}"), "0".repeat(40));
    Event { default_branch: Some("main".to_owned()), ..event }
}

fn wanted(key: &str, fallback: &[&str]) -> RequestedCache {
    RequestedCache {
        key: key.to_owned(),
        paths: vec!["target".to_owned()],
        fallback: fallback.iter().map(|prefix| (*prefix).to_owned()).collect(),
        shared: None,
    }
}

fn layers(volumes: &[&str]) -> Layers {
    vec![volumes.iter().map(|name| (*name).to_owned()).collect()]
}

/// Lets a job begin with a cache. Returns the job and what it found.
async fn begin(
    world: &World,
    repo: RepoId,
    access: &CacheAccess,
    wanted: RequestedCache,
) -> (JobId, Option<FoundEntry>) {
    let job = JobId::new();
    let mut tx = world.store.write().await.unwrap();
    let uses = caches::begin(&mut tx, repo, (job, 1), access, &[wanted], now()).await.unwrap();
    tx.commit().await.unwrap();
    (job, uses.into_iter().next().unwrap().found)
}

/// Lets a job end, with this volume saved.
async fn save(world: &World, job: JobId, volumes: &[&str], at: i64) -> Saving {
    let mut tx = world.store.write().await.unwrap();
    let saved = caches::save(&mut tx, (job, 1), 0, &layers(volumes), Timestamp::from_millis(at)).await.unwrap();
    caches::end(&mut tx, job, 1).await.unwrap();
    tx.commit().await.unwrap();
    saved
}

async fn save_new(world: &World, repo: RepoId, branch: &str, key: &str, at: i64) {
    let (job, _) = begin(world, repo, &on(branch), wanted(key, &[])).await;
    assert!(matches!(save(world, job, &[key], at).await, Saving::Saved(_)));
}

#[tokio::test]
async fn the_whole_key_comes_first_and_then_the_newest_of_the_first_beginning_that_fits() {
    let world = World::new().await;
    let repo = world.repo("app").await.id;
    for (at, key) in (1..).zip(["a-1", "a-2", "b-1", "a-", "%"]) {
        save_new(&world, repo, "main", key, at).await;
    }
    for (key, fallback, found) in [
        ("a-1", &["a-"][..], Some("a-1")),
        ("a-9", &["b-", "a-"], Some("b-1")),
        ("a-9", &["c-", "a-"], Some("a-")),
        ("a-9", &[], None),
        ("_", &["_", "a%"], None),
        ("A-1", &["A-"], None),
    ] {
        let (_, chosen) = begin(&world, repo, &on("main"), wanted(key, fallback)).await;
        assert_eq!(chosen.map(|found| found.key).as_deref(), found, "{key} {fallback:?}");
    }
    let other = RequestedCache { paths: vec!["other".to_owned()], ..wanted("a-1", &["a-"]) };
    assert_eq!(begin(&world, repo, &on("main"), other).await.1, None, "other folders");
    let lookups = caches::lookups(&world.store, repo).await.unwrap();
    assert_eq!((lookups.asked, lookups.found), (12, 3));
}

#[tokio::test]
async fn no_repository_reads_anothers_and_a_stranger_reads_only_what_its_target_branch_saved() {
    let world = World::new().await;
    let (repo, other) = (world.repo("app").await.id, world.repo("other").await.id);
    save_new(&world, repo, "main", "k-main", 1).await;
    save_new(&world, repo, "secret", "k-secret", 2).await;
    assert_eq!(begin(&world, other, &on("main"), wanted("k-main", &["k-"])).await.1, None);
    let of = async |access: &CacheAccess, key: &str| {
        begin(&world, repo, access, wanted(key, &["k-"])).await.1.map(|found| found.key)
    };
    assert_eq!(of(&stranger("main"), "x").await.as_deref(), Some("k-main"));
    assert_eq!(of(&stranger("main"), "k-secret").await.as_deref(), Some("k-main"));
    assert_eq!(of(&stranger("next"), "k-main").await, None, "not even the default branch's");
    let (job, _) = begin(&world, repo, &stranger("main"), wanted("k-new", &[])).await;
    assert_eq!(save(&world, job, &["k-new"], 3).await, Saving::NotNeeded);
    let shared = RequestedCache { shared: Some(layers(&["s"])), ..wanted("k-main", &[]) };
    assert!(begin(&world, repo, &on("main"), shared.clone()).await.1.is_some());
    assert_eq!(begin(&world, repo, &stranger("main"), shared).await.1, None);
}

#[tokio::test]
async fn what_a_branch_saved_goes_into_no_other_branch_except_from_the_default_branch() {
    let world = World::new().await;
    let repo = world.repo("app").await.id;
    let found = async |branch: &str, wanted: RequestedCache| {
        begin(&world, repo, &on(branch), wanted).await.1.map(|found| found.layers[0][0].clone())
    };
    let save_as = async |branch: &str, key: &str, volume: &str, at: i64| {
        let (job, _) = begin(&world, repo, &on(branch), wanted(key, &[])).await;
        save(&world, job, &[volume], at).await
    };
    // Somebody who may push to `evil` alone takes the key that `main` will have, and one that is newer than all others.
    for key in ["k-1", "k-9"] {
        assert!(matches!(save_as("evil", key, "evil", 9).await, Saving::Saved(_)));
    }
    assert_eq!(found("main", wanted("k-1", &["k-"])).await, None);
    assert!(matches!(save_as("main", "k-1", "main", 1).await, Saving::Saved(_)), "the key is still main's own");
    for (branch, key, begins_with) in [
        ("main", "k-1", "main"),
        ("main", "k-9", "main"),
        ("feature", "k-1", "main"),
        ("feature", "k-9", "main"),
        ("evil", "k-1", "evil"),
    ] {
        assert_eq!(found(branch, wanted(key, &["k-"])).await.as_deref(), Some(begins_with), "{branch} {key}");
    }
    // A whole key of the default branch comes before the beginning of an own one.
    assert!(matches!(save_as("main", "k-2", "main-2", 2).await, Saving::Saved(_)));
    assert_eq!(found("evil", wanted("k-2", &["k-"])).await.as_deref(), Some("main-2"));
    let folder = |volume: &str| RequestedCache { shared: Some(layers(&[volume])), ..wanted("k", &[]) };
    for branch in ["evil", "main", "feature"] {
        let own = format!("shared-{branch}");
        assert_eq!(found(branch, folder(&own)).await, Some(own.clone()), "each branch has a folder of its own");
        assert_eq!(found(branch, folder("another")).await, Some(own));
    }
}

#[tokio::test]
async fn the_first_to_save_a_key_wins_and_what_an_attempt_began_with_stays_its_own() {
    let world = World::new().await;
    let repo = world.repo("app").await.id;
    let (one, _) = begin(&world, repo, &on("main"), wanted("k", &[])).await;
    let (two, _) = begin(&world, repo, &on("main"), wanted("k", &[])).await;
    assert!(matches!(save(&world, two, &["two"], 1).await, Saving::Saved(_)));
    assert_eq!(save(&world, one, &["one"], 2).await, Saving::NotNeeded);
    let (job, found) = begin(&world, repo, &on("main"), wanted("k", &[])).await;
    assert_eq!(found.as_ref().unwrap().layers, layers(&["two"]));
    // Asked once more, by the process that adopts the job, though the entry is gone by now.
    let entry = caches::list(&world.store, repo).await.unwrap().remove(0);
    let mut tx = world.store.write().await.unwrap();
    caches::remove(&mut tx, repo, entry.id).await.unwrap();
    let again = caches::begin(&mut tx, repo, (job, 1), &on("main"), &[wanted("other", &[])], now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((again[0].key.as_str(), &again[0].found), ("k", &found));
    let owned = caches::owned(&world.store).await.unwrap();
    assert_eq!(owned.volumes, BTreeSet::from(["two".to_owned()]), "a job uses it still");
    assert!(owned.attempts.contains(&(job, 1)));
}

#[tokio::test]
async fn an_entry_that_a_job_uses_is_not_let_go_and_its_layers_stay_until_the_job_has_ended() {
    let world = World::new().await;
    let repo = world.repo("app").await.id;
    save_new(&world, repo, "main", "base", 1).await;
    let (job, _) = begin(&world, repo, &on("main"), wanted("next", &["ba"])).await;
    assert!(matches!(save(&world, job, &["next", "base"], 2).await, Saving::Saved(_)));
    let (running, _) = begin(&world, repo, &on("main"), wanted("next", &[])).await;
    let let_go = async |key: &str| {
        let all = caches::list(&world.store, repo).await.unwrap();
        let entry = all.iter().find(|entry| entry.key == key).unwrap();
        let mut tx = world.store.write().await.unwrap();
        let gone = caches::remove_unused(&mut tx, entry.id).await.unwrap();
        tx.commit().await.unwrap();
        gone
    };
    assert!(!let_go("next").await && !let_go("base").await, "a job runs on both layers");
    let mut tx = world.store.write().await.unwrap();
    caches::end_all_but(&mut tx, &BTreeSet::from([(running, 1)])).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!let_go("next").await);
    let mut tx = world.store.write().await.unwrap();
    caches::end_all_but(&mut tx, &BTreeSet::new()).await.unwrap();
    tx.commit().await.unwrap();
    assert!(let_go("base").await);
    assert_eq!(caches::owned(&world.store).await.unwrap().volumes.len(), 2, "the other entry has that layer too");
    assert!(let_go("next").await);
    assert!(caches::owned(&world.store).await.unwrap().volumes.is_empty());
}

#[tokio::test]
async fn sizes_are_those_of_all_layers_and_flattening_changes_only_what_it_copied() {
    let world = World::new().await;
    let repo = world.repo("app").await.id;
    let (job, _) = begin(&world, repo, &on("main"), wanted("k", &[])).await;
    save(&world, job, &["c", "b", "a"], 1).await;
    let bytes = async || caches::list(&world.store, repo).await.unwrap()[0].bytes;
    let measured =
        |all: &[(&str, u64)]| all.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect::<Vec<_>>();
    let mut tx = world.store.write().await.unwrap();
    caches::set_sizes(&mut tx, &measured(&[("a", 100), ("b", 20)])).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(bytes().await, None, "one layer is not measured");
    let mut tx = world.store.write().await.unwrap();
    caches::set_sizes(&mut tx, &measured(&[("c", 3)])).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(bytes().await, Some(123));
    let entry = caches::list(&world.store, repo).await.unwrap().remove(0);
    let mut tx = world.store.write().await.unwrap();
    assert_eq!(caches::flatten(&mut tx, &entry.layers[0], "flat").await.unwrap(), 1);
    assert_eq!(caches::flatten(&mut tx, &entry.layers[0], "again").await.unwrap(), 0);
    tx.commit().await.unwrap();
    assert_eq!(caches::list(&world.store, repo).await.unwrap()[0].layers, layers(&["flat"]));
}

#[tokio::test]
async fn layers_that_entries_have_in_common_are_flattened_once_for_all_of_them() {
    let world = World::new().await;
    let repo = world.repo("app").await.id;
    let entries: [(&str, &[&str]); 4] = [
        ("whole", &["c", "b", "a"]),
        ("above", &["d", "c", "b", "a"]),
        ("other", &["e", "b", "a"]),
        ("top", &["c", "b"]),
    ];
    for (number, (key, volumes)) in entries.into_iter().enumerate() {
        let (job, _) = begin(&world, repo, &on("main"), wanted(key, &[])).await;
        save(&world, job, volumes, i64::try_from(number).unwrap() + 1).await;
    }
    let mut tx = world.store.write().await.unwrap();
    assert_eq!(caches::flatten(&mut tx, &layers(&["c", "b", "a"])[0], "flat").await.unwrap(), 2);
    tx.commit().await.unwrap();
    for (key, volumes) in [("whole", &["flat"][..]), ("above", &["d", "flat"][..]), entries[2], entries[3]] {
        let all = caches::list(&world.store, repo).await.unwrap();
        assert_eq!(all.iter().find(|entry| entry.key == key).unwrap().layers, layers(volumes), "{key}");
    }
}

#[tokio::test]
async fn an_entry_whose_volumes_are_gone_is_forgotten_and_so_are_those_of_a_repository_that_is_deleted() {
    let world = World::new().await;
    let repo = world.repo("app").await.id;
    save_new(&world, repo, "main", "k", 1).await;
    let (job, _) = begin(&world, repo, &on("main"), wanted("k", &[])).await;
    let mut tx = world.store.write().await.unwrap();
    caches::lost(&mut tx, job, 1, 0).await.unwrap();
    tx.commit().await.unwrap();
    assert!(caches::list(&world.store, repo).await.unwrap().is_empty());
    assert_eq!(caches::uses(&world.store, job, 1).await.unwrap()[0].found, None);
    assert!(matches!(save(&world, job, &["again"], 2).await, Saving::Saved(_)));
    let id = caches::list(&world.store, repo).await.unwrap()[0].id;
    let other = world.repo("other").await.id;
    let mut tx = world.store.write().await.unwrap();
    assert!(matches!(caches::remove(&mut tx, other, id).await, Err(StoreError::NotFound(_))), "another repository's");
    repos::delete(&mut tx, repo).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(caches::owned(&world.store).await.unwrap(), caches::Owned::default());
}

#[tokio::test]
async fn runs_of_several_processes_keep_their_records_in_one_folder() {
    let dir = tempfile::tempdir().unwrap();
    let one = longshore_store::Store::open_shared(dir.path()).await.unwrap();
    let two = longshore_store::Store::open_shared(dir.path()).await.unwrap();
    for (at, store) in [&one, &two, &one].into_iter().enumerate() {
        let mut tx = store.write().await.unwrap();
        longshore_store::settings::set(&mut tx, "last", &at.to_string()).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(longshore_store::settings::get(&two, "last").await.unwrap().as_deref(), Some("2"));
    one.close().await;
    two.close().await;
}
