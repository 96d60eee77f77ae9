//! Who may use the server: tokens and sessions, and the people that a repository knows from its builds.

pub mod people;
pub mod sessions;
pub mod tokens;
