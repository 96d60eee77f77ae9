//! The API as its clients see it: the real router on a real listener, over the real store in a folder of its own.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first thing that goes wrong")]

mod access;
mod actions;
mod actors;
mod artifacts;
mod at_a_glance;
mod audit;
mod auth;
mod badges;
mod build_pages;
mod check_reruns;
mod client;
mod connections;
mod docker;
mod events;
#[path = "../../../../tests/support/forge.rs"]
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "others use the rest")]
mod forge;
mod forms;
mod hooks;
mod host;
mod lines;
mod lists;
mod live;
mod logs;
mod notifications;
mod openapi;
mod pages;
#[path = "../../../../tests/support/receiver.rs"]
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "others use the rest")]
mod receiver;
mod registries;
mod reports;
mod request_slots;
mod secrets;
mod server;
mod sign_in;
#[path = "../../../../tests/support/events.rs"]
mod sse;
mod standing;
mod strangers;
mod sub_path;
mod summaries;
mod timeline;
mod tries;
mod world;
