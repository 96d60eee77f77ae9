//! Caches, from a push to the files of the next job.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{
    api::text,
    engine,
    server::Server,
    until,
    world::{World, job},
};

/// A pipeline of one job with these lines below it.
fn pipeline(job: &str) -> String {
    let lines: String = job.trim_matches('\n').lines().map(|line| format!("    {line}\n")).collect();
    format!("jobs:\n  one:\n    image: {}\n{lines}", engine::BUSYBOX)
}

fn log_of(world: &World, build: &Value, name: &str) -> String {
    world.api().get_text(&format!("/api/v1/jobs/{}/log", text(job(build, name), "id"))).1
}

/// Pushes a pipeline with these files to `main`, and returns the build and its log.
fn push(world: &World, pipeline: &str, files: &[(&str, &str)]) -> (Value, String) {
    push_to(world, "main", pipeline, files)
}

fn push_to(world: &World, branch: &str, pipeline: &str, files: &[(&str, &str)]) -> (Value, String) {
    let all: Vec<(&str, &str)> = files.iter().copied().chain([(".longshore.yml", pipeline)]).collect();
    let commit = world.git.commit("change", &all);
    world.git.git(&["push", "-q", "origin", &format!("HEAD:refs/heads/{branch}")]);
    let build = world.api().wait_for_build(&text(&world.build_of(&commit), "id"));
    let log = log_of(world, &build, "one");
    (build, log)
}

/// Waits until the engine has this many layers of caches of the server.
fn layers_left(world: &World, count: usize) {
    until("the layers of the caches", || {
        (engine::objects(&world.server.instance, &["cache"]).len() == count).then_some(())
    });
}

#[test]
fn a_green_job_saves_what_the_next_one_begins_with_and_a_failed_one_does_not() {
    let world = World::start();
    let caching = |script: &str| {
        pipeline(&format!(
            "cache:\n  - path: [target, ~/.cargo/registry]\n    key: k-${{{{ hash-files('*.lock') }}}}\n    fallback: [k-]\nsteps:\n  - run: {script}"
        ))
    };
    let (build, log) = push(&world, &caching("echo x > target/x; exit 1"), &[("a.lock", "1")]);
    assert_eq!(build["status"], "failure");
    assert!(log.contains("nothing found"), "{log}");
    let (build, log) = push(&world, &caching("ls target; echo 1 > target/file; echo 1 > ~/.cargo/registry/file"), &[]);
    assert_eq!(build["status"], "success", "{log}");
    assert!(log.contains("nothing found") && !log.contains("\nx\n"), "{log}");
    // The same key: the files are there, and what changes is not kept.
    let (_, log) = push(&world, &caching("cat target/file ~/.cargo/registry/file; echo 2 > target/file"), &[]);
    assert!(log.contains("restored") && log.contains("1\n1\n"), "{log}");
    let (_, log) = push(&world, &caching("cat target/file; rm -r ~/.cargo/registry/file"), &[("a.lock", "2")]);
    assert!(log.contains(" of k-") && log.contains("1\n"), "another key, with the files of the fallback: {log}");
    let (_, log) = push(&world, &caching("cat target/file; ls -a ~/.cargo/registry | wc -l"), &[]);
    assert!(log.contains("1\n2\n"), "a layer over the entry of before, in which a file is gone: {log}");
    world.nothing_is_left();
    // Two entries of two folders each.
    layers_left(&world, 4);
}

#[test]
fn parallel_jobs_do_not_see_what_the_others_write_and_the_first_to_save_a_key_wins() {
    let world = World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_CAPACITY", "3")]));
    let all = "
cache: [{ path: shared, key: 'all-${{ hash-files(\"n\") }}', fallback: [all-] }]
matrix: { n: ['1', '2', '3'] }
steps:
  - run: |
      ls shared
      echo ${{ matrix.n }} > shared/${{ matrix.n }}
      test $(ls shared | grep -vc seed) = 1
";
    let seed = "cache: [{ path: shared, key: 'all-${{ hash-files(\"n\") }}' }]\nsteps: [{ run: touch shared/seed }]";
    assert_eq!(push(&world, &pipeline(seed), &[("n", "0")]).0["status"], "success");
    let all = pipeline(all);
    let commit = world.git.commit("change", &[(".longshore.yml", &all), ("n", "1")]);
    world.git.git(&["push", "-q", "origin", "HEAD:main"]);
    let build = world.api().wait_for_build(&text(&world.build_of(&commit), "id"));
    assert_eq!(build["status"], "success", "{build}");
    let (_, log) = push(&world, &pipeline(&seed.replace("touch shared/seed", "ls shared")), &[]);
    assert_eq!(log.lines().filter(|line| ["1", "2", "3", "seed"].contains(line)).count(), 2, "one of them: {log}");
    world.nothing_is_left();
    layers_left(&world, 2);
}

