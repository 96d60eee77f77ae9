//! Stores everything in SQLite. The only crate that contains SQL.
//!
//! Called by the scheduler (which alone writes builds and statuses), the API (reads, hooks, tokens) and the binary.
//! Reads take a [`Store`], writes a [`WriteTx`], so that mixing them does not compile. A transaction is short: nobody
//! holds one across a network or engine call. Nothing here plans, runs jobs or uses the network.
//!
//! [`backup`] and [`check`] work on a whole data folder, beside a running server or without one. There is one file for
//! each noun: [`repos`], [`deliveries`], [`looks`], [`builds`], [`jobs`], [`steps`], [`artifacts`], [`acts`], [`audit`], [`anomalies`],
//! [`schedules`], [`tokens`], [`secrets`], [`caches`], [`registries`], [`repo_registries`], [`connections`],
//! [`commit_statuses`], [`pull_request_comments`], [`notifications`], [`notices`], [`sessions`], [`settings`], [`changes`], [`logs`], [`reports`],
//! [`tests`], [`coverage`], [`annotations`].

pub mod acts;
pub mod annotations;
pub mod announcements;
pub mod anomalies;
mod approvals;
pub mod artifacts;
pub mod attempts;
pub mod audit;
pub mod backup;
pub mod builds;
pub mod caches;
pub mod changes;
pub mod check;
pub mod commit_statuses;
pub mod connections;
pub mod counts;
pub mod coverage;
pub mod deliveries;
pub mod deploy_keys;
pub mod engine_room;
mod error;
mod graph;
pub mod handing_on;
mod identity;
pub mod jobs;
pub mod logs;
pub mod looks;
mod migrations;
mod new_jobs;
pub mod notices;
pub mod notifications;
pub mod overview;
mod page;
pub mod people;
pub mod pull_request_comments;
mod pull_requests;
mod queue;
pub mod refused_hooks;
pub mod registries;
mod removals;
pub mod repo_registries;
pub mod reports;
pub mod repos;
pub mod retention;
pub mod reuse;
mod row;
pub mod schedules;
pub mod sealing;
mod secret_key;
pub mod secrets;
pub mod sessions;
pub mod settings;
mod snapshot;
pub mod steps;
mod store;
pub mod tests;
pub mod tokens;
mod transition;
pub mod workspaces;
mod write;

pub use changes::{Change, ChangeKind, Feed, FeedItem};
pub use error::{DatabaseError, StoreError};
pub use migrations::newest as newest_schema;
pub use page::Page;
pub use removals::artifacts::sweep as sweep_artifacts;
pub use store::Store;
pub use write::WriteTx;
