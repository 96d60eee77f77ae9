//! HTTP: webhooks, the JSON API, live streams, OpenAPI, and the pages.
//!
//! The binary calls [`serve`]. Handlers read the store and ask the scheduler; a webhook becomes one row in the inbox.
//! Nothing here plans or runs anything, writes the status of a build or a job, or holds SQL.
//!
//! `routes` holds the API, one file per noun; `pages` holds the pages. Neither imports the other: what both need stands
//! in files beside them. `router` alone knows all of them. No file imports the whole state: handlers name the parts
//! that they take (`state`).

mod acts;
mod approvals;
mod artifact_tickets;
mod artifacts;
mod audited;
mod auth;
mod body;
mod build_views;
mod check_reruns;
mod config;
mod deploy_key_view;
mod error;
mod forges;
mod guard_log;
mod host;
mod json_request;
mod late_notices;
mod late_statuses;
mod layers;
mod live;
mod logs;
mod lookup;
mod notifier;
mod openapi;
mod pages;
mod params;
mod public_url;
mod range;
mod refused_hooks;
mod repo_changes;
mod report_views;
mod reports;
mod request_counts;
mod request_slots;
mod router;
mod routes;
mod secret_changes;
mod server;
mod sse;
mod standings;
mod state;
mod token_expiry;
mod views;

/// The addresses of the pages, each with its methods in lower case. [`openapi_json`] has those of the API.
pub const PAGES: &[(&str, &[&str])] = pages::ROUTES;

pub use audited::action as audit_action;
pub use config::{ApiConfig, EngineProbe};
pub use error::ApiError;
pub use public_url::PublicUrl;
pub use router::{Api, router};
pub use routes::openapi_json;
pub use server::serve;
