//! What a data folder holds, by name. Everything in it that is not named here is a cache (mirrors, checkouts).

use std::path::{Path, PathBuf};

pub(crate) const DATABASE: &str = "longshore.db";
pub(crate) const LOGS: &str = "logs";
/// What opens secrets and doors: kept 0600, and left out of a backup on request.
pub(crate) const PRIVATE: [&str; 2] = ["secrets.key", "admin-token"];
pub(crate) const LOCK: &str = "lock";
/// Where a backup keeps its copy of the database while it is made.
pub(crate) const BACKUP: &str = "backup";
/// Held by a backup (exclusively) and by whoever removes logs (shared).
pub(crate) const BACKUP_LOCK: &str = "backup.lock";
/// Where a restore unpacks. While it is there, the folder is not whole.
pub(crate) const RESTORE: &str = "restore";

pub(crate) fn database(data_dir: &Path) -> PathBuf {
    data_dir.join(DATABASE)
}
