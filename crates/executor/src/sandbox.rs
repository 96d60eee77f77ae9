//! Sandboxes: containers that hold a network namespace and do nothing else.
//!
//! A job's container joins one and so starts in half the time. One job at a time; reused only by jobs of the same scope, and only
//! after an agent that said that what it shares with its jobs, `/etc/hosts` above all, is what it was. A server keeps its pool in
//! memory and some fresh ones ready; short-lived processes leave theirs to the next, which finds them by labels and locks them by
//! files. A lock file that is marked is that of a process which died before its job's end: nobody takes that sandbox.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{CreateContainerOptionsBuilder, ListContainersOptionsBuilder};
use sha2::{Digest as _, Sha256};

use crate::agent_image::PROGRAM;
use crate::engine::Shared;
use crate::error::{ApiResult as _, EngineError};
use crate::fault::Fault;
use crate::inventory;
use crate::labels::{self, Kind};
use crate::runtime_dir::{self, FileLock};

/// The setting that gives a sandbox `::1`: engines turn IPv6 off where a network has none, on the loopback too.
const NO_LOOPBACK6: &str = "net.ipv6.conf.lo.disable_ipv6";

/// One sandbox, ours until it is given back.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    scope: String,
    /// Held between processes; `None` in a server.
    lock: Option<FileLock>,
}

impl Sandbox {
    /// The sandbox of a job that is adopted.
    pub(crate) fn adopted(id: String, scope: String) -> Self {
        Self { id, scope, lock: None }
    }
}

/// The pool.
pub(crate) struct Sandboxes {
    pool: Mutex<Pool>,
    /// The engine cannot give a sandbox `::1`: its kernel has no IPv6, or it refuses the setting.
    without_loopback6: AtomicBool,
}

#[derive(Default)]
struct Pool {
    /// Never used.
    fresh: Vec<String>,
    /// Used, by scope; the longest idle first.
    idle: VecDeque<(String, String)>,
    refilling: bool,
}

