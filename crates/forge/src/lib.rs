//! Forges and git: parses and verifies webhooks, and brings a commit's files from a clone address into a job.
//!
//! `api` verifies signatures and computes delivery keys here, `scheduler` parses deliveries, fetches mirrors and reads
//! pipeline files, the binary opens checkouts. Nothing here knows the database, Docker or axum, and nothing here plans
//! or runs a job.

mod delivery;
mod forge;
pub mod git;
pub mod payload;
mod revision;
pub mod signature;
mod text;

pub use delivery::{body_key, delivery_key, pull_request_key, push_key};
pub use forge::{Forge, NotAForge};
pub use payload::{Hook, PayloadError, PullRequestHook, PushHook};
pub use revision::{CommitId, InvalidRevision, RefName, Revision};
pub use signature::SignatureError;
