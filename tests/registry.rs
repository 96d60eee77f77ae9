//! Images that are not on the engine yet: they are pulled, waited for, or reported as missing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use support::{
    api::text,
    engine,
    registry::{Auth, PASSWORD, Registry, USER},
    server::{ADMIN_TOKEN, Server, program},
    until,
    world::{World, job, one_step},
};

/// A server whose jobs may use every image, also those of a registry on this machine.
fn world() -> World {
    world_with("**, 127.0.0.1:*/**")
}

fn world_with(allowed: &str) -> World {
    World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_IMAGES_ALLOW", allowed)]))
}

fn reason(build: &Value) -> String {
    assert_eq!(build["status"], "error", "{build}");
    text(job(build, "one"), "reason")
}

/// Sets a registry's credentials, of one repository or of all.
fn give(world: &World, registry: &Registry, repo: Option<&str>, password: &str) {
    let owner = repo.map(|repo| format!("/repos/{repo}")).unwrap_or_default();
    let path = format!("/api/v1{owner}/registries/{}", registry.host().replace(':', "%3A"));
    let (status, answer) = world.api().put(&path, &json!({ "username": USER, "password": password }));
    assert!(matches!(status, 200 | 201), "{answer}");
}

/// Builds `main` of a repository by hand, to its end.
fn build_of(world: &World, repo: &str) -> Value {
    let (status, build) = world.api().post(&format!("/api/v1/repos/{repo}/builds"), &json!({ "ref": "main" }));
    assert_eq!(status, 201, "{build}");
    world.api().wait_for_build(&text(&build, "id"))
}

fn log_of(world: &World, build: &serde_json::Value) -> String {
    world.api().get_text(&format!("/api/v1/jobs/{}/log", text(job(build, "one"), "id"))).1
}

/// Returns the records of uses of a registry's credentials.
fn uses(world: &World) -> Vec<Value> {
    let found = world.api().get(&format!("/api/v1/audit?repo={}&action=registry.use", world.repo));
    found["items"].as_array().unwrap().clone()
}

#[test]
fn an_image_that_is_not_here_is_pulled_and_the_log_says_so() {
    let (world, registry) = (world(), Registry::start());
    let image = registry.image("app");
    let build = world.run(&one_step("echo it runs").replace(engine::BUSYBOX, &image));
    assert_eq!(build["status"], "success", "{build}");
    let log = log_of(&world, &build);
    assert!(log.contains(&format!("pulling {image}")) && log.contains("it runs"), "{log}");
    world.nothing_is_left();
}

#[test]
fn the_image_of_a_job_that_waits_for_a_slot_is_pulled_meanwhile_and_the_job_tells_its_digest() {
    let settings = [("LONGSHORE_IMAGES_ALLOW", "**, 127.0.0.1:*/**"), ("LONGSHORE_CAPACITY", "1")];
    let (world, registry) = (World::of(Server::start_with(engine::docker_host(), &settings)), Registry::start());
    let commit = world.git.push(&one_step("sleep 300"));
    let holds = world.build_of(&commit);
    let image = registry.image("app");
    let waits = world.build_of(&world.git.push(&one_step("echo it runs").replace(engine::BUSYBOX, &image)));
    until("the image to be here", || engine::docker(&["images", "-q", &image]).first().map(|_| ()));
    let waits = text(&waits, "id");
    assert_eq!(job(&world.api().get(&format!("/api/v1/builds/{waits}")), "one")["status"], "queued");
    let (status, _) = world.api().post(&format!("/api/v1/builds/{}/cancel", text(&holds, "id")), &json!({}));
    assert_eq!(status, 202);
    let build = world.api().wait_for_build(&waits);
    assert_eq!(build["status"], "success", "{build}");
    assert!(!log_of(&world, &build).contains("pulling"), "it was here");
    let digest = registry.image_by_digest();
    let (_, digest) = digest.split_once('@').unwrap();
    assert_eq!(job(&build, "one")["image"], json!({ "name": image, "digest": digest }));
    world.nothing_is_left();
}

#[test]
fn a_registry_that_limits_the_rate_is_asked_again_and_the_log_says_why() {
    let (world, registry) = (world(), Registry::start());
    registry.limit(2);
    let build = world.run(&one_step("echo it runs").replace(engine::BUSYBOX, &registry.image("app")));
    assert_eq!(build["status"], "success", "{build}");
    let log = log_of(&world, &build);
    assert!(log.contains(" failed: ") && log.contains("retrying in 1 s"), "{log}");
    world.nothing_is_left();
}

