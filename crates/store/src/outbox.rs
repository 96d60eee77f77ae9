//! What the server owes to others: statuses and comments to forges, messages to people.

pub mod commit_statuses;
pub mod notices;
pub mod notifications;
pub mod pull_request_comments;
