//! The caches of `longshore run`: records that all runs of a user on one engine share, and the process that maintains
//! them.
//!
//! What a run has saved is written before it ends. Measuring, flattening and removing take containers and copies, and
//! nobody waits for them: the run starts this program again as a process of its own, and ends. What this process leaves
//! undone, because it was killed for example, the next one does.

use std::{
    io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use longshore_core::{RepoId, Timestamp};
use longshore_engine_docker::{DockerEngine, DockerOptions};
use longshore_executor::{Executor, ExecutorOptions, names::Instance, runtime_dir};
use longshore_store::{Store, repos};
use sha2::{Digest as _, Sha256};

use super::{ABANDONED_AFTER, local, runs_dir};
use crate::{
    args::{CacheUpkeep, Run},
    cache_upkeep::{Upkeep, end_old_uses, unmeasured},
    caches::Caches,
    commands::print_note,
};

/// The most bytes that the caches of all runs of a user take on one engine.
const MAX_CACHE_BYTES: u64 = 20 << 30;
/// If more volumes than this are unmeasured, the run waits for the process. Where processes do not outlive the run, as in
/// a container, nothing else would keep the caches within the budget.
const MAX_UNMEASURED: usize = 16;

/// Opens the records of the caches that runs share, and finds this folder's. A run whose records cannot be opened has no
/// caches.
pub(super) async fn open(args: &Run, instance: &Instance) -> Option<Caches> {
    let opened = async {
        let store = open_records(&args.engine.docker_host, instance).await?;
        end_old_uses(&store, ABANDONED_AFTER).await?;
        let folder = args.dir.canonicalize()?;
        let name = format!("local/{}", hex::encode(&Sha256::digest(folder.as_os_str().as_encoded_bytes())[..16]));
        let repo = match repos::by_name(&store, &name).await? {
            Some(repo) => repo.id,
            None => create_repo(&store, &name).await?,
        };
        anyhow::Ok(Caches::new(store, Some(repo), Duration::ZERO))
    };
    match opened.await {
        Ok(caches) => Some(caches),
        Err(error) => {
            let _ = print_note(&format!("caches are not saved: {error:#}"));
            None
        }
    }
}

/// Leaves the caches to a process of their own. Waits for it only if earlier ones have left it much to do.
pub(super) async fn leave(docker_host: &str, instance: &Instance, caches: &Caches) {
    let waits = unmeasured(caches.store()).await.is_ok_and(|volumes| volumes.len() > MAX_UNMEASURED);
    caches.store().close().await;
    let waited = match start(docker_host, instance) {
        Ok(mut child) if waits => tokio::task::spawn_blocking(move || child.wait().map(drop)).await,
        Ok(_) => Ok(Ok(())),
        Err(error) => Ok(Err(error)),
    };
    if let Err(error) = waited.map_err(io::Error::other).flatten() {
        let _ = print_note(&format!("caches are not cleaned up; the next run tries again: {error}"));
    }
}

/// Starts `longshore cache-upkeep`. Its folder and its streams keep nothing of the run's in use.
fn start(docker_host: &str, instance: &Instance) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg0("longshore")
        .args(["cache-upkeep", "--docker-host", docker_host, "--instance", instance.as_str()])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// `longshore cache-upkeep`: measures what runs have saved, and removes entries over the budget. One process at a time.
pub(crate) fn maintain(args: &CacheUpkeep) -> crate::commands::Result {
    // Signals from the run's terminal do not reach this process.
    let _ = rustix::process::setsid();
    crate::commands::runtime()?.block_on(async {
        let instance = Instance::new(args.instance.clone())?;
        let name = name_of_records(&args.docker_host, &instance);
        // A process that already waits begins later, and does everything that this one would.
        let Some(next) = runtime_dir::try_lock(&runs_dir(), &format!("{name}-next"))? else {
            return Ok(ExitCode::SUCCESS);
        };
        let _turn = runtime_dir::lock(Some(&runs_dir()), &name).await;
        drop(next);
        let store = open_records(&args.docker_host, &instance).await?;
        let docker =
            DockerOptions { runtime_dir: Some(runs_dir()), ..DockerOptions::new(args.docker_host.clone(), instance) };
        let engine = DockerEngine::connect(docker).await?;
        let options = ExecutorOptions { sandboxes_ready: 0, ..ExecutorOptions::default() };
        let executor = Executor::new(Arc::new(engine), options);
        let caches = Caches::new(store.clone(), None, Duration::ZERO);
        let upkeep = Upkeep::new(executor.clone(), caches, false, MAX_CACHE_BYTES);
        let done = upkeep.until_done().await;
        executor.shutdown(true).await;
        store.close().await;
        done?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn open_records(docker_host: &str, instance: &Instance) -> anyhow::Result<Store> {
    let folder = cache_dir().context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(Store::open_shared(&folder.join(name_of_records(docker_host, instance))).await?)
}

/// Returns the name of the records for an engine.
fn name_of_records(docker_host: &str, instance: &Instance) -> String {
    format!("caches-{instance}-{}", hex::encode(&Sha256::digest(docker_host.as_bytes())[..4]))
}

async fn create_repo(store: &Store, name: &str) -> anyhow::Result<RepoId> {
    let mut tx = store.write().await?;
    let repo = repos::create(&mut tx, &local(name), Timestamp::now()).await;
    match repo {
        Ok(repo) => {
            tx.commit().await?;
            Ok(repo.id)
        }
        Err(error) => {
            drop(tx);
            // Another run of this folder was first.
            repos::by_name(store, name).await?.map(|repo| repo.id).ok_or_else(|| error.into())
        }
    }
}

/// Returns the folder where this user's programs keep what they can make again.
pub(super) fn cache_dir() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    base.map(|base| base.join("longshore"))
}