#[test]
fn an_image_that_the_engine_has_because_another_job_pushes_it_is_asked_of_the_registry() {
    let (world, registry) = (world(), Registry::start());
    let image = registry.image("pushed");
    let digest = hex::encode(&<sha2::Sha256 as sha2::Digest>::digest(&image)[..16]);
    let mark = format!("longshore-guard/pusher:push-{digest}");
    engine::docker(&["tag", engine::BUSYBOX, &image]);
    engine::docker(&["tag", engine::BUSYBOX, &mark]);
    let job = one_step("echo it runs").replace(engine::BUSYBOX, &image);
    let pushed = world.run(&job);
    engine::docker(&["rmi", &mark]);
    let made_here = world.run(&job);
    engine::docker(&["rmi", &image]);
    assert!(reason(&pushed).contains(&image), "{pushed}");
    assert_eq!(made_here["status"], "success", "{made_here}");
    world.nothing_is_left();
}

#[test]
fn an_image_that_no_registry_has_is_an_error_of_ours_at_once_that_says_what_to_do() {
    let (world, registry) = (world(), Registry::start());
    let image = registry.image("not-here");
    let build = world.run(&one_step("true").replace(engine::BUSYBOX, &image));
    assert_eq!(build["status"], "error");
    let reason = text(job(&build, "one"), "reason");
    assert!(reason.contains(&format!("cannot get image `{image}`")) && reason.contains("check its name"), "{reason}");
    // A registry's error is a text by others.
    assert!(!format!("{build}{}", log_of(&world, &build)).contains("evil.example"));
    world.nothing_is_left();
}

#[test]
fn a_job_whose_image_waits_for_its_registry_holds_up_no_other_and_can_be_canceled() {
    let (world, registry) = (world(), Registry::start());
    registry.limit(u32::MAX);
    let commit = world.git.push(&one_step("true").replace(engine::BUSYBOX, &registry.image("app")));
    let waits = text(&world.build_of(&commit), "id");
    // Before its pull is given up.
    let other = text(&world.build_of(&world.git.push(&one_step("echo not held up"))), "id");
    let now = |id: &str| world.api().get(&format!("/api/v1/builds/{id}"));
    until("the other to run", || (job(&now(&other), "one")["started_at"].is_string()).then_some(()));
    let (status, _) = world.api().post(&format!("/api/v1/builds/{waits}/cancel"), &serde_json::json!({}));
    assert_eq!(status, 202);
    assert_eq!(world.api().wait_for_build(&waits)["status"], "canceled");
    assert_eq!(world.api().wait_for_build(&other)["status"], "success");
    world.nothing_is_left();
}

#[test]
fn a_private_image_is_pulled_with_its_repositorys_credentials_and_is_not_there_for_another_repository() {
    for auth in [Auth::Basic, Auth::Bearer] {
        let (world, registry) = (world(), Registry::start_for(auth));
        let (other, _) = world.api().add_repo("team/other", &world.git.url());
        // The credentials of a pull are in no variable and not in the job's container.
        let script = "env; cat /proc/1/environ || true; echo it runs";
        let pipeline = one_step(script).replace(engine::BUSYBOX, &registry.image("app"));
        let refused = world.run(&pipeline);
        assert!(reason(&refused).contains("has none for it"), "{auth:?}: {refused}");
        give(&world, &registry, Some(&world.repo), "wrong-password");
        let wrong = build_of(&world, &world.repo);
        assert!(reason(&wrong).contains("with this job's credentials"), "{auth:?}: {wrong}");

        give(&world, &registry, Some(&world.repo), PASSWORD);
        let build = build_of(&world, &world.repo);
        assert_eq!(build["status"], "success", "{auth:?}: {build}");
        let log = log_of(&world, &build);
        assert!(log.contains("it runs") && !log.contains(PASSWORD), "{auth:?}: {log}");
        let used = uses(&world);
        assert_eq!(used.len(), 2, "the job without credentials used none: {used:?}");
        assert!(
            used.iter().all(|one| one["fields"] == json!([registry.host()]) && one["decision"] == "allowed"),
            "{used:?}"
        );

        // The engine has the image now.
        let refused = build_of(&world, &other);
        assert!(reason(&refused).contains("has none for it"), "{auth:?}: {refused}");
        let by_digest = one_step("true").replace(engine::BUSYBOX, &registry.image_by_digest());
        world.git.push(&by_digest);
        let refused = build_of(&world, &other);
        assert!(reason(&refused).contains("has none for it"), "{auth:?}: {refused}");
        assert_eq!(build_of(&world, &world.repo)["status"], "success", "{auth:?}");
        // Nor is it once nobody has credentials any more.
        let path = format!("/api/v1/repos/{}/registries/{}", world.repo, registry.host().replace(':', "%3A"));
        assert_eq!(world.api().delete(&path), 204);
        let refused = build_of(&world, &world.repo);
        assert!(reason(&refused).contains("has none for it"), "{auth:?}: {refused}");
        for build in [&refused, &wrong] {
            assert!(!format!("{build}{}", log_of(&world, build)).contains("evil.example"), "{build}");
        }
        world.nothing_is_left();
    }
}

