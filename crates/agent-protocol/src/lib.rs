//! The words between the runner (the executor) and the agent (PID 1 in a job's container), and their frames.
//!
//! This crate is pure: bytes in, messages out. It opens nothing, waits for nothing, and knows no Docker.
//! `message` holds what is said, `frame` how it is framed, `decode` reads the two streams, `spool` reads what an agent
//! left on its volume, `mask` hides secrets, and the crate's PROTOCOL.md tells the whole in prose.

pub mod decode;
pub mod frame;
pub mod mask;
pub mod message;
pub mod spool;

pub use decode::{FromAgentDecoder, Item, ToAgentDecoder};
pub use frame::{FrameError, encode_from_agent, encode_marker, encode_output, encode_to_agent};
pub use message::{FromAgent, JobEnd, JobResult, JobSpec, StepResult, StepSpec, ToAgent};
pub use spool::SpoolReader;

/// Version of the protocol. An agent refuses another with a message that says both.
pub const VERSION: u32 = 2;
