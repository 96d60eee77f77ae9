//! Docker in jobs: the access that a job has, its guard, the guard's log, and its builder.

pub(crate) mod builders;
pub(crate) mod docker;
pub(crate) mod guard_log;
pub(crate) mod guards;

use std::time::Duration;

use crate::error::EngineError;
use crate::names::{ContainerId, ContainerName};
use crate::objects::ObjectId;
use crate::removing::removal::Removals;

/// Creates a container of a job. One of its name that an earlier try left is removed before.
pub(crate) async fn create_replacing<F>(
    removals: &Removals,
    name: ContainerName,
    patience: Duration,
    create: impl Fn() -> F,
) -> Result<ContainerId, EngineError>
where
    F: Future<Output = Result<ContainerId, EngineError>>,
{
    match create().await {
        Err(EngineError::NameTaken(_)) => {
            removals.now(&ObjectId::NamedContainer(name), patience).await;
            create().await
        }
        created => created,
    }
}
