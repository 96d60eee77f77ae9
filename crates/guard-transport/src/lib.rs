//! The guard's sockets. Requests come in on one unix socket, and go out on another, to the engine, as `longshore-guard` has written
//! them anew. Nothing is decided here.
//!
//! HTTP/1.1 only. Each request has a connection of its own to the engine, so that no two of them can be told apart differently on
//! both sides. A connection becomes a plain stream only after the engine's 101.

mod audit_file;
mod body;
mod build;
mod engine;
mod error;
mod handle;
mod host;
mod lines;
mod ports;
mod proxy;
mod removal;
mod reply;

pub use error::Error;
pub use proxy::{Options, Proxy};
