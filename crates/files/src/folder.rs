//! The names in a data folder. Everything that is not named here is a cache (mirrors, checkouts).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

pub const DATABASE: &str = "longshore.db";
pub const LOGS: &str = "logs";
/// The artifacts of jobs.
pub const ARTIFACTS: &str = "artifacts";
/// In [`ARTIFACTS`]: the bytes of files, by their SHA-256.
pub const BLOBS: &str = "blobs";
/// In [`ARTIFACTS`]: which blobs are in the object store.
pub const ELSEWHERE: &str = "elsewhere";
/// In [`ARTIFACTS`]: what arrives of running jobs; never in a backup.
pub const INCOMING: &str = "incoming";
/// Keys and tokens: mode 0600, and left out of a backup on request.
pub const PRIVATE: [&str; 2] = ["secrets.key", "admin-token"];
pub const LOCK: &str = "lock";
/// Where the folder's server listens; never in a backup.
pub const LISTENER: &str = "listener";
/// Distinguishes the folder from its copies; never in a backup.
pub const IDENTITY: &str = "identity";
/// The content of the identity file in a folder that was just restored.
pub const RESTORED: &str = "restored";
/// The content of the identity file in a folder that replaces the one its database came from.
pub const TAKE_OVER: &str = "take-over";
/// Where a backup keeps its copy of the database while it is being made.
pub const BACKUP: &str = "backup";
/// Held by a backup (exclusively) and by those who remove logs (shared).
pub const BACKUP_LOCK: &str = "backup.lock";
/// Where a restore unpacks. While it exists, the folder is incomplete.
pub const RESTORE: &str = "restore";

pub fn database(data_dir: &Path) -> PathBuf {
    data_dir.join(DATABASE)
}

/// Creates the folder if it is missing, accessible only to its owner. An existing folder keeps its mode.
pub fn make(data_dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)
}

/// Creates the database's file if it is missing, and makes it accessible only to its owner: it contains the secrets of
/// webhooks and the credentials of clone addresses. SQLite gives the files beside it the same mode.
pub fn make_database_private(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
}

/// Writes a secret line, accessible only to the owner. The file has either its old or its new content, even if the
/// machine crashes.
pub fn write_private(path: &Path, line: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    writeln!(file, "{line}")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
