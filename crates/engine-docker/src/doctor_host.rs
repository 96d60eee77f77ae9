//! The part of the doctor that finds out about the engine and its host without running a job: what kind of engine it
//! is, its settings, its disk, its clock, and who else has its socket.

use std::time::SystemTime;

use bollard::models::{ContainerSummary, MountPoint, SystemInfo, SystemVersion};
use bollard::query_parameters::ListContainersOptionsBuilder;
use longshore_core::Timestamp;
use longshore_core::outcome::human_bytes;
use longshore_executor::engine::Engine as _;
use longshore_executor::{EngineDisk, Executor};

use crate::engine::DockerEngine;
use crate::error::ApiResult as _;
use crate::finding::Finding;
use crate::unsuited::{is_podman, keeps_images_in_containerd};

/// A clock that differs by more than this confuses logs and schedules.
const CLOCK_MS: u64 = 5_000;
/// Less free space than this, in percent, is little.
const LOW_SPACE_PERCENT: u64 = 10;

/// Runs these checks. A question that the engine does not answer is left out: other checks say why.
pub(crate) async fn check(engine: &DockerEngine, executor: &Executor) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Ok(version) = engine.docker.version().await {
        findings.extend(kind_of_engine(&version));
    }
    if let Ok(info) = engine.docker.info().await {
        findings.extend(settings(&info, SystemTime::now()));
    }
    let options = ListContainersOptionsBuilder::new().build();
    // A guard shows nobody the containers of others.
    if !engine.is_guarded()
        && let Ok(containers) = engine.docker.list_containers(Some(options)).await.api("list containers")
    {
        findings.push(sockets(&containers));
    }
    findings.push(match executor.engine_disk().await {
        Ok(room) => disk(room),
        Err(error) => Finding::from_error("engine-disk", &error),
    });
    findings.push(match engine.has_overlays().await {
        Ok(true) => Finding::good("caches", "volumes can be layered: caches and workspaces are available at once"),
        Ok(false) => Finding::warning(
            "caches",
            "volumes cannot be layered on this engine, so caches and workspaces are copied",
            "use an engine that runs as root, with its data folder on ext4, xfs or btrfs and not on another container's file system",
        ),
        Err(error) => Finding::from_error("caches", &error),
    });
    findings
}

fn kind_of_engine(version: &SystemVersion) -> Option<Finding> {
    is_podman(version).then(|| {
        Finding::warning(
            "podman",
            "this engine is Podman",
            "jobs run, but not with `docker: true`; one job's container may reach another's, and limits depend on the host: see the other findings",
        )
    })
}

fn settings(info: &SystemInfo, now: SystemTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    if info.security_options.iter().flatten().any(|option| option.contains("name=rootless")) {
        findings.push(Finding::warning(
            "rootless",
            "this engine runs without root",
            "limits on memory, processes and processors need cgroup v2 with delegation, and caches are copied",
        ));
    }
    if keeps_images_in_containerd(info) {
        findings.push(Finding::warning(
            "image-store",
            "this engine keeps its images in containerd's store: jobs run, but not with `docker: true`",
            "for jobs with `docker: true`, set `\"features\": { \"containerd-snapshotter\": false }` in its daemon.json, and pull or build its images again",
        ));
    }
    let driver = info.cgroup_driver.as_ref().map(ToString::to_string).unwrap_or_default();
    if driver == "none" {
        findings.push(Finding::error(
            "cgroups",
            "this engine has no control groups, so jobs have no limits",
            "use cgroup v2, with delegation for a rootless engine",
        ));
    }
    if info.live_restore_enabled != Some(true) {
        findings.push(Finding::warning(
            "live-restore",
            "restarting this engine ends running jobs",
            "set `\"live-restore\": true` in its daemon.json",
        ));
    }
    if info.logging_driver.as_deref() == Some("json-file") {
        findings.push(Finding::warning(
            "log-driver",
            "other containers log to json-file, which has no size limit by default; Longshore's own containers log nothing",
            "set `\"log-opts\": { \"max-size\": \"10m\" }` in its daemon.json, unless it is set",
        ));
    }
    let there = info.system_time.clone().and_then(|text| serde_json::from_value::<Timestamp>(text.into()).ok());
    if let Some(there) = there {
        let here = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let here = Timestamp::from_millis(i64::try_from(here).unwrap_or(i64::MAX));
        let apart = here.as_millis().abs_diff(there.as_millis());
        findings.push(if apart > CLOCK_MS {
            Finding::error(
                "clock",
                format!("the engine's clock and this one are {} s apart", apart / 1000),
                "synchronize both hosts with a time server",
            )
        } else {
            Finding::good("clock", "the engine's clock matches")
        });
    }
    findings
}

