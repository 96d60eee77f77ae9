//! The LFS objects of one repository on this machine, each under its SHA-256. Only what the repository's own store has
//! served is here, so that a pointer to another repository's object finds nothing.

use std::{
    fs::File,
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use longshore_forge::lfs::Pointer;
use sha2::{Digest as _, Sha256};

/// The folder in a mirror.
const FOLDER: &str = "lfs";
/// The folder in a mirror for objects that a store named by its commits gave for the repository's credentials.
const NAMED: &str = "lfs-named";
/// The folder in a mirror for objects from forks.
const FORKS: &str = "lfs-forks";
/// The folder for files that are being received. Its content is useless after a kill.
const INCOMING: &str = "incoming";
const BUFFER_BYTES: usize = 64 << 10;

/// A folder of objects.
#[derive(Debug, Clone)]
pub(crate) struct Objects(PathBuf);

/// Why an object was not received.
#[derive(Debug)]
pub(crate) enum NotReceived {
    /// Its bytes do not come any more.
    Source(io::Error),
    /// It is not what its name says.
    Other(String),
    Disk(io::Error),
    /// Nobody waits for it any more.
    Stopped,
}

impl Objects {
    /// Returns those of a mirror.
    pub(crate) fn of_mirror(mirror: &Path) -> Self {
        Self(mirror.join(FOLDER))
    }

    /// Returns those of a mirror that came from a store that its commits name.
    pub(crate) fn of_named_store(mirror: &Path) -> Self {
        Self(mirror.join(NAMED))
    }

    /// Returns those of a mirror that came from forks of the repository.
    pub(crate) fn of_forks(mirror: &Path) -> Self {
        Self(mirror.join(FORKS))
    }

    /// Returns those in a folder of their own.
    pub(crate) const fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Returns where an object is, or would be.
    pub(crate) fn path(&self, pointer: &Pointer) -> PathBuf {
        let oid = pointer.oid();
        self.0.join("objects").join(&oid[..2]).join(&oid[2..4]).join(oid)
    }

    /// Returns whether an object is here, whole. It counts as used now.
    pub(crate) fn has(&self, pointer: &Pointer) -> bool {
        let whole = |file: &File| file.metadata().is_ok_and(|facts| facts.is_file() && facts.len() == pointer.size());
        let Ok(file) = File::open(self.path(pointer)) else { return false };
        whole(&file) && file.set_modified(SystemTime::now()).is_ok()
    }

    /// Receives an object and compares it with its name. It is stored whole or not at all.
    pub(crate) fn receive(
        &self,
        pointer: &Pointer,
        mut bytes: impl Read,
        is_stopped: impl Fn() -> bool,
    ) -> Result<(), NotReceived> {
        let incoming = self.0.join(INCOMING);
        std::fs::create_dir_all(&incoming).map_err(NotReceived::Disk)?;
        let mut file = tempfile::NamedTempFile::new_in(&incoming).map_err(NotReceived::Disk)?;
        let (mut hash, mut length, mut buffer) = (Sha256::new(), 0_u64, vec![0; BUFFER_BYTES]);
        loop {
            if is_stopped() {
                return Err(NotReceived::Stopped);
            }
            let count = bytes.read(&mut buffer).map_err(NotReceived::Source)?;
            if count == 0 {
                break;
            }
            length += count as u64;
            if length > pointer.size() {
                return Err(NotReceived::Other(format!(
                    "it has more bytes than the {} of its pointer",
                    pointer.size()
                )));
            }
            hash.update(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(NotReceived::Disk)?;
        }
        if length < pointer.size() {
            let short = format!("it broke off after {length} of {} bytes", pointer.size());
            return Err(NotReceived::Source(io::Error::new(io::ErrorKind::UnexpectedEof, short)));
        }
        let found = hex::encode(hash.finalize());
        if found != pointer.oid() {
            return Err(NotReceived::Other(format!("its bytes have another SHA-256: {found}")));
        }
        let place = self.path(pointer);
        let kept = || {
            std::fs::create_dir_all(place.parent().unwrap_or(&self.0))?;
            // After a power cut, an object that has its length has its bytes.
            file.as_file().sync_data()?;
            file.persist(&place).map_err(|error| error.error)
        };
        kept().map(drop).map_err(NotReceived::Disk)
    }

    /// Returns when each object was used, its length and where it is.
    fn all(&self) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.join("objects")];
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let facts = entry.metadata()?;
                match facts.is_dir() {
                    true => folders.push(entry.path()),
                    false => found.push((facts.modified()?, facts.len(), entry.path())),
                }
            }
        }
        Ok(found)
    }

    /// Removes what a killed process was receiving.
    pub(crate) fn remove_halves(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(self.0.join(INCOMING)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Removes objects that nobody has used for this long, and the least recently used until the rest fits. Nobody may be
/// using any.
pub(super) fn sweep(all: &[Objects], unused: Duration, budget: u64) -> io::Result<()> {
    let mut found = Vec::new();
    for objects in all {
        found.extend(objects.all()?);
    }
    found.sort();
    let mut total: u64 = found.iter().map(|(_, length, _)| length).sum();
    let now = SystemTime::now();
    for (used, length, path) in found {
        let is_old = now.duration_since(used).is_ok_and(|age| age >= unused);
        if !is_old && total <= budget {
            break;
        }
        std::fs::remove_file(path)?;
        total -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(content: &[u8]) -> Pointer {
        Pointer::new(&hex::encode(Sha256::digest(content)), content.len() as u64).unwrap()
    }

    #[test]
    fn an_object_is_there_whole_and_as_it_is_called_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::at(folder.path().join("lfs"));
        let wanted = pointer(b"content");
        for wrong in [&b"Content"[..], b"conten", b"content and more", b""] {
            assert!(objects.receive(&wanted, wrong, || false).is_err(), "{wrong:?}");
            assert!(!objects.has(&wanted));
        }
        assert!(matches!(objects.receive(&wanted, &b"content"[..], || true), Err(NotReceived::Stopped)));
        objects.receive(&wanted, &b"content"[..], || false).unwrap();
        assert!(objects.has(&wanted));
        assert_eq!(std::fs::read_dir(folder.path().join("lfs/incoming")).unwrap().count(), 0);
        // As after a power cut.
        std::fs::write(objects.path(&wanted), "").unwrap();
        assert!(!objects.has(&wanted));
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_what_is_over_the_budget() {
        let folder = tempfile::tempdir().unwrap();
        // The folders of two repositories that share one budget.
        let all = ["one", "other"].map(|name| Objects::at(folder.path().join(name)));
        let contents = [&b"1111"[..], b"2222", b"3333", b"4444"];
        let of = |at: usize| &all[at % 2];
        let hour = Duration::from_secs(3600);
        for (at, (age, content)) in [30, 20, 10, 0].into_iter().zip(contents).enumerate() {
            of(at).receive(&pointer(content), content, || false).unwrap();
            let file = File::options().append(true).open(of(at).path(&pointer(content))).unwrap();
            file.set_modified(SystemTime::now() - age * hour).unwrap();
        }
        let left = || [0, 1, 2, 3].map(|at| of(at).path(&pointer(contents[at])).exists());
        sweep(&all, 25 * hour, 100).unwrap();
        assert_eq!(left(), [false, true, true, true]);
        assert!(of(1).has(&pointer(contents[1])), "it counts as used now");
        sweep(&all, 25 * hour, 8).unwrap();
        assert_eq!(left(), [false, true, false, true]);
    }
}
