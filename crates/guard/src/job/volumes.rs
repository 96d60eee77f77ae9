//! The volumes of a job.

use super::forward;
use crate::bodies::{VolumeContent, VolumeCreate};
use crate::decision::{Decision, Effect, EngineCall, Reply, Shape};
use crate::filters::Filters;
use crate::guard::Guard;
use crate::names::chosen;
use crate::policy::JobPolicy;
use crate::refusal::{Judged, refuse};

pub(super) fn list_volumes(policy: &JobPolicy, filters: &Filters) -> Judged<Decision> {
    let mut filters = filters.clone();
    let shape = Shape::Volumes { names: filters.take("name") };
    let filters = filters.with_label(&policy.label()).write().to_string();
    forward(EngineCall::new("GET", "/volumes").query("filters", filters), Reply::Json(shape), Effect::None)
}

pub(super) fn create_volume(guard: &Guard, policy: &JobPolicy, volume: &VolumeCreate, nonce: &str) -> Judged<Decision> {
    let name = if volume.name.is_empty() { format!("v-{nonce}") } else { chosen("volume", &volume.name)? };
    if !guard.table.volumes.contains(&name) && guard.table.volumes.len() >= policy.budget.volumes {
        return refuse!(Budget, "the job has used all of its {} volumes", policy.budget.volumes);
    }
    if volume.content != VolumeContent::Plain {
        return refuse!(Volume, "a volume may have no driver options: they can mount paths of the host");
    }
    let stamped = VolumeCreate {
        name: policy.engine_name(&name),
        labels: policy.stamp(volume.labels.clone(), &name)?,
        content: VolumeContent::Plain,
    };
    let call = EngineCall::new("POST", "/volumes/create").json(stamped.write());
    forward(call, Reply::Json(Shape::Volume), Effect::VolumeCreated { name, layers: Vec::new() })
}
