//! Artifacts on a real engine: collected, streamed, stored, handed on, and whole whatever dies in between.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../crates/store/tests/small_disk/mod.rs"]
mod small_disk;
mod support;

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use small_disk::SmallDisk;
use support::{
    api::text,
    engine,
    server::{self, ADMIN_TOKEN, Server},
    until,
    world::{World, job},
};

fn pipeline(jobs: &str) -> String {
    format!("defaults: {{ image: {} }}\njobs:\n{jobs}", engine::BUSYBOX)
}

/// Returns the artifacts of a job of a build, by their names.
fn artifact(world: &World, build: &Value, name: &str, of: &str) -> Option<Value> {
    let id = text(job(build, name), "id");
    let all = world.api().get(&format!("/api/v1/jobs/{id}/artifacts"));
    all["items"].as_array().unwrap().iter().find(|artifact| artifact["name"] == of).cloned()
}

fn file(world: &World, artifact: &Value, path: &str) -> Vec<u8> {
    let (status, bytes) = world.api().get_bytes(&format!("/api/v1/artifacts/{}/files/{path}", text(artifact, "id")));
    assert_eq!(status, 200, "{path}");
    bytes
}

fn log(world: &World, build: &Value, name: &str) -> String {
    let id = text(job(build, name), "id");
    world.api().get_text(&format!("/api/v1/jobs/{id}/log")).1
}

/// Returns what is in the folder of unfinished files.
fn incoming(world: &World) -> Vec<PathBuf> {
    let folder = world.server.data.path().join("artifacts/incoming");
    std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_job_leaves_the_files_that_it_names_and_later_jobs_start_with_them() {
    let world = World::start();
    let build = world.run(&pipeline(
        "  build:
    steps:
      - run: |
          mkdir -p out/deep html; echo app > out/app; chmod +x out/app; echo x > out/deep/x.o; echo '<p>' > html/index.html
    artifacts:
      - { name: binaries, paths: [out, '!**/*.o'] }
      - { name: pages, paths: ['html/**'], when: always }
      - { name: core, paths: [out/app], when: failure }
  use:
    needs: [{ job: build, artifacts: [binaries] }]
    steps: [{ run: 'test -x out/app && cat out/app && ls out && test ! -e html && test -e .longshore.yml' }]
  bare:
    needs: [{ job: build, artifacts: ['*'] }]
    checkout: false
    steps: [{ run: 'find . -type f | sort' }]
  plain:
    needs: [build]
    steps: [{ run: 'test ! -e out' }]
",
    ));
    assert_eq!(build["status"], "success", "{build}");
    let binaries = artifact(&world, &build, "build", "binaries").unwrap();
    assert_eq!((&binaries["files"], &binaries["bytes"]), (&json!(1), &json!(4)));
    assert_eq!(file(&world, &binaries, "out/app"), b"app\n");
    assert!(artifact(&world, &build, "build", "pages").is_some());
    assert!(artifact(&world, &build, "build", "core").is_none());
    let raw = |name| String::from_utf8(world.api().raw_log(&text(job(&build, name), "id"))).unwrap();
    assert_eq!(raw("use"), "app\napp\n");
    assert_eq!(raw("bare"), "./html/index.html\n./out/app\n");

    // The command line lists and downloads them.
    let dir = tempfile::tempdir().unwrap();
    let longshore = |args: &[&str]| {
        let run = Command::new(server::program())
            .args(args)
            .current_dir(dir.path())
            .env("LONGSHORE_URL", world.server.url())
            .env("LONGSHORE_TOKEN", ADMIN_TOKEN)
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    };
    assert!(longshore(&["artifact", "list", "team/app#1"]).contains("binaries"));
    longshore(&["artifact", "get", "team/app#1", "binaries"]);
    assert_eq!(std::fs::read(dir.path().join("binaries/out/app")).unwrap(), b"app\n");
    longshore(&["artifact", "get", "team/app#1", "pages", "--zip", "pages.zip"]);
    assert!(std::fs::read(dir.path().join("pages.zip")).unwrap().starts_with(b"PK"));
    let checked =
        Command::new(server::program()).args(["check", "--data"]).arg(world.server.data.path()).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    world.nothing_is_left();
}

#[test]
fn a_server_that_is_killed_while_files_arrive_has_them_whole_afterwards() {
    let mut world = World::start();
    let jobs = "  one:
    steps:
      - run: |
          i=0; while [ $i -lt 40 ]; do head -c 4000000 /dev/urandom > f$i; i=$((i+1)); done; sha256sum f* > sums; cat sums
    artifacts: [{ name: all, paths: ['f*', sums] }]
";
    let commit = world.git.push(&pipeline(jobs));
    let build = text(&world.build_of(&commit), "id");
    for _ in 0..3 {
        until("files to arrive", || {
            let arriving = incoming(&world).iter().any(|path| path.extension().is_some_and(|end| end == "part"));
            let over = world.api().get(&format!("/api/v1/builds/{build}"))["finished_at"].is_string();
            (arriving || over).then_some(())
        });
        world.server.kill();
        world.server.launch();
    }
    let build = world.api().wait_for_build(&build);
    assert_eq!(build["status"], "success", "{build}");
    let all = artifact(&world, &build, "one", "all").expect("a final status is not seen before its artifacts");
    assert_eq!(all["files"], 41);
    let sums = String::from_utf8(file(&world, &all, "sums")).unwrap();
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").unwrap();
        let hash: [u8; 32] = Sha256::digest(file(&world, &all, name)).into();
        assert_eq!(hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), sum, "{name}");
    }
    until("nothing to be left half", || incoming(&world).is_empty().then_some(()));
    world.nothing_is_left();
}

