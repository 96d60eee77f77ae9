//! HTTP: webhooks, the JSON API, live streams, OpenAPI, and the pages.
//!
//! The binary calls [`serve`]. Handlers read the store and ask the scheduler; a hook is one row in the inbox and nothing
//! else. Nothing here plans or runs anything, writes a build's or a job's status, or holds SQL. One file a noun.

mod acts;
mod approvals;
mod auth;
mod body;
mod build_views;
mod config;
mod error;
mod host;
mod json_request;
mod layers;
mod live;
mod logs;
mod lookup;
mod openapi;
mod pages;
mod params;
mod places;
mod public_url;
mod repo_changes;
mod request_counts;
mod router;
mod routes;
mod secret_changes;
mod server;
mod sse;
mod standings;
mod state;
mod token_expiry;
mod views;

/// The addresses of the pages, each with its methods in small letters; those of the API stand in [`openapi_json`].
pub const PAGES: &[(&str, &[&str])] = pages::ROUTES;

pub use config::{ApiConfig, EngineProbe};
pub use error::ApiError;
pub use public_url::PublicUrl;
pub use router::{Api, router};
pub use routes::openapi_json;
pub use server::serve;
