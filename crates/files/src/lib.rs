//! The files of a data folder: one log per attempt with its index, and the archive of a backup.
//!
//! Called by the store, which knows which jobs there are, by the API, which reads logs, and by the program. Nothing here knows
//! the database: what depends on a job's state is given by the caller.
//!
//! [`logs`] holds the journals of attempts. [`folder`] names what a data folder holds, [`lock`] keeps a second server out of
//! it, [`turn`] keeps backups and removals apart, [`archive`] writes a backup and [`restore`] reads one.

pub mod archive;
mod error;
pub mod folder;
pub mod lock;
pub mod logs;
pub mod restore;
pub mod turn;

pub use error::FilesError;
