//! Works on a whole data folder: its backup, its check, and whose it is.

pub mod backup;
pub mod check;
pub(crate) mod identity;