fn disk(EngineDisk { bytes, inodes }: EngineDisk) -> Finding {
    let message = format!("{} of {} free on the engine's disk", human_bytes(bytes.free), human_bytes(bytes.total));
    if 100 - bytes.percent_used() < LOW_SPACE_PERCENT {
        let advice = "see `docker system df` for what uses the space; above LONGSHORE_DISK_HIGH jobs wait";
        Finding::warning("engine-disk", message, advice)
    } else if 100 - inodes.percent_used() < LOW_SPACE_PERCENT {
        let message = format!("{message}, but only {} of {} inodes", inodes.free, inodes.total);
        let advice = "many small files use them up: see `df -i`; above LONGSHORE_DISK_HIGH jobs wait";
        Finding::warning("engine-disk", message, advice)
    } else {
        Finding::good("engine-disk", message)
    }
}

/// Checks who can open the socket: access to it is root on the host.
fn sockets(containers: &[ContainerSummary]) -> Finding {
    let is_socket = |mount: &MountPoint| {
        mount
            .source
            .as_deref()
            .is_some_and(|source| source.ends_with("/docker.sock") || source.ends_with("/podman.sock"))
    };
    let with: Vec<&str> = containers
        .iter()
        .filter(|container| container.mounts.iter().flatten().any(is_socket))
        .filter_map(|container| container.names.as_ref()?.first().map(|name| name.trim_start_matches('/')))
        .collect();
    if with.len() <= 1 {
        return Finding::good("socket-mounts", "at most one container has the engine's socket");
    }
    Finding::warning(
        "socket-mounts",
        format!("these containers have the engine's socket, and so are root on the host: {}", with.join(", ")),
        "mount it only into containers that need it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_up_badly_is_named_with_what_to_do() {
        let names = |findings: &[Finding]| findings.iter().map(|finding| finding.name).collect::<Vec<_>>();
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        let good = SystemInfo {
            live_restore_enabled: Some(true),
            logging_driver: Some("local".to_owned()),
            system_time: Some("2023-11-14T22:13:21Z".to_owned()),
            ..SystemInfo::default()
        };
        assert_eq!(names(&settings(&good, now)), ["clock"]);
        assert!(settings(&good, now).iter().all(|finding| !finding.is_error() && finding.advice.is_none()));
        let bad = SystemInfo {
            security_options: Some(vec!["name=seccomp,profile=default".to_owned(), "name=rootless".to_owned()]),
            driver_status: Some(vec![vec!["driver-type".to_owned(), "io.containerd.snapshotter.v1".to_owned()]]),
            live_restore_enabled: Some(false),
            logging_driver: Some("json-file".to_owned()),
            system_time: Some("2023-11-14T22:23:21Z".to_owned()),
            ..SystemInfo::default()
        };
        let found = settings(&bad, now);
        assert_eq!(names(&found), ["rootless", "image-store", "live-restore", "log-driver", "clock"]);
        assert!(found.iter().all(|finding| finding.advice.is_some()));
        assert!(found[4].is_error() && found[4].message.contains("601 s"), "{found:?}");
    }

    #[test]
    fn containers_that_have_the_socket_are_named() {
        let container = |name: &str, source: &str| ContainerSummary {
            names: Some(vec![format!("/{name}")]),
            mounts: Some(vec![MountPoint { source: Some(source.to_owned()), ..MountPoint::default() }]),
            ..ContainerSummary::default()
        };
        let ours = container("longshore", "/var/run/docker.sock");
        assert!(sockets(&[ours.clone(), container("db", "/srv/db")]).advice.is_none());
        let found = sockets(&[ours, container("panel", "/run/docker.sock")]);
        assert!(found.message.contains("longshore, panel"), "{found:?}");
    }
}
