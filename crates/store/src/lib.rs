//! SQLite: the only crate that holds SQL.
//!
//! Called by the scheduler (which alone writes builds and statuses), the API (reads, hooks, tokens) and the binary.
//! Reads take a [`Store`], writes a [`WriteTx`], so that mixing them does not compile. A transaction is short: nobody
//! holds one across a network or engine call. Nothing here plans, runs or talks to anybody.
//!
//! The data folder as a whole is [`backup`]ed and [`check`]ed beside a running server or without one.
//! One file a noun: [`repos`], [`deliveries`], [`builds`], [`jobs`], [`steps`], [`acts`], [`schedules`], [`tokens`], [`secrets`], [`sessions`], [`settings`], [`changes`], [`logs`].

pub mod acts;
mod approvals;
pub mod attempts;
pub mod backup;
pub mod builds;
pub mod changes;
pub mod check;
pub mod counts;
pub mod deliveries;
mod error;
mod graph;
mod identity;
pub mod jobs;
pub mod logs;
mod migrations;
pub mod overview;
mod page;
pub mod people;
mod pull_requests;
mod queue;
mod removals;
pub mod repos;
pub mod retention;
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
pub mod tokens;
pub mod told;
mod transition;
mod write;

pub use changes::{Change, ChangeKind, Feed, FeedItem};
pub use error::{DatabaseError, StoreError};
pub use migrations::newest as newest_schema;
pub use page::Page;
pub use store::Store;
pub use write::WriteTx;
