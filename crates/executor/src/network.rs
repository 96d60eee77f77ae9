//! The one network of an instance: a bridge whose containers cannot reach each other. Only sandboxes are on it.

use std::collections::HashMap;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use tokio::sync::Mutex;

use crate::engine::Shared;
use crate::error::{ApiResult as _, EngineError};
use crate::labels::{self, Kind};
use crate::options::EngineOptions;

/// Knows whether the network is there, and makes it.
pub(crate) struct Network {
    name: String,
    known: Mutex<bool>,
}

impl Network {
    pub(crate) fn new(options: &EngineOptions) -> Self {
        Self { name: format!("longshore-{}", options.instance), known: Mutex::new(false) }
    }

    /// The network's name, the network being there.
    pub(crate) async fn ready(&self, shared: &Shared) -> Result<&str, EngineError> {
        let mut known = self.known.lock().await;
        if !*known {
            match shared.docker.inspect_network(&self.name, None).await.api("inspect a network") {
                Ok(_) => {}
                Err(error) if error.is_not_found() => self.create(shared).await?,
                Err(error) => return Err(error),
            }
            *known = true;
        }
        Ok(&self.name)
    }

    /// It was not there after all: look again next time.
    pub(crate) async fn again(&self) {
        *self.known.lock().await = false;
    }

    async fn create(&self, shared: &Shared) -> Result<(), EngineError> {
        let request = NetworkCreateRequest {
            name: self.name.clone(),
            driver: Some("bridge".to_owned()),
            ipam: shared.options.network_subnet.clone().map(|subnet| Ipam {
                config: Some(vec![IpamConfig { subnet: Some(subnet), ..IpamConfig::default() }]),
                ..Ipam::default()
            }),
            options: Some(HashMap::from([("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())])),
            labels: Some(labels::of(&shared.options.instance, Kind::Network)),
            ..NetworkCreateRequest::default()
        };
        match shared.docker.create_network(request).await.api("create a network") {
            Ok(_) => Ok(()),
            // Another process of ours was quicker.
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