#[test]
fn no_branch_puts_anything_into_the_caches_of_main_and_all_begin_with_mains() {
    let world = World::start();
    let caching = |branch: &str, key: &str, read: &str| {
        pipeline(&format!(
            "cache: [{{ path: c, key: {key}, fallback: [k-] }}]\nsteps: [{{ run: '{read} c/*; echo of-{branch} > c/tool' }}]"
        ))
    };
    push(&world, &pipeline("steps: [{ run: 'true' }]"), &[]);
    // Under the key that main's next job asks for, and under one that begins as its fallback does.
    for key in ["k-1", "k-2"] {
        let (build, log) = push_to(&world, "evil", &caching("evil", key, "echo"), &[]);
        assert_eq!(build["status"], "success", "{log}");
    }
    let (_, log) = push(&world, &caching("main", "k-1", "echo"), &[]);
    assert!(log.contains("nothing found"), "{log}");
    for (branch, key, found) in [
        ("main", "k-1", "main"),
        ("main", "k-3", "main"),
        ("feature", "k-1", "main"),
        ("feature", "k-2", "main"),
        ("evil", "k-1", "evil"),
    ] {
        let (_, log) = push_to(&world, branch, &caching(branch, key, "cat"), &[]);
        assert!(log.contains("restored") && log.contains(&format!("of-{found}\n")), "{branch} {key}: {log}");
    }
    let caches = world.api().get(&format!("/api/v1/repos/{}/caches", world.repo));
    let items = caches["items"].as_array().unwrap();
    let mut saved: Vec<(String, Value)> = items.iter().map(|one| (text(one, "key"), one["branches"].clone())).collect();
    saved.sort_by_key(|(key, branches)| (key.clone(), branches.to_string()));
    let all = [("k-1", "evil"), ("k-1", "main"), ("k-2", "evil"), ("k-2", "feature"), ("k-3", "main")];
    assert_eq!(saved, all.map(|(key, branch)| (key.to_owned(), json!([branch]))));
    world.nothing_is_left();
    layers_left(&world, 5);
}

#[test]
fn a_folder_in_the_workspace_is_cached_below_the_commits_files_for_any_user() {
    let world = World::start();
    let image = format!("longshore-test/caches-{:08x}", rand::random::<u32>());
    let context = tempfile::tempdir().unwrap();
    let recipe = format!(
        "FROM {}\nRUN mkdir -p /home/build && echo 'build:x:1234:1234::/home/build:/bin/sh' >> /etc/passwd && chown 1234:1234 /home/build\nUSER build\n",
        engine::BUSYBOX
    );
    std::fs::write(context.path().join("Dockerfile"), recipe).unwrap();
    engine::docker(&["build", "-q", "-t", &image, &context.path().display().to_string()]);
    let caching = "
cache: [{ path: [deep/er/out, ~/.tool/store], key: one }]
steps:
  - run: |
      id -u
      cat deep/er/out/committed
      touch deep/new deep/er/out/$(id -u) ~/.tool/new ~/.tool/store/$(id -u)
      echo changed > deep/er/out/committed
      ls -ln deep/er/out ~/.tool/store
";
    let as_build = pipeline(caching).replace(engine::BUSYBOX, &image);
    let files = [("deep/er/out/committed", "committed\n")];
    let (build, log) = push(&world, &as_build, &files);
    assert_eq!(build["status"], "success", "{log}");
    assert!(log.contains("1234\ncommitted\n"), "{log}");
    // The commit's file wins over the cache's, and the cache of another user is this one's.
    let (build, log) = push(&world, &as_build, &files);
    assert_eq!(build["status"], "success", "{log}");
    assert!(log.contains("restored") && log.contains("1234\ncommitted\n"), "{log}");
    let by_root = pipeline(&caching.replace("key: one", "key: two"));
    assert_eq!(push(&world, &by_root, &files).0["status"], "success");
    let (build, log) = push(&world, &as_build.replace("key: one", "key: two"), &files);
    assert_eq!(build["status"], "success", "{log}");
    assert!(log.contains("belonged to another user"), "{log}");
    let (build, log) = push(&world, &by_root.replace("key: two", "key: one"), &files);
    assert_eq!(build["status"], "success", "{log}");
    engine::docker(&["rmi", "-f", &image]);
}

#[test]
fn a_shared_cache_is_one_folder_that_all_jobs_write_into() {
    let world = World::start();
    let shared = "cache: [{ path: store, key: cc, mode: shared }]\nsteps: [{ run: 'ls store; touch store/$CI_PIPELINE_NUMBER; exit 1' }]";
    push(&world, &pipeline(shared), &[]);
    let (_, log) = push(&world, &pipeline(shared), &[]);
    assert!(log.contains("shared") && log.contains("\n1\n"), "what a failed job wrote: {log}");
    world.nothing_is_left();
    layers_left(&world, 1);
}

