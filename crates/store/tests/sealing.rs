//! Hook secrets and clone credentials at rest: sealed, bound to their repository, and gone from the files of an older
//! version.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::{fs, path::Path};

use longshore_core::RepoId;
use longshore_files::restore;
use longshore_store::{
    Store, StoreError, backup,
    check::{self, Depth},
    newest_schema,
    repos::{self, NewRepo, Repo, RepoPatch},
    sealing,
    secrets::{self, KEY_FILE},
    settings,
};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

mod world;
use world::{World, now};

const ADDRESS: &str = "https://me:clone-pass-77@git.example/app.git";

/// Whether any file of the data folder holds these bytes.
fn is_on_disk(folder: &Path, bytes: &str) -> bool {
    fs::read_dir(folder)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_file())
        .any(|entry| fs::read(entry.path()).unwrap().windows(bytes.len()).any(|window| window == bytes.as_bytes()))
}

async fn add(store: &Store, name: &str, clone_url: &str) -> Repo {
    let mut tx = store.write().await.unwrap();
    let new = NewRepo {
        name: name.to_owned(),
        forge: "git".to_owned(),
        clone_url: clone_url.to_owned(),
        public: false,
        default_branch: None,
    };
    let repo = repos::create(&mut tx, &new, now()).await.unwrap();
    tx.commit().await.unwrap();
    repo
}

async fn patch(store: &Store, id: RepoId, patch: RepoPatch) -> Result<Repo, StoreError> {
    let mut tx = store.write().await.unwrap();
    let repo = repos::patch(&mut tx, id, &patch).await?;
    tx.commit().await.unwrap();
    Ok(repo)
}

async fn get(store: &Store, id: RepoId) -> Repo {
    repos::get(store, id).await.unwrap().unwrap()
}

async fn raw(world: &World) -> SqliteConnection {
    SqliteConnectOptions::new().filename(world.path().join("longshore.db")).connect().await.unwrap()
}

/// Writes a repository's row as the version before wrote it.
async fn as_of_before(world: &World, id: RepoId, hook_secret: &str, clone_url: &str) {
    let mut conn = raw(world).await;
    sqlx::query(
        "UPDATE repos SET hook_secret = ?, clone_url = ?, hook_secret_sealed = NULL, clone_url_sealed = NULL WHERE id = ?",
    )
    .bind(hook_secret)
    .bind(clone_url)
    .bind(id.to_string())
    .execute(&mut conn)
    .await
    .unwrap();
    conn.close().await.unwrap();
}

#[tokio::test]
async fn hook_secrets_and_clone_credentials_are_nowhere_on_disk_as_they_are() {
    let world = World::new().await;
    let repo = add(&world.store, "a", ADDRESS).await;
    let hook = repo.hook_secret.expose().unwrap().to_owned();
    let kept = get(&world.store, repo.id).await;
    assert_eq!((kept.clone_url.as_str(), kept.hook_secret.expose().unwrap()), (ADDRESS, hook.as_str()));
    let renewed =
        patch(&world.store, repo.id, RepoPatch { renew_hook_secret: true, ..RepoPatch::default() }).await.unwrap();
    let moved = "https://token-of-mine@git.example/moved.git".to_owned();
    let moved =
        patch(&world.store, repo.id, RepoPatch { clone_url: Some(moved), ..RepoPatch::default() }).await.unwrap();
    assert_eq!(moved.clone_url, "https://token-of-mine@git.example/moved.git");
    for hidden in [&hook, renewed.hook_secret.expose().unwrap(), "clone-pass-77", "token-of-mine"] {
        assert!(!is_on_disk(world.path(), hidden), "{hidden}");
    }
    assert!(is_on_disk(world.path(), "git.example/moved.git"), "the test looks where the database is");
}

#[tokio::test]
async fn what_is_sealed_for_one_repository_does_not_open_for_another() {
    let world = World::new().await;
    let (one, other) =
        (add(&world.store, "a", ADDRESS).await, add(&world.store, "b", "https://git.example/b.git").await);
    let mut conn = raw(&world).await;
    sqlx::query(
        "UPDATE repos SET (hook_secret_sealed, clone_url_sealed) =
            (SELECT hook_secret_sealed, clone_url_sealed FROM repos WHERE id = ?) WHERE id = ?",
    )
    .bind(one.id.to_string())
    .bind(other.id.to_string())
    .execute(&mut conn)
    .await
    .unwrap();
    let stolen = get(&world.store, other.id).await;
    assert!(stolen.credentials_closed && stolen.clone_url == "https://git.example/b.git");
    assert!(matches!(stolen.hook_secret.expose(), Err(StoreError::SecretKey(_))));
    assert_eq!(get(&world.store, one.id).await.clone_url, ADDRESS);
}

