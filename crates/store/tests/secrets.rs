//! Secrets at rest: sealed, bound to their place, and lost with their key and only with it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use longshore_core::{RepoId, SecretName, SecretValue};
use longshore_store::{
    Invalid, Store, StoreError,
    secrets::{self, KEY_FILE, SecretKey, SecretPatch},
};

mod world;
use world::{World, now};

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

async fn set(store: &Store, repo: RepoId, named: &str, value: &str) -> Result<bool, StoreError> {
    let value = SecretValue::new(value.to_owned()).unwrap();
    let mut tx = store.write().await.unwrap();
    let patch = SecretPatch { value: Some(value), ..SecretPatch::default() };
    let (_, new) = secrets::set(&mut tx, repo, &name(named), &patch, "somebody", now()).await?;
    tx.commit().await.unwrap();
    Ok(new)
}

async fn value(store: &Store, repo: RepoId, named: &str) -> Result<Option<String>, StoreError> {
    let opened = secrets::open(store, repo, &[name(named)]).await?;
    Ok(opened.get(&name(named)).map(|value| value.expose().to_owned()))
}

async fn remove(store: &Store, repo: RepoId, named: &str) -> Result<(), StoreError> {
    let mut tx = store.write().await.unwrap();
    secrets::remove(&mut tx, repo, &name(named)).await?;
    tx.commit().await.unwrap();
    Ok(())
}

