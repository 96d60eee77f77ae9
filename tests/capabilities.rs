//! `capabilities` of a job: given where the server's setting allows them, and refused by name elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use support::{
    engine,
    server::Server,
    tree::{Tree, out},
    world::{World, job, one_step},
};

const CHROOT: &str = "mkdir root && cp /bin/busybox root/ && chroot root /busybox echo it works";

fn asking(capabilities: &str) -> String {
    one_step(CHROOT).replace("    steps:", &format!("    capabilities: {capabilities}\n    steps:"))
}

#[test]
fn a_job_gets_the_capabilities_that_the_setting_allows_and_one_that_asks_for_others_is_refused_by_name() {
    let world = World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_JOB_CAPABILITIES", "SYS_CHROOT")]));
    let log = |build: &serde_json::Value| {
        String::from_utf8(world.api().raw_log(job(build, "one")["id"].as_str().unwrap())).unwrap()
    };
    let with = world.run(&asking("[SYS_CHROOT]"));
    assert_eq!(with["status"], "success", "{with}");
    assert_eq!(log(&with), "it works\n");
    let without = world.run(&one_step(CHROOT));
    assert_eq!(without["status"], "failure", "{without}");
    let more = world.run(&asking("[SYS_CHROOT, NET_RAW]"));
    assert_eq!(more["status"], "error", "{more}");
    let reason = job(&more, "one")["reason"].as_str().unwrap();
    assert!(reason.contains("NET_RAW") && reason.contains("LONGSHORE_JOB_CAPABILITIES"), "{reason}");
    world.nothing_is_left();
}

#[test]
fn on_ones_own_engine_every_capability_that_can_be_allowed_is() {
    let tree = Tree::new(&asking("[SYS_CHROOT]"));
    let output = tree.longshore(&["run"]);
    assert!(output.status.success() && out(&output).contains("it works"), "{output:?}");
}
