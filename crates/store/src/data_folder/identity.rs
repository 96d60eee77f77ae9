//! Decides which installation a data folder belongs to. A copy of a folder is another installation: it must never
//! touch the original's containers and volumes.
//!
//! The database knows the instance's id, and a backup, a snapshot or `cp -a` copies the database too. So each folder
//! has a mark, a small file beside its lock that backups leave out. The database recognizes it by its inode number, its
//! birth time and, until the machine restarts, its file system. If the mark is not the one that the database knows, the
//! folder is a copy and gets an instance id of its own, unless [`longshore_files::restore::take_over`] has declared
//! that it continues in the original's place.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use longshore_files::folder;
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, SqliteConnection};

use crate::{StoreError, settings};

/// The setting that holds the folder's mark.
const MARK_SETTING: &str = "folder";
/// The name of a mark that the database may not know yet.
const NEW_MARK: &str = "identity-unknown";

/// Which installation a folder belongs to.
pub(crate) struct Identity {
    pub(crate) instance: String,
    /// The instance whose copy this folder has just turned out to be.
    pub(crate) copy_of: Option<String>,
}

/// What identifies a mark's file on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    id: String,
    inode: u64,
    /// Nanoseconds since 1970; `None` if the file system does not record when a file was created.
    born: Option<u64>,
    /// The boot id of the machine. The numbers of devices and file systems below are comparable only within one boot.
    boot: Option<String>,
    device: u64,
    filesystem: u64,
}

/// Compares the mark with the database, updates both so that they agree, and returns the identity. The caller holds the
/// folder's lock.
pub(crate) async fn settle(conn: &mut SqliteConnection, data_dir: &Path) -> Result<Identity, StoreError> {
    let instance = settings::instance(conn).await?;
    let known = settings::get_on(conn, MARK_SETTING).await?.and_then(|text| serde_json::from_str::<Mark>(&text).ok());
    let (path, new) = (data_dir.join(folder::IDENTITY), data_dir.join(NEW_MARK));
    // If an earlier start ended after the database was written and before the mark was renamed, rename it now.
    if known.is_some() && read_mark(&new)? == known {
        fs::rename(&new, &path).map_err(|source| StoreError::io(&new, source))?;
    }
    let found = read_mark(&path)?;
    let is_copy = match (&known, &found) {
        (Some(known), Some(found)) if found.is_same(known) => {
            if found != known {
                settings::set_on(conn, MARK_SETTING, &to_json(found)?).await?;
            }
            return Ok(Identity { instance, copy_of: None });
        }
        // `take_over` leaves this mark. Any other mark that the database does not know means that this is a copy.
        (_, Some(found)) => found.id != folder::TAKE_OVER,
        // The database was in a folder with a mark, and this folder has none: a restored backup, for example.
        (Some(_), None) => true,
        // A new folder, or one of a version that left no marks.
        (None, None) => false,
    };
    let id = hex::encode(rand::random::<[u8; 8]>());
    folder::write_private(&new, &id).map_err(|source| StoreError::io(&new, source))?;
    let mark = read_mark(&new)?.ok_or_else(|| StoreError::io(&new, io::ErrorKind::NotFound.into()))?;
    let mut tx = conn.begin().await?;
    settings::set_on(&mut tx, MARK_SETTING, &to_json(&mark)?).await?;
    let own = if is_copy { settings::new_instance(&mut tx).await? } else { instance.clone() };
    tx.commit().await?;
    fs::rename(&new, &path).map_err(|source| StoreError::io(&new, source))?;
    Ok(Identity { instance: own, copy_of: is_copy.then_some(instance) })
}

impl Mark {
    /// Returns whether this is the very file that the database knows, and no copy of it.
    fn is_same(&self, known: &Self) -> bool {
        let same_file = match (self.born, known.born) {
            (Some(now), Some(then)) => now == then,
            (None, _) | (_, None) => self.inode == known.inode,
        };
        self.id == known.id && same_file && self.same_file_system(known)
    }

    /// Returns whether both marks are on the same file system. A clone of a whole file system contains files with the
    /// same birth time, but beside the original it has another device.
    fn same_file_system(&self, known: &Self) -> bool {
        if self.boot.is_none() || self.boot != known.boot {
            return true;
        }
        // File systems without a device of their own (overlay, NFS) get another number with each mount.
        let have_device_numbers = [self.device, known.device].iter().all(|device| rustix::fs::major(*device) != 0);
        self.filesystem == known.filesystem && (!have_device_numbers || self.device == known.device)
    }
}

fn to_json(mark: &Mark) -> Result<String, StoreError> {
    serde_json::to_string(mark).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn read_mark(path: &Path) -> Result<Option<Mark>, StoreError> {
    let at = |source| StoreError::io(path, source);
    let id = match fs::read_to_string(path) {
        Ok(id) => id.trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(error)),
    };
    let file = fs::metadata(path).map_err(at)?;
    let born = file.created().ok().and_then(|born: SystemTime| born.duration_since(UNIX_EPOCH).ok());
    Ok(Some(Mark {
        id,
        inode: file.ino(),
        born: born.and_then(|born| u64::try_from(born.as_nanos()).ok()),
        boot: fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|boot| boot.trim().to_owned()),
        device: file.dev(),
        filesystem: rustix::fs::statvfs(path).map_or(0, |disk| disk.f_fsid),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloned_file_system_is_recognized_by_its_device_until_a_reboot() {
        let device = |major, minor| rustix::fs::makedev(major, minor);
        let mark = Mark {
            id: "a".to_owned(),
            inode: 5,
            born: Some(7),
            boot: Some("one".to_owned()),
            device: device(253, 1),
            filesystem: 9,
        };
        assert!(mark.is_same(&mark));
        assert!(!Mark { device: device(253, 2), ..mark.clone() }.is_same(&mark), "a snapshot beside the first");
        assert!(!Mark { filesystem: 10, ..mark.clone() }.is_same(&mark), "a subvolume's snapshot");
        let later = Mark { boot: Some("two".to_owned()), device: device(253, 2), ..mark.clone() };
        assert!(later.is_same(&mark), "numbers change with the machine's start");
        let overlay = Mark { device: device(0, 44), ..mark.clone() };
        assert!(
            Mark { device: device(0, 45), ..mark.clone() }.is_same(&overlay),
            "and with a mount that has no device"
        );
        assert!(!Mark { born: Some(8), ..mark.clone() }.is_same(&mark), "another file of the same number");
        let ageless = Mark { born: None, ..mark.clone() };
        assert!(ageless.is_same(&mark) && !Mark { inode: 6, ..ageless }.is_same(&mark));
    }
}
