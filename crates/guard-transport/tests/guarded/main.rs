//! Real clients, unchanged, through a guard to a real engine: what is legitimate works, what is not never reaches the engine, and
//! nothing is left.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod attacks;
mod build;
mod catalogue;
mod clients;
mod front;
mod ports;
mod wire;
mod world;
