//! The watch sees containers that could take over the host, and containers that pretend to be ours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod support;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use longshore_engine_docker::{Risk, watch};
use support::proxy::Proxy;
use support::{BUSYBOX, World, docker_host};
use tokio::sync::mpsc;

/// Starts a container by hand; returns its id.
async fn started(world: &World, name: &str, host: HostConfig, labels: &[(&str, &str)]) -> String {
    let body = ContainerCreateBody {
        image: Some(BUSYBOX.to_owned()),
        entrypoint: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), "sleep 600".to_owned()]),
        labels: Some(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    let id = world.docker.create_container(Some(options), body).await.unwrap().id;
    world.docker.start_container(&id, None).await.unwrap();
    id
}

#[tokio::test]
async fn what_could_take_over_the_host_is_told_when_it_starts_and_a_gap_in_the_events_too() {
    let world = World::new().await;
    let proxy = Proxy::before(&docker_host());
    let random = format!("longshore-watch-{:08x}", rand::random::<u32>());
    let name = |what: &str| format!("{random}-{what}");
    let on_the_host = HostConfig { uts_mode: Some("host".to_owned()), ..HostConfig::default() };
    let before = started(&world, &name("before"), on_the_host, &[]).await;

    let (sender, mut seen) = mpsc::unbounded_channel();
    let host = proxy.host();
    let watching = tokio::spawn(async move { watch(&host, |sighting| sender.send(sighting).is_ok()).await });
    // Others run tests on this engine, too.
    let ours = random.clone();
    let mut next = async || loop {
        let sighting: Risk = seen.recv().await.unwrap();
        if sighting.container.starts_with(&ours) || sighting.kind == "gap" {
            return (
                sighting.kind,
                sighting.container.strip_prefix(&format!("{ours}-")).unwrap_or_default().to_owned(),
            );
        }
    };
    assert_eq!(next().await, ("host-namespace", "before".to_owned()));

    let socket = docker_host().trim_start_matches("unix://").to_owned();
    let binds = HostConfig {
        binds: Some(vec![format!("{socket}:/var/run/docker.sock"), "/etc:/host:ro".to_owned()]),
        pid_mode: Some("host".to_owned()),
        ..HostConfig::default()
    };
    let bound = started(&world, &name("bound"), binds, &[]).await;
    let mut found = vec![next().await, next().await, next().await];
    found.sort();
    let bound_name = || "bound".to_owned();
    assert_eq!(
        found,
        [("engine-socket", bound_name()), ("host-mount", bound_name()), ("host-namespace", bound_name())]
    );
    let labels = [("longshore.instance", "pretended"), ("longshore.kind", "job")];
    let forged = started(&world, &name("forged"), HostConfig::default(), &labels).await;
    assert_eq!(next().await, ("not-ours", "forged".to_owned()));

    proxy.cut();
    assert_eq!(next().await.0, "gap");
    drop(seen);
    watching.abort();
    for id in [before, bound, forged] {
        world.take_away(&id).await;
    }
    world.end().await;
}
