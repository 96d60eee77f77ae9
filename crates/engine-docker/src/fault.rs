//! Finds out from the engine's texts why it did not create or start a container.

use longshore_executor::EngineError;

use crate::error::engine_text;
use crate::paths::{DOCKER_SOCKET, PROGRAM};

/// The cause of a failed create or start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The sandbox has ended.
    SandboxGone,
    /// The agent's volume is empty or half filled.
    AgentMissing,
    /// The agent exists but cannot run.
    AgentBroken,
    ImageGone,
    /// The engine's socket does not exist: the engine is starting or ending.
    SocketGone,
    NetworkGone,
    /// Another network has addresses of this one's subnet.
    SubnetTaken,
    /// The engine's storage cannot limit the disk space of a container.
    NoContainerQuota,
    /// The engine's storage cannot limit the disk space of a volume.
    NoVolumeQuota,
    /// A container of this name exists already.
    NameTaken,
    Other,
}

impl Fault {
    pub(crate) fn of(error: &EngineError) -> Self {
        let text = engine_text(error).to_ascii_lowercase();
        let about_agent = text.contains(PROGRAM) || text.contains("exec");
        if text.contains("no such image") {
            Self::ImageGone
        } else if text.contains("storage-opt") {
            Self::NoContainerQuota
        } else if text.contains("no quota support") {
            Self::NoVolumeQuota
        } else if text.contains("non running container")
            || text.contains("no such container")
            || text.contains("cannot join network")
            || text.contains("joining network namespace")
            || text.contains("/ns/net")
            || shared_file_is_gone(&text)
        {
            Self::SandboxGone
        } else if socket_is_gone(&text) {
            Self::SocketGone
        } else if text.contains("pool overlaps") {
            Self::SubnetTaken
        } else if text.contains("network") && (text.contains("not found") || text.contains("is ambiguous")) {
            Self::NetworkGone
        } else if about_agent
            && (text.contains("no such file or directory")
                || text.contains("text file busy")
                || text.contains("not found in $path"))
        {
            Self::AgentMissing
        } else if about_agent && (text.contains("exec format error") || text.contains("permission denied")) {
            Self::AgentBroken
        } else if error.is_conflict() && text.contains("already in use") {
            Self::NameTaken
        } else {
            Self::Other
        }
    }
}

/// Returns whether a file that the engine shares between a sandbox and the containers that join it was removed with the
/// sandbox while a container was joining.
fn shared_file_is_gone(text: &str) -> bool {
    let is_shared =
        ["/hosts", "/hostname", "/resolv.conf"].iter().any(|file| text.contains(&format!("{file}\" to rootfs")));
    text.contains("error mounting") && is_shared && text.contains("no such file or directory")
}

/// Returns whether the engine's socket, which only guards and jobs with the raw socket mount, does not exist.
fn socket_is_gone(text: &str) -> bool {
    let is_mounting = text.contains("error mounting") && text.contains(&format!("to rootfs at \"{DOCKER_SOCKET}\""));
    let is_without = text.contains("bind source path does not exist") && text.trim_end().ends_with(".sock");
    is_without || (is_mounting && text.contains("no such file or directory"))
}

#[cfg(test)]
mod tests {
    use bollard::errors::Error as ApiError;

    use super::*;
    use crate::error::from_api;

    fn of(status_code: u16, message: &str) -> Fault {
        let error = ApiError::DockerResponseServerError { status_code, message: message.to_owned() };
        Fault::of(&from_api("start a container", error))
    }

    #[test]
    fn the_engines_texts_are_told_apart() {
        let oci = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process";
        for (status, text, fault) in [
            (404, "No such image: longshore-agent:0123456789ab".to_owned(), Fault::ImageGone),
            (404, "No such container: 0123".to_owned(), Fault::SandboxGone),
            (409, "cannot join network of a non running container: 0123".to_owned(), Fault::SandboxGone),
            (
                400,
                format!(
                    "{oci}: error during container init: error mounting \"/x/4960/resolv.conf\" to rootfs at \
                     \"/etc/resolv.conf\": stat /x/4960/resolv.conf: no such file or directory: unknown"
                ),
                Fault::SandboxGone,
            ),
            (
                400,
                "invalid mount config for type \"bind\": bind source path does not exist: /run/docker.sock".to_owned(),
                Fault::SocketGone,
            ),
            (
                400,
                format!(
                    "{oci}: error during container init: error mounting \"/run/docker.sock\" to rootfs at \
                     \"/var/run/docker.sock\": stat /run/docker.sock: no such file or directory: unknown"
                ),
                Fault::SocketGone,
            ),
            // The texts of 20.10's overlay2 on ext4, and of its local volume driver there.
            (
                500,
                "--storage-opt is supported only for overlay over xfs with 'pquota' mount option".to_owned(),
                Fault::NoContainerQuota,
            ),
            (400, "quota size requested but no quota support".to_owned(), Fault::NoVolumeQuota),
            (403, "Pool overlaps with other one on this address space".to_owned(), Fault::SubnetTaken),
            (404, "network longshore-x not found".to_owned(), Fault::NetworkGone),
            (400, "2 matches found based on name: network longshore-x is ambiguous".to_owned(), Fault::NetworkGone),
            (
                400,
                format!("{oci}: exec: \"{PROGRAM}\": stat {PROGRAM}: no such file or directory: unknown"),
                Fault::AgentMissing,
            ),
            (400, format!("{oci}: exec: \"{PROGRAM}\": permission denied: unknown"), Fault::AgentBroken),
            (400, "OCI runtime create failed: exec format error".to_owned(), Fault::AgentBroken),
            (
                409,
                "Conflict. The container name \"/a\" is already in use by container \"b\".".to_owned(),
                Fault::NameTaken,
            ),
            (500, "something".to_owned(), Fault::Other),
        ] {
            assert_eq!(of(status, &text), fault, "{text}");
        }
    }
}
