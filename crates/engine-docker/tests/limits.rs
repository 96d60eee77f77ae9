//! The limits of a job as they reach the engine.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first thing that goes wrong")]

mod support;

use std::time::Duration;

use bollard::models::HostConfig;
use longshore_core::plan::Probe;
use longshore_core::{ErrorKind, Outcome, StepPlan};
use longshore_executor::{JobRequest, Limits, Ulimit};
use support::images::BUSYBOX;
use support::{World, eventually, job};
use tokio_util::sync::CancellationToken;

/// Runs the request until its container runs. Returns the limits that the engine sets.
async fn held_to(world: &World, request: JobRequest) -> HostConfig {
    let name = request.attempt_id().container_name().to_string();
    let cancel = CancellationToken::new();
    let running = world.run_until(request, cancel.clone());
    let looking = async {
        eventually("the container runs", async || {
            matches!(world.docker.inspect_container(&name, None).await, Ok(found) if found.state.as_ref().and_then(|s| s.running) == Some(true))
        })
        .await;
        let found = world.docker.inspect_container(&name, None).await.unwrap();
        cancel.cancel();
        found.host_config.unwrap()
    };
    tokio::join!(running, looking).1
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_holds_a_job_to_its_processors_memory_and_processes_and_to_its_disk_where_it_can() {
    let world = World::new().await;
    let mut request = job(&["while :; do sleep 0.05; done"]);
    request.limits = Limits {
        memory: Some(128 << 20),
        pids: 77,
        cpus: Some(0.5),
        disk: Some(1 << 30),
        grace: Duration::from_secs(2),
        ..Limits::default()
    };
    let held = held_to(&world, request).await;
    assert_eq!((held.memory, held.memory_swap), (Some(128 << 20), Some(128 << 20)));
    assert_eq!((held.pids_limit, held.nano_cpus), (Some(77), Some(500_000_000)));
    // The engines of the tests have no quotas. The first job finds that out, and runs anyway.
    let storage = held.storage_opt.unwrap_or_default();
    assert!(storage.get("size").is_none_or(|size| size == "1073741824"), "{storage:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_container_of_a_pod_has_the_limits_of_its_processes() {
    let world = World::new().await;
    let look = "echo $(ulimit -Sn) $(ulimit -Hn) $(ulimit -Hc)";
    let mut request = job(&[look]);
    request.limits.ulimits = ["nofile=1234:4321", "core=0"].map(|text| Ulimit::parse(text).unwrap()).to_vec();
    let serve = format!("{look}; touch /tmp/up; sleep 100");
    request.plan.services =
        vec![support::shell_service("web", &serve, Probe::Exec("test -e /tmp/up".to_owned()), 300_000)];
    request.plan.steps.push(StepPlan { image: Some(BUSYBOX.into()), ..support::step("own", look) });
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    for place in [0, 1, 0x8000] {
        assert_eq!(ran.journal.step_text(place), "1234 4321 0\n", "{place:x}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_takes_longer_than_it_may_is_timed_out_whatever_its_plan_says() {
    let world = World::new().await;
    let mut request = job(&["echo up; while :; do sleep 0.05; done"]);
    request.limits.time = Some(Duration::from_secs(5));
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::TimedOut { limit_ms: 5_000 });
    assert_eq!(ran.journal.stdout_text(), "up\n");
    // If the plan allows less, the plan's limit applies.
    let mut request = job(&["while :; do sleep 0.05; done"]);
    (request.plan.timeout_ms, request.limits.time) = (300, Some(Duration::from_secs(60)));
    assert_eq!(world.run(request).await.outcome, Outcome::TimedOut { limit_ms: 300 });
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_prints_more_than_it_may_is_ended() {
    let world = World::new().await;
    let mut request = job(&["while :; do echo 0123456789abcdef0123456789abcdef; done"]);
    request.limits.log = 64 << 10;
    let ran = world.run(request).await;
    assert!(matches!(ran.outcome, Outcome::Error { kind: ErrorKind::LogTooLong, .. }), "{:?}", ran.outcome);
    world.end().await;
}
