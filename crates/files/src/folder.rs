//! What a data folder holds, by name. Everything in it that is not named here is a cache (mirrors, checkouts).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

pub const DATABASE: &str = "longshore.db";
pub const LOGS: &str = "logs";
/// What opens secrets and doors: kept 0600, and left out of a backup on request.
pub const PRIVATE: [&str; 2] = ["secrets.key", "admin-token"];
pub const LOCK: &str = "lock";
/// Tells the folder from its copies; in no backup.
pub const IDENTITY: &str = "identity";
/// What the identity's file says of a folder that was just restored.
pub const RESTORED: &str = "restored";
/// And of one that goes on in the place of the folder that its database is from.
pub const TAKE_OVER: &str = "take-over";
/// Where a backup keeps its copy of the database while it is made.
pub const BACKUP: &str = "backup";
/// Held by a backup (exclusively) and by whoever removes logs (shared).
pub const BACKUP_LOCK: &str = "backup.lock";
/// Where a restore unpacks. While it is there, the folder is not whole.
pub const RESTORE: &str = "restore";

pub fn database(data_dir: &Path) -> PathBuf {
    data_dir.join(DATABASE)
}

/// Makes the folder where it is missing, for its owner alone. One that is there stays as its owner made it.
pub fn make(data_dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)
}

/// Makes the database's file where it is missing, and it the owner's alone: what webhooks are signed with and what opens clone addresses
/// stands in it. What SQLite makes beside it gets the same mode.
pub fn make_database_private(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
}

/// Writes a line that opens secrets or doors, for the owner alone: all of it or nothing, whenever the machine stops.
pub fn write_private(path: &Path, line: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    writeln!(file, "{line}")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
