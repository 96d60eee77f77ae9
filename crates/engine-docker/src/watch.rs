//! Watches an engine for containers that could take over the host, or that pretend to be Longshore's. Needs the
//! engine's own socket: a guard shows a server only the server's own containers.
//!
//! Called by `longshore doctor --watch`. It only reads.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, HostConfig, MountPoint};
use bollard::query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder};
use futures_util::StreamExt as _;
use longshore_executor::EngineError;
use longshore_executor::objects::Kind;
use longshore_guard::{job_guard, own_container};

use crate::connect::{Connected, connect};
use crate::error::ApiResult as _;
use crate::labels;

/// The pause before an engine that is away is asked again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Folders of the host that hold more than data: a container that can read or write them can become root on the host.
const OF_THE_HOST: [&str; 11] =
    ["/boot", "/dev", "/etc", "/lib", "/proc", "/root", "/run", "/sys", "/usr", "/var/lib/docker", "/var/run"];

/// A risk that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Risk {
    /// Stable, for programs: `privileged`, `engine-socket`, `host-mount`, `host-namespace`, `not-ours`, `gap`.
    pub kind: &'static str,
    /// The container's name; empty if the risk is not about a container.
    pub container: String,
    pub message: String,
}

/// Reports containers that run now, and then those that start, until `report` returns `false`. Waits for an engine that
/// goes away.
///
/// # Errors
/// The engine cannot be reached at first, or a guard answers for it.
pub async fn watch(host: &str, mut report: impl FnMut(Risk) -> bool) -> Result<(), EngineError> {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = own_container(&mountinfo).map(str::to_owned);
    let mut reported: HashSet<String> = own.into_iter().collect();
    let mut lost_at: Option<u64> = None;
    loop {
        let docker = match connect(host).await {
            Ok(Connected { is_guarded: false, docker }) => docker,
            Ok(Connected { is_guarded: true, .. }) => {
                let reason = "a guard answers there, and shows only what is the server's: name the engine's own socket with --docker-host".to_owned();
                return Err(EngineError::Local { what: "the engine cannot be watched", reason });
            }
            Err(error) if lost_at.is_none() => return Err(error),
            Err(_) => {
                tokio::time::sleep(RETRY_INTERVAL).await;
                continue;
            }
        };
        if let Some(lost) = lost_at {
            let message = format!(
                "no events for {} s: what started and ended meanwhile was not seen",
                now().saturating_sub(lost)
            );
            if !report(Risk { kind: "gap", container: String::new(), message }) {
                return Ok(());
            }
        }
        // The events begin now, so that nothing is missed between the list and the events.
        let started = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("event".to_owned(), vec!["start".to_owned()]),
        ]);
        let options = EventsOptionsBuilder::new().since(&now().to_string()).filters(&started).build();
        let mut events = std::pin::pin!(docker.events(Some(options)));
        let running = ListContainersOptionsBuilder::new().build();
        let running = docker.list_containers(Some(running)).await.api("list containers").unwrap_or_default();
        for id in running.into_iter().filter_map(|container| container.id) {
            if reported.insert(id.clone()) && !inspect(&docker, &id, &mut report).await {
                return Ok(());
            }
        }
        while let Some(Ok(event)) = events.next().await {
            let Some(id) = event.actor.and_then(|actor| actor.id) else { continue };
            // A container that was restarted has been reported before.
            if reported.insert(id.clone()) && !inspect(&docker, &id, &mut report).await {
                return Ok(());
            }
        }
        lost_at = Some(now());
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reports the risks of a container. Returns whether to go on.
async fn inspect(docker: &Docker, id: &str, report: &mut impl FnMut(Risk) -> bool) -> bool {
    // It may be gone already.
    let Ok(found) = docker.inspect_container(id, None).await else { return true };
    judge(&found).into_iter().all(report)
}

fn judge(found: &ContainerInspectResponse) -> Vec<Risk> {
    let name = found.name.as_deref().unwrap_or_default().trim_start_matches('/');
    let labels = found.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default();
    let kind = labels::kind_of_container(name, &labels);
    let image = found.config.as_ref().and_then(|config| config.image.as_deref()).unwrap_or_default();
    let host = found.host_config.clone().unwrap_or_default();
    let risk =
        |kind, what: String| Risk { kind, container: name.to_owned(), message: format!("{name} ({image}) {what}") };
    let mut risks = Vec::new();
    if kind.is_none() && labels.contains_key(labels::INSTANCE) {
        let what =
            "has Longshore's label, and is not one that a server has made: its image may have been made from a job"
                .to_owned();
        risks.push(risk("not-ours", what));
    }
    if host.privileged == Some(true) {
        risks.push(risk("privileged", "is privileged: it is root on the host".to_owned()));
    }
    for space in namespaces(&host) {
        risks.push(risk("host-namespace", format!("shares the host's {space}")));
    }
    let mounts = found.mounts.as_deref().unwrap_or_default();
    // The guard of a job has to have the socket, and measures volumes.
    let is_guard = kind == Some(Kind::Guard);
    let of_guard = |mount: &MountPoint| match mount.destination.as_deref() {
        Some(job_guard::ENGINE_SOCKET) => is_guard,
        Some(job_guard::ALL_VOLUMES | job_guard::ALL_CONTAINERS) => is_guard && mount.rw == Some(false),
        Some(_) | None => false,
    };
    let binds = mounts.iter().filter(|mount| mount.typ.as_deref() == Some("bind"));
    for mount in binds.filter(|mount| !of_guard(mount)) {
        let source = mount.source.as_deref().unwrap_or_default();
        if is_engine_socket(source) {
            risks.push(risk("engine-socket", format!("has the engine's socket ({source}): it is root on the host")));
        } else if is_of_the_host(source) {
            risks.push(risk("host-mount", format!("has {source} of the host{}", access(mount))));
        }
    }
    risks
}

