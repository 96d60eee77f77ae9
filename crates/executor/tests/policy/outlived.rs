//! Objects that a job with Docker leaves after its end are reported.

use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use longshore_executor::names::VolumeName;
use longshore_executor::objects::ObjectId;
use longshore_executor::{AttemptId, GuardLog, GuardReports};

use crate::world::{World, job};

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
