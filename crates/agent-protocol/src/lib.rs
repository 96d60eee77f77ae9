//! The messages between the runner (the executor) and the agent (PID 1 in a job's container), and their frames.
//!
//! This crate is pure: bytes in, messages out. It opens nothing, waits for nothing, and does not know Docker. `message`
//! defines the messages (`artifact` those about files that a job leaves), `frame` their framing; `decode` reads the two
//! streams, `spool` reads what an agent left on its volume, `mask` hides secrets, `pod` names the containers beside the
//! job's, `account` finds an image's users. PROTOCOL.md in this crate describes the whole protocol.

mod account;
pub mod artifact;
pub mod decode;
pub mod frame;
pub mod mask;
pub mod message;
pub mod pod;
pub mod spool;

pub use account::Account;
pub use artifact::{AnnouncedFile, ArtifactLimits, ArtifactSpec, ArtifactWindow};
pub use decode::{FromAgentDecoder, Item, ToAgentDecoder};
pub use frame::{FrameError, encode_from_agent, encode_marker, encode_output, encode_to_agent};
pub use message::{
    CacheSpec, ContainerFailure, ContainerRequest, FromAgent, JobEnd, JobResult, JobSpec, StepResult, StepSpec, ToAgent,
};
pub use pod::{ImageConfig, MemberId, PodSecret};
pub use spool::SpoolReader;

/// Version of the protocol. An agent refuses another version with a message that names both.
pub const VERSION: u32 = 2;

/// The exit code of an agent that does not begin, because something of another job is in its sandbox.
pub const UNFIT_SANDBOX: u8 = 75;
