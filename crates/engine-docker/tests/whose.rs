//! Which objects on the engine are ours: an image's labels do not make a container ours, and objects under the names of
//! an earlier version still are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod support;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bollard::models::{ContainerConfig, ContainerCreateBody};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptions, CreateContainerOptionsBuilder, RemoveImageOptionsBuilder,
};
use longshore_core::{ErrorKind, JobId, Outcome};
use longshore_executor::names::VolumeName;
use longshore_executor::objects::Kind;
use longshore_executor::{CleanScope, JobRequest};
use support::proxy::Proxy;
use support::{BUSYBOX, MemoryJournal, World, adopt, connect, container, docker_host, eventually, job, run_and_die};

/// Prints `up` and runs until it is ended.
const UP: &str = "echo up; sleep 600";

/// Starts a container from `image` by hand; it has no labels but the image's.
async fn by_hand(world: &World, image: &str, name: &str) -> String {
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), "sleep 600".to_owned()]),
        user: Some("0".to_owned()),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    let id = world.docker.create_container(Some(options), body).await.unwrap().id;
    world.docker.start_container(&id, None).await.unwrap();
    id
}

async fn runs(world: &World, id: &str) -> bool {
    let found = world.docker.inspect_container(id, None).await;
    found.is_ok_and(|found| found.state.and_then(|state| state.running) == Some(true))
}

async fn remove(world: &World, id: &str, image: &str) {
    world.take_away(id).await;
    let force = RemoveImageOptionsBuilder::new().force(true).build();
    world.docker.remove_image(image, Some(force), None).await.unwrap();
}

/// Makes an image with these labels.
async fn labelled(world: &World, name: &str, labels: &[(&str, &str)]) {
    let body = ContainerCreateBody { image: Some(BUSYBOX.to_owned()), ..ContainerCreateBody::default() };
    let id = world.docker.create_container(None::<CreateContainerOptions>, body).await.unwrap().id;
    commit(world, &id, name, labels).await;
    world.take_away(&id).await;
}

