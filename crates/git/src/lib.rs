//! Git, through its command line.
//!
//! `scheduler` fetches mirrors and reads pipeline files here, the binary opens checkouts. Nothing here knows the
//! database, Docker or axum, and nothing here plans or runs a job.
//!
//! [`command`] is the only place that starts git, hardened. The types of `longshore_forge` (`CloneUrl`, `RefName`,
//! `CommitId`) are the only ways in which outsiders' text becomes an argument. [`mirror`] holds what was fetched,
//! [`incoming`] receives what a stranger may have made, [`merge`] makes what merging one would give, [`pruning`]
//! removes what nobody needs any more, [`pipeline_files`] and [`commit_files`] read from mirrors. [`checkout`] turns a
//! commit into a tar for a job, [`worktree`] does the same for a user's folder, [`lfs`] gets the objects of Git LFS,
//! and [`index_stat`] lets git in the job know them; [`ssh`] makes keys and hands them to ssh, [`hash_files`] computes
//! `hash-files` of both, and [`size`] checks whether a stranger's commit is small enough. Repositories are data: none
//! of their hooks, filters or configuration ever runs here.

mod checkout;
mod checkout_history;
mod command;
mod commit_files;
mod error;
mod fetch_target;
mod git_dir;
mod hash_files;
mod incoming;
mod index_stat;
mod lfs;
mod merge;
mod mirror;
mod pipeline_files;
mod pruning;
mod remains;
mod size;
mod ssh;
mod strangers;
mod submodules;
mod tar_source;
mod tar_writer;
mod worktree;

pub use checkout::{Checkout, Checkouts};
pub use command::Git;
pub use commit_files::Changed;
pub use error::GitError;
pub use fetch_target::FetchTarget;
pub use merge::Merged;
pub use mirror::{CommitFacts, Mirror, Mirrors, RemoteRef};
pub use pipeline_files::{PipelineFile, link_refused, read_pipeline_files};
pub use ssh::{NewKey, host_keys, new_key};
pub use tar_source::TarSource;
pub use worktree::{Worktree, WorktreeFacts};
