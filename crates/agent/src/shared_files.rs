//! The files that the engine shares between a sandbox and all jobs that join it: names and addresses. A job may write them, and the
//! sandbox's next job gets them as they were.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, fchown};
use std::path::Path;

const NAMES: [&str; 3] = ["hosts", "resolv.conf", "hostname"];
/// No engine writes longer ones; such a file is left alone.
const MAX: u64 = 1 << 20;

/// As they were when the agent began. Held open: a job can move what their paths lead to.
#[derive(Debug)]
pub(crate) struct SharedFiles(Vec<SharedFile>);

#[derive(Debug)]
struct SharedFile {
    file: File,
    content: Vec<u8>,
    metadata: Metadata,
}

impl SharedFiles {
    pub(crate) fn open(etc: &Path) -> Self {
        Self(NAMES.iter().filter_map(|name| SharedFile::open(&etc.join(name)).ok()).collect())
    }

    /// Makes them what they were. Called when no process of the job is left.
    pub(crate) fn restore(&self) {
        for file in &self.0 {
            // A full disk, at worst: the sandbox is then of little use, and so is the host.
            let _ = file.restore();
        }
    }
}

impl SharedFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let metadata = file.metadata()?;
        let mut content = Vec::new();
        (&file).take(MAX).read_to_end(&mut content)?;
        if !metadata.is_file() || content.len() as u64 == MAX {
            return Err(io::Error::other("not what an engine makes"));
        }
        Ok(Self { file, content, metadata })
    }

    fn restore(&self) -> io::Result<()> {
        let (is, was) = (self.file.metadata()?, &self.metadata);
        if (is.uid(), is.gid(), is.mode()) != (was.uid(), was.gid(), was.mode()) {
            fchown(&self.file, Some(was.uid()), Some(was.gid()))?;
            self.file.set_permissions(was.permissions())?;
        }
        let mut content = vec![0; self.content.len()];
        let same = is.len() == was.len() && self.file.read_exact_at(&mut content, 0).is_ok() && content == self.content;
        if !same {
            self.file.write_all_at(&self.content, 0)?;
            self.file.set_len(self.content.len() as u64)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_a_job_did_to_the_shared_files_is_undone_wherever_it_moved_them() {
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc");
        fs::create_dir(&etc).unwrap();
        fs::write(etc.join("hosts"), "127.0.0.1 localhost\n").unwrap();
        fs::write(etc.join("resolv.conf"), "nameserver 127.0.0.11\n").unwrap();
        let files = SharedFiles::open(&etc);
        fs::write(etc.join("hosts"), "203.0.113.66 registry.example\n").unwrap();
        fs::write(etc.join("resolv.conf"), "").unwrap();
        fs::set_permissions(etc.join("hosts"), Permissions::from_mode(0o600)).unwrap();
        fs::rename(&etc, folder.path().join("moved")).unwrap();
        fs::create_dir(&etc).unwrap();
        files.restore();
        let moved = folder.path().join("moved");
        assert_eq!(fs::read_to_string(moved.join("hosts")).unwrap(), "127.0.0.1 localhost\n");
        assert_eq!(fs::read_to_string(moved.join("resolv.conf")).unwrap(), "nameserver 127.0.0.11\n");
        assert_ne!(fs::metadata(moved.join("hosts")).unwrap().mode() & 0o777, 0o600);
        assert!(fs::read_dir(&etc).unwrap().next().is_none());
    }
}
