//! The network of an instance: a bridge whose containers cannot reach each other. Only sandboxes are on it.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use longshore_executor::EngineError;
use longshore_executor::names::{Instance, NetworkName};
use longshore_executor::objects::Kind;
use tokio::sync::Mutex;

use crate::error::ApiResult as _;
use crate::labels;
use crate::options::DockerOptions;

/// Tracks whether the network is there, and creates it.
#[derive(Debug)]
pub(crate) struct Network {
    instance: Instance,
    subnet: Option<String>,
    name: NetworkName,
    known: Mutex<bool>,
}

impl Network {
    pub(crate) fn new(options: &DockerOptions) -> Self {
        Self {
            instance: options.instance.clone(),
            subnet: options.network_subnet.clone(),
            name: options.instance.network_name(),
            known: Mutex::new(false),
        }
    }

    /// Returns the network's name once the network exists.
    pub(crate) async fn ready(&self, docker: &Docker) -> Result<&NetworkName, EngineError> {
        let mut known = self.known.lock().await;
        if !*known {
            match docker.inspect_network(self.name.as_str(), None).await.api("inspect a network") {
                Ok(_) => {}
                Err(error) if error.is_not_found() => self.create(docker).await?,
                Err(error) => return Err(error),
            }
            *known = true;
        }
        Ok(&self.name)
    }

    /// Forgets that the network exists; the next [`Network::ready`] checks again.
    pub(crate) async fn forget(&self) {
        *self.known.lock().await = false;
    }

    async fn create(&self, docker: &Docker) -> Result<(), EngineError> {
        let request = NetworkCreateRequest {
            name: self.name.to_string(),
            driver: Some("bridge".to_owned()),
            ipam: self.subnet.clone().map(|subnet| Ipam {
                config: Some(vec![IpamConfig { subnet: Some(subnet), ..IpamConfig::default() }]),
                ..Ipam::default()
            }),
            options: Some(HashMap::from([("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())])),
            labels: Some(labels::of(&self.instance, Kind::Network)),
            ..NetworkCreateRequest::default()
        };
        match docker.create_network(request).await.api("create a network") {
            Ok(_) => Ok(()),
            // Another process of ours has created it.
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
