//! Images of registries that take credentials: who gets what is on the engine.

use std::net::IpAddr;
use std::sync::Arc;

use longshore_core::plan::ServicePlan;
use longshore_core::{ErrorKind, ImageRef, Outcome, RegistryCredentials};
use longshore_executor::{EngineError, ImageAccess, JobRequest, PullFailure, PullPolicy};

use crate::engine::Verb;
use crate::world::{World, job};

const IMAGE: &str = "registry.example/team/app:1";

/// A job of another build, which pulls as this user or as nobody.
fn asking(user: Option<&str>) -> JobRequest {
    let host = || "registry.example".parse().unwrap();
    let credentials =
        user.map(|user| (host(), RegistryCredentials::new(user.to_owned(), "12345678".to_owned()).unwrap()));
    let mut request = job();
    request.plan.image = IMAGE.into();
    request.images = ImageAccess {
        credentials: credentials.into_iter().collect(),
        guarded: [host()].into(),
        ..ImageAccess::default()
    };
    request
}

fn denied() -> EngineError {
    EngineError::PullFailed { image: IMAGE.to_owned(), why: PullFailure::Denied { with_credentials: false } }
}

fn kind(outcome: &Outcome) -> Option<ErrorKind> {
    match outcome {
        Outcome::Error { kind, .. } => Some(*kind),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_private_image_on_the_engine_is_used_only_by_those_its_registry_gives_it_to() {
    let world = World::new();
    let ada = || Some("ada".to_owned());
    assert_eq!(world.run(asking(Some("ada"))).await.0, Outcome::Success);
    // A job with credentials that have pulled it does not ask again.
    assert_eq!(world.run(asking(Some("ada"))).await.0, Outcome::Success);
    assert_eq!(world.engine.pulled_by(), [ada()]);
    // Anybody else asks the registry, and its no is the job's end.
    world.engine.fail(Verb::Pull, denied());
    let (outcome, _) = world.run(asking(None)).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::ImageMissing), "{outcome:?}");
    world.engine.fail(Verb::Pull, denied());
    let (outcome, _) = world.run(asking(Some("eve"))).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::ImageMissing), "{outcome:?}");
    assert_eq!(world.engine.calls(Verb::Create), 2);
    // A public image of that registry is for all, each of whom asks once.
    assert_eq!(world.run(asking(None)).await.0, Outcome::Success);
    assert_eq!(world.run(asking(None)).await.0, Outcome::Success);
    assert_eq!(world.engine.pulled_by(), [ada(), None]);
    world.end().await;
}