fn namespaces(host: &HostConfig) -> Vec<&'static str> {
    let is_host = |mode: &Option<String>| mode.as_deref() == Some("host");
    let all = [(&host.pid_mode, "processes"), (&host.userns_mode, "users"), (&host.uts_mode, "name")];
    all.into_iter().filter(|(mode, _)| is_host(mode)).map(|(_, what)| what).collect()
}

fn is_engine_socket(source: &str) -> bool {
    source.ends_with("/docker.sock") || source.ends_with("/containerd.sock") || source.ends_with("/podman.sock")
}

fn is_of_the_host(source: &str) -> bool {
    let below =
        |folder: &&str| source.strip_prefix(*folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    // Containers commonly get these: they say the time zone, the name servers and the names of hosts.
    const HARMLESS: [&str; 4] = ["/etc/localtime", "/etc/timezone", "/etc/resolv.conf", "/etc/hosts"];
    source == "/" || (OF_THE_HOST.iter().any(below) && !HARMLESS.contains(&source))
}

fn access(mount: &MountPoint) -> &'static str {
    if mount.rw == Some(false) { ", read-only" } else { "" }
}

#[cfg(test)]
mod tests {
    use bollard::models::ContainerConfig;
    use longshore_core::{BuildId, JobId};
    use longshore_executor::AttemptId;
    use longshore_executor::names::{ContainerName, Instance};

    use super::*;

    #[test]
    fn a_privileged_container_is_reported() {
        let found = |privileged| ContainerInspectResponse {
            name: Some("/theirs".to_owned()),
            host_config: Some(HostConfig { privileged: Some(privileged), ..HostConfig::default() }),
            ..ContainerInspectResponse::default()
        };
        assert!(judge(&found(false)).is_empty());
        let risks = judge(&found(true));
        assert_eq!(
            risks.iter().map(|risk| (risk.kind, &*risk.container)).collect::<Vec<_>>(),
            [("privileged", "theirs")]
        );
    }

    #[test]
    fn the_mounts_of_a_jobs_guard_are_its_own_and_nobody_elses() {
        let mount = |source: &str, target: &str, rw| MountPoint {
            typ: Some("bind".to_owned()),
            source: Some(source.to_owned()),
            destination: Some(target.to_owned()),
            rw: Some(rw),
            ..MountPoint::default()
        };
        let attempt = AttemptId { job: JobId::new(), attempt: 1 };
        let instance = Instance::new("abc").unwrap();
        let risks = |name: &ContainerName, kind, writable| {
            judge(&ContainerInspectResponse {
                name: Some(format!("/{name}")),
                config: Some(ContainerConfig {
                    labels: Some(labels::of_attempt(&instance, kind, BuildId::new(), attempt)),
                    ..ContainerConfig::default()
                }),
                mounts: Some(vec![
                    mount("/run/docker.sock", job_guard::ENGINE_SOCKET, true),
                    mount("/var/lib/docker/volumes", job_guard::ALL_VOLUMES, writable),
                ]),
                ..ContainerInspectResponse::default()
            })
        };
        let kinds = |risks: Vec<Risk>| risks.into_iter().map(|risk| risk.kind).collect::<Vec<_>>();
        let (guard, builder) = (attempt.guard_name(), attempt.builder_name());
        assert_eq!(kinds(risks(&guard, Kind::Guard, false)), [""; 0]);
        assert_eq!(kinds(risks(&guard, Kind::Guard, true)), ["host-mount"]);
        assert_eq!(kinds(risks(&builder, Kind::Builder, false)), ["engine-socket", "host-mount"]);
    }

    #[test]
    fn folders_of_the_host_are_told_from_peoples_data() {
        for of_the_host in ["/", "/etc", "/etc/ssh", "/root/.ssh", "/proc", "/var/lib/docker/volumes/a"] {
            assert!(is_of_the_host(of_the_host), "{of_the_host}");
        }
        for data in ["/home/ada/app", "/srv/data", "/etcetera", "/var/lib/postgres", "/etc/localtime"] {
            assert!(!is_of_the_host(data), "{data}");
        }
    }
}
