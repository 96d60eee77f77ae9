//! The socket of a job's Docker API. It is in a volume that the engine mounts below the agent's root; clients expect it
//! elsewhere.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// The folder of the volume, below the agent's root.
const FOLDER: &str = "docker";
const SOCKET: &str = "docker.sock";
/// Where clients expect it.
const USUAL: &str = "run";

/// Links `/var/run/docker.sock` to the socket, in a container that has one. Whatever the image has at that path stays.
pub(crate) fn offer(root: &Path, var: &Path) -> io::Result<()> {
    let folder = root.join(FOLDER);
    if !folder.is_dir() {
        return Ok(());
    }
    let run = var.join(USUAL);
    fs::create_dir_all(&run)?;
    match symlink(folder.join(SOCKET), run.join(SOCKET)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_where_clients_look_in_a_container_that_has_one() {
        let folder = tempfile::tempdir().unwrap();
        let (root, var) = (folder.path().join("root"), folder.path().join("var"));
        fs::create_dir(&root).unwrap();
        offer(&root, &var).unwrap();
        assert!(!var.exists());
        fs::create_dir(root.join(FOLDER)).unwrap();
        for _ in 0..2 {
            offer(&root, &var).unwrap();
            assert_eq!(fs::read_link(var.join("run/docker.sock")).unwrap(), root.join("docker/docker.sock"));
        }
    }
}
