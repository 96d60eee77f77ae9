//! The connection agrees with the engine on one API version, and makes every call in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod support;

use longshore_core::Outcome;
use longshore_executor::CleanScope;
use support::proxy::Proxy;
use support::{World, connect, docker_host, job};

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_a_jobs_life_names_the_agreed_version() {
    let proxy = Proxy::before(&docker_host());
    let world = World::with(|options| options.docker_host = proxy.host()).await;
    assert_eq!(world.run(job(&["true"])).await.outcome, Outcome::Success);
    world.engine.settled().await;
    world.engine.prepare().await.unwrap();
    world.engine.clean(&CleanScope::Instance { agent: false }).await.unwrap();
    let agreed = format!("/v{}/", world.docker.client_version());
    let mut calls = proxy.take_targets();
    assert_eq!(calls.remove(0), ("GET".to_owned(), "/version".to_owned()), "asked before anything is agreed on");
    let unversioned: Vec<_> = calls.iter().filter(|(_, target)| !target.starts_with(&agreed)).collect();
    assert!(calls.len() > 8 && unversioned.is_empty(), "not of {agreed}: {unversioned:#?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_takes_only_newer_apis_is_refused_with_both_numbers() {
    let proxy = Proxy::before(&docker_host());
    let world = World::new().await;
    proxy.rewrite("\"MinAPIVersion\":\"1.", "\"MinAPIVersion\":\"7.");
    let error = connect(world.options(proxy.host())).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("no API before 7.") && error.contains("Longshore speaks 1."), "{error}");
    world.end().await;
}
