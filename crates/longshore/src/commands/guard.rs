//! `longshore guard`: stands between a client and the engine's socket, until it is told to end.

use std::{io::Write as _, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use longshore_executor::{ENGINE_AWAY, JOB_ENDS, LISTENS};
use longshore_guard::{Policy, ServerPolicy};
use longshore_guard_transport::{Error, Options, Proxy};
use rustix::{
    process::{DumpableBehavior, set_dumpable_behavior},
    thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::ExitError;
use crate::{args::Guard, config, guard_files, supervisor, system_calls};

/// The pause before an engine that is away is asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The same for an engine that the guard cannot speak to: somebody has to replace it.
const LONG_PAUSE: Duration = Duration::from_secs(30);

/// Its container may have few processes, on a machine with many processors.
const MAX_BLOCKING_THREADS: usize = 16;

pub(crate) fn run(args: Guard) -> super::Result {
    let policy = policy(&args)?;
    let waits = matches!(policy, Policy::Server(_));
    if waits {
        let log = std::env::var("LONGSHORE_LOG").ok().filter(|log| !log.is_empty());
        let json = std::env::var("LONGSHORE_LOG_JSON").is_ok_and(|json| json == "true");
        super::serve::start_log(log.as_deref().unwrap_or("info"), json)?;
        give_up_rights()?;
    }
    if args.child {
        supervisor::end_with_parent()?;
    }
    super::serve::use_all_descriptors();
    // One thread: what comes from a client goes to the engine without a switch of threads, which would cost more than
    // everything else that happens to it.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.max_blocking_threads(MAX_BLOCKING_THREADS).enable_all().build()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let Guard { state, audit, instance, .. } = args;
        let options = Options { state, audit, instance, ..Options::new(args.socket, policy) };
        let proxy = tokio::select! {
            connected = connect(options, waits.then(|| guard_files::trouble_file(&args.listen))) => connected.map_err(|error| {
                if !waits && let Error::Away { .. } = &error {
                    let _ = writeln!(std::io::stdout(), "{ENGINE_AWAY}{error}");
                }
                ExitError::new(1, error.to_string())
            })?,
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
        };
        let listener =
            Proxy::listen(&args.listen, args.mode).await.map_err(|error| ExitError::new(1, error.to_string()))?;
        // The process that started the guard waits for this.
        writeln!(std::io::stdout(), "{LISTENS}{}", args.listen.display())?;
        let stop = CancellationToken::new();
        let serving = tokio::spawn(Arc::clone(&proxy).serve(listener, stop.clone()));
        let (mut warned, mut over_disk) = (false, proxy.over_disk());
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                reason = proxy.frozen(), if !warned => {
                    writeln!(std::io::stdout(), "{reason}")?;
                    warned = true;
                }
                Ok(()) = over_disk.changed() => {
                    let reason = over_disk.borrow_and_update().clone().unwrap_or_default();
                    writeln!(std::io::stdout(), "{JOB_ENDS}{reason}")?;
                }
            }
        }
        stop.cancel();
        serving.await?;
        if args.remove_on_exit {
            proxy.remove_all().await.map_err(|error| ExitError::new(1, error.to_string()))?;
        }
        // A client that finds the socket would wait for an answer.
        let _ = std::fs::remove_file(&args.listen);
        Ok(ExitCode::SUCCESS)
    })
}

fn policy(args: &Guard) -> anyhow::Result<Policy> {
    if args.policy.server {
        let subnets = config::subnets(&args.subnets)?.iter().map(ToString::to_string).collect();
        let docker_subnet =
            config::docker_subnet(&args.docker_subnet)?.map(|range| range.to_string()).unwrap_or_default();
        let capabilities = config::capabilities(&args.capabilities)?;
        let builder = Some(args.buildkit_image.clone()).filter(|image| !image.is_empty());
        return Ok(Policy::Server(ServerPolicy {
            instance: None,
            subnets,
            docker_subnet,
            raw: args.raw,
            builder,
            capabilities,
        }));
    }
    let (text, origin) =
        args.policy.read().map_err(|error| ExitError::new(1, format!("cannot read the policy: {error}")))?;
    Ok(Policy::parse(&text).map_err(|error| ExitError::new(1, format!("{origin} is not a guard policy: {error}")))?)
}

/// Connects to the engine. A server waits for its guard as it waits for an engine, and so the guard waits too.
/// Meanwhile the file `trouble` says why, for the server.
async fn connect(options: Options, trouble: Option<PathBuf>) -> Result<Arc<Proxy>, Error> {
    let mut reported = String::new();
    loop {
        let (error, pause) = match (Proxy::connect(options.clone()).await, &trouble) {
            (Err(error @ Error::Away { .. }), Some(_)) => (error.to_string(), RETRY_PAUSE),
            (Err(error @ Error::NotAnEngine { .. }), Some(_)) => (error.to_string(), LONG_PAUSE),
            (connected, trouble) => {
                if let Some(trouble) = trouble {
                    // It does not exist if all went well.
                    let _ = std::fs::remove_file(trouble);
                }
                return connected;
            }
        };
        if reported != error {
            tracing::error!("{error}; the guard waits until that has changed");
            if let Some(trouble) = &trouble
                && let Err(reason) = std::fs::write(trouble, &error)
            {
                tracing::warn!("the server is not told: {}: {reason}", trouble.display());
            }
            reported = error;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Gives up all rights beyond those of the process's user, which are all that the guard needs: it gets no other
/// program's rights, has no capability, and no other process can read its memory.
fn give_up_rights() -> anyhow::Result<()> {
    set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    if let Err(error) = system_calls::give_up() {
        tracing::warn!(%error, "this kernel filters no system calls of the guard");
    }
    Ok(())
}
