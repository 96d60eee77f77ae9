//! Paths of our files in every container.

/// Where the executable's folder is mounted.
pub(crate) const MOUNT: &str = "/.longshore";
/// The executable in it.
pub(crate) const PROGRAM: &str = "/.longshore/longshore";
/// Where the job's volume is mounted: workspace, spool and scripts are folders in it.
pub(crate) const ROOT: &str = "/longshore";
/// The agent's spool in it.
pub(crate) const SPOOL: &str = "/longshore/spool";
/// A memory file system over that volume for secrets that are files. They reach no disk, and disappear with the
/// container.
pub(crate) const SECRETS: &str = "/longshore/secrets";