/// Whether any file of the data folder holds these bytes.
fn is_on_disk(world: &World, bytes: &[u8]) -> bool {
    fs::read_dir(world.path()).unwrap().flatten().filter(|entry| entry.path().is_file()).any(|entry| {
        let content = fs::read(entry.path()).unwrap();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

#[tokio::test]
async fn a_value_comes_back_to_its_own_repository_and_is_nowhere_on_disk_as_it_is() {
    let world = World::new().await;
    let (repo, other) = (world.repo("a").await, world.repo("b").await);
    assert!(set(&world.store, repo.id, "TOKEN", "correct-horse-battery").await.unwrap());
    assert_eq!(value(&world.store, repo.id, "TOKEN").await.unwrap().as_deref(), Some("correct-horse-battery"));
    assert_eq!(value(&world.store, other.id, "TOKEN").await.unwrap(), None);
    assert!(!is_on_disk(&world, b"correct-horse-battery"));
    assert!(is_on_disk(&world, b"TOKEN"), "the test looks where the database is");
    let mode = fs::metadata(world.path().join(KEY_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    assert!(!set(&world.store, repo.id, "TOKEN", "another").await.unwrap());
    assert_eq!(value(&world.store, repo.id, "TOKEN").await.unwrap().as_deref(), Some("another"));
    let listed = secrets::list(&world.store, repo.id).await.unwrap();
    assert_eq!((listed.len(), listed[0].updated_by.as_str()), (1, "somebody"));
    remove(&world.store, repo.id, "TOKEN").await.unwrap();
    assert!(matches!(remove(&world.store, repo.id, "TOKEN").await, Err(StoreError::NotFound(_))));
    assert_eq!(value(&world.store, repo.id, "TOKEN").await.unwrap(), None);
}

#[tokio::test]
async fn a_key_that_is_gone_or_another_one_is_said_and_not_replaced() {
    let world = World::new().await;
    let repo = world.repo("a").await;
    set(&world.store, repo.id, "TOKEN", "value").await.unwrap();
    let path = world.path().join(KEY_FILE);
    let key = fs::read_to_string(&path).unwrap();

    fs::remove_file(&path).unwrap();
    for error in [
        value(&world.store, repo.id, "TOKEN").await.unwrap_err(),
        set(&world.store, repo.id, "OTHER", "value").await.unwrap_err(),
        secrets::check_key(&world.store).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::SecretKey(_)) && error.to_string().contains("is gone"), "{error}");
    }
    fs::write(&path, "ab".repeat(32)).unwrap();
    let error = value(&world.store, repo.id, "TOKEN").await.unwrap_err().to_string();
    assert!(error.contains("is not the one") && !error.contains("abab"), "{error}");
    fs::write(&path, &key).unwrap();
    assert_eq!(value(&world.store, repo.id, "TOKEN").await.unwrap().as_deref(), Some("value"));

    // The key is lost for good: secrets that cannot be read are removed, and a new key begins.
    fs::remove_file(&path).unwrap();
    remove(&world.store, repo.id, "TOKEN").await.unwrap();
    set(&world.store, repo.id, "TOKEN", "once more").await.unwrap();
    assert_eq!(value(&world.store, repo.id, "TOKEN").await.unwrap().as_deref(), Some("once more"));
    assert_ne!(fs::read_to_string(&path).unwrap(), key);
}

#[tokio::test]
async fn a_key_from_the_settings_is_used_and_never_written_down() {
    let world = World::new().await;
    world.store.use_secret_key("0f".repeat(32).parse::<SecretKey>().unwrap());
    let repo = world.repo("a").await;
    set(&world.store, repo.id, "TOKEN", "value").await.unwrap();
    assert_eq!(value(&world.store, repo.id, "TOKEN").await.unwrap().as_deref(), Some("value"));
    assert!(!world.path().join(KEY_FILE).exists());
    let World { store, dir } = world;
    store.close().await;
    drop(store);
    let store = Store::open(dir.path()).await.unwrap();
    assert!(matches!(secrets::check_key(&store).await, Err(StoreError::SecretKey(_))));
    store.use_secret_key("0f".repeat(32).parse::<SecretKey>().unwrap());
    assert_eq!(value(&store, repo.id, "TOKEN").await.unwrap().as_deref(), Some("value"));
    store.close().await;
}

#[tokio::test]
async fn secrets_are_opened_while_somebody_writes() {
    let world = World::new().await;
    let repo = world.repo("a").await;
    set(&world.store, repo.id, "TOKEN", "value").await.unwrap();
    let writes = world.store.write().await.unwrap();
    let opened = tokio::time::timeout(Duration::from_secs(300), value(&world.store, repo.id, "TOKEN")).await;
    assert_eq!(opened.unwrap().unwrap().as_deref(), Some("value"));
    tokio::time::timeout(Duration::from_secs(300), secrets::check_key(&world.store)).await.unwrap().unwrap();
    drop(writes);
}

#[tokio::test]
async fn rules_stay_with_a_secret_whatever_else_of_it_changes() {
    let world = World::new().await;
    let repo = world.repo("a").await;
    let change = async |patch: SecretPatch| {
        let mut tx = world.store.write().await.unwrap();
        let set = secrets::set(&mut tx, repo.id, &name("TOKEN"), &patch, "somebody", now()).await;
        tx.commit().await.unwrap();
        set.map(|(secret, _)| secret.rules)
    };
    let main = || Some(vec!["main".to_owned()]);
    let rules_alone = SecretPatch { branches: main(), ..SecretPatch::default() };
    let error = change(rules_alone.clone()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Invalid(Invalid::NewSecretWithoutValue(_))), "{error}");
    set(&world.store, repo.id, "TOKEN", "first").await.unwrap();
    assert_eq!(change(rules_alone).await.unwrap().branches, ["main"]);
    assert_eq!(value(&world.store, repo.id, "TOKEN").await.unwrap().as_deref(), Some("first"));
    set(&world.store, repo.id, "TOKEN", "second").await.unwrap();
    assert_eq!(secrets::list(&world.store, repo.id).await.unwrap()[0].rules.branches, ["main"]);
    let jobs =
        SecretPatch { branches: Some(Vec::new()), jobs: Some(vec!["deploy".to_owned()]), ..SecretPatch::default() };
    let rules = change(jobs).await.unwrap();
    assert_eq!((rules.branches.len(), rules.jobs), (0, vec!["deploy".to_owned()]));
    assert_eq!(value(&world.store, repo.id, "TOKEN").await.unwrap().as_deref(), Some("second"));
}
