//! The words between the runner (the executor) and the agent (PID 1 in a job's container), and their frames.
//!
//! This crate is pure: bytes in, messages out. It opens nothing, waits for nothing, and knows no Docker.
//! `message` holds what is said, `frame` how it is framed, and the crate's PROTOCOL.md the whole in prose.

pub mod message;

pub use message::{FromAgent, JobResult, JobSpec, StepResult, StepSpec, ToAgent};

/// Version of the protocol. An agent refuses another with a message that says both.
pub const VERSION: u32 = 1;
