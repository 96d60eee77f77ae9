//! Finds the limits that an engine does not enforce, as far as it says so itself: it starts containers without the
//! limits that its kernel lacks, and warns only the client that creates them. The doctor and a server's start report
//! them.

use bollard::Docker;
use bollard::models::SystemInfo;

use longshore_executor::EngineError;

use crate::error::ApiResult as _;

/// A limit that Longshore asks for and the engine does not enforce. Its text says what to do, after a semicolon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    #[error(
        "this engine does not enforce limits of {}: jobs can use all of the host's; give the host's kernel these control groups (`cgroup_enable=memory` in a Raspberry Pi's cmdline.txt, a mounted /sys/fs/cgroup, systemd's delegation for a rootless engine), then restart the engine",
        .0.join(", ")
    )]
    Limits(Vec<&'static str>),
    #[error(
        "this engine filters no system calls of its containers (seccomp): a job can reach more of the host's kernel; take `seccomp-profile: unconfined` out of the daemon's settings, or update an engine that is built without it"
    )]
    Seccomp,
}

/// Asks the engine for its gaps.
pub(crate) async fn ask(docker: &Docker) -> Result<Vec<Gap>, EngineError> {
    docker.info().await.api("tell about itself").map(|info| gaps(&info))
}

fn gaps(info: &SystemInfo) -> Vec<Gap> {
    let limits = [("memory", info.memory_limit), ("processes", info.pids_limit), ("processors", info.cpu_cfs_quota)];
    let lacking: Vec<_> = limits.into_iter().filter(|(_, held)| *held == Some(false)).map(|(what, _)| what).collect();
    let filtered = info
        .security_options
        .iter()
        .flatten()
        .any(|option| option.starts_with("name=seccomp") && !option.ends_with("profile=unconfined"));
    let limits = (!lacking.is_empty()).then_some(Gap::Limits(lacking));
    limits.into_iter().chain((!filtered).then_some(Gap::Seccomp)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(limits: bool, security: &[&str]) -> SystemInfo {
        SystemInfo {
            memory_limit: Some(limits),
            pids_limit: Some(limits),
            cpu_cfs_quota: Some(limits),
            security_options: Some(security.iter().map(|&option| option.to_owned()).collect()),
            ..SystemInfo::default()
        }
    }

    #[test]
    fn an_engine_that_holds_jobs_to_less_says_which_limits_it_lacks() {
        // The answers of 20.10 with all control groups and without any, and of later engines with their filter switched
        // off.
        assert_eq!(gaps(&info(true, &["name=seccomp,profile=default"])), []);
        let without = gaps(&info(false, &["name=seccomp,profile=default", "name=cgroupns"]));
        assert_eq!(without, [Gap::Limits(vec!["memory", "processes", "processors"])]);
        assert!(without[0].to_string().contains("memory, processes, processors"), "{}", without[0]);
        assert_eq!(gaps(&info(true, &["name=seccomp,profile=unconfined"])), [Gap::Seccomp]);
        assert_eq!(gaps(&info(true, &["name=apparmor"])), [Gap::Seccomp]);
    }
}
