//! The networks of a job.

use serde_json::json;

use super::forward;
use crate::bodies::{Connect, NetworkCreate};
use crate::decision::{Decision, Effect, EngineCall, Local, Reply, Shape};
use crate::filters::Filters;
use crate::guard::Guard;
use crate::job_create;
use crate::names::chosen;
use crate::policy::JobPolicy;
use crate::refusal::{Judged, refuse};

/// Returns the id of one of the job's own networks, or of the job's network, which clients call `bridge`.
pub(crate) fn network_of<'a>(guard: &'a Guard, policy: &'a JobPolicy, reference: &str) -> Judged<&'a str> {
    match (reference, policy.network.as_deref()) {
        ("bridge" | "default", Some(network)) => Ok(network),
        (id, Some(network)) if id == network => Ok(network),
        _ => guard.table.network(reference),
    }
}

pub(super) fn create_network(guard: &Guard, policy: &JobPolicy, network: &NetworkCreate) -> Judged<Decision> {
    let name = chosen("network", &network.name)?;
    if matches!(name.as_str(), "bridge" | "host" | "none" | "default")
        || guard.table.networks.values().any(|n| *n == name)
    {
        return Ok(Decision::Answer(Local::Json {
            status: 409,
            body: json!({ "message": format!("network with name {name} already exists") }),
        }));
    }
    if guard.table.networks.len() >= policy.budget.networks {
        return refuse!(Budget, "the job has used all of its {} networks", policy.budget.networks);
    }
    if !network.subnets.is_empty() {
        return refuse!(Network, "a network may not choose its subnet: leave IPAM out");
    }
    if network.ipv6 {
        return refuse!(Network, "networks with IPv6 are not allowed here");
    }
    let is_taken = |subnet: &str| {
        guard.table.subnets.get(subnet).is_some_and(|id| id.is_empty() || guard.table.networks.contains_key(id))
    };
    let subnet = policy.subnets.iter().find(|subnet| !is_taken(subnet)).cloned();
    let stamped = NetworkCreate {
        name: policy.engine_name(&name),
        labels: policy.stamp(network.labels.clone(), &name)?,
        subnets: subnet.iter().cloned().collect(),
        ..network.clone()
    };
    let call = EngineCall::new("POST", "/networks/create").json(stamped.write());
    forward(call, Reply::Json(Shape::Created), Effect::NetworkCreated { name, subnet })
}

pub(super) fn list_networks(filters: &Filters) -> Judged<Decision> {
    let mut filters = filters.clone();
    let shape = Shape::Networks { names: filters.take("name"), ids: filters.take("id") };
    let filters = if filters.0.is_empty() { String::new() } else { filters.write().to_string() };
    forward(EngineCall::new("GET", "/networks").query("filters", filters), Reply::Json(shape), Effect::None)
}

pub(super) fn connect_network(guard: &Guard, policy: &JobPolicy, network: &str, body: &Connect) -> Judged<Decision> {
    let id = network_of(guard, policy, network)?;
    let (container, entry) = guard.table.container(&body.container)?;
    let own = policy.network.as_deref() != Some(id);
    let endpoint = job_create::endpoint(guard, &body.endpoint, &entry.name, own)?;
    let call = EngineCall::new("POST", format!("/networks/{id}/connect"))
        .json(json!({ "Container": container, "EndpointConfig": endpoint.write() }));
    forward(call, Reply::Status, Effect::None)
}

pub(super) fn disconnect_network(guard: &Guard, policy: &JobPolicy, network: &str, body: &Connect) -> Judged<Decision> {
    let id = network_of(guard, policy, network)?;
    let (container, _) = guard.table.container(&body.container)?;
    let call = EngineCall::new("POST", format!("/networks/{id}/disconnect"))
        .json(json!({ "Container": container, "Force": body.force }));
    forward(call, Reply::Status, Effect::None)
}
