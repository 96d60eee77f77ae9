//! Removes our objects from the engine.

use bollard::Docker;
use bollard::query_parameters::{RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, RemoveVolumeOptionsBuilder};
use longshore_executor::objects::ObjectId;
use longshore_executor::{EngineError, remove_patiently};

use crate::error::ApiResult as _;

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
    docker.remove_container(id, Some(options)).await.api("remove a container")
}

/// Removes a container that its maker needs no longer, however long the engine needs to let go of it.
pub(crate) async fn remove_own_container(docker: &Docker, id: &str) -> Result<(), EngineError> {
    remove_patiently(&id, || remove_container(docker, id)).await
}
