//! Sandboxes are reused within one scope only, replaced when they are dead, and found again by the next process.
//! Nothing is left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod attacks;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptions, RemoveContainerOptions, RemoveVolumeOptions, UploadToContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use longshore_core::Outcome;
use longshore_engine_docker::{DockerOptions, doctor};
use longshore_executor::CleanScope;
use longshore_executor::objects::Kind;
use support::{Options, World, connect, eventually, job};
use tokio_util::sync::CancellationToken;

/// The ids of the instance's sandboxes.
async fn sandboxes(world: &World) -> BTreeSet<String> {
    let objects = world.engine.objects(Some(&world.instance)).await.unwrap();
    objects
        .containers
        .into_iter()
        .filter(|container| container.kind == Kind::Sandbox)
        .map(|sandbox| sandbox.id.to_string())
        .collect()
}

async fn run_in(world: &World, scope: &str) {
    let mut request = job(&["true"]);
    request.scope = scope.to_owned();
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    world.engine.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_serves_one_scope_only() {
    let world = World::new().await;
    run_in(&world, "a").await;
    let first = sandboxes(&world).await;
    assert_eq!(first.len(), 1);
    run_in(&world, "a").await;
    assert_eq!(sandboxes(&world).await, first, "the same scope places where it did");
    run_in(&world, "b").await;
    assert_eq!(sandboxes(&world).await.len(), 2, "another scope never does");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_did_to_names_and_addresses_is_gone_for_the_next_one_of_its_sandbox() {
    let world = World::new().await;
    let before = world.run(job(&["cat /etc/hosts /etc/resolv.conf"])).await;
    world.engine.settled().await;
    let placed = sandboxes(&world).await;
    let poison = "echo '203.0.113.66 registry.example' >> /etc/hosts; echo 'nameserver 203.0.113.53' > /etc/resolv.conf; chmod 600 /etc/hosts";
    assert_eq!(world.run(job(&[poison])).await.outcome, Outcome::Success);
    world.engine.settled().await;
    let after = world.run(job(&["cat /etc/hosts /etc/resolv.conf", "stat -c %a /etc/hosts"])).await;
    let text = after.journal.stdout_text();
    assert_eq!(text.strip_suffix("644\n"), Some(before.journal.stdout_text().as_str()));
    world.engine.settled().await;
    assert_eq!(sandboxes(&world).await, placed, "one sandbox served all three");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_whose_agent_could_not_tidy_up_serves_nobody_again() {
    let world = World::new().await;
    run_in(&world, "a").await;
    let first = sandboxes(&world).await;
    let mut request = job(&["echo x > /etc/hosts; echo up; sleep 600"]);
    request.scope = "a".to_owned();
    support::run_and_kill(&world, request).await;
    world.engine.settled().await;
    run_in(&world, "a").await;
    assert!(sandboxes(&world).await.is_disjoint(&first));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_was_changed_behind_its_agents_back_serves_nobody_again() {
    let world = World::new().await;
    run_in(&world, "a").await;
    let first = sandboxes(&world).await;
    // Stands for a job that has misled its own agent: that one said the sandbox is as it was.
    for id in &first {
        let body = ContainerCreateBody {
            image: Some(support::BUSYBOX.to_owned()),
            cmd: Some(["sh", "-c", "echo 203.0.113.66 registry.example >> /etc/hosts"].map(str::to_owned).to_vec()),
            host_config: Some(HostConfig { network_mode: Some(format!("container:{id}")), ..HostConfig::default() }),
            ..ContainerCreateBody::default()
        };
        let misled = world.docker.create_container(None::<CreateContainerOptions>, body).await.unwrap().id;
        world.docker.start_container(&misled, None).await.unwrap();
        let ended = world.docker.wait_container(&misled, None).collect::<Vec<_>>().await;
        assert!(ended.iter().all(Result::is_ok), "{ended:?}");
        world.docker.remove_container(&misled, None::<RemoveContainerOptions>).await.unwrap();
    }
    let mut request = job(&["cat /etc/hosts"]);
    request.scope = "a".to_owned();
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    assert!(!ran.journal.stdout_text().contains("203.0.113.66"));
    world.engine.settled().await;
    assert!(sandboxes(&world).await.is_disjoint(&first));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_sandbox_is_replaced_and_the_job_does_not_notice() {
    let world = World::new().await;
    run_in(&world, "a").await;
    for id in sandboxes(&world).await {
        world.take_away(&id).await;
    }
    run_in(&world, "a").await;
    world.end().await;
}

/// Serves a page on `::1` and asks for it.
const LOOPBACK6: &str =
    "mkdir www; echo here > www/index.html; httpd -p '[::1]:8080' -h www; wget -qO- 'http://[::1]:8080/'";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_reaches_itself_by_the_loopback_of_ipv6() {
    let world = World::new().await;
    let ran = world.run(job(&[LOOPBACK6])).await;
    assert_eq!((ran.outcome, ran.journal.stdout_text().as_str()), (Outcome::Success, "here\n"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kernel_without_ipv6_runs_jobs_without_its_loopback() {
    let proxy = support::proxy::Proxy::before(&support::docker_host());
    // The engine fails as on a kernel without the setting.
    proxy.rewrite("ipv6.conf.lo.disable_ipv6", "ipv6.conf.no.disable_ipv6");
    let world = World::with(|options| options.docker_host = proxy.host()).await;
    run_in(&world, "a").await;
    proxy.take_calls();
    run_in(&world, "b").await;
    let creates = proxy.take_calls().iter().filter(|call| call.ends_with("/containers/create")).count();
    assert_eq!(creates, 2, "sandbox and job: what cannot be had is asked for once");
    world.end().await;
}

/// Copies the program into `dir`, so that no other test's agent is removed.
fn own_program(dir: &tempfile::TempDir) -> PathBuf {
    let own = dir.path().join("longshore");
    let mut bytes = std::fs::read(support::program()).unwrap();
    bytes.extend_from_slice(&rand::random::<[u8; 16]>());
    std::fs::write(&own, bytes).unwrap();
    own
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_agent_that_a_dying_engine_left_is_made_whole_by_the_first_job() {
    let dir = tempfile::tempdir().unwrap();
    let own = own_program(&dir);
    let world = World::with(|options| options.executable = own.clone()).await;
    for length in [0, 1 << 20] {
        run_in(&world, "a").await;
        let objects = world.engine.objects(Some(&world.instance)).await.unwrap();
        let volume = objects.volumes.iter().find(|volume| volume.kind == Some(Kind::Agent)).unwrap();
        cut_off(&world, volume.name.as_str(), &std::fs::read(&own).unwrap()[..length]).await;
        run_in(&world, "a").await;
    }
    world.engine.clean(&CleanScope::Instance { agent: true }).await.unwrap();
    world.end().await;
}

/// Replaces the program in the volume by these bytes.
async fn cut_off(world: &World, volume: &str, bytes: &[u8]) {
    let body = ContainerCreateBody {
        image: Some(support::BUSYBOX.to_owned()),
        host_config: Some(HostConfig { binds: Some(vec![format!("{volume}:/agent")]), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let id = world.docker.create_container(None::<CreateContainerOptions>, body).await.unwrap().id;
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, "longshore", bytes).unwrap();
    let options = UploadToContainerOptionsBuilder::new().path("/agent").build();
    let tar = bollard::body_full(tar.into_inner().unwrap().into());
    world.docker.upload_to_container(&id, Some(options), tar).await.unwrap();
    world.docker.remove_container(&id, None::<RemoveContainerOptions>).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_volume_that_someone_removed_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let own = own_program(&dir);
    let world = World::with(|options| options.executable = own.clone()).await;
    run_in(&world, "a").await;
    let objects = world.engine.objects(Some(&world.instance)).await.unwrap();
    let volume = objects.volumes.iter().find(|volume| volume.kind == Some(Kind::Agent)).unwrap();
    world.docker.remove_volume(volume.name.as_str(), None::<RemoveVolumeOptions>).await.unwrap();
    run_in(&world, "a").await;
    world.engine.settled().await;
    world.engine.clean(&CleanScope::Instance { agent: true }).await.unwrap();
    world.end().await;
}

/// Sets the options that `longshore run` uses.
fn short_lived(options: &mut Options, dir: &std::path::Path) {
    options.runtime_dir = Some(dir.to_owned());
    // A slow machine has to find it before it ends.
    options.sandbox_idle = Some(Duration::from_secs(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_run_finds_the_sandbox_that_the_last_one_left_and_two_at_once_never_share() {
    let dir = tempfile::tempdir().unwrap();
    let proxy = support::proxy::Proxy::before(&support::docker_host());
    let world = World::with(|options| {
        short_lived(options, dir.path());
        options.docker_host = proxy.host();
    })
    .await;
    run_in(&world, "a").await;
    let first = sandboxes(&world).await;
    assert_eq!(first.len(), 1);

    // The next process, with an engine connection of its own.
    let mut options = world.options(proxy.host());
    short_lived(&mut options, dir.path());
    proxy.take_calls();
    let next = connect(options).await.unwrap();
    let (sender, mut receiver) = tokio::sync::mpsc::channel(64);
    let journal = support::MemoryJournal::default();
    let mut request = job(&["sleep 0.5"]);
    request.scope = "a".to_owned();
    let running = next.run_job(request, journal.open(), sender, CancellationToken::new());
    let drained = async { while receiver.recv().await.is_some() {} };
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        sandboxes(&world).await
    };
    let (outcome, (), during) = tokio::join!(running, drained, meanwhile);
    assert_eq!(outcome, Outcome::Success);
    assert_eq!(during, first, "found again");
    next.shutdown(true).await;
    // The check in between makes three list calls itself, which the run also makes once.
    let lists = ["/containers/json", "/volumes", "/networks"];
    let mut calls = proxy.take_calls();
    calls.retain(|call| !(call.starts_with("GET") && lists.iter().any(|list| call.ends_with(list))));
    // Whether a removal has to be repeated depends on the engine.
    calls.dedup();
    println!("calls of a warm run (lists left out): {calls:#?}");
    // One of them asks whether the container has ended before its sandbox is left to others.
    assert!(calls.len() <= 8, "with its one list nine: {calls:#?}");

    // Both run until there are two sandboxes.
    let cancel = CancellationToken::new();
    let run = || world.run_until(scoped("sleep 600"), cancel.clone());
    let two = async {
        eventually("each job has a sandbox", async || sandboxes(&world).await.len() == 2).await;
        cancel.cancel();
    };
    tokio::join!(run(), run(), two);

    eventually("idle sandboxes end by themselves", async || sandboxes(&world).await.is_empty()).await;
    world.end().await;
}

fn scoped(script: &str) -> longshore_executor::JobRequest {
    let mut request = job(&[script]);
    request.scope = "a".to_owned();
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_takes_what_nobody_keeps_and_leaves_the_rest() {
    let world = World::new().await;
    let (kept, lost) = (job(&["sleep 600"]), job(&["sleep 600"]));
    for request in [&kept, &lost] {
        let journal = support::MemoryJournal::default();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(64);
        let running = world.engine.run_job(request.clone(), journal.open(), sender, CancellationToken::new());
        let up = async {
            while let Some(update) = receiver.recv().await {
                if matches!(update, longshore_executor::JobUpdate::StepStarted { .. }) {
                    return;
                }
            }
        };
        tokio::select! { outcome = running => panic!("{outcome:?}"), () = up => {} }
    }
    let removed = world.engine.sweep(&BTreeSet::from([kept.attempt_id()])).await.unwrap();
    assert_eq!(removed.volumes, [lost.attempt_id().volume_name().to_string()]);
    assert!(removed.containers.contains(&lost.attempt_id().container_name().to_string()), "{removed:?}");
    let left = world.engine.objects(Some(&world.instance)).await.unwrap();
    assert!(left.containers.iter().any(|container| container.attempt == Some(kept.attempt_id()) && container.running));
    world.engine.sweep(&BTreeSet::new()).await.unwrap();
    world.engine.sweep(&BTreeSet::new()).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_a_healthy_engine_healthy_and_a_missing_one_missing() {
    let world = World::new().await;
    let options = world.options(support::docker_host());
    let findings = doctor(options.docker()).await;
    assert!(findings.len() >= 6 && findings.iter().all(|finding| !finding.is_error()), "{findings:#?}");
    let findings = doctor(DockerOptions::new("unix:///nowhere/docker.sock", world.instance.clone())).await;
    assert!(findings[0].is_error() && findings[0].message.contains("/nowhere/docker.sock"), "{findings:#?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctors_at_the_same_time_find_what_each_finds_alone() {
    let world = World::new().await;
    // The network is there before any of them needs it.
    let held = job(&["sleep 600"]);
    let journal = support::MemoryJournal::default();
    let (updates, mut told) = tokio::sync::mpsc::channel(64);
    let cancel = CancellationToken::new();
    let running = world.engine.run_job(held, journal.open(), updates, cancel.clone());
    // One ends while others have their jobs at work.
    let look = || async {
        let mut findings = Vec::new();
        for _ in 0..2 {
            findings.extend(Box::pin(doctor(world.options(support::docker_host()).docker())).await);
        }
        findings
    };
    let looks = async {
        while !matches!(told.recv().await, Some(longshore_executor::JobUpdate::StepStarted { .. })) {}
        let (first, second) = tokio::join!(Box::pin(look()), Box::pin(look()));
        cancel.cancel();
        [first, second]
    };
    let (outcome, found) = tokio::join!(Box::pin(running), Box::pin(looks));
    for findings in found {
        assert!(findings.len() >= 12 && findings.iter().all(|finding| !finding.is_error()), "{findings:#?}");
    }
    assert_eq!(outcome, Outcome::Canceled, "a job that runs is nobody's leftover");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_of_a_run_that_was_killed_in_the_middle_serves_no_other_run() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::with(|options| short_lived(options, dir.path())).await;
    let killed = scoped("echo 203.0.113.66 registry.example >> /etc/hosts; echo up; sleep 600");
    support::run_and_die(&world, &killed, &support::MemoryJournal::default(), "up").await;
    let left = sandboxes(&world).await;
    let ran = world.run(scoped("cat /etc/hosts")).await;
    assert!(!ran.journal.stdout_text().contains("203.0.113.66"), "{left:?}");
    world.engine.settled().await;
    world.engine.sweep(&BTreeSet::new()).await.unwrap();
    world.engine.sweep(&BTreeSet::new()).await.unwrap();
    world.end().await;
}