#[tokio::test]
async fn the_rule_for_images_is_asked_where_a_registry_leads_before_anything_is_pulled_from_it() {
    let world = World::new();
    let refuses_this_host = |_: &ImageRef, addresses: &[IpAddr]| match addresses.iter().any(IpAddr::is_loopback) {
        true => Err("it leads here".to_owned()),
        false => Ok(()),
    };
    for (image, allowed) in [("localhost/app:1", false), ("localhost:5000/app:1", false), ("192.0.2.1/app:1", true)] {
        let mut request = asking(None);
        request.plan.image = image.into();
        request.images.rule = Some(Arc::new(refuses_this_host));
        let (outcome, _) = world.run(request).await;
        assert_eq!(outcome == Outcome::Success, allowed, "{image}: {outcome:?}");
    }
    assert_eq!(world.engine.pulled_by(), [None]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_pulled_ahead_of_its_job_is_not_pulled_again_by_its_build() {
    let world = World::new();
    let request = asking(Some("ada"));
    world.executor.pull_ahead(request.build, &request.plan, &request.images, PullPolicy::Always).await;
    assert_eq!(world.engine.calls(Verb::Pull), 1);
    assert_eq!(world.run(JobRequest { pull: PullPolicy::Always, ..request }).await.0, Outcome::Success);
    assert_eq!(world.engine.calls(Verb::Pull), 1);
    // Another build asks anew.
    assert_eq!(world.run(JobRequest { pull: PullPolicy::Always, ..asking(Some("ada")) }).await.0, Outcome::Success);
    assert_eq!(world.engine.calls(Verb::Pull), 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_private_image_that_another_has_pulled_anew_is_asked_for_again() {
    let world = World::new();
    assert_eq!(world.run(asking(Some("ada"))).await.0, Outcome::Success);
    world.engine.tag_pulled(IMAGE, "newer");
    assert_eq!(world.run(asking(Some("ada"))).await.0, Outcome::Success);
    assert_eq!(world.engine.pulled_by().len(), 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_down_gives_nobody_what_others_have_pulled() {
    let world = World::new();
    world.engine.tag_pulled(IMAGE, "1");
    for policy in [PullPolicy::Missing, PullPolicy::Always, PullPolicy::Never] {
        let down = || EngineError::PullFailed { image: IMAGE.to_owned(), why: PullFailure::Unreachable };
        (0..100).for_each(|_| world.engine.fail(Verb::Pull, down()));
        let mut request = asking(None);
        request.pull = policy;
        let (outcome, _) = world.run(request).await;
        let expected = if policy == PullPolicy::Never { ErrorKind::ImageMissing } else { ErrorKind::PullFailed };
        assert_eq!(kind(&outcome), Some(expected), "{outcome:?}");
    }
    assert_eq!(world.engine.calls(Verb::Create), 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_loaded_on_the_engine_is_for_all() {
    let world = World::new();
    world.engine.tag(IMAGE, "loaded");
    assert_eq!(world.run(asking(None)).await.0, Outcome::Success);
    assert_eq!(world.engine.calls(Verb::Pull), 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_does_not_resolve_is_asked_for_once_and_said_at_once() {
    let world = World::new();
    let unknown = EngineError::PullFailed { image: IMAGE.to_owned(), why: PullFailure::NoSuchHost };
    world.engine.fail(Verb::Pull, unknown);
    let begun = tokio::time::Instant::now();
    let (outcome, _) = world.run(asking(None)).await;
    assert_eq!((kind(&outcome), begun.elapsed().as_secs()), (Some(ErrorKind::PullFailed), 0), "{outcome:?}");
    assert_eq!(world.engine.calls(Verb::Pull), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_with_an_image_that_is_not_allowed_ends_before_anything_starts() {
    let world = World::new();
    let mut request = job();
    let mut step = request.plan.steps[0].clone();
    step.image = Some("evil.example/x:1".into());
    request.plan.steps.push(step);
    request.images.rule = Some(Arc::new(|image: &ImageRef, _: &[IpAddr]| match image.registry() {
        Some("evil.example") => Err("the rule says no".to_owned()),
        _ => Ok(()),
    }));
    let (outcome, _) = world.run(request).await;
    let Outcome::Error { kind: ErrorKind::ImageNotAllowed, message } = &outcome else { panic!("{outcome:?}") };
    assert!(message.contains("evil.example/x:1") && message.contains("the rule says no"), "{message}");
    assert_eq!((world.engine.calls(Verb::Create), world.engine.calls(Verb::Pull)), (0, 0));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_pipeline_says_when_an_image_is_pulled_and_else_the_server_does() {
    let world = World::new();
    let mut request = job();
    request.plan.pull = Some(PullPolicy::Always);
    assert_eq!(world.run(request.clone()).await.0, Outcome::Success);
    assert_eq!(world.engine.calls(Verb::Pull), 1);
    request = JobRequest { pull: PullPolicy::Always, ..job() };
    request.plan.pull = Some(PullPolicy::Never);
    assert_eq!(world.run(request.clone()).await.0, Outcome::Success);
    assert_eq!(world.engine.calls(Verb::Pull), 1);
    // A service says it for itself, or has it from the job.
    for (of_service, pulls) in [(Some(PullPolicy::Always), 2), (None, 2)] {
        request.build = longshore_core::BuildId::new();
        request.job = longshore_core::JobId::new();
        request.plan.services = vec![service(of_service)];
        world.engine.tag("db", "db");
        assert_eq!(world.run(request.clone()).await.0, Outcome::Success);
        crate::world::until("the service's image", || world.engine.calls(Verb::Pull) == pulls).await;
    }
    world.end().await;
}

fn service(pull: Option<PullPolicy>) -> ServicePlan {
    ServicePlan {
        name: "db".to_owned(),
        image: "db".into(),
        pull,
        env: std::collections::BTreeMap::new(),
        entrypoint: Vec::new(),
        command: Vec::new(),
        ready: None,
        user: None,
        resources: longshore_core::plan::Resources::default(),
    }
}
