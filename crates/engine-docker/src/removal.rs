//! Removes our objects from the engine.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use bollard::Docker;
use bollard::query_parameters::{RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, RemoveVolumeOptionsBuilder};
use longshore_executor::objects::ObjectId;
use longshore_executor::{EngineError, remove_patiently};

use crate::error::ApiResult as _;
use crate::unanswered::unless_unanswered;

/// Pause between two tries in the background.
const LATE_PAUSE: Duration = Duration::from_secs(1);
const MAX_LATE_PAUSE: Duration = Duration::from_secs(60);

/// Removes one thing.
pub(crate) async fn remove(docker: &Docker, object: &ObjectId) -> Result<(), EngineError> {
    match object {
        ObjectId::Container(id) => remove_container(docker, id.as_str()).await,
        ObjectId::NamedContainer(name) => remove_container(docker, name.as_str()).await,
        ObjectId::Volume(name) => {
            let options = RemoveVolumeOptionsBuilder::new().build();
            docker.remove_volume(name.as_str(), Some(options)).await.api("remove a volume")
        }
        ObjectId::Network(name) => docker.remove_network(name.as_str()).await.api("remove a network"),
        ObjectId::Image(id) => {
            let options = RemoveImageOptionsBuilder::new().build();
            docker.remove_image(id.as_str(), Some(options), None).await.api("remove an image").map(drop)
        }
    }
}

/// Removes a container, running or not, with its anonymous volumes.
async fn remove_container(docker: &Docker, id: &str) -> Result<(), EngineError> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    unless_unanswered(docker, "remove a container", docker.remove_container(id, Some(options))).await
}

/// Removes what its maker needs no longer, in this order. What the engine does not let go of at once, and all if it is
/// away, is removed in the background.
pub(crate) async fn remove_own(docker: &Docker, objects: Vec<ObjectId>) {
    for object in objects {
        if remove_patiently(&object, || remove(docker, &object)).await.is_err() {
            tokio::spawn(remove_at_last(docker.clone(), object));
        }
    }
}

async fn remove_at_last(docker: Docker, object: ObjectId) {
    let pauses =
        ExponentialBuilder::new().with_min_delay(LATE_PAUSE).with_max_delay(MAX_LATE_PAUSE).without_max_times();
    let _ = (|| remove(&docker, &object))
        .retry(pauses)
        .when(|error| !error.is_not_found())
        .notify(|error, _| tracing::debug!(%object, %error, "not removed yet"))
        .await;
}
