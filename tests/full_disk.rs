//! A disk that fills up while a job runs and webhooks arrive, and then has space again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../crates/store/tests/small_disk/mod.rs"]
mod small_disk;
mod support;

use longshore_forge::{Forge, signature::sign};
use serde_json::{Value, json};
use small_disk::SmallDisk;
use support::{
    api::text,
    engine,
    server::Server,
    until,
    world::{World, job, one_step},
};

/// Prints 60 lines of 8 KiB, all but the first three when the test allows it.
const WIDE: &str = "w=$(printf '%08191d' 7); i=0; while [ $i -lt 60 ]; do echo $w; i=$((i+1)); while [ $i = 3 ] && [ ! -e go ]; do sleep 0.05; done; done";

/// Each delivery is about another branch, because deliveries about the same change share a build.
fn hook(world: &World, delivery: &str, after: &str) -> (u16, Value) {
    let branch = format!("refs/heads/{delivery}");
    world.git.git(&["push", "-q", "origin", &format!("{after}:{branch}")]);
    let body = json!({ "ref": branch, "before": "0".repeat(40), "after": after, "pad": "x".repeat(20_000) });
    let body = body.to_string();
    let signature = sign(Forge::Git, body.as_bytes(), world.secret.as_bytes());
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
    let container = engine::objects(&world.server.instance, &["job"]).remove(0);
    engine::docker(&["exec", &container, "touch", "/longshore/workspace/go"]);
    until("the job to wait", || world.server.log().contains("a job waits for disk space for its log").then_some(()));

    // The database accepts deliveries while its pages have space, until they are full.
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
    // The server stays up, and its data can be read.
    assert_eq!(world.api().get(&format!("/api/v1/builds/{build}"))["status"], "running");
    assert!(world.api().raw_log(&one).len() > 20_000);

    disk.free();
    let ended = world.api().wait_for_build(&build);
    assert_eq!(ended["status"], "success", "{ended}");
    let expected: String = (0..60).map(|_| format!("{:08191}\n", 7)).collect();
    assert!(world.api().raw_log(&one) == expected.as_bytes(), "the log has holes");
    // The forge delivers again. Each delivery becomes one build, including those accepted before the disk was full.
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

/// Delivers until the database has no room for one more. Each delivery tells of a branch that was removed, so that
/// nothing is built.
fn fill_database(world: &World, disk: &SmallDisk) {
    disk.fill();
    let zeros = "0".repeat(40);
    let deliver = |n: u32| {
        let body =
            json!({ "ref": format!("refs/heads/b{n}"), "before": zeros, "after": zeros, "pad": "x".repeat(20_000) });
        let body = body.to_string();
        let signature = sign(Forge::Git, body.as_bytes(), world.secret.as_bytes());
        let delivery = format!("{n}-{:08x}", rand::random::<u32>());
        let headers = [("X-Longshore-Signature-256", signature.as_str()), ("X-Longshore-Delivery", delivery.as_str())];
        world.api().post_bytes(&format!("/hooks/{}", world.repo), &headers, body.as_bytes()).0
    };
    assert_eq!((0..).map(deliver).filter(|status| *status != 202).take(5).collect::<Vec<_>>(), [507; 5]);
}

#[test]
fn what_a_job_leaves_while_the_database_is_full_is_recorded_once_there_is_room_and_a_cache_is_whole_or_gone() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    // Logs and files lie on another disk, so that the job comes to its end.
    let elsewhere = tempfile::tempdir().unwrap();
    let data = tempfile::Builder::new().prefix("data").tempdir_in(disk.path()).unwrap();
    for folder in ["logs", "artifacts"] {
        std::fs::create_dir(elsewhere.path().join(folder)).unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join(folder), data.path().join(folder)).unwrap();
    }
    let world = World::of(Server::start_on(data, engine::docker_host(), &[]));
    let pipeline = "jobs:
  one:
    image: IMAGE
    cache: [{ path: c, key: 'k-${{ build.number }}', fallback: [k-] }]
    steps:
      - run: |
          ls c
          echo made > c/$CI_PIPELINE_NUMBER
          echo made > made
          echo \"<testsuite><testcase classname='a' name='b'/></testsuite>\" > junit.xml
          while [ ! -e go ]; do sleep 0.05; done
    artifacts: { paths: [made] }
    reports: { junit: junit.xml }
