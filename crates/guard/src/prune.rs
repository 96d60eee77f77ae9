//! Prunes: what a job does not use any more is removed, object by object. The engine's own prune would remove
//! everybody's objects.

use serde_json::{Value, json};

use crate::check::Check;
use crate::decision::{Decision, Effect, EngineCall, Forward, Local, Reply};
use crate::filters::Filters;
use crate::guard::Guard;
use crate::policy::JobPolicy;
use crate::refusal::Judged;
use crate::table::full_id;

/// The oldest minor version of the API whose prune leaves volumes with names alone.
const NAMED_STAY: u32 = 42;

/// A prune of one kind of objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Prune {
    kind: Prunable,
    /// The engine's list of what could go: its path and query.
    pub list: String,
    /// Whether volumes with names go, too.
    with_named: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prunable {
    Containers,
    Networks,
    Volumes,
    /// The job's images have names, and go by `docker rmi`.
    Images,
    /// No build leaves a cache.
    Builds,
}

impl Prune {
    /// Returns the answer, with what is gone.
    #[must_use]
    pub fn answer(&self, gone: &[String]) -> Value {
        let gone = if gone.is_empty() { Value::Null } else { json!(gone) };
        match self.kind {
            Prunable::Containers => json!({ "ContainersDeleted": gone, "SpaceReclaimed": 0 }),
            Prunable::Networks => json!({ "NetworksDeleted": gone }),
            Prunable::Volumes => json!({ "VolumesDeleted": gone, "SpaceReclaimed": 0 }),
            Prunable::Images => json!({ "ImagesDeleted": null, "SpaceReclaimed": 0 }),
            Prunable::Builds => json!({ "CachesDeleted": null, "SpaceReclaimed": 0 }),
        }
    }
}

pub(crate) fn judge(guard: &Guard, policy: &JobPolicy, kind: Prunable, filters: &Filters) -> Judged<Decision> {
    let mut filters = filters.clone();
    let all = filters.take("all");
    let list = match kind {
        Prunable::Containers => {
            filters.0.insert("status".to_owned(), ["created", "exited", "dead"].map(str::to_owned).to_vec());
            EngineCall::new("GET", "/containers/json").flag("all", true)
        }
        Prunable::Networks => EngineCall::new("GET", "/networks"),
        Prunable::Volumes => {
            filters.0.insert("dangling".to_owned(), vec!["true".to_owned()]);
            EngineCall::new("GET", "/volumes")
        }
        Prunable::Images | Prunable::Builds => {
            let nothing = Prune { kind, list: String::new(), with_named: false };
            return Ok(Decision::Answer(Local::Json { status: 200, body: nothing.answer(&[]) }));
        }
    };
    let list = list.query("filters", filters.with_label(&policy.label()).write().to_string()).path;
    let with_named = guard.engine.api < NAMED_STAY || all.iter().any(|all| matches!(all.as_str(), "1" | "true"));
    Ok(Decision::Prune(Prune { kind, list, with_named }))
}

impl Guard {
    /// Returns what goes of the engine's list, as the client calls it, with the calls that remove it. The engine
    /// refuses those for containers and volumes that are in use by then.
    #[must_use]
    pub fn prunable(&self, prune: &Prune, listed: &Value) -> Vec<(String, Forward)> {
        let items = listed.as_array().or_else(|| listed["Volumes"].as_array()).map_or(&[][..], Vec::as_slice);
        items.iter().filter_map(|item| self.prunable_one(prune, item)).collect()
    }

    fn prunable_one(&self, prune: &Prune, item: &Value) -> Option<(String, Forward)> {
        let id = || item["Id"].as_str().and_then(full_id);
        let (shown, call, effect, check) = match prune.kind {
            Prunable::Containers => {
                let id = id().filter(|id| self.table.containers.contains_key(id))?;
                let call = EngineCall::new("DELETE", format!("/containers/{id}")).flag("v", true);
                (id.clone(), call, Effect::ContainerRemoved { id }, None)
            }
            Prunable::Networks => {
                let id = id()?;
                let name = self.table.networks.get(&id)?.clone();
                let sandbox = self.sandbox().map(str::to_owned);
                let check = Check::Unused { network: id.clone(), sandbox };
                let call = EngineCall::new("DELETE", format!("/networks/{id}"));
                (name, call, Effect::NetworkRemoved { id }, Some(check))
            }
            Prunable::Volumes => {
                let on_engine = item["Name"].as_str()?;
                let name = on_engine.strip_prefix(&self.policy.prefix())?;
                let name = self.table.volumes.get(name).filter(|name| prune.with_named || name.starts_with("v-"))?;
                let call = EngineCall::new("DELETE", format!("/volumes/{on_engine}"));
                (name.clone(), call, Effect::VolumeRemoved { name: name.clone() }, None)
            }
            Prunable::Images | Prunable::Builds => return None,
        };
        Some((shown, Forward { call, reply: Reply::Status, effect, checks: check.into_iter().collect(), build: None }))
    }
}
