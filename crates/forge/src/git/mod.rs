//! Git, by its command line.
//!
//! [`command`] is the one place that starts git, hardened; [`clone_url`] and `crate::revision` are the only ways for
//! outsiders' text to become arguments. [`mirror`] holds what was fetched, [`incoming`] takes in what a stranger may have made, [`pruning`] lets
//! go of what nobody needs any more, [`pipeline_files`] and [`commit_files`] read from it,
//! [`checkout`] makes a commit into a tar for a job, [`worktree`] does so with a folder of a person's, [`size`] says whether a stranger's
//! commit may be one.
//! Repositories are data: no hook, filter or configuration of theirs ever runs here.

mod checkout;
mod clone_url;
mod command;
mod commit_files;
mod error;
mod git_dir;
mod history;
mod incoming;
mod mirror;
mod pipeline_files;
mod pruning;
mod remains;
mod size;
mod submodules;
mod tar_source;
mod tar_writer;
mod worktree;

pub use checkout::{Checkout, Checkouts};
pub use clone_url::{CloneUrl, InvalidCloneUrl};
pub use command::Git;
pub use commit_files::Changed;
pub use error::GitError;
pub use mirror::{CommitFacts, Mirror, Mirrors, Wanted};
pub use pipeline_files::{PipelineFile, link_refused, read_pipeline_files};
pub use tar_source::TarSource;
pub use worktree::{Worktree, WorktreeFacts};
