//! A copy of a data folder is another installation, and the folder itself stays the same one.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::{
    io::{Read as _, Seek as _},
    path::Path,
    process::Command,
};

use longshore_files::restore;
use longshore_store::{Store, backup, newest_schema};

/// Opens and closes the folder. Returns its instance, and the instance that it was found to be a copy of.
async fn instance(folder: &Path) -> (String, Option<String>) {
    let store = Store::open(folder).await.unwrap();
    let found = (store.instance().to_owned(), store.copy_of().map(str::to_owned));
    store.close().await;
    found
}

async fn backup_of(folder: &Path) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    backup::write(folder, true, "0", file.try_clone().unwrap()).await.unwrap();
    let mut tar = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut tar).unwrap();
    tar
}

#[tokio::test]
async fn a_folder_keeps_its_instance_also_under_another_name() {
    let parent = tempfile::tempdir().unwrap();
    let (here, there) = (parent.path().join("here"), parent.path().join("there"));
    let first = instance(&here).await;
    assert_eq!(first.1, None);
    assert_eq!(instance(&here).await, first);
    std::fs::rename(&here, &there).unwrap();
    assert_eq!(instance(&there).await, first);
}

#[tokio::test]
async fn a_copied_folder_has_an_instance_of_its_own_from_its_first_start_on() {
    let parent = tempfile::tempdir().unwrap();
    let (first, copy) = (parent.path().join("first"), parent.path().join("copy"));
    let (original, _) = instance(&first).await;
    let copied = Command::new("cp").args(["-a".as_ref(), first.as_os_str(), copy.as_os_str()]).status().unwrap();
    assert!(copied.success());
    let (own, copy_of) = instance(&copy).await;
    assert_eq!(copy_of, Some(original.clone()));
    assert_ne!(own, original);
    assert_eq!(instance(&copy).await, (own, None), "found out once");
    assert_eq!(instance(&first).await, (original, None), "the first is what it was");
}

#[tokio::test]
async fn a_restored_folder_has_an_instance_of_its_own_unless_it_takes_over() {
    let parent = tempfile::tempdir().unwrap();
    let folder = |name: &str| parent.path().join(name);
    let (original, _) = instance(&folder("first")).await;
    let tar = backup_of(&folder("first")).await;

    restore::read(&folder("beside"), tar.as_slice(), newest_schema()).unwrap();
    let (own, copy_of) = instance(&folder("beside")).await;
    assert_eq!(copy_of, Some(original.clone()));
    assert_ne!(own, original);

    restore::read(&folder("instead"), tar.as_slice(), newest_schema()).unwrap();
    restore::take_over(&folder("instead")).unwrap();
    assert_eq!(instance(&folder("instead")).await, (original.clone(), None));
    assert_eq!(instance(&folder("instead")).await, (original, None), "and stays so");
}

#[tokio::test]
async fn what_a_version_without_marks_left_is_told_from_its_restored_backup() {
    let parent = tempfile::tempdir().unwrap();
    let (old, restored) = (parent.path().join("old"), parent.path().join("restored"));
    let (original, _) = instance(&old).await;
    // The state of that version: the folder has no mark, and the database knows none.
    std::fs::remove_file(old.join("identity")).unwrap();
    let database = format!("sqlite://{}", old.join("longshore.db").display());
    let mut conn = <sqlx::SqliteConnection as sqlx::Connection>::connect(&database).await.unwrap();
    sqlx::query("DELETE FROM settings WHERE key = 'folder'").execute(&mut conn).await.unwrap();
    sqlx::Connection::close(conn).await.unwrap();
    let tar = backup_of(&old).await;
    assert_eq!(instance(&old).await, (original.clone(), None));
    restore::read(&restored, tar.as_slice(), newest_schema()).unwrap();
    assert_eq!(instance(&restored).await.1, Some(original));
}

#[tokio::test]
async fn nothing_takes_over_without_a_database_or_beside_a_server() {
    let folder = tempfile::tempdir().unwrap();
    restore::take_over(folder.path()).unwrap_err();
    let store = Store::open(folder.path()).await.unwrap();
    let refused = restore::take_over(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("another Longshore server"), "{refused}");
    store.close().await;
}