#[test]
fn a_cache_that_cannot_be_measured_is_let_go_and_the_others_stay() {
    let world = World::start();
    let name = "n".repeat(200);
    let (build, log) = push(
        &world,
        &pipeline(&format!(
            "cache: [{{ path: flat, key: flat }}, {{ path: deep, key: deep }}]\nsteps:\n  - run: echo x > flat/x; cd deep; for i in $(seq 30); do mkdir {name} && cd -P {name}; done"
        )),
        &[],
    );
    assert_eq!(build["status"], "success", "{log}");
    let kept = until("the cache to be let go, and the other to be measured", || {
        let caches = world.api().get(&format!("/api/v1/repos/{}/caches", world.repo));
        let items = caches["items"].as_array()?;
        (items.len() == 1 && items[0]["bytes"].is_u64()).then(|| text(&items[0], "key"))
    });
    assert_eq!(kept, "flat");
    world.nothing_is_left();
    layers_left(&world, 1);
}

#[test]
fn steps_with_an_image_of_their_own_have_the_jobs_caches() {
    let world = World::start();
    let caching = format!(
        "cache: [{{ path: [out, ~/.x], key: k }}]\nsteps:\n  - run: echo by-job > out/a; echo by-job > ~/.x/a\n  - run: cat out/a ~/.x/a; echo by-step > out/b\n    image: {}\n  - run: cat out/b",
        engine::BUSYBOX
    );
    let (build, log) = push(&world, &pipeline(&caching), &[]);
    assert_eq!(build["status"], "success", "{log}");
    assert!(log.contains("by-job\nby-job\n") && log.contains("by-step"), "{log}");
    let (_, log) = push(&world, &pipeline(&caching), &[]);
    assert!(log.contains("restored") && log.contains("by-step"), "{log}");
    world.nothing_is_left();
}

#[test]
fn a_forks_pull_request_reads_what_its_target_branch_saved_and_saves_nothing() {
    let mut world = World::start();
    world.becomes_forgejos();
    let (status, _) = world.api().patch(&format!("/api/v1/repos/{}", world.repo), &json!({ "strangers": "none" }));
    assert_eq!(status, 200);
    let on_all = |key: &str, script: &str| {
        let job = pipeline(&format!("cache: [{{ path: c, key: {key} }}]\nsteps: [{{ run: '{script}' }}]"));
        format!("on: [pull-request, manual]\n{job}")
    };
    let run_on = |branch: &str, pipeline: &str| {
        world.git.commit("change", &[(".longshore.yml", pipeline)]);
        world.git.git(&["push", "-q", "origin", &format!("HEAD:refs/heads/{branch}")]);
        let path = format!("/api/v1/repos/{}/builds", world.repo);
        let (status, build) = world.api().post(&path, &json!({ "ref": branch }));
        assert_eq!(status, 201, "{build}");
        let build = world.api().wait_for_build(&text(&build, "id"));
        assert_eq!(build["status"], "success", "{build}");
        log_of(&world, &build, "one")
    };
    run_on("main", &on_all("main-1", "echo public > c/p"));
    run_on("hidden", &on_all("hidden-1", "echo hidden > c/s"));
    // A pull request runs the pipeline of its target branch.
    let theirs =
        on_all("theirs", "cat c/*; echo poison > c/p").replace("theirs }", "theirs, fallback: [hidden-, main-] }");
    world.git.commit("for pull requests", &[(".longshore.yml", &theirs)]);
    world.git.git(&["push", "-q", "origin", "HEAD:main"]);
    world.git.git(&["checkout", "-q", "-b", "topic"]);
    let head = world.git.commit("from a fork", &[("theirs", "1")]);
    world.git.git(&["push", "-q", "origin", "HEAD:refs/pull/1/head"]);
    let caches = engine::objects(&world.server.instance, &["cache"]);
    world.pull_request("opened", &head, true);
    let build = world.api().wait_for_build(&text(&world.build_of(&head), "id"));
    let log = log_of(&world, &build, "one");
    assert!(log.contains("restored") && log.contains("of main-1") && log.contains("public\n"), "{log}");
    assert!(!log.contains("hidden\n"), "{log}");
    world.nothing_is_left();
    assert_eq!(engine::objects(&world.server.instance, &["cache"]), caches, "it saved something");
    // Neither under its own key nor in the entry that it began with.
    world.git.git(&["checkout", "-q", "main"]);
    let log = run_on("main", &on_all("theirs", "cat c/*").replace("theirs }", "theirs, fallback: [main-] }"));
    assert!(log.contains("of main-1") && log.contains("public\n") && !log.contains("poison"), "{log}");
}
