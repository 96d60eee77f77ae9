//! A server whose disk fills up under a running job and under webhooks, and gets room again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../crates/store/tests/small_disk/mod.rs"]
mod small_disk;
mod support;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use small_disk::SmallDisk;
use support::{
    api::text,
    engine,
    server::Server,
    until,
    world::{World, job, one_step},
};

/// 60 lines of 8 KiB, one every 50 ms.
const WIDE: &str = "w=$(printf '%08191d' 7); i=0; while [ $i -lt 60 ]; do echo $w; i=$((i+1)); sleep 0.05; done";

fn hook(world: &World, delivery: &str, after: &str) -> (u16, Value) {
    let body = json!({ "ref": "refs/heads/main", "before": "0".repeat(40), "after": after, "pad": "x".repeat(20_000) });
    let body = body.to_string();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(world.secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let headers = [("X-Longshore-Signature-256", signature.as_str()), ("X-Longshore-Delivery", delivery)];
    world.api().post_bytes(&format!("/hooks/{}", world.repo), &headers, body.as_bytes())
}

#[test]
fn on_a_full_disk_hooks_are_told_to_come_again_and_running_jobs_wait_for_room() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let data = tempfile::Builder::new().prefix("data").tempdir_in(disk.path()).unwrap();
    let world = World::of(Server::start_on(data, engine::docker_host(), &[]));
    let commit = world.git.push(&one_step(WIDE));
    let build = text(&world.build_of(&commit), "id");
    let one = text(job(&world.api().get(&format!("/api/v1/builds/{build}")), "one"), "id");
    until("the first lines", || (world.api().raw_log(&one).len() > 20_000).then_some(()));
    disk.fill();
    until("the job to wait", || world.server.log().contains("a job waits for room for its log").then_some(()));

    // What has room in pages that are there already is taken; sooner or later there is none.
    let mut taken = Vec::new();
    let refused: Vec<String> = (0..)
        .map(|n| format!("delivery-{n}"))
        .filter(|name| match hook(&world, name, &commit) {
            (202, _) => {
                taken.push(name.clone());
                false
            }
            (507, said) => {
                assert_eq!(said["error"]["code"], "disk-full", "{said}");
                true
            }
            other => panic!("{other:?}"),
        })
        .take(5)
        .collect();
    // It stays up, and what is there can be read.
    assert_eq!(world.api().get(&format!("/api/v1/builds/{build}"))["status"], "running");
    assert!(world.api().raw_log(&one).len() > 20_000);

    disk.free();
    let ended = world.api().wait_for_build(&build);
    assert_eq!(ended["status"], "success", "{ended}");
    let expected: String = (0..60).map(|_| format!("{:08191}\n", 7)).collect();
    assert!(world.api().raw_log(&one) == expected.as_bytes(), "the log has holes");
    // The forge delivers again: each is one build, those that were taken before the room ran out too.
    for name in taken.iter().chain(&refused) {
        assert_eq!(hook(&world, name, &commit).0, 202);
    }
    let builds = until("a build for each delivery", || {
        let builds = world.api().get(&format!("/api/v1/repos/{}/builds?limit=100", world.repo));
        let builds = builds["items"].as_array()?.clone();
        (builds.len() > taken.len() + refused.len()).then_some(builds)
    });
    assert_eq!(builds.len(), taken.len() + refused.len() + 1);
    for build in &builds {
        world.api().post(&format!("/api/v1/builds/{}/cancel", text(build, "id")), &json!({}));
    }
    for build in &builds {
        world.api().wait_for_build(&text(build, "id"));
    }
    world.nothing_is_left();
}
