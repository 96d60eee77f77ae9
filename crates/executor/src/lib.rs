//! The policy of running jobs in containers, on any engine.
//!
//! Runs attempts of jobs for its callers (the dispatcher of a server, `longshore run`), takes over what an earlier
//! process left running, and cleans up. It names no engine: [`Engine`] is the port that an engine's crate implements.
//! It does not see the database either: it reports through updates and the journal.
//!
//! How a job runs: [`Executor::run_job`] (`run`) starts a container (`placement`, with `sandboxes` and the images of
//! `pulling`) and follows its agent (`following`: one session in `session`; `log_recorder` writes the agent's messages
//! into the journal, `artifacts` passes the job's files to their store). `members` starts the containers beside the
//! job's own, `guarding` the guard of its Docker API and its builder. `lasting` prepares and keeps its caches, and lets
//! one job begin on another's workspace (`accounts` finds the user of an image, who owns them). `room` holds up starts
//! while the engine's disk is full. `removing` cleans up in the background. [`Executor::adopt`] (`adoption`) enters in
//! the middle.

mod accounts;
mod adoption;
mod attempt;
pub mod engine;
mod engine_room;
mod error;
mod executor;
mod following;
mod guarding;
mod lasting;
mod members;
pub mod names;
pub mod objects;
mod operator_env;
mod options;
mod placement;
mod pulling;
mod removing;
mod request;
mod room;
mod run;
pub mod runtime_dir;
mod sandboxes;
mod starts;
mod verdicts;
mod wait;

pub use attempt::AttemptId;
pub use engine::Engine;
pub use engine_room::{Capacity, EngineDisk};
pub use error::{EngineError, Refusal};
pub use executor::Executor;
pub use following::artifacts::{ArtifactStore, ArtifactWriter};
pub use following::checkout::{CheckoutSource, CheckoutStream};
pub use following::journal::Journal;
pub use following::link::{FromLink, Link};
pub use guarding::docker::{DockerAccess, GuardedDocker};
pub use guarding::guard_log::{GuardLog, GuardReports, RefusedCall};
pub use guarding::guards::{ENGINE_AWAY, JOB_ENDS, LISTENS};
pub use lasting::job_caches::{CacheRecords, FoundCache, JobCache, JobCaches, MAX_LAYERS};
pub use longshore_agent_protocol::{AnnouncedFile, ArtifactLimits};
pub use operator_env::{OperatorEnv, PROXY_VARIABLES, other_case};
pub use options::{ExecutorOptions, Limits, PullPolicy, Ulimit};
pub use pulling::image_access::{ImageAccess, ImageRule};
pub use pulling::images::ImageUse;
pub use pulling::pull_failure::PullFailure;
pub use removing::cleaning::{CleanScope, Orphans, Removed};
pub use removing::removal::remove_patiently;
pub use request::{AdoptRequest, JobRequest, JobUpdate, Phase, Stored, UsedImage, Workspace};
