//! HTTP: webhooks, the JSON API, live streams, OpenAPI, and the pages.
//!
//! The binary calls [`serve`]. Handlers read the store and ask the scheduler; a hook is one row in the inbox and nothing
//! else. Nothing here plans or runs anything, writes a build's or a job's status, or holds SQL. One file a noun.

mod acts;
mod auth;
mod badge;
mod body;
mod build_actions;
mod builds;
mod deliveries;
mod error;
mod events;
mod health;
mod hooks;
mod host;
mod job_actions;
mod layers;
mod logs;
mod metrics;
mod openapi;
mod pages;
mod params;
mod places;
mod public_url;
mod repos;
mod routes;
mod schedules;
mod secrets;
mod server;
mod sign_in_links;
mod sse;
mod tokens;
mod views;

/// The addresses of the pages, each with its methods in small letters; those of the API stand in [`openapi_json`].
pub const PAGES: &[(&str, &[&str])] = pages::ROUTES;

pub use error::ApiError;
pub use openapi::openapi_json;
pub use public_url::PublicUrl;
pub use server::{Api, ApiConfig, EngineProbe, router, serve};
