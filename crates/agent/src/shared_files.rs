//! The files that the engine shares between a sandbox and all jobs that join it: names and addresses. A job may write
//! them; the sandbox's next job gets them as they were before.
//!
//! A job's agent restores them when the job ends, and reads every change back. The sandbox's own process, which no job
//! can reach, compares them before the next job begins (see `sandbox`). Podman adds a line to `hosts` for each
//! container that joins, and removes it when the container ends; the comparison ignores such lines.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

const FILE_NAMES: [&str; 3] = ["hosts", "resolv.conf", "hostname"];
/// No engine writes longer files.
const MAX_LEN: u64 = 1 << 20;
/// The kernel's limit for the names of a file's extended attributes, and for each value.
const MAX_ATTRIBUTES: usize = 64 << 10;

/// The files as they were when the agent began. They are held open because a job can change what their paths lead to.
#[derive(Debug)]
pub(crate) struct SharedFiles {
    files: Vec<SharedFile>,
    /// Why a file could not be read at the start; it cannot be compared then.
    unknown: Option<String>,
}

#[derive(Debug)]
struct SharedFile {
    name: &'static str,
    file: File,
    content: Vec<u8>,
    metadata: Metadata,
    attributes: Attributes,
}

/// Extended attributes, including access control lists.
type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

impl SharedFiles {
    pub(crate) fn open(etc: &Path) -> Self {
        let (mut files, mut unknown) = (Vec::new(), None);
        for name in FILE_NAMES {
            match SharedFile::open(name, etc) {
                Ok(file) => files.extend(file),
                Err(error) => unknown = Some(format!("/etc/{name} could not be read when the job began: {error}")),
            }
        }
        Self { files, unknown }
    }

    /// Adds names of this host to `hosts`, for the services of the job.
    pub(crate) fn add_hosts(&self, names: &[&str]) -> io::Result<()> {
        let Some(hosts) = self.files.iter().find(|file| file.name == "hosts") else { return Ok(()) };
        let mut content = hosts.content.clone();
        if content.last().is_some_and(|last| *last != b'\n') {
            content.push(b'\n');
        }
        for name in names {
            content.extend_from_slice(format!("127.0.0.1\t{name}\n").as_bytes());
        }
        hosts.file.write_all_at(&content, 0)?;
        hosts.file.set_len(content.len() as u64)
    }

    /// Compares the files with their original state. The error names the file that differs, and how.
    pub(crate) fn compare(&self) -> Result<(), String> {
        for file in &self.files {
            file.compare().map_err(|error| format!("/etc/{}: {error}", file.name))?;
        }
        self.unknown.clone().map_or(Ok(()), Err)
    }

    /// Restores the files' content, owner and mode, and reads them back. Extended attributes are only compared. Called
    /// when no process of the job is left. The error names the file that could not be restored, and why.
    pub(crate) fn restore(&self) -> Result<(), String> {
        for file in &self.files {
            file.restore().map_err(|error| format!("/etc/{} could not be restored: {error}", file.name))?;
        }
        self.unknown.clone().map_or(Ok(()), Err)
    }
}

impl SharedFile {
    /// Opens a file. Returns `None` if it does not exist or is not a regular file, since an engine shares no others.
    fn open(name: &'static str, etc: &Path) -> io::Result<Option<Self>> {
        let open = |write| {
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            File::options().read(true).write(write).custom_flags(flags).open(etc.join(name))
        };
        let file = match open(true) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => return Ok(None),
            // Without permission to write it, the agent can still tell whether it changed.
            Err(_) => open(false)?,
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        if metadata.len() >= MAX_LEN {
            return Err(io::Error::other("it is longer than any that an engine makes"));
        }
        let content = read(&file, metadata.len())?;
        let attributes = attributes(&file)?;
        Ok(Some(Self { name, file, content, metadata, attributes }))
    }

    fn restore(&self) -> io::Result<()> {
        let (was, is) = (&self.metadata, self.file.metadata()?);
        if owner_and_mode(&is) != owner_and_mode(was) {
            fchown(&self.file, Some(was.uid()), Some(was.gid()))?;
            self.file.set_permissions(was.permissions())?;
        }
        if !self.content_is(&is)? {
            self.file.write_all_at(&self.content, 0)?;
            self.file.set_len(self.content.len() as u64)?;
        }
        self.compare()
    }

    fn compare(&self) -> io::Result<()> {
        let is = self.file.metadata()?;
        if owner_and_mode(&is) != owner_and_mode(&self.metadata) {
            return Err(io::Error::other("its owner or mode has changed"));
        }
        if !self.content_is(&is)? && !self.differs_by_containers(&is)? {
            return Err(io::Error::other("its content has changed"));
        }
        if attributes(&self.file)? != self.attributes {
            return Err(io::Error::other("it has other attributes (an access list?)"));
        }
        Ok(())
    }

    /// Returns whether the files differ only in which containers have joined.
    fn differs_by_containers(&self, is: &Metadata) -> io::Result<bool> {
        if self.name != "hosts" || is.len() > MAX_LEN {
            return Ok(false);
        }
        Ok(without_containers(&read(&self.file, is.len())?) == without_containers(&self.content))
    }

    fn content_is(&self, is: &Metadata) -> io::Result<bool> {
        Ok(is.len() == self.content.len() as u64 && read(&self.file, is.len())? == self.content)
    }
}

