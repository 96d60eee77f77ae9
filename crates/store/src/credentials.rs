//! Secrets and logins, sealed with one key: of jobs, registries, forges and git hosts.

pub mod connections;
pub mod deploy_keys;
pub mod registries;
pub mod sealing;
pub(crate) mod secret_key;
pub mod secrets;
