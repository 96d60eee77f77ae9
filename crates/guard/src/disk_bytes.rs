//! What a job takes of the engine's disk besides its images: the files that its containers have of their own, what the
//! engine keeps of them (their output, and files that it mounts in them), and the volumes that they can write to.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::decision::EngineCall;
use crate::filters::Filters;
use crate::guard::Guard;
use crate::policy::Policy;
use crate::refusal::{Refusal, Rule};
use crate::table::full_id;

/// What the engine's list of the job's containers says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measured {
    /// The bytes of the containers' own files, and of what a build runs.
    pub container_bytes: u64,
    /// The names of all volumes that the job can fill: those of its pod, those that it has made, and those that its
    /// containers have without a name.
    pub volumes: BTreeSet<String>,
    /// The ids of the containers.
    pub containers: BTreeSet<String>,
    /// The ids of containers whose own files the engine could not measure. It cannot where folders are nested deeper than
    /// a path may be long, and while it removes a container.
    pub unmeasured: BTreeSet<String>,
}

impl Guard {
    /// Returns the path of the list of the job's containers with their bytes. `None` if nothing is measured.
    #[must_use]
    pub fn sizes_path(&self) -> Option<String> {
        let Policy::Job(policy) = &self.policy else { return None };
        policy.disk.as_ref()?;
        let filters = Filters::default().with_label(&policy.label()).write().to_string();
        let call = EngineCall::new("GET", "/containers/json").flag("all", true).flag("size", true);
        Some(call.query("filters", filters).path)
    }

    /// Reads that list.
    #[must_use]
    pub fn measured(&self, list: &Value) -> Measured {
        let Policy::Job(policy) = &self.policy else { return Measured::default() };
        let containers: &[Value] = list.as_array().map_or(&[], Vec::as_slice);
        let mounts = containers.iter().flat_map(|container| container["Mounts"].as_array().into_iter().flatten());
        let mounted = mounts.filter(|mount| mount["Type"] == "volume").filter_map(|mount| mount["Name"].as_str());
        let own = self.table.volumes.iter().map(|name| policy.engine_name(name));
        let of_pod = policy.disk.iter().flat_map(|disk| disk.volumes.iter().cloned());
        let volumes = mounted.map(str::to_owned).chain(own).chain(of_pod).filter(|name| is_volume_name(name));
        let bytes = containers.iter().filter_map(|container| container["SizeRw"].as_u64());
        // An engine that cannot tell says -1.
        let is_unmeasured = |container: &&Value| {
            container["SizeRw"].as_i64().is_some_and(|bytes| bytes < 0) && container["State"] != "removing"
        };
        let unmeasured = containers.iter().filter(is_unmeasured).filter_map(|container| container["Id"].as_str());
        let ids = containers.iter().filter_map(|container| container["Id"].as_str().and_then(full_id));
        Measured {
            containers: ids.collect(),
            container_bytes: bytes.fold(0, u64::saturating_add),
            volumes: volumes.collect(),
            unmeasured: unmeasured.map(str::to_owned).collect(),
        }
    }

    /// Judges what the job takes. Over the budget, every request is refused from now on, and the reason is returned.
    pub fn judge_disk_bytes(&mut self, bytes: u64) -> Option<String> {
        let Policy::Job(policy) = &self.policy else { return None };
        let most = policy.budget.disk_bytes;
        (bytes > most).then(|| {
            self.end_for_disk(format!(
                "what the containers that the job has started write, with their volumes and the workspace, takes {} MiB of the disk, and may take {} MiB (LONGSHORE_DOCKER_DISK_MAX_MIB)",
                bytes >> 20,
                most >> 20
            ))
        })
    }

    /// Refuses every request from now on, for this reason, which is returned.
    pub fn end_for_disk(&mut self, reason: String) -> String {
        self.over_disk.insert(format!("the job ends, because {reason}")).clone()
    }

    /// Returns why every request is refused since the job is over its budget.
    #[must_use]
    pub fn over_disk(&self) -> Option<Refusal> {
        self.over_disk.as_ref().map(|reason| Refusal::new(Rule::Budget, reason.clone()))
    }

    /// Returns the calls that end what runs in the containers of that list.
    #[must_use]
    pub fn kills(&self, list: &Value) -> Vec<EngineCall> {
        let running = list.as_array().into_iter().flatten().filter(|container| container["State"] == "running");
        let ids = running.filter_map(|container| container["Id"].as_str().and_then(full_id));
        ids.map(|id| EngineCall::new("POST", format!("/containers/{id}/kill"))).collect()
    }
}

/// Whether an engine gives volumes such names: they are names of folders.
fn is_volume_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}