"
    .replace("IMAGE", engine::BUSYBOX);
    let end_while_full = |waits_for: &[&str]| {
        let build = text(&world.build_of(&world.git.push(&pipeline)), "id");
        let running = || job(&world.api().get(&format!("/api/v1/builds/{build}")), "one").clone();
        until("the job to run", || (running()["status"] == "running").then_some(()));
        until("its step to begin", || running()["steps"][0]["started_at"].is_string().then_some(()));
        fill_database(&world, &disk);
        let before = world.server.log().len();
        let container = engine::objects(&world.server.instance, &["job"]).remove(0);
        engine::docker(&["exec", &container, "touch", "/longshore/workspace/go"]);
        for what in waits_for {
            until(what, || world.server.log()[before..].contains(what).then_some(()));
        }
        assert_eq!(running()["status"], "running", "the end is seen before it is stored");
        disk.free();
        let ended = world.api().wait_for_build(&build);
        assert_eq!(ended["status"], "success", "{ended}");
        let tests = world.api().get(&format!("/api/v1/builds/{build}/tests"));
        assert_eq!(tests["total"], 1, "{tests}");
        let artifacts = world.api().get(&format!("/api/v1/builds/{build}/artifacts"));
        assert_eq!(artifacts["items"][0]["files"], 1, "{artifacts}");
        world.nothing_is_left();
        world.api().raw_log(&text(job(&ended, "one"), "id"))
    };
    let path = format!("/api/v1/repos/{}/caches", world.repo);
    let keys = || -> Vec<String> {
        let caches = world.api().get(&path);
        caches["items"].as_array().unwrap().iter().map(|cache| text(cache, "key")).collect()
    };
    // There is room again soon.
    end_while_full(&["a job waits for its reports to be stored", "a job waits for the records of its caches"]);
    until("the cache", || (keys() == ["k-1"]).then_some(()));
    // There is none for longer than a cache waits. What the job began with is whole, and is not in use for ever.
    let log = end_while_full(&["a cache is not saved", "no space left on the disk of the data folder: free some"]);
    assert_eq!(String::from_utf8_lossy(&log), "1\n");
    let layers = || engine::objects(&world.server.instance, &["cache"]).len();
    until("the layers of the other to go", || (layers() == 1).then_some(()));
    assert_eq!(keys(), ["k-1"]);
    let cache = text(&world.api().get(&path)["items"][0], "id");
    assert_eq!(world.api().delete(&format!("{path}/{cache}")), 204);
    until("every layer to go", || (layers() == 0).then_some(()));
}

#[test]
fn a_job_whose_checkout_does_not_fit_waits_for_room() {
    let Some(disk) = SmallDisk::mount(96) else { return };
    let data = tempfile::Builder::new().prefix("data").tempdir_in(disk.path()).unwrap();
    let world = World::of(Server::start_on(data, engine::docker_host(), &[("LONGSHORE_CAPACITY", "1")]));
    let first = text(&world.build_of(&world.git.push(&one_step("sleep 600"))), "id");
    // This cannot be made smaller.
    let mut state = 7_u32;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("{state:08x}")
    })
    .take(2 << 20)
    .collect();
    let pipeline = one_step("wc -c < noise");
    let commit = world.git.commit("much", &[(".longshore.yml", &pipeline), ("noise", &noise)]);
    world.git.git(&["push", "-q", "origin", "HEAD:main"]);
    let second = text(&world.build_of(&commit), "id");
    disk.fill_but(4);
    world.api().post(&format!("/api/v1/builds/{first}/cancel"), &json!({}));
    until("the job to wait", || {
        world.server.log().contains("a job waits for disk space for its checkout").then_some(())
    });
    disk.free();
    let ended = world.api().wait_for_build(&second);
    assert_eq!(ended["status"], "success", "{ended}");
    let log = world.api().raw_log(&text(job(&ended, "one"), "id"));
    assert_eq!(String::from_utf8(log).unwrap().trim(), noise.len().to_string());
    world.nothing_is_left();
}
