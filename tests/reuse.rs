//! Unchanged work is not done again: what an earlier success stands for, and what it never stands for.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{
    api::text,
    engine, server,
    world::{World, job},
};

/// One job that depends on `src` and leaves something new each time that it runs, and one that takes what it left.
fn pipeline(more: &str) -> String {
    format!(
        "on: [push, pull-request, manual]
defaults: {{ image: '{}' }}
jobs:
  made:
    reuse: ['src/**', '!src/*.md']
{more}    steps: [{{ id: s, run: 'cat /proc/sys/kernel/random/uuid | tee made; echo \"id=$(cat made)\" >> $LONGSHORE_OUTPUT' }}]
    outputs: {{ id: '${{{{ steps.s.outputs.id }}}}' }}
    artifacts: {{ name: made, paths: [made], expire-in: 30d }}
  takes:
    needs: [{{ job: made, artifacts: [made] }}]
    steps: [{{ run: 'cat made; test \"$ID\" = \"$(cat made)\"', env: {{ ID: '${{{{ needs.made.outputs.id }}}}' }} }}]
",
        engine::BUSYBOX
    )
}

fn push(world: &World, files: &[(&str, &str)]) -> Value {
    push_to(world, "main", files)
}

fn push_to(world: &World, branch: &str, files: &[(&str, &str)]) -> Value {
    let commit = world.git.commit("change", files);
    world.git.git(&["push", "-q", "origin", &format!("HEAD:refs/heads/{branch}")]);
    let build = world.api().wait_for_build(&text(&world.build_of(&commit), "id"));
    assert_eq!(build["status"], "success", "{build}");
    build
}

fn log(world: &World, build: &Value, name: &str) -> String {
    String::from_utf8(world.api().raw_log(&text(job(build, name), "id"))).unwrap()
}

