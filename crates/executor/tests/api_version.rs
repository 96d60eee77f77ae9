//! One version of the engine's API is agreed on, and every call is made in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod support;

use longshore_core::Outcome;
use longshore_executor::{CleanScope, Engine, EngineError};
use support::proxy::Proxy;
use support::{World, docker_host, job};

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_a_jobs_life_names_the_agreed_version() {
    let proxy = Proxy::before(&docker_host());
    let world = World::with(|options| options.docker_host = proxy.host()).await;
    assert_eq!(world.run(job(&["true"])).await.outcome, Outcome::Success);
    world.engine.settled().await;
    world.engine.gaps().await.unwrap();
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
    let error = Engine::connect(world.options(proxy.host())).await.unwrap_err();
    let EngineError::TooNew { oldest, ours } = &error else { panic!("{error:?}") };
    assert!(oldest.starts_with("7.") && ours.starts_with("1."), "{error}");
    assert!(error.to_string().contains(oldest.as_str()) && error.to_string().contains(ours.as_str()), "{error}");
    world.end().await;
}
