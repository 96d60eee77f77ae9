//! Tells the outside what the store owes it: forges the statuses of commits and comments on pull
//! requests, people what happened to builds.
//!
//! Everything owed is a row in the store, written with the change that it tells of. This crate sends the newest state,
//! notes it once the other side has confirmed it, and tries again otherwise. After a kill it starts from the rows: what
//! was sent and not noted is sent once more.

mod check_content;
mod comments;
mod failures;
mod forge_calls;
mod notices;
mod pause;
mod statuses;

pub use comments::Comments;
pub use notices::Notices;
pub use statuses::Statuses;
