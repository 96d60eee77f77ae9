//! The entries of the audit log, which is a chain (`longshore_audit`). An entry has no values of environments, no
//! credentials and no bodies.

use serde::{Deserialize, Serialize};

/// What was asked, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When the request came, in milliseconds since 1970.
    pub at: u64,
    /// Whose request it is: `job SCOPE` or `server INSTANCE`.
    pub client: String,
    pub method: String,
    /// The route, with stars where objects are named; the path itself, cut, if there is no such route.
    pub route: String,
    /// The object on the engine, by its full id or name, if there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
    pub decision: Outcome,
    /// The rule of a refusal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The status of the answer.
    pub status: u16,
    /// From the request's head to the answer's, in milliseconds.
    pub took: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Allowed,
    Denied,
    /// It was allowed, and the engine could not be reached or was not understood.
    Failed,
}
