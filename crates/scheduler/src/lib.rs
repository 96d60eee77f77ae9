//! From events to running jobs: makes builds of deliveries and schedules, and hands their jobs to the runner.
//!
//! `ingest` makes builds of deliveries, once `judge` has found out what they mean
//! (`renames` asks the forge for a new name), and `schedules` of times that are due; `missed_pushes` finds pushes that no
//! delivery reported, and `discovery` the schedules of a repository that was added. All of them run their work through
//! `by_repo`. `dispatcher` is the only writer of a job's status; it talks to the runner through two channels and knows
//! neither Docker nor HTTP. `scheduler` is the handle that the API and the command line hold.

mod by_repo;
mod deploy_key;
mod discovery;
mod dispatcher;
mod ingest;
mod judge;
mod logins;
mod looks;
mod manual;
mod missed_pushes;
mod moved;
mod never_sent;
mod outsiders;
mod prepare;
mod renames;
mod rerun;
mod scheduler;
mod schedules;
mod skip;
mod start;

pub use dispatcher::{Ended, Order, Report, ReportKind, Reused};
pub use logins::Logins;
pub use longshore_core::rules::needs::build_context;
pub use manual::ManualStart;
pub use missed_pushes::{Checked, FoundPush};
pub use never_sent::never_sent;
pub use prepare::Planner;
pub use scheduler::{Pace, RequestError, Scheduler, StartRequest};
