//! Describes a sandbox to the engine: a container with a network namespace, our program, and nothing else.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::ListContainersOptionsBuilder;
use longshore_core::DeniedAddresses;
use longshore_executor::EngineError;
use longshore_executor::engine::SandboxSpec;
use longshore_executor::names::{ContainerId, Instance, NetworkName};
use longshore_executor::objects::Kind;
use sha2::{Digest as _, Sha256};

use crate::agent_image::Delivered;
use crate::error::{ApiResult as _, engine_text};
use crate::paths::PROGRAM;
use crate::{inventory, labels};

/// The setting that gives a sandbox `::1`: without it, engines disable IPv6, even on the loopback, if the network has
/// none.
const NO_LOOPBACK6: &str = "net.ipv6.conf.lo.disable_ipv6";

/// The rights of a sandbox that denies addresses: to change its own network, and to become nobody.
const ROUTING_RIGHTS: [&str; 3] = ["NET_ADMIN", "SETGID", "SETUID"];

/// What the jobs of open sandboxes may not reach.
pub(crate) struct AddressRules<'a> {
    pub(crate) denied: &'a [DeniedAddresses],
    pub(crate) allowed: &'a [SocketAddr],
    /// The host's addresses that the engine knows, besides the gateway that the sandbox finds by itself.
    pub(crate) host: &'a [IpAddr],
}

impl AddressRules<'_> {
    fn arguments(&self) -> impl Iterator<Item = String> {
        let host = self.host.iter().filter(|_| self.denied.contains(&DeniedAddresses::Host));
        let denied = self.denied.iter().map(|denied| format!("--deny={denied}"));
        let allowed = self.allowed.iter().map(|allowed| format!("--allow={allowed}"));
        denied.chain(host.map(|address| format!("--deny={address}"))).chain(allowed)
    }
}

/// Returns whether the sandbox did not start only because of its IPv6 loopback.
pub(crate) fn refuses_loopback6(error: &EngineError) -> bool {
    let text = engine_text(error);
    text.contains("disable_ipv6") || text.contains("sysctl")
}

/// Returns the body of the create call. With `idle`, a sandbox that has not been used for that long ends and removes
/// itself.
pub(crate) fn body(
    instance: &Instance,
    sandbox: &SandboxSpec,
    agent: Delivered,
    network: &NetworkName,
    addresses: &AddressRules<'_>,
    idle: Option<Duration>,
    loopback6: bool,
) -> ContainerCreateBody {
    let mut sandbox_labels = match sandbox.owner {
        Some((build, attempt)) => labels::of_attempt(instance, Kind::Sandbox, build, attempt),
        None => labels::of(instance, Kind::Sandbox),
    };
    sandbox_labels.insert(labels::AGENT.to_owned(), agent.hash);
    if let Some(scope) = &sandbox.scope {
        sandbox_labels.insert(labels::SCOPE.to_owned(), scope_hash(scope));
    }
    let mut entrypoint = vec![PROGRAM.to_owned(), "sandbox".to_owned()];
    if let Some(idle) = idle {
        entrypoint.extend(["--idle".to_owned(), idle.as_secs().max(1).to_string()]);
    }
    // Only an open sandbox has addresses to deny. Its process changes the routing rules, and then gives up all rights.
    let denies_some = sandbox.open && !addresses.denied.is_empty();
    if denies_some {
        entrypoint.extend(addresses.arguments());
    }
    let (user, rights) = if !denies_some { ("65534:65534", None) } else { ("0:0", Some(&ROUTING_RIGHTS)) };
    ContainerCreateBody {
        image: Some(agent.image),
        entrypoint: Some(entrypoint),
        cmd: Some(Vec::new()),
        user: Some(user.to_owned()),
        labels: Some(sandbox_labels),
        host_config: Some(HostConfig {
            network_mode: Some(if sandbox.open { network.to_string() } else { "none".to_owned() }),
            // Set only for a sandbox that ends by itself, because no process may be there to remove it.
            auto_remove: Some(idle.is_some()),
            init: Some(false),
            sysctls: loopback6.then(|| HashMap::from([(NO_LOOPBACK6.to_owned(), "0".to_owned())])),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: rights.map(|rights| rights.iter().map(|&name| name.to_owned()).collect()),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            pids_limit: Some(32),
            memory: Some(64 << 20),
            memory_swap: Some(64 << 20),
            ipc_mode: Some("private".to_owned()),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// Returns the running sandboxes that were created for this scope by this version of our program.
pub(crate) async fn find(
    docker: &Docker,
    instance: &Instance,
    scope: &str,
    agent: &str,
) -> Result<Vec<ContainerId>, EngineError> {
    let filters = labels::filter(&[
        (labels::INSTANCE, instance.as_str()),
        (labels::KIND, Kind::Sandbox.as_str()),
        (labels::SCOPE, &scope_hash(scope)),
        (labels::AGENT, agent),
    ]);
    let options = ListContainersOptionsBuilder::new().filters(&filters).build();
    let found = docker.list_containers(Some(options)).await.api("list containers")?;
    Ok(inventory::containers(found).into_iter().map(|container| container.id).collect())
}

/// Hashes a scope, because scopes name repositories. The label only shows that two scopes are the same.
fn scope_hash(scope: &str) -> String {
    hex::encode(&Sha256::digest(scope.as_bytes())[..8])
}
