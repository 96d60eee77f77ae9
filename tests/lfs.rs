//! Files of Git LFS: pushed by the real client to a real store, fetched by the server, used by a job whose image has no
//! git-lfs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::process::Command;

use serde_json::json;
use support::{
    api::text,
    engine, server,
    sshd::Sshd,
    world::{World, job},
};

/// Whether the client is here. It is an error in CI if not.
fn has_client() -> bool {
    let has = Command::new("git").args(["lfs", "version"]).output().is_ok_and(|output| output.status.success());
    if !has {
        let missing = "git-lfs is not installed: `apt-get install git-lfs`";
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        eprintln!("not tested, since {missing}");
    }
    has
}

/// Puts `large.bin` with this text under Git LFS and commits a pipeline that prints it.
fn commit_large(world: &World, content: &str, checkout: &str) -> String {
    let git = |args: &[&str]| world.git.git(args);
    git(&["lfs", "install", "--local"]);
    git(&["lfs", "track", "*.bin"]);
    let pipeline = format!(
        "jobs: {{ one: {{ image: {}, checkout: {checkout}, steps: [{{ run: cat large.bin sub/same.bin }}] }} }}\n",
        engine::BUSYBOX
    );
    world.git.commit("large files", &[(".longshore.yml", &pipeline), ("large.bin", content), ("sub/same.bin", content)])
}

fn log(world: &World, build: &serde_json::Value) -> String {
    String::from_utf8(world.api().raw_log(&text(job(build, "one"), "id"))).unwrap()
}

#[test]
fn a_job_gets_the_files_that_git_lfs_has_pushed() {
    if !has_client() {
        return;
    }
    let world = World::start();
    let commit = commit_large(&world, "a large file\n", "{ lfs: true }");
    assert!(world.git.git(&["show", "HEAD:large.bin"]).starts_with("version https://git-lfs"));
    world.git.git(&["push", "-q", "origin", "HEAD:main"]);
    let build = world.api().wait_for_build(&text(&world.build_of(&commit), "id"));
    assert_eq!(build["status"], "success", "{build}");
    assert_eq!(log(&world, &build), "a large file\na large file\n");
    assert_eq!(build["diagnostics"], json!([]));

    // Objects that were fetched once are here, whatever happens to the store.
    std::fs::remove_dir_all(world.git.bare().join("lfs")).unwrap();
    let again = world.api().wait_for_build(&text(&world.start_build(), "id"));
    assert_eq!(again["status"], "success", "{again}");

    // A repository that is gone takes its objects with it, and a store without them is named.
    let commit = commit_large(&world, "never pushed\n", "{ lfs: true }");
    world.git.git(&["-c", "core.hooksPath=/dev/null", "push", "-q", "origin", "HEAD:main"]);
    let build = world.api().wait_for_build(&text(&world.build_of(&commit), "id"));
    let reason = text(job(&build, "one"), "reason");
    assert_eq!(build["status"], "error", "{build}");
    assert!(reason.contains("`large.bin`") && reason.contains("git lfs push --all"), "{reason}");
}

