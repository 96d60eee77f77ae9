//! What a job may do with a container of its own.

use super::forward;
use super::images::check_platform;
use crate::bodies::Update;
use crate::call::ContainerAction;
use crate::container::ContainerCreate;
use crate::container_call::container_call;
use crate::decision::{Decision, Effect, EngineCall, Reply, Shape};
use crate::filters::Filters;
use crate::guard::Guard;
use crate::job_create::{self, Created};
use crate::names::chosen;
use crate::policy::JobPolicy;
use crate::refusal::{Judged, refuse};
use crate::table::Container;

pub(super) fn judge_container(
    guard: &Guard,
    policy: &JobPolicy,
    reference: &str,
    action: &ContainerAction,
) -> Judged<Decision> {
    let (id, _) = guard.table.container(reference)?;
    let call = container_call(id, action);
    match action {
        ContainerAction::Inspect { .. } => forward(call, Reply::Json(Shape::Container), Effect::None),
        // Processes and files have names as long, and are as many, as the job likes: the guard does not read them.
        ContainerAction::Top { .. } => forward(call, Reply::Processes, Effect::None),
        ContainerAction::Changes
        | ContainerAction::Logs(_)
        | ContainerAction::Stats { .. }
        | ContainerAction::Wait { .. }
        | ContainerAction::Export => forward(call, Reply::Stream, Effect::None),
        ContainerAction::Start { .. } | ContainerAction::Restart { .. } => {
            forward(call, Reply::Status, Effect::ContainerStarted { id: id.to_owned() })
        }
        // An engine lets a paused container go on for a signal, too.
        ContainerAction::Unpause | ContainerAction::Stop { .. } | ContainerAction::Kill { .. } => {
            forward(call, Reply::Status, Effect::ContainerUnpaused { id: id.to_owned() })
        }
        ContainerAction::Resize(_) | ContainerAction::Pause => forward(call, Reply::Status, Effect::None),
        ContainerAction::Rename { name } => {
            let name = chosen("container", name)?;
            let call = container_call(id, &ContainerAction::Rename { name: policy.engine_name(&name) });
            forward(call, Reply::Status, Effect::ContainerRenamed { id: id.to_owned(), name })
        }
        ContainerAction::Update(update) => {
            let (update, entry) = judge_update(guard, id, update)?;
            let call = container_call(id, &ContainerAction::Update(update));
            forward(call, Reply::Json(Shape::Same), Effect::ContainerUpdated { id: id.to_owned(), container: entry })
        }
        ContainerAction::Attach(_) => forward(call, Reply::Hijack, Effect::None),
        ContainerAction::Remove { force, .. } => {
            // Together with its anonymous volumes, which nobody could find afterwards.
            let call = container_call(id, &ContainerAction::Remove { volumes: true, force: *force });
            forward(call, Reply::Status, Effect::ContainerRemoved { id: id.to_owned() })
        }
        ContainerAction::ArchiveInfo { .. }
        | ContainerAction::ArchiveGet { .. }
        | ContainerAction::ArchivePut { .. } => {
            let reply = if matches!(action, ContainerAction::ArchivePut { .. }) { Reply::Status } else { Reply::Files };
            forward(call, reply, Effect::FilesCopied { id: id.to_owned() })
        }
        ContainerAction::Exec(_) => {
            if guard.table.running_execs() >= policy.budget.execs {
                return refuse!(Budget, "the job has {} execs running, its most", policy.budget.execs);
            }
            forward(call, Reply::Json(Shape::Created), Effect::ExecCreated { container: id.to_owned() })
        }
    }
}

/// Judges an update of a container. Limits may only be lowered: they were taken from the budget when the container was
/// created.
fn judge_update(guard: &Guard, id: &str, update: &Update) -> Judged<(Update, Container)> {
    let mut entry = guard.table.containers.get(id).cloned().unwrap_or_default();
    let mut update = update.clone();
    for (name, asked, has) in [
        ("Memory", update.memory, &mut entry.memory),
        ("NanoCpus", update.nano_cpus, &mut entry.nano_cpus),
        ("PidsLimit", update.pids_limit.unwrap_or_default(), &mut entry.pids),
    ] {
        match asked {
            0 => {}
            asked if asked > 0 && asked <= *has => *has = asked,
            _ => return refuse!(Budget, "{name} may only be lowered: the container has {has}"),
        }
    }
    if update.memory_reservation > entry.memory || update.memory_reservation < 0 {
        return refuse!(Budget, "MemoryReservation is larger than the container's memory");
    }
    if update.memory != 0 || update.memory_swap != 0 {
        update.memory = entry.memory;
        update.memory_swap = entry.memory;
    }
    Ok((update, entry))
}

pub(super) fn create_container(
    guard: &Guard,
    policy: &JobPolicy,
    (name, platform, nonce): (&str, &str, &str),
    body: &ContainerCreate,
) -> Judged<Decision> {
    check_platform(guard, platform)?;
    let name = if name.is_empty() { format!("c-{nonce}") } else { chosen("container", name)? };
    let Created { body, entry, volumes, filled, joined } = job_create::judge(guard, policy, &name, body)?;
    let call = EngineCall::new("POST", "/containers/create")
        .query("name", policy.engine_name(&name))
        .query("platform", platform)
        .json(body.write()?);
    let effect = Effect::ContainerCreated { container: entry, volumes, filled, joined };
    forward(call, Reply::Json(Shape::Created), effect)
}

pub(super) fn list_containers(
    policy: &JobPolicy,
    (all, limit, size): (bool, Option<u32>, bool),
    filters: &Filters,
) -> Judged<Decision> {
    let mut filters = filters.clone();
    let shape = Shape::Containers {
        names: filters.take("name"),
        ids: filters.take("id"),
        ancestors: filters.take("ancestor"),
        networks: filters.take("network"),
        volumes: filters.take("volume"),
        limit,
    };
    let call = EngineCall::new("GET", "/containers/json")
        .flag("all", all || limit.is_some())
        .flag("size", size)
        .query("filters", filters.with_label(&policy.label()).write().to_string());
    forward(call, Reply::Json(shape), Effect::None)
}