#[tokio::test]
async fn what_an_older_version_kept_is_sealed_at_the_next_start_and_gone_from_every_file() {
    let world = World::new().await;
    let (one, other) =
        (add(&world.store, "a", ADDRESS).await, add(&world.store, "b", "ssh://git@git.example/b.git").await);
    as_of_before(&world, one.id, "plain-hook-secret-1", ADDRESS).await;
    as_of_before(&world, other.id, "plain-hook-secret-2", "ssh://git@git.example/b.git").await;
    assert!(is_on_disk(world.path(), "plain-hook-secret-1") && is_on_disk(world.path(), "clone-pass-77"));
    // Until then it is unchanged.
    assert_eq!(get(&world.store, one.id).await.hook_secret.expose().unwrap(), "plain-hook-secret-1");

    assert_eq!(sealing::seal(&world.store).await.unwrap(), 2);
    for hidden in ["plain-hook-secret-1", "plain-hook-secret-2", "clone-pass-77"] {
        assert!(!is_on_disk(world.path(), hidden), "{hidden}");
    }
    let kept = get(&world.store, one.id).await;
    assert_eq!((kept.clone_url.as_str(), kept.hook_secret.expose().unwrap()), (ADDRESS, "plain-hook-secret-1"));
    assert_eq!(get(&world.store, other.id).await.clone_url, "ssh://git@git.example/b.git");
    assert_eq!(sealing::seal(&world.store).await.unwrap(), 0);

    // A backup contains it sealed, with the key beside it, and a restored folder opens it.
    let mut tar = tempfile::NamedTempFile::new().unwrap();
    backup::write(world.path(), true, "test", tar.reopen().unwrap()).await.unwrap();
    let written = fs::read(tar.path()).unwrap();
    assert!(!written.windows(19).any(|window| window == b"plain-hook-secret-1"));
    let folder = tempfile::tempdir().unwrap();
    std::io::Seek::rewind(tar.as_file_mut()).unwrap();
    restore::read(folder.path(), tar.reopen().unwrap(), newest_schema()).unwrap();
    assert!(check::run(folder.path(), Depth::Full).await.unwrap().findings.is_empty());
    let restored = Store::open(folder.path()).await.unwrap();
    assert_eq!(get(&restored, one.id).await.clone_url, ADDRESS);
    restored.close().await;
}

#[tokio::test]
async fn a_sealing_that_was_cut_short_is_finished_by_the_next_start() {
    let world = World::new().await;
    let repo = add(&world.store, "a", ADDRESS).await;
    // The state after a kill between the commit and the new file: a row is sealed, and its old value is in freed pages
    // and in the log.
    let mut conn = raw(&world).await;
    for statement in [
        "INSERT INTO settings (key, value) VALUES ('left', hex(zeroblob(8000)) || 'left-over-secret')",
        "DELETE FROM settings WHERE key = 'left'",
    ] {
        sqlx::query(statement).execute(&mut conn).await.unwrap();
    }
    conn.close().await.unwrap();
    assert!(is_on_disk(world.path(), "left-over-secret"));
    let mut tx = world.store.write().await.unwrap();
    settings::set(&mut tx, "scrub_after_sealing", "1").await.unwrap();
    tx.commit().await.unwrap();
    let World { store, dir } = world;
    store.close().await;
    drop(store);

    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(sealing::seal(&store).await.unwrap(), 0);
    assert!(!is_on_disk(dir.path(), "left-over-secret"));
    assert_eq!(settings::get(&store, "scrub_after_sealing").await.unwrap(), None);
    assert_eq!(get(&store, repo.id).await.clone_url, ADDRESS);
    store.close().await;
}

#[tokio::test]
async fn without_its_key_a_repository_is_shown_and_opens_nothing_until_both_are_given_anew() {
    let world = World::new().await;
    let repo = add(&world.store, "a", ADDRESS).await;
    fs::remove_file(world.path().join(KEY_FILE)).unwrap();
    let closed = get(&world.store, repo.id).await;
    assert!(closed.credentials_closed && closed.clone_url == "https://git.example/app.git");
    assert!(closed.hook_secret.expose().unwrap_err().to_string().contains("create a new hook secret"));
    assert!(matches!(secrets::check_key(&world.store).await, Err(StoreError::SecretKey(_))));
    assert!(matches!(sealing::seal(&world.store).await, Ok(0)));

    let renewed =
        patch(&world.store, repo.id, RepoPatch { renew_hook_secret: true, ..RepoPatch::default() }).await.unwrap();
    assert!(renewed.credentials_closed && renewed.hook_secret.expose().is_ok());
    let given = RepoPatch { clone_url: Some(ADDRESS.to_owned()), ..RepoPatch::default() };
    assert!(!patch(&world.store, repo.id, given).await.unwrap().credentials_closed);
    assert_eq!(get(&world.store, repo.id).await.clone_url, ADDRESS);
}
