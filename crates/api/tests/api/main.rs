//! The API as its clients see it: the real router on a real listener, over the real store in a folder of its own.

mod actions;
mod auth;
mod client;
mod events;
mod hooks;
mod lists;
mod live;
mod logs;
mod openapi;
mod server;
mod world;
