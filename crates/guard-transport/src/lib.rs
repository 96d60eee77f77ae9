//! The guard's sockets. Requests arrive on one unix socket and leave on another, to the engine, as `longshore-guard`
//! has rewritten them. Nothing is decided here.
//!
//! Only HTTP/1.1 is spoken. Each request gets a connection of its own to the engine, so that both sides always agree
//! where a request ends. A connection becomes a plain stream only after the engine has answered with status 101.

mod audit_file;
mod body;
mod build;
mod building;
mod disk;
mod engine;
mod error;
mod events;
mod exec_start;
mod folder_bytes;
mod forward;
mod handle;
mod host;
mod lines;
mod measured;
mod ports;
mod proxy;
mod push;
mod removal;
mod reply;
mod still;
mod udp;

pub use audit_file::audit_files;
pub use error::Error;
pub use proxy::{Options, Proxy};
