//! Stores everything in SQLite. The only crate that contains SQL.
//!
//! Called by the scheduler (which alone writes builds and statuses), the API (reads, hooks, tokens) and the binary.
//! Reads take a [`Store`], writes a [`WriteTx`], so that mixing them does not compile. A transaction is short: nobody
//! holds one across a network or engine call. Nothing here plans, runs jobs or uses the network.
//!
//! [`backup`] and [`check`] work on a whole data folder, beside a running server or without one. There is one file for
//! each noun, and nouns that belong together share a room: `inbox` ([`deliveries`], [`missed_pushes`], ...), [`builds`]
//! ([`jobs`], [`steps`], ...), `queue`, `outbox` ([`commit_statuses`], [`notices`], ...), [`audit`]
//! ([`acts`], [`anomalies`]), `access` ([`tokens`], [`sessions`], ...), `credentials`
//! ([`secrets`], [`registries`], [`connections`], ...), `lasting` ([`caches`], [`workspaces`], ...), [`reports`]
//! ([`tests`], [`coverage`], [`annotations`]).

mod access;
pub mod artifacts;
pub mod audit;
pub mod builds;
pub mod changes;
mod credentials;
mod data_folder;
mod error;
mod inbox;
mod lasting;
pub mod logs;
mod migrations;
mod outbox;
mod page;
mod queue;
mod removals;
pub mod repo_registries;
pub mod reports;
pub mod repos;
pub mod retention;
mod row;
pub mod schedules;
pub mod settings;
mod store;
mod write;

pub use access::{people, sessions, tokens};
pub use audit::{acts, anomalies};
use builds::new_jobs;
pub use builds::{attempts, counts, jobs, overview, steps};
pub use changes::{Change, ChangeKind, Feed, FeedItem};
use credentials::secret_key;
pub use credentials::{connections, deploy_keys, registries, sealing, secrets};
use data_folder::identity;
pub use data_folder::{backup, check};
pub use error::{Conflict, DatabaseError, Invalid, PlanFault, StoreError};
use inbox::pull_requests;
pub use inbox::{announcements, deliveries, missed_pushes, refused_hooks};
pub use lasting::{anything_lasts, caches, engine_room, reuse, workspaces};
pub use migrations::newest as newest_schema;
pub use outbox::{commit_statuses, notices, notifications, pull_request_comments};
pub use page::Page;
pub use queue::handing_on;
use queue::{approvals, graph, snapshot, transition};
pub use removals::artifacts::sweep as sweep_artifacts;
pub use reports::{annotations, coverage, tests};
pub use store::Store;
pub use write::WriteTx;
