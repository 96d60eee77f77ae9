//! Checks the engine on a new user's machine, and says what is wrong and what to do.
//!
//! Checks are independent: a failed one does not hide the next. Everything that is made for a check is removed. What
//! can be tried is tried (`trial`), because engines with the same API do not all behave the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use bollard::query_parameters::RemoveVolumeOptions;
use longshore_executor::engine::Engine as _;
use longshore_executor::names::Instance;
use longshore_executor::objects::Kind;
use longshore_executor::{AttemptId, EngineError, Executor, ExecutorOptions};

use crate::connect::api_version;
use crate::doctor_host;
use crate::engine::DockerEngine;
use crate::error::ApiResult as _;
use crate::finding::Finding;
use crate::labels;
use crate::options::DockerOptions;
use crate::trial::{Trial, try_whole_way};

/// Runs all checks. An engine that does not work is one of the findings.
pub async fn doctor(options: DockerOptions) -> Vec<Finding> {
    let host = options.host.clone();
    let engine = match DockerEngine::connect(options).await {
        Ok(engine) => Arc::new(engine),
        Err(error) => return vec![Finding::from_error("socket", &error), own_container(None).await],
    };
    let options = ExecutorOptions { sandboxes_ready: 0, ..ExecutorOptions::default() };
    let executor = Executor::new(Arc::clone(&engine) as Arc<_>, options);
    let mut findings = vec![Finding::good("socket", format!("{host} answers"))];
    findings.push(match engine.docker.version().await.api("tell its version") {
        Ok(version) => Finding::good(
            "api",
            format!(
                "engine {} on {}, API {}",
                version.version.unwrap_or_default(),
                version.arch.unwrap_or_default(),
                api_version(&engine.docker)
            ),
        ),
        Err(error) => Finding::from_error("api", &error),
    });
    if engine.is_guarded() {
        findings
            .push(Finding::good("guard", "a guard answers here for the engine, and lets through what a server needs"));
    }
    findings.push(own_container(Some(&engine)).await);
    findings.push(volume(&engine).await);
    findings.push(match engine.network.ready(&engine.docker).await {
        Ok(name) => Finding::good("network", format!("{name} can be made")),
        Err(error) => Finding::from_error("network", &error),
    });
    match try_whole_way(&engine, &executor).await {
        Ok(trial) => findings.extend(measured(trial)),
        Err(error) => findings.push(Finding::from_error("agent", &error)),
    }
    findings.extend(doctor_host::check(&engine, &executor).await);
    // This also removes what an earlier doctor left that was killed or gave up. The jobs of one that is at work run,
    // and end by themselves within a minute.
    let swept = async { executor.sweep(&running(&executor, engine.instance()).await?).await };
    if let Err(error) = swept.await {
        tracing::debug!(%error, "what was tried is not looked for");
    }
    executor.shutdown(true).await;
    // It was made for this check only. A network that is in use stays.
    if let Ok(name) = engine.network.ready(&engine.docker).await {
        let _ = engine.docker.remove_network(name.as_str()).await;
    }
    findings
}

/// Returns the attempts whose containers run.
async fn running(executor: &Executor, instance: &Instance) -> Result<BTreeSet<AttemptId>, EngineError> {
    let found = executor.objects(Some(instance)).await?;
    Ok(found
        .containers
        .into_iter()
        .filter(|container| container.running)
        .filter_map(|container| container.attempt)
        .collect())
}

