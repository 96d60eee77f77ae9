//! The engine: sandboxes, job containers, the agent's stream.
//!
//! Runs one attempt of a job at a time for whoever asks (the dispatcher of a server, `longshore run`), takes over what an earlier
//! process left running (`adoption`), and keeps the engine clean. The only crate that names bollard. It never sees the
//! database: what happens is told through updates and the journal.
//!
//! The way of a job: [`Engine::run_job`] (`job`) has a container started (`placement`, with `image`, `agent_image`, `sandbox`, `container`)
//! and follows its agent (`drive`, session by session in `session`, its messages into the journal by `log_recorder`); what is left is
//! taken away in the background (`removal`).
//!
//! bollard logs request bodies at debug: the caller's log filter keeps `bollard=info` as its floor. Secrets are in none of them.

mod adoption;
mod agent_image;
mod checkout;
mod confinement;
mod container;
mod doctor;
mod drive;
mod engine;
mod error;
mod fault;
mod image;
mod inventory;
mod job;
mod journal;
pub mod labels;
mod leftovers;
mod link;
mod log_recorder;
mod network;
mod options;
mod patience;
mod placement;
mod quota;
mod removal;
mod runtime_dir;
mod sandbox;
mod session;
mod trial;

pub use adoption::AdoptRequest;
pub use checkout::{CheckoutSource, CheckoutStream};
pub use confinement::Gap;
pub use doctor::{Finding, doctor};
pub use engine::Engine;
pub use error::EngineError;
pub use inventory::{CleanScope, ContainerObject, Leftovers, NamedObject, Objects, Removed};
pub use job::{JobRequest, JobUpdate, Phase};
pub use journal::Journal;
pub use labels::AttemptId;
pub use longshore_agent_protocol::StepResult;
pub use longshore_agent_protocol::message::StepStatus;
pub use options::{EngineOptions, Limits, PullPolicy};
