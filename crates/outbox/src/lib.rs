//! Sends what the store owes to others: statuses of commits and comments on pull requests to forges, messages about
//! builds to people.
//!
//! Each of these is a row in the store, written with the change that it reports. This crate sends the newest state,
//! notes it once the other side has confirmed it, and tries again otherwise. After a kill it starts from the rows: what
//! was sent and not noted is sent once more.

mod check_content;
mod comments;
mod failures;
mod forge_calls;
mod notices;
mod pause;
mod statuses;
mod turns;

pub use comments::Comments;
pub use notices::Notices;
pub use statuses::Statuses;
