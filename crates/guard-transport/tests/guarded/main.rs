//! Unmodified clients use a real engine through a guard: legitimate requests work, others never reach the engine, and
//! nothing is left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod attacks;
mod build;
mod catalogue;
mod clients;
mod conduct;
mod disk;
mod execs;
mod front;
mod front_of_server;
mod loads;
mod newer;
mod ports;
mod pushes;
mod volumes;
mod wire;
mod world;
