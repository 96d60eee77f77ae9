//! The bodies of requests: one file a service.

pub(crate) mod discord;
pub(crate) mod matrix;
pub(crate) mod mattermost;
pub(crate) mod slack;
pub(crate) mod teams;
pub(crate) mod webhook;