#[test]
fn a_forks_pull_request_gets_what_its_own_store_has_and_the_repositorys_branches_do_not() {
    if !has_client() {
        return;
    }
    let mut world = World::start();
    world.becomes_forgejos();
    let (status, _) = world.api().patch(&format!("/api/v1/repos/{}", world.repo), &json!({ "strangers": "none" }));
    assert_eq!(status, 200);
    let git = |args: &[&str]| world.git.git(args);
    commit_large(&world, "of the repository\n", "{ lfs: true }");
    let pipeline = format!(
        "on: [pull-request, manual]\njobs: {{ one: {{ image: {}, checkout: {{ lfs: true }}, steps: [{{ run: cat large.bin new.bin }}] }} }}\n",
        engine::BUSYBOX
    );
    world.git.commit("for pull requests", &[(".longshore.yml", &pipeline)]);
    git(&["push", "-q", "origin", "HEAD:main"]);
    world.git.fork();
    git(&["checkout", "-q", "-b", "topic"]);
    let head = world.git.commit("from a fork", &[("new.bin", "of the fork\n")]);
    git(&["push", "-q", "fork", "HEAD:topic"]);
    // The forge serves a fork's commit, and has none of its large files.
    git(&["-c", "core.hooksPath=/dev/null", "push", "-q", "origin", "HEAD:refs/pull/1/head"]);
    world.pull_request("opened", &head, true);
    let build = world.api().wait_for_build(&text(&world.build_of(&head), "id"));
    assert_eq!(build["status"], "success", "{build}");
    assert_eq!(log(&world, &build), "of the repository\nof the fork\n");

    // A branch has what the repository has.
    git(&["-c", "core.hooksPath=/dev/null", "push", "-q", "origin", "HEAD:refs/heads/merged"]);
    let (status, build) =
        world.api().post(&format!("/api/v1/repos/{}/builds", world.repo), &json!({ "ref": "merged" }));
    assert_eq!(status, 201, "{build}");
    let build = world.api().wait_for_build(&text(&build, "id"));
    assert!(text(job(&build, "one"), "reason").contains("`new.bin`"), "{build}");
}

#[test]
fn without_lfs_a_job_gets_pointers_and_over_ssh_the_host_says_where_objects_are() {
    if !has_client() {
        return;
    }
    let Some(sshd) = Sshd::start() else { return };
    let world = World::start();
    let commit = commit_large(&world, "over ssh\n", "{ depth: 1 }");
    world.git.git(&["push", "-q", "origin", "HEAD:main"]);
    let build = world.api().wait_for_build(&text(&world.build_of(&commit), "id"));
    assert!(log(&world, &build).starts_with("version https://git-lfs.github.com/spec/v1\n"), "{build}");

    let answer = json!({ "href": format!("{}/info/lfs", world.git.url()), "header": { "X-From": "ssh" } });
    let asked = world.git.work().with_file_name("asked");
    sshd.answer_lfs(&answer.to_string(), &asked);
    let url = sshd.url(&world.git.bare());
    let (status, changed) = world.api().patch(&format!("/api/v1/repos/{}", world.repo), &json!({ "clone_url": url }));
    assert_eq!(status, 200, "{changed}");
    let key = Command::new(server::program())
        .args(["repo", "key", "team/app"])
        .env("LONGSHORE_URL", world.server.url())
        .env("LONGSHORE_TOKEN", server::ADMIN_TOKEN)
        .output()
        .unwrap();
    sshd.let_in(String::from_utf8(key.stdout).unwrap().lines().next().unwrap());
    let commit = commit_large(&world, "over ssh\n", "{ lfs: true }");
    world.git.git(&["push", "-q", "origin", "HEAD:main"]);
    let build = world.api().wait_for_build(&text(&world.build_of(&commit), "id"));
    assert_eq!(build["status"], "success", "{build}");
    assert_eq!(log(&world, &build), "over ssh\nover ssh\n");
    let asked = std::fs::read_to_string(asked).unwrap();
    assert_eq!(asked.trim(), format!("{} download", world.git.bare().display()));
}

#[test]
fn a_run_takes_the_objects_of_the_working_tree() {
    if !has_client() {
        return;
    }
    let world = World::start();
    commit_large(&world, "of the tree\n", "{ lfs: true }");
    let work = world.git.work();
    // As after a clone without `git lfs`: the object is in the repository, the file is its pointer.
    std::fs::write(work.join("large.bin"), world.git.git(&["show", "HEAD:large.bin"]) + "\n").unwrap();
    let output = Command::new(server::program())
        .arg("run")
        .current_dir(&work)
        .env("LONGSHORE_DOCKER_HOST", engine::docker_host())
        .env("LONGSHORE_INSTANCE", "lfs-run")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    engine::remove_all("lfs-run");
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(printed.matches("one | of the tree\n").count(), 2, "{printed}");
}
