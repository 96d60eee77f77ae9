//! Finds the container that a process runs in, and the paths of its files on the engine's host.

use std::path::{Path, PathBuf};

/// Returns the id of the container that a process runs in, according to `/proc/self/mountinfo`: engines mount files
/// into each container from a folder with its id.
#[must_use]
pub fn own_container(mountinfo: &str) -> Option<&str> {
    mountinfo.split_whitespace().find_map(|word| {
        let (_, rest) = word.split_once("/containers/")?;
        let (id, file) = rest.split_once('/')?;
        let is_file = matches!(file, "hostname" | "hosts" | "resolv.conf");
        (is_file && crate::names::is_full_id(id)).then_some(id)
    })
}

/// Returns the path on the host of a path in a container. `mounts` are pairs of a path in the container and the path on
/// the host; `resolve` follows symbolic links in the container.
#[must_use]
pub fn path_on_host(
    path: &Path,
    mounts: impl IntoIterator<Item = (String, String)>,
    resolve: impl Fn(&Path) -> PathBuf,
) -> Option<PathBuf> {
    let wanted = resolve(path);
    mounts.into_iter().find_map(|(destination, source)| {
        let rest = wanted.strip_prefix(resolve(Path::new(&destination))).ok()?.to_owned();
        let source = PathBuf::from(source);
        Some(if rest.as_os_str().is_empty() { source } else { source.join(rest) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_of_a_process_is_known_by_its_mounts() {
        let id = "0123456789abcdef".repeat(4);
        let mounts = format!(
            "36 35 8:1 / / rw - ext4 x rw\n99 36 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 x rw"
        );
        assert_eq!(own_container(&mounts), Some(id.as_str()));
        assert_eq!(own_container("99 36 8:1 /srv/containers/mine/hosts /etc/hosts rw"), None);
    }

    #[test]
    fn a_socket_is_found_through_the_mount_of_itself_or_of_its_folder() {
        let resolve = |path: &Path| PathBuf::from(path.to_string_lossy().replace("/var/run", "/run"));
        let mounts =
            |to: &str, from: &str| vec![("/data".to_owned(), "/x".to_owned()), (to.to_owned(), from.to_owned())];
        let on_host = |mounts| path_on_host(Path::new("/var/run/docker.sock"), mounts, resolve);
        let socket = Some(PathBuf::from("/run/user/1000/docker.sock"));
        assert_eq!(on_host(mounts("/var/run/docker.sock", "/run/user/1000/docker.sock")), socket);
        assert_eq!(on_host(mounts("/run", "/run/user/1000")), socket);
        assert_eq!(on_host(mounts("/srv", "/srv")), None);
    }
}
