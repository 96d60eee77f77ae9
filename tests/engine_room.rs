//! Room on the engine's disk: what waits, what goes, and what stays.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use serde_json::Value;
use support::{
    api::text,
    engine,
    registry::Registry,
    server::Server,
    until,
    world::{World, job, one_step},
};

fn caches(world: &World) -> Vec<Value> {
    let caches = world.api().get(&format!("/api/v1/repos/{}/caches", world.repo));
    caches["items"].as_array().unwrap().clone()
}

#[test]
fn above_the_high_mark_what_is_ours_and_unused_goes_jobs_wait_and_nothing_of_others_is_touched() {
    let mine = format!("longshore-test-others-{:08x}", rand::random::<u32>());
    engine::docker(&["volume", "create", &mine]);
    let registry = Registry::start();
    let image = registry.image("app");
    let others = format!("longshore-test/others-{:08x}", rand::random::<u32>());
    engine::docker(&["tag", engine::BUSYBOX, &others]);
    let mut world =
        World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_IMAGES_ALLOW", "**, 127.0.0.1:*/**")]));
    let caching = one_step("echo x > c/x").replace("    steps:", "    cache: [{ path: c, key: k }]\n    steps:");
    let build = world.run(&caching.replace(engine::BUSYBOX, &image));
    assert_eq!(build["status"], "success", "{build}");
    until("the cache to be measured", || caches(&world).first()?["bytes"].as_u64());
    world.nothing_is_left();

    // Any disk is fuller than this.
    world.server.set("LONGSHORE_DISK_HIGH", "1");
    world.server.set("LONGSHORE_DISK_LOW", "0");
    world.server.kill();
    world.server.launch();
    until("caches and images to go", || {
        let page = world.api().get_text("/queue").1;
        (caches(&world).is_empty() && page.contains("cache k") && page.contains(&image)).then_some(())
    });
    assert!(engine::docker(&["images", "-q", image.as_str()]).is_empty(), "the image that was pulled is there");
    assert_eq!(engine::docker(&["images", "-q", others.as_str()]).len(), 1, "an image of somebody else went");
    assert_eq!(engine::docker(&["volume", "ls", "-q", "--filter", &format!("name={mine}")]), [mine.as_str()]);
    let commit = world.git.push(&one_step("true"));
    let id = text(&world.build_of(&commit), "id");
    let log = until("the job's log to say why it waits", || {
        let build = world.api().get(&format!("/api/v1/builds/{id}"));
        let log = world.api().get_text(&format!("/api/v1/jobs/{}/log", text(job(&build, "one"), "id"))).1;
        Some(log).filter(|log| log.contains("LONGSHORE_DISK_HIGH"))
    });
    assert!(log.contains("% full"), "{log}");

    world.server.set("LONGSHORE_DISK_HIGH", "0");
    world.server.kill();
    world.server.launch();
    assert_eq!(world.api().wait_for_build(&id)["status"], "success");
    engine::docker(&["volume", "rm", "-f", &mine]);
    engine::docker(&["rmi", &others]);
}