/// Returns why `made` did not run, or nothing if it did.
fn reason(build: &Value) -> String {
    job(build, "made")["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_earlier_success_with_the_same_files_stands_for_a_job_with_all_that_it_left() {
    let world = World::start();
    let first = push(&world, &[(".longshore.yml", &pipeline("")), ("src/a", "1"), ("src/a.md", "1"), ("README", "1")]);
    assert_eq!(reason(&first), "");
    let made = log(&world, &first, "made");
    assert_eq!(log(&world, &first, "takes"), made);

    let second = push(&world, &[("README", "2"), ("src/a.md", "2")]);
    assert_eq!(reason(&second), "same as build 1");
    let reused = job(&second, "made");
    assert_eq!(
        (reused["status"].as_str(), reused["carried_over"] == job(&first, "made")["id"]),
        (Some("success"), true)
    );
    assert_eq!((log(&world, &second, "made"), log(&world, &second, "takes")), (made.clone(), made.clone()));
    assert_eq!((reused["steps"][0]["status"].as_str(), reused["exit_code"].as_i64()), (Some("success"), Some(0)));
    let artifacts = world.api().get(&format!("/api/v1/jobs/{}/artifacts", text(reused, "id")));
    let artifact = &artifacts["items"][0];
    let (status, bytes) = world.api().get_bytes(&format!("/api/v1/artifacts/{}/files/made", text(artifact, "id")));
    assert_eq!((status, String::from_utf8(bytes).unwrap()), (200, made.clone()));
    // The third build, too, refers to the first one, which ran.
    let third = push(&world, &[("README", "3")]);
    assert_eq!((reason(&third).as_str(), log(&world, &third, "made")), ("same as build 1", made.clone()));

    for (what, files) in [
        ("another file", &[("src/a", "2")][..]),
        ("a new file", &[("src/b", "1")]),
        ("another definition", &[(".longshore.yml", &pipeline("    env: { A: b }\n"))]),
        ("attributes, which decide what its files are", &[(".gitattributes", "src/a eol=crlf\n")]),
    ] {
        let build = push(&world, files);
        assert_eq!(reason(&build), "", "{what}");
        assert_ne!(log(&world, &build, "made"), made, "{what}");
    }
    // It is as it was before.
    world.git.git(&["rm", "-q", ".gitattributes", "src/b"]);
    let back = push(&world, &[(".longshore.yml", &pipeline("")), ("src/a", "1")]);
    assert_eq!((reason(&back).as_str(), log(&world, &back, "made")), ("same as build 1", made.clone()));

    // A rerun runs it again.
    let (status, again) = world.api().post(&format!("/api/v1/builds/{}/rerun", text(&back, "id")), &json!({}));
    assert_eq!(status, 202, "{again}");
    let again = world.api().wait_for_build(&text(&again, "id"));
    assert_eq!(reason(&again), "");
    assert_ne!(log(&world, &again, "made"), made);
    world.nothing_is_left();
}

#[test]
fn a_success_with_the_caches_of_another_branch_stands_for_nothing() {
    let world = World::start();
    let cached = pipeline("    cache: [{ path: tools, key: k }]\n");
    push(&world, &[(".longshore.yml", &pipeline("")), ("src/a", "0"), ("src/b", "0")]);
    // Without caches, the branch makes no difference.
    assert_eq!(reason(&push_to(&world, "evil", &[("README", "1")])), "same as build 1");
    assert_eq!(reason(&push_to(&world, "evil", &[(".longshore.yml", &cached)])), "");
    assert_eq!(reason(&push(&world, &[("README", "2")])), "", "what evil saved may be in it");
    assert_eq!(reason(&push(&world, &[("README", "3")])), "same as build 4");
    assert_eq!(reason(&push_to(&world, "evil", &[("README", "4")])), "same as build 3");
    world.nothing_is_left();
}

#[test]
fn a_failure_stands_for_nothing() {
    let world = World::start();
    let failing = |n: &str| {
        let pipeline =
            format!("jobs: {{ made: {{ image: '{}', reuse: src, steps: [{{ run: exit 3 }}] }} }}\n", engine::BUSYBOX);
        let commit = world.git.commit("change", &[(".longshore.yml", &pipeline), ("src", "1"), ("README", n)]);
        world.git.git(&["push", "-q", "origin", "HEAD:main"]);
        let build = world.api().wait_for_build(&text(&world.build_of(&commit), "id"));
        (text(job(&build, "made"), "status"), reason(&build))
    };
    let failed = ("failure".to_owned(), "step `exit 3` failed with exit code 3".to_owned());
    assert_eq!((failing("1"), failing("2")), (failed.clone(), failed));
    let commit = world.git.commit("nothing", &[(".longshore.yml", &pipeline(""))]);
    world.git.git(&["push", "-q", "origin", "HEAD:main"]);
    let build = world.api().wait_for_build(&text(&world.build_of(&commit), "id"));
    assert!(reason(&build).contains("the globs of `reuse` name no file"), "{build}");
}

/// Prints what a job has that an unchanged one must not depend on.
const SEEN: &str = "find . -type f | sort; ls -A; env | grep -E \"^CI_(COMMIT|PIPELINE|PREV)\" || true; echo \"$CI $CI_WORKFLOW_NAME\"";

#[test]
fn a_job_has_only_what_it_names_on_the_server_and_in_a_run() {
    let world = World::start();
    let pipeline = format!(
        "name: ci\njobs:\n  made:\n    image: '{}'\n    reuse: [src/**]\n    steps: [{{ run: '{SEEN}' }}]\n",
        engine::BUSYBOX
    );
    let files = [(".longshore.yml", pipeline.as_str()), ("src/in/a", "1"), ("README", "1"), ("src2/b", "1")];
    let build = push(&world, &files);
    let seen = "./src/in/a\nsrc\ntrue ci\n";
    assert_eq!(log(&world, &build, "made"), seen);
    let instance = format!("reuse-{:08x}", rand::random::<u32>());
    for _ in 0..2 {
        let output = Command::new(server::program())
            .arg("run")
            .current_dir(world.git.work())
            .env("LONGSHORE_DOCKER_HOST", engine::docker_host())
            .env("LONGSHORE_INSTANCE", &instance)
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{printed}");
        let lines: String =
            printed.lines().filter_map(|line| line.strip_prefix("made | ")).map(|line| format!("{line}\n")).collect();
        assert!(lines.ends_with(seen), "a run always runs: {printed}");
    }
    engine::remove_all(&instance);
}

#[test]
fn a_forks_success_stands_for_nothing_of_the_repositorys_own_and_the_repositorys_for_the_forks() {
    let mut world = World::start();
    world.becomes_forgejos();
    let (status, _) = world.api().patch(&format!("/api/v1/repos/{}", world.repo), &json!({ "strangers": "none" }));
    assert_eq!(status, 200);
    let start = |branch: &str| {
        let (status, build) =
            world.api().post(&format!("/api/v1/repos/{}/builds", world.repo), &json!({ "ref": branch }));
        assert_eq!(status, 201, "{build}");
        world.api().wait_for_build(&text(&build, "id"))
    };
    let of_fork = |number: u32, files: &[(&str, &str)]| {
        let head = world.git.commit("from a fork", files);
        world.git.git(&["push", "-q", "-f", "origin", &format!("HEAD:refs/pull/{number}/head")]);
        let delivery = world.pull_request("synchronize", &head, true);
        world.api().wait_for_build(delivery["builds"][0].as_str().unwrap())
    };
    world.git.commit("first", &[(".longshore.yml", &pipeline("")), ("src/a", "1")]);
    world.git.git(&["push", "-q", "origin", "HEAD:main"]);
    let own = start("main");
    assert_eq!(reason(&own), "", "{own}");
    world.git.git(&["checkout", "-q", "-b", "topic"]);
    let same = of_fork(1, &[("README", "1")]);
    assert_eq!(reason(&same), format!("same as build {}", own["number"]), "{same}");

    // A fork's success of other files stands for that pull request's next commit, and for nobody else.
    let theirs = of_fork(1, &[("src/a", "2")]);
    assert_eq!(reason(&theirs), "", "{theirs}");
    let next = of_fork(1, &[("README", "2")]);
    assert_eq!(reason(&next), format!("same as build {}", theirs["number"]), "{next}");
    world.git.git(&["push", "-q", "origin", "HEAD:merged"]);
    let merged = start("merged");
    assert_eq!((merged["status"].as_str(), reason(&merged).as_str()), (Some("success"), ""), "{merged}");
}