/// Returns the findings of the two trial jobs.
fn measured(trial: Trial) -> Vec<Finding> {
    let took = trial.first_line.as_millis();
    let loopback = if trial.loopback6 { "" } else { "; jobs have no ::1 here" };
    let mut findings = vec![Finding::good(
        "agent",
        format!("a job ran to its end, with its first line of output after {took} ms{loopback}"),
    )];
    if trial.gaps.is_empty() {
        let message = "a job was held to its memory, processes and processors, its system calls filtered";
        findings.push(Finding::good("confinement", message));
    }
    findings.extend(trial.gaps.iter().map(|gap| Finding::from_error("confinement", gap)));
    findings.push(if trial.reachable {
        Finding::error("isolation", "one job's container reached another's over the network", "this engine does not keep the containers of a network apart (Podman ignores enable_icc; Docker needs the host's br_netfilter): run only jobs here that may talk to each other")
    } else {
        Finding::good("isolation", "one job's container did not reach another's")
    });
    if !trial.open.is_empty() {
        findings.push(Finding::error(
            "addresses",
            format!("a job reaches what it may not: {}", trial.open.join(", ")),
            "this engine does not let Longshore change the routes of a sandbox, or its kernel has no packet filter (nf_tables): \
             deny these addresses in the host's firewall (the chain DOCKER-USER)",
        ));
    }
    findings.push(if trial.left.is_empty() {
        Finding::good("removal", "nothing was left of them")
    } else {
        Finding::error(
            "removal",
            format!("left on the engine: {}", trial.left.join(", ")),
            "look at the daemon's log; `longshore clean` tries again",
        )
    });
    findings
}

/// Returns the full id of our own container if this process runs in one, from the path that the engine mounts our
/// hostname and hosts files from. On their host, those paths of other containers are visible as well, at other mount
/// points.
fn own_container_id(mountinfo: &str) -> Option<&str> {
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (source, target) = (fields.next()?, fields.next()?);
        let (_, rest) =
            source.split_once("/containers/").filter(|_| ["/etc/hostname", "/etc/hosts"].contains(&target))?;
        let id = rest.get(..64)?;
        id.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(id)
    })
}

async fn own_container(engine: Option<&DockerEngine>) -> Finding {
    let name = "own-container";
    let mountinfo = tokio::fs::read_to_string("/proc/self/mountinfo").await.unwrap_or_default();
    match (own_container_id(&mountinfo), engine) {
        (None, _) => Finding::good(name, "Longshore runs outside of a container"),
        (Some(id), None) => Finding::good(name, format!("Longshore runs in container {}", &id[..12])),
        (Some(id), Some(engine)) => match engine.docker.inspect_container(id, None).await.api("inspect a container") {
            Ok(found) => {
                let name_of = found.name.unwrap_or_default();
                Finding::good(
                    name,
                    format!("Longshore runs in container {} ({})", &id[..12], name_of.trim_start_matches('/')),
                )
            }
            // A guard shows a server only what is the server's.
            Err(_) if engine.is_guarded() => Finding::good(name, format!("Longshore runs in container {}", &id[..12])),
            Err(_) => Finding::error(
                name,
                format!("Longshore runs in container {}, which this engine does not know", &id[..12]),
                "mount the socket of the engine that runs this container",
            ),
        },
    }
}

async fn volume(engine: &DockerEngine) -> Finding {
    let name = format!("longshore-doctor-{:08x}", rand::random::<u32>());
    let request = bollard::models::VolumeCreateRequest {
        name: Some(name.clone()),
        labels: Some(labels::of(engine.instance(), Kind::Volume)),
        ..bollard::models::VolumeCreateRequest::default()
    };
    let made = engine.docker.create_volume(request).await.api("create a volume");
    let removed = engine.docker.remove_volume(&name, None::<RemoveVolumeOptions>).await.api("remove a volume");
    match made.map(|_| ()).and(removed) {
        Ok(()) => Finding::good("volume", "volumes can be created and removed"),
        Err(error) => Finding::from_error("volume", &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_container_is_found_by_its_mounts() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let text = format!(
            "1 0 0:1 / / rw - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/X\n\
             2 1 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n"
        );
        assert_eq!(own_container_id(&text), Some(id));
        let beside = text.replace("/etc/hostname", "/var/lib/docker/overlay2/Y/merged/etc/hostname");
        assert_eq!(own_container_id(&beside), None, "another's, seen on the host");
        assert_eq!(own_container_id("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"), None);
    }
}
