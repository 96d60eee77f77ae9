//! Objects that a job with Docker leaves after its end are reported.

use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use longshore_executor::names::{ContainerId, ContainerName, ImageId, NetworkName, VolumeName};
use longshore_executor::objects::{DockerPart, ObjectId};
use longshore_executor::{AttemptId, EngineError, GuardLog, GuardReports, Refusal};

use crate::engine::{away, refused};
use crate::world::{World, job, until};

/// Collects the reports about objects that are left.
#[derive(Default)]
struct Reported(Mutex<Vec<(AttemptId, Vec<String>)>>);

impl GuardReports for Reported {
    fn report(&self, _: AttemptId, _: GuardLog) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn frozen(&self, _: AttemptId, reason: String) -> BoxFuture<'_, ()> {
        panic!("{reason}")
    }

    fn outlived(&self, attempt: AttemptId, objects: Vec<String>) -> BoxFuture<'_, ()> {
        self.0.lock().unwrap().push((attempt, objects));
        async {}.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_removed_after_a_job_is_told_and_what_goes_is_not() {
    let world = World::new();
    let told = Arc::new(Reported::default());
    world.executor.report_guards_to(told.clone());
    world.executor.abandon(job().attempt_id());
    world.executor.settled().await;
    assert_eq!(*told.0.lock().unwrap(), []);
    world.engine.leave_of_docker(vec![ObjectId::Volume(VolumeName::new("stays").unwrap())]);
    let attempt = job().attempt_id();
    world.executor.abandon(attempt);
    world.executor.settled().await;
    assert_eq!(*told.0.lock().unwrap(), [(attempt, vec!["volume stays".to_owned()])]);
    world.engine.leave_of_docker(Vec::new());
    world.end().await;
}

fn too_long() -> EngineError {
    EngineError::NotUnderstood { what: "list them", reason: "it is longer than 64 MiB".to_owned() }
}

fn one_of_each() -> Vec<ObjectId> {
    vec![
        ObjectId::NamedContainer(ContainerName::new("guard").unwrap()),
        ObjectId::Container(ContainerId::new("inner").unwrap()),
        ObjectId::Image(ImageId::new("made").unwrap()),
        ObjectId::Volume(VolumeName::new("data").unwrap()),
        ObjectId::Network(NetworkName::new("own").unwrap()),
    ]
}

/// Runs the cleanup of a job with Docker of which this part cannot be listed, and returns what is left and what is
/// told.
async fn left_without(part: DockerPart, error: EngineError) -> (Vec<String>, String) {
    let world = World::new();
    let told = Arc::new(Reported::default());
    world.executor.report_guards_to(told.clone());
    world.engine.make_with_docker(one_of_each());
    world.engine.unlistable(Some((part, error)));
    world.executor.abandon(job().attempt_id());
    world.executor.settled().await;
    let left = world.engine.of_docker();
    let told = told.0.lock().unwrap().iter().flat_map(|(_, objects)| objects.clone()).collect::<Vec<_>>().join(", ");
    world.end().await;
    (left, told)
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_read_keeps_nothing_else_and_is_told() {
    for error in [too_long(), away()] {
        let (left, told) = left_without(DockerPart::Images, error.clone()).await;
        assert_eq!(left, ["image made"], "{error}");
        assert_eq!(told, format!("images that cannot be listed ({error})"));
        let (left, told) = left_without(DockerPart::Containers, error.clone()).await;
        // By the network, the rest is found again.
        assert_eq!(left, ["container inner", "network own"], "{error}");
        assert_eq!(told, format!("containers that cannot be listed ({error}), network own"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_can_be_read_again_is_not_told() {
    let world = World::new();
    let told = Arc::new(Reported::default());
    world.executor.report_guards_to(told.clone());
    world.engine.make_with_docker(one_of_each());
    world.engine.unlistable(Some((DockerPart::Volumes, refused(Refusal::Failed))));
    world.executor.abandon(job().attempt_id());
    until("the rest is gone", || world.engine.of_docker() == ["volume data", "network own"]).await;
    world.engine.unlistable(None);
    world.executor.settled().await;
    assert_eq!(world.engine.of_docker(), [""; 0]);
    assert_eq!(*told.0.lock().unwrap(), []);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_removed_for_a_while_goes_once_the_engine_lets_go_of_it() {
    let world = World::new();
    world.engine.make_with_docker(one_of_each());
    world.engine.unlistable(Some((DockerPart::Volumes, refused(Refusal::Failed))));
    world.executor.abandon(job().attempt_id());
    world.executor.settled().await;
    assert_eq!(world.engine.of_docker(), ["volume data", "network own"]);
    world.engine.unlistable(None);
    until("the rest is gone", || world.engine.of_docker().is_empty()).await;
    world.end().await;
}
