//! The network of an instance: a bridge whose containers cannot reach each other. Only sandboxes are on it.

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::Docker;
use bollard::models::{Ipam, IpamConfig, Network as Listed, NetworkCreateRequest};
use bollard::query_parameters::{ListNetworksOptions, ListNetworksOptionsBuilder};
use ipnet::IpNet;
use longshore_core::BuildId;
use longshore_executor::names::{Instance, NetworkName};
use longshore_executor::objects::Kind;
use longshore_executor::{AttemptId, EngineError};
use tokio::sync::Mutex;

use crate::error::{ApiResult as _, misnamed};
use crate::fault::Fault;
use crate::labels;
use crate::options::DockerOptions;

/// The most subnets that are tried for a job's network, beside jobs that start at the same moment.
const TRIES: usize = 16;

/// Knows whether the network exists, and creates it.
#[derive(Debug)]
pub(crate) struct Network {
    instance: Instance,
    subnets: Vec<IpNet>,
    name: NetworkName,
    known: Mutex<bool>,
}

impl Network {
    pub(crate) fn new(options: &DockerOptions) -> Self {
        Self {
            instance: options.instance.clone(),
            subnets: options.subnets.clone(),
            name: options.instance.network_name(),
            known: Mutex::new(false),
        }
    }

    /// Returns the network's name once the network exists.
    pub(crate) async fn ready(&self, docker: &Docker) -> Result<&NetworkName, EngineError> {
        let mut known = self.known.lock().await;
        if !*known {
            if self.keep_one(docker).await? == 0 {
                match docker.inspect_network(self.name.as_str(), None).await.api("inspect a network") {
                    Ok(_) => {}
                    Err(error) if error.is_not_found() => {
                        self.create(docker).await?;
                        self.keep_one(docker).await?;
                    }
                    Err(error) => return Err(error),
                }
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
            enable_ipv6: self.subnets.iter().any(|subnet| matches!(subnet, IpNet::V6(_))).then_some(true),
            ipam: (!self.subnets.is_empty())
                .then(|| Ipam { config: Some(self.subnets.iter().map(config).collect()), ..Ipam::default() }),
            options: Some(HashMap::from([("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())])),
            labels: Some(labels::of(&self.instance, Kind::Network)),
            ..NetworkCreateRequest::default()
        };
        create(docker, request).await
    }

    /// Removes all but the oldest network of the name, and returns how many there were. Engines before 25 create two when two processes ask at once, and
    /// then use neither, so that only the oldest can have containers.
    async fn keep_one(&self, docker: &Docker) -> Result<usize, EngineError> {
        let of_instance = labels::filter(&[(labels::INSTANCE, self.instance.as_str())]);
        let mut found = list(docker, &of_instance).await?;
        found.retain(|network| network.name.as_deref() == Some(self.name.as_str()));
        let count = found.len();
        found.sort_by(|one, other| (&one.created, &one.id).cmp(&(&other.created, &other.id)));
        for id in found.into_iter().skip(1).filter_map(|network| network.id) {
            match docker.remove_network(&id).await.api("remove a network") {
                Err(error) if !error.is_not_found() => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(count)
    }
}

/// Returns the host's addresses on the networks that the engine has now.
pub(crate) async fn host_addresses(docker: &Docker) -> Result<Vec<IpAddr>, EngineError> {
    // Engines do not list the gateway of a subnet that somebody chose. It is the first address.
    let gateway = |config: IpamConfig| {
        let listed = config.gateway.as_deref().and_then(|gateway| gateway.parse().ok());
        listed.or_else(|| match subnet_of(&config)? {
            IpNet::V4(subnet) => subnet.hosts().next().map(IpAddr::V4),
            // Its first host is the address of the network itself.
            IpNet::V6(subnet) => subnet.hosts().nth(1).map(IpAddr::V6),
        })
    };
    Ok(configs(docker).await?.filter_map(gateway).collect())
}

/// Returns the addresses of the networks that the engine has now.
async fn configs(docker: &Docker) -> Result<impl Iterator<Item = IpamConfig>, EngineError> {
    let networks = docker.list_networks(None::<ListNetworksOptions>).await.api("list networks")?;
    Ok(networks.into_iter().filter_map(|network| network.ipam?.config).flatten())
}

fn subnet_of(config: &IpamConfig) -> Option<IpNet> {
    config.subnet.as_deref()?.parse().ok()
}

/// Creates the network of one job, unless an earlier try did. Its containers reach each other, and no other network's.
pub(crate) async fn create_own(
    docker: &Docker,
    options: &DockerOptions,
    build: BuildId,
    attempt: AttemptId,
) -> Result<NetworkName, EngineError> {
    let DockerOptions { instance, docker_subnet, .. } = options;
    let earlier = list(docker, &labels::filter_attempt(instance, attempt)).await?;
    let earlier = earlier.into_iter().filter_map(|network| network.name).filter(|name| attempt.is_network_name(name));
    if let Some(name) = earlier.min() {
        return NetworkName::new(name).map_err(misnamed("list networks"));
    }
    let name = attempt.new_network_name();
    let request = |subnet: Option<IpNet>| NetworkCreateRequest {
        name: name.to_string(),
        driver: Some("bridge".to_owned()),
        ipam: subnet.map(|subnet| Ipam { config: Some(vec![config(&subnet)]), ..Ipam::default() }),
        labels: Some(labels::of_attempt(instance, Kind::Network, build, attempt)),
        ..NetworkCreateRequest::default()
    };
    if let Some(range) = docker_subnet {
        for _ in 0..TRIES {
            let taken: Vec<IpNet> = configs(docker).await?.filter_map(|config| subnet_of(&config)).collect();
            let Some(subnet) = range.of_new_job(&taken, rand::random()) else { break };
            match create(docker, request(Some(subnet.into()))).await {
                // Another job was given it meanwhile.
                Err(error) if Fault::of(&error) == Fault::SubnetTaken => {}
                created => return created.map(|()| name),
            }
        }
    }
    create(docker, request(None)).await.map(|()| name)
}

async fn create(docker: &Docker, request: NetworkCreateRequest) -> Result<(), EngineError> {
    match docker.create_network(request).await.api("create a network") {
        Ok(_) => Ok(()),
        // Another Longshore process has created it.
        Err(error) if error.is_conflict() => Ok(()),
        Err(error) => Err(error),
    }
}

async fn list(docker: &Docker, filters: &HashMap<String, Vec<String>>) -> Result<Vec<Listed>, EngineError> {
    let options = ListNetworksOptionsBuilder::new().filters(filters).build();
    docker.list_networks(Some(options)).await.api("list networks")
}

fn config(subnet: &IpNet) -> IpamConfig {
    IpamConfig { subnet: Some(subnet.to_string()), ..IpamConfig::default() }
}
