//! What forges say: webhook signatures and payloads, and the names of refs and commits and the clone addresses in them.
//!
//! `api` verifies signatures and computes delivery keys here, `scheduler` parses deliveries, `longshore-git` takes only
//! what was parsed here. All of it is pure: nothing here does I/O, waits, or knows git, the database, Docker or axum.

pub mod checks;
mod clone_url;
mod delivery;
mod forge;
mod forges;
pub mod fork;
mod github_bodies;
mod hook;
pub mod lfs;
pub mod payload;
mod read;
mod repository;
mod revision;
pub mod signature;
pub mod text;
mod webhooks;

pub use clone_url::{CloneUrl, InvalidCloneUrl, SshLogin};
pub use delivery::{BodyKey, body_key, delivery_key, parse_with_key, pull_request_key, push_key, release_key};
pub use forge::{Forge, NotAForge, sender_of};
pub use hook::{DeliveryContents, Head, Hook, PayloadError, PullRequestHook, PullRequestState, PushHook, ReleaseHook};
pub use repository::ForgeRepository;
pub use revision::{CommitId, InvalidRevision, RefName, Revision};
pub use signature::SignatureError;
pub use webhooks::Sends;
