//! Containers of the agent's image that live for one call.

use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::CreateContainerOptionsBuilder;
use longshore_executor::EngineError;
use longshore_executor::names::ContainerName;
use longshore_executor::objects::ObjectId;

use crate::error::{ApiResult as _, misnamed};
use crate::removal;

/// A container that lives for one call. Dropped before it is removed, it is removed in the background.
pub(crate) struct Temporary {
    docker: Docker,
    id: String,
    /// `None` once it is removed.
    name: Option<ContainerName>,
}

impl Temporary {
    /// Creates the container. It has the name of one of the agent with this hash.
    pub(crate) async fn create(
        docker: &Docker,
        agent_hash: &str,
        body: ContainerCreateBody,
    ) -> Result<Self, EngineError> {
        let name = format!("longshore-agent-{agent_hash}-{:08x}", rand::random::<u32>());
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let name = ContainerName::new(name).map_err(misnamed("create a container"))?;
        // If the answer is lost or nobody waits for it, there may be a container all the same.
        let mut made = Self { docker: docker.clone(), id: String::new(), name: Some(name) };
        match docker.create_container(Some(options), body).await.api("create a container") {
            Ok(created) => made.id = created.id,
            Err(error) => {
                made.name.take_if(|_| !error.is_away());
                return Err(error);
            }
        }
        Ok(made)
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Removes it. Its volumes have names, so they stay.
    pub(crate) async fn remove(mut self) {
        if let Some(name) = self.name.take() {
            removal::remove_own(&self.docker, vec![ObjectId::NamedContainer(name)]).await;
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = self.name.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let docker = self.docker.clone();
            runtime.spawn(async move { removal::remove_own(&docker, vec![ObjectId::NamedContainer(name)]).await });
        }
    }
}
