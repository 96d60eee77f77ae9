//! The policy of running jobs in containers, on any engine.
//!
//! Runs attempts of jobs for its callers (the dispatcher of a server, `longshore run`), takes over what an earlier
//! process left running, and cleans up. It names no engine: [`Engine`] is the port that an engine's crate implements.
//! It does not see the database either: it reports through updates and the journal.
//!
//! How a job runs: [`Executor::run_job`] (`run`) starts a container (`placement`, with `images`, `sandboxes`, `agent`)
//! and follows its agent (`follow`; one session in `session`; `log_recorder` writes the agent's messages into the
//! journal, `artifacts` passes the job's files to their store). `members` starts the containers beside the job's own,
//! `guards` that of a job's Docker API, `caches` prepares and keeps its caches (`accounts` finds where an image's user has
//! them, `cache_upkeep` is for their owner), `workspaces` lets one job begin on what another left, `room` holds up starts
//! while the engine's disk is full. What is left is removed in the background (`cleanup`, `removal`). [`Executor::adopt`]
//! (`adoption`) enters
//! in the middle.

mod accounts;
mod adoption;
mod agent;
mod artifacts;
mod attempt;
mod cache_upkeep;
mod caches;
mod checkout;
mod cleaning;
mod cleanup;
mod clock;
mod docker;
pub mod engine;
mod engine_room;
mod error;
mod executor;
mod follow;
mod guard_log;
mod guards;
mod image_access;
mod images;
mod job_caches;
mod journal;
mod link;
mod log_recorder;
mod members;
pub mod names;
pub mod objects;
mod operator_env;
mod options;
mod placement;
mod pull_failure;
mod removal;
mod request;
mod room;
mod run;
pub mod runtime_dir;
mod sandboxes;
mod session;
mod spool;
mod starts;
mod verdicts;
mod wait;
mod workspaces;

pub use artifacts::{ArtifactStore, ArtifactWriter};
pub use attempt::AttemptId;
pub use checkout::{CheckoutSource, CheckoutStream};
pub use cleaning::{CleanScope, Orphans, Removed};
pub use docker::{DockerAccess, GuardedDocker};
pub use engine::Engine;
pub use error::{EngineError, Refusal};
pub use executor::Executor;
pub use guard_log::{GuardLog, GuardReports, RefusedCall};
pub use image_access::{ImageAccess, ImageRule};
pub use images::ImageUse;
pub use job_caches::{CacheRecords, FoundCache, JobCache, JobCaches, MAX_LAYERS};
pub use journal::Journal;
pub use link::{FromLink, Link};
pub use longshore_agent_protocol::{AnnouncedFile, ArtifactLimits};
pub use operator_env::{OperatorEnv, PROXY_VARIABLES, other_case};
pub use options::{ExecutorOptions, Limits, PullPolicy, Ulimit};
pub use pull_failure::PullFailure;
pub use request::{AdoptRequest, JobRequest, JobUpdate, Phase, Stored, UsedImage, Workspace};
