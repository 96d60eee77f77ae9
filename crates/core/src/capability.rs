//! Capabilities of the kernel that a job may ask for beyond those that every job has, where an administrator allows it.

/// Those that can be allowed: what Docker gives a container by default and jobs do not have, and two that reach no
/// further than the job. Any other would open the engine's host, or the agent beside the job's steps: for that there is
/// `docker: raw`.
pub const GRANTABLE: [&str; 7] = ["AUDIT_WRITE", "IPC_LOCK", "MKNOD", "NET_RAW", "SETFCAP", "SYS_CHROOT", "SYS_NICE"];

/// Returns why a job does not get the capabilities that it asks for; `None` if it gets them.
#[must_use]
pub fn refused(asked: &[String], allowed: &[String], by_stranger: bool) -> Option<String> {
    let missing: Vec<&str> = asked.iter().filter(|asked| !allowed.contains(asked)).map(String::as_str).collect();
    if missing.is_empty() {
        return None;
    }
    Some(match by_stranger {
        true => format!("{}: a pull request from a fork gets none", missing.join(", ")),
        false => format!(
            "{}: the setting `job_capabilities` (LONGSHORE_JOB_CAPABILITIES) does not allow that",
            missing.join(", ")
        ),
    })
}
