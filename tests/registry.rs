//! Images that are not on the engine yet: they are pulled, waited for, or reported as missing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use support::{
    api::text,
    engine,
    registry::Registry,
    world::{World, job, one_step},
};

fn log_of(world: &World, build: &serde_json::Value) -> String {
    world.api().get_text(&format!("/api/v1/jobs/{}/log", text(job(build, "one"), "id"))).1
}

#[test]
fn an_image_that_is_not_here_is_pulled_and_the_log_says_so() {
    let (world, registry) = (World::start(), Registry::start());
    let image = registry.image("app");
    let build = world.run(&one_step("echo it runs").replace(engine::BUSYBOX, &image));
    assert_eq!(build["status"], "success", "{build}");
    let log = log_of(&world, &build);
    assert!(log.contains(&format!("pulling {image}")) && log.contains("it runs"), "{log}");
    world.nothing_is_left();
}

#[test]
fn a_registry_that_limits_the_rate_is_asked_again_and_the_log_says_why() {
    let (world, registry) = (World::start(), Registry::start());
    registry.limit(2);
    let build = world.run(&one_step("echo it runs").replace(engine::BUSYBOX, &registry.image("app")));
    assert_eq!(build["status"], "success", "{build}");
    let log = log_of(&world, &build);
    assert!(log.contains("cannot be pulled now: ") && log.contains("trying again in 1 s"), "{log}");
    world.nothing_is_left();
}

#[test]
fn an_image_that_no_registry_has_is_an_error_of_ours_at_once_that_says_what_to_do() {
    let (world, registry) = (World::start(), Registry::start());
    let image = registry.image("not-here");
    let build = world.run(&one_step("true").replace(engine::BUSYBOX, &image));
    assert_eq!(build["status"], "error");
    let reason = text(job(&build, "one"), "reason");
    assert!(
        reason.contains(&format!("image `{image}` cannot be had")) && reason.contains("check its name"),
        "{reason}"
    );
    world.nothing_is_left();
}

#[test]
fn a_job_whose_image_waits_for_its_registry_holds_up_no_other_and_can_be_canceled() {
    let (world, registry) = (World::start(), Registry::start());
    registry.limit(u32::MAX);
    let commit = world.git.push(&one_step("true").replace(engine::BUSYBOX, &registry.image("app")));
    let waits = text(&world.build_of(&commit), "id");
    let other = world.run(&one_step("echo not held up"));
    assert_eq!(other["status"], "success", "{other}");
    let (status, _) = world.api().post(&format!("/api/v1/builds/{waits}/cancel"), &serde_json::json!({}));
    assert_eq!(status, 202);
    assert_eq!(world.api().wait_for_build(&waits)["status"], "canceled");
    world.nothing_is_left();
}
