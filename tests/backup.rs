//! Backs up, restores and checks a running server through the command line, as its operator does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use support::{
    api::text,
    engine, server, until,
    world::{World, job, one_step},
};
use tempfile::TempDir;

/// Prints lines, the second half only when the test allows it, and ends with a special exit code.
const SLOW: &str = "i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); while [ $i = 20 ] && [ ! -f go ]; do sleep 0.05; done; done; exit 5";

/// Lets the running jobs print their second half.
fn go(world: &World) {
    let instance = format!("label=longshore.instance={}", world.server.instance);
    let containers = engine::docker(&["ps", "-q", "--filter", &instance, "--filter", "label=longshore.kind=job"]);
    for container in &containers {
        engine::docker(&["exec", container, "touch", "/longshore/workspace/go"]);
    }
}

/// Runs `longshore ARGS` on a data folder, as `docker exec longshore longshore ARGS` does in the server's container.
fn longshore(data: &Path, args: &[&str]) -> Output {
    Command::new(server::program()).args(args).env("LONGSHORE_DATA", data).output().unwrap()
}

fn check(data: &Path) -> Value {
    let checked = longshore(data, &["check", "--json"]);
    let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(checked.status.success(), report["ok"] == true, "{report}");
    report
}

/// Starts a job that runs [`SLOW`]. Returns the ids of the build and of the job.
fn running() -> (World, String, String) {
    let world = World::start();
    let commit = world.git.push(&one_step(SLOW));
    let build = text(&world.build_of(&commit), "id");
    let one = text(job(&world.api().get(&format!("/api/v1/builds/{build}")), "one"), "id");
    until("the first lines", || (world.api().raw_log(&one).len() > 20).then_some(()));
    (world, build, one)
}

/// Pipes a backup of the running server into `longshore restore - ARGS` for another folder.
fn restored(world: &World, args: &[&str]) -> TempDir {
    let backup = longshore(world.server.data.path(), &["backup", "-"]);
    assert!(backup.status.success(), "{}", String::from_utf8_lossy(&backup.stderr));
    assert!(String::from_utf8_lossy(&backup.stderr).contains(", 1 running job\n"));
    let (folder, file) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    std::fs::write(file.path(), &backup.stdout).unwrap();
    let into_its_own = longshore(world.server.data.path(), &["restore", file.path().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&into_its_own.stderr).into_owned();
    assert_eq!((into_its_own.status.code(), said.contains("another Longshore server")), (Some(1), true), "{said}");
    let restored = longshore(folder.path(), &[&["restore", file.path().to_str().unwrap()], args].concat());
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    assert_eq!(check(folder.path())["report"]["findings"], json!([]));
    folder
}

#[test]
fn a_running_job_goes_on_under_a_server_whose_restored_backup_takes_over() {
    let (mut world, build, one) = running();
    assert_eq!(check(world.server.data.path())["report"]["findings"], json!([]));
    let folder = restored(&world, &["--take-over"]);
    world.server.kill();
    world.server.data = folder;
    world.server.launch();
    go(&world);
    let build = world.api().wait_for_build(&build);
    assert_eq!((&build["status"], &job(&build, "one")["exit_code"]), (&json!("failure"), &json!(5)), "{build}");
    let expected: String = (0..40).map(|i| format!("line {i}\n")).collect();
    assert_eq!(String::from_utf8(world.api().raw_log(&one)).unwrap(), expected);
    world.nothing_is_left();
    assert_eq!(check(world.server.data.path())["report"]["findings"], json!([]));
}

#[test]
fn a_job_that_is_gone_when_its_backup_is_restored_ends_as_an_error_that_says_so() {
    let (mut world, build, _) = running();
    let folder = restored(&world, &["--take-over"]);
    world.server.kill();
    engine::remove_all(&world.server.instance);
    world.server.data = folder;
    world.server.launch();
    let build = world.api().wait_for_build(&build);
    assert_eq!(build["status"], "error", "{build}");
    assert!(text(job(&build, "one"), "reason").contains("container was removed from outside"), "{build}");
    // The server works.
    assert_eq!(world.run(&one_step("true"))["status"], "success");
    assert_eq!(check(world.server.data.path())["report"]["findings"], json!([]));
}

#[test]
fn a_server_on_a_restored_backup_beside_the_first_leaves_that_ones_jobs_alone() {
    let (world, build, one) = running();
    let folder = restored(&world, &[]);
    // A build that is not in the backup.
    let commit = world.git.push(&one_step(SLOW));
    let later = text(&world.build_of(&commit), "id");
    let second = text(job(&world.api().get(&format!("/api/v1/builds/{later}")), "one"), "id");
    until("its first lines", || (world.api().raw_log(&second).len() > 20).then_some(()));

    let beside = server::Server::start_on(folder, engine::docker_host(), &[]);
    assert_ne!(beside.instance, world.server.instance);
    let there = beside.api().wait_for_build(&build);
    assert_eq!(there["status"], "error", "{there}");
    assert!(text(job(&there, "one"), "reason").contains("another Longshore"), "{there}");
    drop(beside);

    for build in [&build, &later] {
        assert_eq!(text(&world.api().get(&format!("/api/v1/builds/{build}")), "status"), "running");
    }
    go(&world);
    for (build, one) in [(build, one), (later, second)] {
        let build = world.api().wait_for_build(&build);
        assert_eq!((&build["status"], &job(&build, "one")["exit_code"]), (&json!("failure"), &json!(5)), "{build}");
        let expected: String = (0..40).map(|i| format!("line {i}\n")).collect();
        assert_eq!(String::from_utf8(world.api().raw_log(&one)).unwrap(), expected);
    }
    world.nothing_is_left();
}

#[test]
fn a_backup_is_a_file_of_its_name_only_when_it_is_whole() {
    let world = World::start();
    assert_eq!(world.run(&one_step("echo kept"))["status"], "success");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let made = longshore(world.server.data.path(), &["backup", &path("a.tar"), "--json"]);
    let said: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!((&said["warnings"], &said["manifest"]["secrets"]), (&json!([]), &json!(true)));
    // `sha256sum` confirms the sums.
    let unpacked = tempfile::tempdir().unwrap();
    let script = format!("tar -xf {} && sha256sum --quiet -c SHA256SUMS", path("a.tar"));
    let summed = Command::new("sh").args(["-c", &script]).current_dir(unpacked.path()).output().unwrap();
    assert!(summed.status.success(), "{}", String::from_utf8_lossy(&summed.stderr));

    let again = longshore(world.server.data.path(), &["backup", &path("a.tar")]);
    assert_eq!(again.status.code(), Some(1), "an old backup was overwritten");
    // A backup that was cut off is refused, with what to do.
    let whole = std::fs::read(path("a.tar")).unwrap();
    std::fs::write(path("cut.tar"), &whole[..whole.len() / 2]).unwrap();
    let cut = longshore(&folder.path().join("new"), &["restore", &path("cut.tar")]);
    let said = String::from_utf8_lossy(&cut.stderr).into_owned();
    assert_eq!((cut.status.code(), said.contains("backup")), (Some(1), true), "{said}");
    // A target that cannot be written leaves nothing behind.
    let nowhere = longshore(&folder.path().join("no-data"), &["backup", &path("b.tar")]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(!Path::new(&path("b.tar")).exists() && !Path::new(&path("b.tar.partial")).exists());
}
