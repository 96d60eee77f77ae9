//! The files of a data folder: one log per attempt with its index, the artifacts of jobs, and the archive of a backup.
//!
//! Called by the store, which knows the jobs, by the API, which reads logs, and by the program. Nothing here knows the
//! database; callers pass in what depends on a job's state.
//!
//! [`logs`] holds the journals of attempts, [`artifacts`] the files that they leave. [`folder`] names the contents of a
//! data folder, [`lock`] keeps a second server out, [`turn`] keeps backups and removals apart, [`archive`] writes a
//! backup and [`restore`] reads one.

pub mod archive;
pub mod artifacts;
mod error;
pub mod folder;
pub mod lock;
pub mod logs;
pub mod restore;
pub mod turn;

pub use error::FilesError;
