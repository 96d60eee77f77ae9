//! Paths of our files in every container.

/// Where the executable's folder is mounted.
pub(crate) const MOUNT: &str = "/.longshore";
/// The executable in it.
pub(crate) const PROGRAM: &str = longshore_guard::job_guard::PROGRAM;
/// The agent's spool. Like the steps' scripts it lies in the container's own file system, which no other container of
/// the pod sees.
pub(crate) const SPOOL: &str = "/longshore/spool";
/// Where the volume with the guard's socket is mounted, in the guard and in the job's containers.
pub(crate) const GUARD_FOLDER: &str = longshore_guard::job_guard::FOLDER;
/// The guard's socket in it. The agent makes it [`DOCKER_SOCKET`] in the job's containers.
pub(crate) const GUARD_SOCKET: &str = longshore_guard::job_guard::SOCKET;
/// Where clients look for an engine.
pub(crate) const DOCKER_SOCKET: &str = longshore_guard::job_guard::ENGINE_SOCKET;
/// A memory file system for secrets that are files. They reach no disk, and disappear with the
/// container.
pub(crate) const SECRETS: &str = "/longshore/secrets";