#[test]
fn services_and_steps_are_pulled_with_credentials_too_and_the_command_line_sets_them_for_all() {
    let (world, registry) = (world(), Registry::start_for(Auth::Basic));
    let mut command = Command::new(program())
        .args(["registry", "add", &registry.host(), "--username", USER])
        .env("LONGSHORE_URL", world.server.url())
        .env("LONGSHORE_TOKEN", ADMIN_TOKEN)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(command.stdin.take().unwrap(), "{PASSWORD}").unwrap();
    let said = command.wait_with_output().unwrap();
    assert!(said.status.success(), "{said:?}");
    let image = registry.image("app");
    let build = world.run(&format!(
        "jobs:\n  one:\n    image: {}\n    services:\n      idle:\n        image: {image}\n        command: [sleep, '1000']\n        ready: {{ exec: 'true' }}\n    steps:\n      - run: 'true'\n      - image: {image}\n        run: echo of the step\n",
        engine::BUSYBOX
    ));
    assert_eq!(build["status"], "success", "{build}");
    assert!(log_of(&world, &build).contains("of the step"));
    world.nothing_is_left();
}

#[test]
fn a_strangers_job_pulls_nothing_with_credentials_even_after_it_was_approved() {
    let (mut world, registry) = (world(), Registry::start_for(Auth::Bearer));
    give(&world, &registry, None, PASSWORD);
    let pipeline = one_step("echo it runs").replace(engine::BUSYBOX, &registry.image("app"));
    assert_eq!(world.run(&pipeline)["status"], "success");
    assert_eq!(uses(&world).len(), 1, "that of the repository's own job");
    world.becomes_forgejos();
    let head = world.git.commit("from a fork", &[("theirs", "their file\n")]);
    world.git.git(&["push", "-q", "origin", "HEAD:refs/pull/1/head"]);
    let delivery = world.pull_request("opened", &head, true);
    let build = delivery["builds"][0].as_str().unwrap().to_owned();
    let (status, answer) = world.api().post(&format!("/api/v1/builds/{build}/approve"), &json!({}));
    assert_eq!(status, 202, "{answer}");
    let refused = world.api().wait_for_build(&build);
    assert!(reason(&refused).contains("has none for it"), "{refused}");
    assert_eq!(uses(&world), Vec::<Value>::new());
    world.nothing_is_left();
}

#[test]
fn a_registrys_name_that_does_not_resolve_is_said_once_and_not_tried_again() {
    let world = World::start();
    let build = world.run(&one_step("true").replace(engine::BUSYBOX, "registry.invalid/team/app:1"));
    assert!(reason(&build).contains("name does not resolve"), "{build}");
    let log = log_of(&world, &build);
    assert_eq!(log.matches("pulling registry.invalid").count(), 1, "{log}");
    world.nothing_is_left();
}

#[test]
fn an_image_that_the_settings_do_not_allow_is_refused_by_name_before_anything_starts() {
    let registry = Registry::start();
    let world = World::start();
    let build = world.run(&one_step("true").replace(engine::BUSYBOX, &registry.image("app")));
    let said = reason(&build);
    assert!(said.contains(&registry.image("app")) && said.contains("LONGSHORE_IMAGES_ALLOW"), "{said}");
    drop(world);

    let world = world_with("longshore-test/**");
    let step = format!("{}      - image: registry.example/x:1\n        run: 'true'\n", one_step("echo it runs"));
    let build = world.run(&step);
    let said = reason(&build);
    assert!(said.contains("registry.example/x:1") && said.contains("LONGSHORE_IMAGES_ALLOW"), "{said}");
    assert!(!log_of(&world, &build).contains("it runs"));
    world.nothing_is_left();
}
