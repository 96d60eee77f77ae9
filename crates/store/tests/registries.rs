//! Credentials for registries: sealed, bound to their owner, host and user, and a registry that ever had some stays
//! guarded.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::{collections::BTreeMap, fs};

use longshore_core::{RegistryCredentials, RegistryHost, RepoId};
use longshore_store::{StoreError, registries, secrets::KEY_FILE};

mod world;
use world::{World, now};

fn host(text: &str) -> RegistryHost {
    text.parse().unwrap()
}

async fn set(world: &World, repo: Option<RepoId>, at: &str, user: &str, password: &str) {
    let credentials = RegistryCredentials::new(user.to_owned(), password.to_owned()).unwrap();
    let mut tx = world.store.write().await.unwrap();
    registries::set(&mut tx, repo, &host(at), &credentials, "somebody", now()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn remove(world: &World, repo: Option<RepoId>, at: &str) -> Result<(), StoreError> {
    let mut tx = world.store.write().await.unwrap();
    registries::remove(&mut tx, repo, &host(at)).await?;
    tx.commit().await.unwrap();
    Ok(())
}

async fn open(world: &World, repo: RepoId) -> BTreeMap<String, String> {
    let opened = registries::open(&world.store, repo).await.unwrap();
    opened.into_iter().map(|(host, of)| (host.to_string(), format!("{} {}", of.username(), of.expose()))).collect()
}

#[tokio::test]
async fn a_repositorys_credentials_go_before_the_servers_and_to_no_other_repository() {
    let world = World::new().await;
    let (repo, other) = (world.repo("a").await, world.repo("b").await);
    set(&world, Some(repo.id), "registry.example", "own", "correct-horse-battery").await;
    set(&world, None, "registry.example", "all", "for-everybody").await;
    set(&world, None, "docker.io", "all", "for-the-hub").await;
    let opened = open(&world, repo.id).await;
    assert_eq!(opened["registry.example"], "own correct-horse-battery");
    assert_eq!(opened["docker.io"], "all for-the-hub");
    assert_eq!(open(&world, other.id).await["registry.example"], "all for-everybody");
    for file in fs::read_dir(world.path()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        let content = fs::read(file.path()).unwrap();
        assert!(!content.windows(21).any(|window| window == b"correct-horse-battery"), "{:?}", file.path());
    }
    remove(&world, None, "registry.example").await.unwrap();
    assert!(!open(&world, other.id).await.contains_key("registry.example"));
    assert!(matches!(remove(&world, None, "registry.example").await, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn a_registry_that_ever_had_credentials_stays_guarded() {
    let world = World::new().await;
    let repo = world.repo("a").await;
    set(&world, Some(repo.id), "registry.example", "own", "correct-horse-battery").await;
    remove(&world, Some(repo.id), "registry.example").await.unwrap();
    assert!(registries::hosts(&world.store, repo.id).await.unwrap().is_empty());
    assert!(registries::guarded(&world.store).await.unwrap().contains(&host("registry.example")));
}

#[tokio::test]
async fn a_key_that_is_gone_is_said_and_is_forgotten_with_the_last_password_only() {
    let world = World::new().await;
    let repo = world.repo("a").await;
    set(&world, None, "registry.example", "all", "first").await;
    set(&world, Some(repo.id), "registry.example", "own", "second").await;
    fs::remove_file(world.path().join(KEY_FILE)).unwrap();
    assert!(matches!(registries::open(&world.store, repo.id).await, Err(StoreError::SecretKey(_))));
    assert_eq!(registries::hosts(&world.store, repo.id).await.unwrap().len(), 1);
    remove(&world, None, "registry.example").await.unwrap();
    assert!(matches!(registries::open(&world.store, repo.id).await, Err(StoreError::SecretKey(_))));
    remove(&world, Some(repo.id), "registry.example").await.unwrap();
    set(&world, None, "registry.example", "all", "third").await;
    assert_eq!(open(&world, repo.id).await["registry.example"], "all third");
}
