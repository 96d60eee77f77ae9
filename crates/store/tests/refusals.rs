//! A data folder that cannot be used says what to do about it.
#![allow(clippy::print_stdout, reason = "one test reads what another says as another user")]

use std::{os::unix::fs::PermissionsExt as _, os::unix::process::CommandExt as _, path::Path, process::Command};

use longshore_store::Store;
use sqlx::Connection as _;

#[tokio::test]
async fn a_database_of_a_newer_version_says_which_program_to_run() {
    let folder = tempfile::tempdir().unwrap();
    Store::open(folder.path()).await.unwrap().close().await;
    let database = format!("sqlite://{}", folder.path().join("longshore.db").display());
    let mut conn = sqlx::SqliteConnection::connect(&database).await.unwrap();
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)";
    sqlx::query(later).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let error = Store::open(folder.path()).await.unwrap_err().to_string();
    assert!(error.contains("newer Longshore (schema 9999") && error.contains("restore a backup"), "{error}");
}

/// Run by [`a_folder_of_another_user_says_whom_to_give_it_to`] as that other user.
#[tokio::test]
async fn opens_the_folder_that_it_is_told() {
    if let Some(folder) = std::env::var_os("FOLDER_TO_OPEN") {
        println!("said: {}", Store::open(Path::new(&folder)).await.unwrap_err());
    }
}

#[tokio::test]
async fn a_folder_of_another_user_says_whom_to_give_it_to() {
    let folder = tempfile::tempdir().unwrap();
    Store::open(folder.path()).await.unwrap().close().await;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "only root can try what another user is told");
        return;
    }
    let mut other = Command::new(std::env::current_exe().unwrap());
    other.args(["opens_the_folder_that_it_is_told", "--exact", "--nocapture"]).env("FOLDER_TO_OPEN", folder.path());
    let error = String::from_utf8(other.uid(12_345).gid(12_345).output().unwrap().stdout).unwrap();
    let advice = format!("chown -R 12345:12345 {}", folder.path().display());
    assert!(error.contains("belongs to 0:0, and Longshore runs as 12345:12345") && error.contains(&advice), "{error}");
}