impl Sandboxes {
    pub(crate) fn new() -> Self {
        Self { pool: Mutex::default(), without_loopback6: AtomicBool::new(false) }
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sandbox that only jobs of `scope` have used. It may have died meanwhile: the start then says so, and the caller takes
    /// another.
    pub(crate) async fn take(shared: &Arc<Shared>, scope: &str) -> Result<Sandbox, EngineError> {
        if let Some(dir) = &shared.options.runtime_dir {
            if let Some(sandbox) = find(shared, dir, scope).await? {
                return Ok(sandbox);
            }
            return create(shared, Some(scope)).await;
        }
        let pooled = {
            let mut pool = shared.sandboxes.pool();
            match pool.idle.iter().rposition(|(of, _)| of == scope) {
                Some(at) => pool.idle.remove(at).map(|(_, id)| id),
                None => pool.fresh.pop(),
            }
        };
        Self::refill(shared);
        match pooled {
            Some(id) => Ok(Sandbox { id, scope: scope.to_owned(), lock: None }),
            None => create(shared, None).await.map(|sandbox| Sandbox { scope: scope.to_owned(), ..sandbox }),
        }
    }

    /// The job is over and its container's processes are gone.
    pub(crate) fn give_back(shared: &Arc<Shared>, sandbox: Sandbox) {
        if shared.options.runtime_dir.is_some() {
            // Letting go of the lock is all: the sandbox ends by itself when nobody comes.
            if let Some(Err(error)) = sandbox.lock.as_ref().map(FileLock::unmark) {
                tracing::debug!(%error, "a sandbox is not left to the next process");
            }
            return;
        }
        let surplus = {
            let mut pool = shared.sandboxes.pool();
            pool.idle.push_back((sandbox.scope, sandbox.id));
            if pool.idle.len() + pool.fresh.len() > shared.options.sandbox_limit { pool.idle.pop_front() } else { None }
        };
        if let Some((_, id)) = surplus {
            shared.removals.container(shared, id);
        }
    }

    /// It is dead or in doubt: nobody gets it again.
    pub(crate) fn discard(shared: &Arc<Shared>, sandbox: Sandbox) {
        shared.removals.sandbox(shared, sandbox);
    }

    /// Makes fresh sandboxes in the background until there are enough, one at a time, and never while a job is being started.
    pub(crate) fn refill(shared: &Arc<Shared>) {
        {
            let mut pool = shared.sandboxes.pool();
            if pool.refilling
                || pool.fresh.len() >= shared.options.sandboxes_ready
                || shared.options.runtime_dir.is_some()
            {
                return;
            }
            pool.refilling = true;
        }
        let of_task = Arc::clone(shared);
        shared.tasks.spawn(async move {
            let shared = of_task;
            loop {
                tokio::select! {
                    () = shared.stop.cancelled() => break,
                    () = shared.starts.quiet() => {}
                }
                match create(&shared, None).await {
                    Ok(sandbox) => {
                        let mut pool = shared.sandboxes.pool();
                        pool.fresh.push(sandbox.id);
                        if pool.fresh.len() >= shared.options.sandboxes_ready {
                            pool.refilling = false;
                            return;
                        }
                    }
                    Err(error) => {
                        // The next job meets the same error, and says it.
                        tracing::warn!(%error, "no sandbox could be made ready");
                        break;
                    }
                }
            }
            shared.sandboxes.pool().refilling = false;
        });
    }

    /// Removes the idle ones that would not end by themselves.
    pub(crate) fn drain(shared: &Arc<Shared>) {
        let (fresh, idle) = {
            let mut pool = shared.sandboxes.pool();
            (std::mem::take(&mut pool.fresh), std::mem::take(&mut pool.idle))
        };
        for id in fresh.into_iter().chain(idle.into_iter().map(|(_, id)| id)) {
            shared.removals.container(shared, id);
        }
    }

    /// Ids of those that wait in the pool.
    pub(crate) fn pooled(&self) -> Vec<String> {
        let pool = self.pool();
        pool.fresh.iter().cloned().chain(pool.idle.iter().map(|(_, id)| id.clone())).collect()
    }
}

/// A running sandbox that an earlier process left for this scope and nobody uses.
async fn find(shared: &Arc<Shared>, dir: &Path, scope: &str) -> Result<Option<Sandbox>, EngineError> {
    let agent = shared.agent.hash().await?;
    let filters = labels::filter(&[
        (labels::INSTANCE, &shared.options.instance),
        (labels::KIND, Kind::Sandbox.as_str()),
        (labels::SCOPE, &scope_hash(scope)),
        (labels::AGENT, agent),
    ]);
    let found = shared
        .docker
        .list_containers(Some(ListContainersOptionsBuilder::new().filters(&filters).build()))
        .await
        .api("list containers")?;
    for id in inventory::containers(found).into_iter().map(|container| container.id) {
        match runtime_dir::try_lock(dir, &id).and_then(|lock| lock.map_or(Ok(None), FileLock::mark)) {
            Ok(Some(lock)) => {
                shared.agent.assume(agent).await;
                return Ok(Some(Sandbox { id, scope: scope.to_owned(), lock: Some(lock) }));
            }
            Ok(None) => {}
            Err(error) => {
                // Without locks two runs could meet in one namespace.
                tracing::warn!(%error, dir = %dir.display(), "the runtime folder cannot be used: no sandbox is reused");
                return Ok(None);
            }
        }
    }
    runtime_dir::forget_old(dir);
    Ok(None)
}

/// Creates and starts one. With a scope, it can be found by the next process.
async fn create(shared: &Arc<Shared>, scope: Option<&str>) -> Result<Sandbox, EngineError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_create(shared, scope).await {
            Ok(sandbox) => return Ok(sandbox),
            Err(error)
                if refuses_loopback6(&error) && !shared.sandboxes.without_loopback6.swap(true, Ordering::Relaxed) =>
            {
                tracing::info!(%error, "sandboxes have no ::1 on this engine");
            }
            Err(error) => match Fault::of(&error) {
                // Someone removed the image or the network since we looked.
                Fault::ImageGone | Fault::AgentMissing if tries < 3 => {
                    shared.agent.again(shared).await;
                }
                Fault::NetworkGone if tries < 3 => shared.network.again().await,
                Fault::AgentMissing | Fault::AgentBroken => {
                    return Err(EngineError::AgentFailed(error.engine_text().to_owned()));
                }
                Fault::ImageGone
                | Fault::NetworkGone
                | Fault::SandboxGone
                | Fault::NoContainerQuota
                | Fault::NoVolumeQuota
                | Fault::NameTaken
                | Fault::Other => return Err(error),
            },
        }
    }
}