#[test]
fn what_is_too_much_is_said_in_the_log_and_fails_the_job() {
    let settings = [("LONGSHORE_ARTIFACTS_FILE_MIB", "1"), ("LONGSHORE_ARTIFACTS_FILES", "10")];
    let world = World::of(Server::start_with(engine::docker_host(), &settings));
    let build = world.run(&pipeline(
        "  large:
    steps: [{ run: 'truncate -s 100G huge; echo ok > small' }]
    artifacts: [{ name: big, paths: [huge] }, { name: small, paths: [small] }]
  many:
    steps: [{ run: 'mkdir d; for i in $(seq 20); do echo > d/$i; done' }]
    artifacts: { paths: [d] }
  none:
    steps: [{ run: 'true' }]
    artifacts: { paths: [nothing] }
",
    ));
    assert_eq!(job(&build, "large")["status"], "error");
    assert!(log(&world, &build, "large").contains("`huge` has 102400 MiB"), "{}", log(&world, &build, "large"));
    assert!(text(job(&build, "large"), "reason").contains("artifacts_file_mib"));
    assert!(artifact(&world, &build, "large", "small").is_some(), "others are kept");
    assert!(artifact(&world, &build, "large", "big").is_none());
    assert!(log(&world, &build, "many").contains("artifacts_files"));
    assert_eq!(job(&build, "none")["status"], "success");
    assert!(log(&world, &build, "none").contains("no files match `nothing`"));
    world.nothing_is_left();
}

#[test]
fn a_job_that_needs_an_artifact_which_is_not_there_says_so() {
    let world = World::start();
    let build = world.run(&pipeline(
        "  build:
    steps: [{ run: 'true' }]
    artifacts: [{ name: binaries, paths: [out] }]
  use:
    needs: [{ job: build, artifacts: [binaries] }]
    steps: [{ run: 'true' }]
  anyway:
    needs: [{ job: build, artifacts: [binaries], optional: true }]
    steps: [{ run: 'true' }]
",
    ));
    assert_eq!(job(&build, "use")["status"], "error", "{build}");
    let reason = text(job(&build, "use"), "reason");
    assert!(reason.contains("`binaries`") && reason.contains("`build`"), "{reason}");
    assert_eq!(job(&build, "anyway")["status"], "success");
    world.nothing_is_left();
}

#[test]
fn what_a_build_left_reaches_no_other_build() {
    let world = World::start();
    let jobs = |leaves: &str, expects: &str| {
        pipeline(&format!(
            "  build:
    steps: [{{ run: '{leaves}' }}]
    artifacts: [{{ name: binaries, paths: [out] }}]
  use:
    needs: [{{ job: build, artifacts: [binaries], optional: true }}]
    steps: [{{ run: '{expects}' }}]
"
        ))
    };
    let first = world.run(&jobs("echo poison > out", "test -e out"));
    assert_eq!(first["status"], "success", "{first}");
    let second = world.run(&jobs("true", "test ! -e out"));
    assert_eq!(second["status"], "success", "{second}");
    world.nothing_is_left();
}

#[test]
fn files_wait_for_room_on_a_full_disk_and_then_arrive_whole() {
    let Some(disk) = SmallDisk::mount(96) else { return };
    let data = tempfile::Builder::new().prefix("data").tempdir_in(disk.path()).unwrap();
    let world = World::of(Server::start_on(data, engine::docker_host(), &[]));
    let jobs = "  one:
    steps: [{ run: 'head -c 24000000 /dev/urandom > noise; sha256sum noise; while [ ! -f go ]; do sleep 0.05; done' }]
    artifacts: { paths: [noise] }
";
    let commit = world.git.push(&pipeline(jobs));
    let build = text(&world.build_of(&commit), "id");
    let one = text(job(&world.api().get(&format!("/api/v1/builds/{build}")), "one"), "id");
    let sum = until("the sum", || {
        let log = String::from_utf8(world.api().raw_log(&one)).unwrap();
        log.contains("noise").then(|| log.split(' ').next().unwrap().to_owned())
    });
    disk.fill_but(4);
    let container = engine::objects(&world.server.instance, &["job"]).remove(0);
    engine::docker(&["exec", &container, "touch", "/longshore/workspace/go"]);
    until("the files to wait", || world.server.log().contains("artifacts wait for room").then_some(()));
    assert_eq!(world.api().get(&format!("/api/v1/builds/{build}"))["status"], "running");
    disk.free();
    let build = world.api().wait_for_build(&build);
    assert_eq!(build["status"], "success", "{build}");
    let kept = artifact(&world, &build, "one", "artifacts").unwrap();
    let hash: [u8; 32] = Sha256::digest(file(&world, &kept, "noise")).into();
    assert_eq!(hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), sum);
    world.nothing_is_left();
}

#[test]
fn a_run_hands_artifacts_on_too() {
    let dir = tempfile::tempdir().unwrap();
    let instance = dir.path().file_name().unwrap().to_string_lossy().replace('.', "t").to_lowercase();
    let jobs = "  build:
    steps: [{ run: 'echo made > made' }]
    artifacts: { paths: [made] }
  use:
    needs: [{ job: build, artifacts: [artifacts] }]
    steps: [{ run: 'cat made' }]
";
    std::fs::write(dir.path().join(".longshore.yml"), pipeline(jobs)).unwrap();
    let run = Command::new(server::program())
        .arg("run")
        .current_dir(dir.path())
        .env("LONGSHORE_DOCKER_HOST", engine::docker_host())
        .env("LONGSHORE_INSTANCE", &instance)
        .output()
        .unwrap();
    engine::remove_all(&instance);
    let printed = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{printed}{}", String::from_utf8_lossy(&run.stderr));
    assert!(printed.lines().any(|line| line.starts_with("use") && line.ends_with("| made")), "{printed}");
}
