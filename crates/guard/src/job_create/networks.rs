//! Judges what a job's container has of networks: the ports that it publishes, the hosts that it names, and the networks
//! of the job that it is on.

use std::collections::BTreeMap;

use crate::container::{ContainerCreate, Endpoint};
use crate::guard::Guard;
use crate::host_config::{HostConfig, NetworkMode, Published};
use crate::job::network_of;
use crate::names::is_host_name;
use crate::policy::JobPolicy;
use crate::refusal::{Judged, refuse};
use crate::table::{Port, Protocol};

/// The oldest minor version of the API that can attach a new container to several networks.
const SEVERAL_NETWORKS_API: u32 = 44;

/// Takes the published ports out of the request: they listen in the job's sandbox, and nowhere on the host.
pub(super) fn judge_ports(policy: &JobPolicy, host: &mut HostConfig) -> Judged<Vec<Port>> {
    let (asked, all) = (std::mem::take(&mut host.published), std::mem::take(&mut host.publish_all));
    if asked.is_empty() && !all {
        return Ok(Vec::new());
    }
    if policy.sandbox.is_none() {
        return refuse!(
            Publish,
            "publishing ports on the host is not allowed: containers of the job reach each other by name on a network of the job"
        );
    }
    if matches!(host.network, NetworkMode::Container(_)) {
        return refuse!(
            Publish,
            "a container that joins another's network cannot publish ports: publish them on the other one"
        );
    }
    asked.iter().map(published_port).collect()
}

fn published_port(asked: &Published) -> Judged<Port> {
    if asked.port.ends_with("/sctp") {
        return refuse!(
            Publish,
            "sctp ports cannot be published: reach the container by its name on a network of the job"
        );
    }
    let container = Protocol::of_port(&asked.port);
    let host = match asked.host_port.split_once('-') {
        _ if asked.host_port.is_empty() => Some(None),
        Some((first, last)) => first.parse().ok().zip(last.parse().ok()).map(Some),
        None => asked.host_port.parse().ok().map(|port: u16| (port > 0).then_some((port, port))),
    };
    match (container, host) {
        (Some((container, protocol)), Some(asked)) if asked.is_none_or(|(first, last)| first <= last) => {
            Ok(Port { container, protocol, asked, bound: None })
        }
        _ => refuse!(
            Publish,
            "the ports {:?} and {:?} are not valid: publish each port by itself",
            asked.host_port,
            asked.port
        ),
    }
}

pub(super) fn judge_host(policy: &JobPolicy, entry: &str) -> Judged<String> {
    let Some((name, address)) = entry.split_once([':', '=']).filter(|(name, _)| is_host_name(name)) else {
        return refuse!(Hosts, "{entry:?} is not a host name and an address");
    };
    let address = match (address, policy.gateway) {
        ("host-gateway", Some(gateway)) => gateway.to_string(),
        ("host-gateway", None) => {
            return refuse!(Hosts, "the job's containers have no gateway to the host: `host-gateway` is not available");
        }
        (address, _) => match address.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => return refuse!(Hosts, "{entry:?} is not a host name and an address"),
        },
    };
    Ok(format!("{name}:{address}"))
}

pub(super) fn judge_networks(guard: &Guard, policy: &JobPolicy, name: &str, body: &mut ContainerCreate) -> Judged<()> {
    let links = std::mem::take(&mut body.host.links);
    let asked = std::mem::take(&mut body.networks);
    let mode = std::mem::take(&mut body.host.network);
    let spelled = match &mode {
        NetworkMode::Default => "default".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Container(container) => format!("container:{container}"),
        NetworkMode::Named(network) => network.clone(),
    };
    let target = match mode {
        NetworkMode::None => None,
        NetworkMode::Default => policy.network.clone(),
        NetworkMode::Named(network) => Some(network_of(guard, policy, &network)?.to_owned()),
        NetworkMode::Container(container) => {
            let (id, _) = guard.table.container(&container)?;
            if !links.is_empty() || asked.iter().any(|(key, end)| *key != spelled || *end != Endpoint::default()) {
                return refuse!(Network, "a container that joins another's network cannot have networks of its own");
            }
            body.host.network = NetworkMode::Container(id.to_owned());
            return Ok(());
        }
    };
    let mut networks = BTreeMap::new();
    for (key, end) in &asked {
        let is_default = matches!(key.as_str(), "default" | "bridge");
        if key == "none" || (is_default && policy.network.is_none()) {
            if target.is_some() || *end != Endpoint::default() {
                return refuse!(Network, "the network {key} takes no settings and cannot be combined with others");
            }
            continue;
        }
        let id = network_of(guard, policy, key)?;
        // The engine joins the networks listed here, whatever the mode says.
        if target.as_deref() != Some(id) && (target.is_none() || guard.engine.api < SEVERAL_NETWORKS_API) {
            return refuse!(Network, "EndpointsConfig names the network {key}, but NetworkMode is {spelled}");
        }
        let own = policy.network.as_deref() != Some(id);
        networks.insert(id.to_owned(), endpoint(guard, end, name, own)?);
    }
    let Some(target) = target else {
        if !links.is_empty() {
            return refuse!(Link, "a container without a network cannot have links");
        }
        body.host.network = NetworkMode::None;
        return Ok(());
    };
    let own = policy.network.as_deref() != Some(target.as_str());
    let first = match networks.remove(&target) {
        Some(first) => first,
        None => endpoint(guard, &Endpoint::default(), name, own)?,
    };
    let links = Endpoint { links, ..Endpoint::default() };
    let links = endpoint(guard, &links, name, own)?.links;
    networks.insert(target.clone(), Endpoint { links: [first.links, links].concat(), ..first });
    body.networks = networks;
    body.host.network = NetworkMode::Named(target);
    Ok(())
}

/// Returns a container's endpoint on a network: with the name that the client knows as an alias, and links to own
/// containers only.
pub(crate) fn endpoint(guard: &Guard, asked: &Endpoint, name: &str, own: bool) -> Judged<Endpoint> {
    if asked.address.is_some() && !own {
        return refuse!(Network, "a container may not choose its address on the job's network");
    }
    let mut aliases = asked.aliases.clone();
    if is_host_name(name) && !aliases.iter().any(|alias| alias == name) {
        aliases.push(name.to_owned());
    }
    let links = asked.links.iter().map(|link| {
        let (container, alias) = link.split_once(':').unwrap_or((link, link));
        let alias = alias.trim_start_matches('/');
        let (id, _) = guard.table.container(container.trim_start_matches('/'))?;
        if is_host_name(alias) {
            Ok(format!("{id}:{alias}"))
        } else {
            refuse!(Link, "{alias:?} is not a valid host name")
        }
    });
    Ok(Endpoint { aliases, links: links.collect::<Judged<_>>()?, address: asked.address.clone() })
}