async fn commit(world: &World, container: &str, image: &str, labels: &[(&str, &str)]) {
    let (repo, tag) = image.rsplit_once(':').unwrap();
    let options = CommitContainerOptionsBuilder::new().container(container).repo(repo).tag(tag).pause(false).build();
    let labels: HashMap<_, _> = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let config = ContainerConfig { labels: Some(labels), ..ContainerConfig::default() };
    world.docker.commit_container(options, config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_images_labels_mean_nothing_on_its_jobs_container_and_no_sweep_takes_what_carries_them_alone() {
    let world = World::new().await;
    let image = format!("longshore-test/hostile:{}", world.instance);
    let other = JobId::new().to_string();
    let labels = [
        ("longshore.instance", world.instance.as_str()),
        ("longshore.kind", "sandbox"),
        ("longshore.job", other.as_str()),
        ("longshore.attempt", "1"),
        ("longshore.scope", "0123456789abcdef"),
        ("longshore.agent", "0123456789ab"),
        ("longshore.later", "x"),
    ];
    labelled(&world, &image, &labels).await;
    let stranger = by_hand(&world, &image, &format!("stranger-{}", world.instance)).await;
    let mut request = job(&[UP]);
    request.plan.image = image.as_str().into();
    run_and_die(&world, &request, &MemoryJournal::default(), "up").await;

    let inspected = world.docker.inspect_container(&container(&world, &request).await, None).await.unwrap();
    let found = inspected.config.unwrap().labels.unwrap();
    let label = |key: &str| found.get(key).map(String::as_str);
    assert_eq!(label("longshore.instance"), Some(world.instance.as_str()));
    assert_eq!(
        (label("longshore.kind"), label("longshore.job")),
        (Some("job"), Some(request.job.to_string().as_str()))
    );
    for key in ["longshore.scope", "longshore.agent", "longshore.later"] {
        assert_eq!(label(key), Some(""), "{key}");
    }

    world.engine.sweep(&BTreeSet::from([request.attempt_id()])).await.unwrap();
    assert!(runs(&world, &stranger).await, "an image's labels had a container swept");
    world.engine.sweep(&BTreeSet::new()).await.unwrap();
    world.engine.clean(&CleanScope::Instance { agent: false }).await.unwrap();
    assert!(runs(&world, &stranger).await, "an image's labels had a container cleaned away");
    remove(&world, &stranger, &image).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_a_person_starts_from_a_jobs_committed_one_is_theirs() {
    let world = World::new().await;
    let request = job(&[UP]);
    run_and_die(&world, &request, &MemoryJournal::default(), "up").await;
    let image = format!("longshore-test/committed:{}", world.instance);
    commit(&world, &container(&world, &request).await, &image, &[]).await;
    let theirs = by_hand(&world, &image, &format!("look-into-{}", world.instance)).await;
    let removed = world.engine.sweep(&BTreeSet::new()).await.unwrap();
    assert!(removed.containers.contains(&request.attempt_id().container_name().to_string()), "{removed:?}");
    assert!(runs(&world, &theirs).await);
    remove(&world, &theirs, &image).await;
    world.engine.sweep(&BTreeSet::new()).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_image_is_taken_for_an_agents_by_its_labels() {
    let world = World::new().await;
    assert_eq!(world.run(job(&["true"])).await.outcome, Outcome::Success);
    let objects = world.engine.objects(Some(&world.instance)).await.unwrap();
    let hash = objects.containers.iter().find(|object| object.kind == Kind::Sandbox).unwrap();
    let hash = world.docker.inspect_container(hash.id.as_str(), None).await.unwrap().config.unwrap().labels.unwrap();
    let image = format!("longshore-test/agent:{}", world.instance);
    labelled(&world, &image, &[("longshore.kind", "agent"), ("longshore.agent", hash["longshore.agent"].as_str())])
        .await;
    world.engine.settled().await;
    let removed = world.engine.clean(&CleanScope::Instance { agent: true }).await.unwrap();
    assert!(!removed.images.contains(&image), "{removed:?}");
    let force = RemoveImageOptionsBuilder::new().force(true).build();
    world.docker.remove_image(&image, Some(force), None).await.expect("it is still there");
    world.end().await;
}

/// Runs `request` like the version that called a sandbox a berth, until it prints its first words; then that server
/// dies.
async fn run_in_a_berth(request: &JobRequest, journal: &MemoryJournal) -> World {
    let proxy = Proxy::before(&docker_host());
    proxy.rewrite("\"longshore.kind\":\"sandbox\"", "\"longshore.kind\":\"berth\"  ");
    proxy.rewrite("?name=longshore-sandbox-", "?&&name=longshore-berth-");
    let mut world = World::with(|options| options.docker_host = proxy.host()).await;
    run_and_die(&world, request, journal, "up").await;
    world.engine = connect(world.options(docker_host())).await.unwrap();
    let objects = world.engine.objects(Some(&world.instance)).await.unwrap();
    assert!(objects.containers.iter().any(|object| object.name.starts_with("longshore-berth-")), "{objects:?}");
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_a_berth_of_the_version_before_is_adopted() {
    let (request, journal) = (job(&["echo up; sleep 1; echo done"]), MemoryJournal::default());
    let world = run_in_a_berth(&request, &journal).await;
    let outcome = adopt(&world, &request, &journal).await;
    assert_eq!((outcome, journal.stdout_text().as_str()), (Outcome::Success, "up\ndone\n"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_berth_of_the_version_before_that_nobody_uses_is_swept() {
    let (request, journal) = (job(&[UP]), MemoryJournal::default());
    let world = run_in_a_berth(&request, &journal).await;
    world.engine.sweep(&BTreeSet::new()).await.unwrap();
    let removed = world.engine.sweep(&BTreeSet::new()).await.unwrap();
    assert!(removed.containers.iter().any(|name| name.starts_with("longshore-berth-")), "{removed:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_another_instance_runs_is_neither_adopted_nor_started_again() {
    let world = World::new().await;
    let (request, journal) = (job(&[UP]), MemoryJournal::default());
    run_and_die(&world, &request, &journal, "up").await;
    let theirs = container(&world, &request).await;
    // A server on a copy of the database.
    let copy = World::new().await;
    // A guard tells nobody of another instance's container: there it is an error that does not say whose it is.
    let is_refused = |outcome: &Outcome| match copy.is_guarded() {
        true => matches!(outcome, Outcome::Error { .. }),
        false => is_of_another_instance(outcome, world.instance.as_str()),
    };
    let outcome = adopt(&copy, &request, &journal).await;
    assert!(is_refused(&outcome), "{outcome:?}");
    let outcome = copy.run(request.clone()).await.outcome;
    assert!(is_refused(&outcome), "{outcome:?}");
    copy.end().await;
    assert!(runs(&world, &theirs).await);
    let volume = world.docker.inspect_volume(request.attempt_id().volume_name().as_str()).await;
    assert!(volume.is_ok(), "its volume is gone: {volume:?}");
    world.engine.sweep(&BTreeSet::new()).await.unwrap();
    world.engine.sweep(&BTreeSet::new()).await.unwrap();
    world.end().await;
}

fn is_of_another_instance(outcome: &Outcome, instance: &str) -> bool {
    matches!(outcome, Outcome::Error { kind: ErrorKind::Lost, message } if message.contains(instance))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_alone_stays_with_its_volume() {
    let world = World::new().await;
    let request = job(&[UP]);
    run_and_die(&world, &request, &MemoryJournal::default(), "up").await;
    let theirs = container(&world, &request).await;
    let mut orphans = world.engine.orphans(&BTreeSet::new()).await.unwrap();
    let running: BTreeSet<JobId> = orphans.running().collect();
    assert_eq!(running, BTreeSet::from([request.job]));
    orphans.leave(&running);
    assert_eq!(world.engine.remove_orphans(orphans).await.volumes, Vec::<String>::new());
    assert!(runs(&world, &theirs).await);
    world.engine.sweep(&BTreeSet::new()).await.unwrap();
    world.engine.sweep(&BTreeSet::new()).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_process_was_killed_is_removed_once_it_is_over_and_no_earlier() {
    let world = World::new().await;
    let mut made = Vec::new();
    for script in ["true", "sleep 600"] {
        let hash = "0123456789ab";
        let labels =
            [("longshore.instance", world.instance.as_str()), ("longshore.kind", "agent"), ("longshore.agent", hash)];
        let body = ContainerCreateBody {
            image: Some(BUSYBOX.to_owned()),
            entrypoint: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()]),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..ContainerCreateBody::default()
        };
        let name = format!("longshore-agent-{hash}-{:08x}", rand::random::<u32>());
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let id = world.docker.create_container(Some(options), body).await.unwrap().id;
        world.docker.start_container(&id, None).await.unwrap();
        made.push(id);
    }
    let is_there = async |id: &str| world.docker.inspect_container(id, None).await.is_ok();
    eventually("the task to end", async || !runs(&world, &made[0]).await).await;
    world.engine.remove_ended_tools(Duration::from_secs(3600)).await.unwrap();
    assert!(is_there(&made[0]).await && is_there(&made[1]).await, "somebody may be about to read it");
    world.engine.remove_ended_tools(Duration::ZERO).await.unwrap();
    assert!(!is_there(&made[0]).await && runs(&world, &made[1]).await);
    world.take_away(&made[1]).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_was_removed_when_it_was_about_to_be_measured_does_not_come_back_as_nobodys() {
    let world = World::new().await;
    let name = VolumeName::new(format!("longshore-cache-{}", world.instance)).unwrap();
    let measured = world.engine.measure_volumes(std::slice::from_ref(&name)).await.unwrap();
    assert!(matches!(measured[..], [Ok(_)]), "{measured:?}");
    let there = world.engine.cache_volumes().await.unwrap();
    assert_eq!(there.into_iter().map(|volume| volume.name).collect::<Vec<_>>(), std::slice::from_ref(&name));
    assert!(world.engine.remove_volume(&name).await);
    world.end().await;
}