/// Whether the engine did not start a sandbox for its IPv6 loopback alone.
fn refuses_loopback6(error: &EngineError) -> bool {
    let text = error.engine_text();
    text.contains("disable_ipv6") || text.contains("sysctl")
}

async fn try_create(shared: &Arc<Shared>, scope: Option<&str>) -> Result<Sandbox, EngineError> {
    let agent = shared.agent.ready(shared).await?;
    let network = shared.network.ready(shared).await?;
    let mut sandbox_labels = labels::of(&shared.options.instance, Kind::Sandbox);
    sandbox_labels.insert(labels::AGENT.to_owned(), agent.hash);
    if let Some(scope) = scope {
        sandbox_labels.insert(labels::SCOPE.to_owned(), scope_hash(scope));
    }
    let mut entrypoint = vec![PROGRAM.to_owned(), "sandbox".to_owned()];
    if let Some(idle) = shared.options.sandbox_idle {
        entrypoint.extend(["--idle".to_owned(), idle.as_secs().max(1).to_string()]);
    }
    let loopback6 = !shared.sandboxes.without_loopback6.load(Ordering::Relaxed);
    let body = ContainerCreateBody {
        image: Some(agent.image),
        entrypoint: Some(entrypoint),
        cmd: Some(Vec::new()),
        user: Some("65534:65534".to_owned()),
        labels: Some(sandbox_labels),
        host_config: Some(HostConfig {
            network_mode: Some(network.to_owned()),
            // Only a sandbox that ends by itself: nobody would be there to remove it.
            auto_remove: Some(shared.options.sandbox_idle.is_some()),
            init: Some(false),
            sysctls: loopback6.then(|| HashMap::from([(NO_LOOPBACK6.to_owned(), "0".to_owned())])),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            pids_limit: Some(32),
            memory: Some(64 << 20),
            memory_swap: Some(64 << 20),
            ipc_mode: Some("private".to_owned()),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let name = format!("longshore-sandbox-{}-{:012x}", shared.options.instance, rand::random::<u64>() >> 16);
    let options = CreateContainerOptionsBuilder::new().name(&name).build();
    let id = match shared.docker.create_container(Some(options), body).await.api("create a container") {
        Ok(created) => created.id,
        Err(error) => {
            // It may be there though the answer was lost.
            if error.is_away() {
                shared.removals.container(shared, name);
            }
            return Err(error);
        }
    };
    // Locked before it runs: only running sandboxes are looked for.
    let lock = match (&shared.options.runtime_dir, scope) {
        (Some(dir), Some(_)) => runtime_dir::try_lock(dir, &id)
            .and_then(|lock| lock.map_or(Ok(None), FileLock::mark))
            .unwrap_or_else(|error| {
                tracing::warn!(%error, dir = %dir.display(), "the runtime folder cannot be used");
                None
            }),
        _ => None,
    };
    if let Err(error) = shared.docker.start_container(&id, None).await.api("start a container") {
        shared.removals.container(shared, id);
        return Err(error);
    }
    Ok(Sandbox { id, scope: scope.unwrap_or_default().to_owned(), lock })
}

/// Scopes name repositories: a label shows only that two are the same.
fn scope_hash(scope: &str) -> String {
    hex::encode(&Sha256::digest(scope.as_bytes())[..8])
}
