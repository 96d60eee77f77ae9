//! What forges report: deliveries of webhooks, the refs and pull requests that they announce, and the refs that a check
//! finds.

pub mod announcements;
pub mod deliveries;
pub mod missed_pushes;
pub(crate) mod pull_requests;
pub mod refused_hooks;