/// Returns `hosts` without the lines of containers that joined: `127.0.0.1`, twelve digits of an id, and a name that
/// Longshore gives.
fn without_containers(hosts: &[u8]) -> Vec<u8> {
    let is_of_container = |line: &[u8]| {
        let mut words = line.split(u8::is_ascii_whitespace);
        let (address, id, name) = (words.next(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
        address == Some(b"127.0.0.1")
            && id.len() == 12
            && id.iter().all(u8::is_ascii_hexdigit)
            && name.starts_with(b"longshore-")
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            && words.all(<[u8]>::is_empty)
    };
    hosts.split_inclusive(|byte| *byte == b'\n').filter(|line| !is_of_container(line)).collect::<Vec<_>>().concat()
}

fn owner_and_mode(metadata: &Metadata) -> (u32, u32, u32) {
    (metadata.uid(), metadata.gid(), metadata.mode())
}

fn read(file: &File, length: u64) -> io::Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(length.min(MAX_LEN)).unwrap_or(0)];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

fn attributes(file: &File) -> io::Result<Attributes> {
    let mut names = vec![0; MAX_ATTRIBUTES];
    let length = match rustix::fs::flistxattr(file, &mut names[..]) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        listed => listed?,
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; MAX_ATTRIBUTES];
            let length = rustix::fs::fgetxattr(file, name, &mut value[..])?;
            value.truncate(length);
            Ok((name.to_vec(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn etc_in(folder: &Path) -> std::path::PathBuf {
        let etc = folder.join("etc");
        fs::create_dir(&etc).unwrap();
        fs::write(etc.join("hosts"), "127.0.0.1 localhost\n").unwrap();
        fs::write(etc.join("resolv.conf"), "nameserver 127.0.0.11\n").unwrap();
        etc
    }

    #[test]
    fn what_a_job_did_to_the_shared_files_is_undone_wherever_it_moved_them() {
        let folder = tempfile::tempdir().unwrap();
        let etc = etc_in(folder.path());
        let files = SharedFiles::open(&etc);
        fs::write(etc.join("hosts"), "203.0.113.66 registry.example\n").unwrap();
        fs::write(etc.join("resolv.conf"), "").unwrap();
        fs::set_permissions(etc.join("hosts"), Permissions::from_mode(0o600)).unwrap();
        fs::rename(&etc, folder.path().join("moved")).unwrap();
        fs::create_dir(&etc).unwrap();
        assert_eq!(files.restore(), Ok(()));
        let moved = folder.path().join("moved");
        assert_eq!(fs::read_to_string(moved.join("hosts")).unwrap(), "127.0.0.1 localhost\n");
        assert_eq!(fs::read_to_string(moved.join("resolv.conf")).unwrap(), "nameserver 127.0.0.11\n");
        assert_ne!(fs::metadata(moved.join("hosts")).unwrap().mode() & 0o777, 0o600);
        assert!(fs::read_dir(&etc).unwrap().next().is_none());
    }

    #[test]
    fn a_file_that_does_not_become_what_it_was_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let etc = etc_in(folder.path());
        let mut files = SharedFiles::open(&etc);
        // A full disk and a resource limit refuse a write in the same way.
        files.files[0].file = File::open(etc.join("hosts")).unwrap();
        assert_eq!(files.restore(), Ok(()), "nothing to write");
        fs::write(etc.join("hosts"), "127.0.0.1 localhost\n203.0.113.66 registry.example\n").unwrap();
        let error = files.restore().unwrap_err();
        assert!(error.starts_with("/etc/hosts could not be restored: "), "{error}");

        fs::write(etc.join("hostname"), vec![b'x'; 2 << 20]).unwrap();
        assert!(SharedFiles::open(&etc).restore().unwrap_err().contains("/etc/hostname"), "it was never known");
        fs::remove_file(etc.join("hostname")).unwrap();
        assert_eq!(SharedFiles::open(&etc).restore(), Ok(()), "an engine need not share all of them");
    }

    #[test]
    fn which_containers_have_joined_makes_no_difference_and_any_other_name_does() {
        let folder = tempfile::tempdir().unwrap();
        let etc = etc_in(folder.path());
        let files = SharedFiles::open(&etc);
        let hosts = |line: &str| fs::write(etc.join("hosts"), format!("127.0.0.1 localhost\n{line}\n")).unwrap();
        hosts("127.0.0.1\t9cdaec05701e longshore-job-4f211d69187a-1");
        assert_eq!(files.compare(), Ok(()));
        for line in [
            "127.0.0.1\t9cdaec05701e registry.example",
            "127.0.0.1\t9cdaec05701e longshore-job registry.example",
            "127.0.0.1\t9cdaec05701e longshore-job.example",
            "127.0.0.1\tregistry longshore-job",
            "203.0.113.66\t9cdaec05701e longshore-job",
        ] {
            hosts(line);
            assert!(files.compare().is_err(), "{line}");
        }
        // At a job's end such lines are removed all the same, because a job could leave a message in them.
        hosts("127.0.0.1\t9cdaec05701e longshore-a-message");
        assert_eq!(files.restore(), Ok(()));
        assert_eq!(fs::read_to_string(etc.join("hosts")).unwrap(), "127.0.0.1 localhost\n");
    }

    #[test]
    fn what_a_job_hung_on_a_shared_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let etc = etc_in(folder.path());
        let files = SharedFiles::open(&etc);
        let hosts = File::options().write(true).open(etc.join("hosts")).unwrap();
        let set = rustix::fs::fsetxattr(&hosts, "user.longshore", b"a message", rustix::fs::XattrFlags::empty());
        if set == Err(Errno::NOTSUP) {
            return;
        }
        set.unwrap();
        assert!(files.restore().unwrap_err().contains("attributes"));
    }
}
