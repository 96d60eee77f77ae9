//! From what happened to what runs: deliveries to builds, the queue to the executor.
//!
//! `ingest` turns deliveries into builds, `schedules`
//! times, which `discovery` finds in a repository that was added, all three `by_repo`. `dispatcher` is the only writer of a job's status; it
//! talks to whoever runs jobs through two channels and knows no Docker and no HTTP. `scheduler` is the handle that the
//! API and the command line hold.

mod by_repo;
mod discovery;
mod dispatcher;
mod ingest;
mod manual;
mod outsiders;
mod prepare;
mod rerun;
mod scheduler;
mod schedules;
mod skip;
mod start;

pub use dispatcher::{Order, Report, ReportKind};
pub use longshore_core::rules::needs::build_context;
pub use manual::ManualStart;
pub use prepare::Planner;
pub use scheduler::{RequestError, Scheduler, StartRequest};
