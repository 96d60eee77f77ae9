//! The guard: a Docker API that lets through only what its client may do.
//!
//! The host's Docker socket is root on the host. Whoever else needs Docker (a job with Docker inside, the server itself) talks to a
//! guard, and the guard to the engine. This crate is the guard's judgement, without any input or output:
//!
//! 1. [`Head::parse`] and [`Head::read`] read a request into closed types. What can be read in two ways, and what is not known, is
//!    refused.
//! 2. [`Guard::judge`] holds it against the client's [`Policy`] and the [`Table`] of its own objects.
//! 3. What is let through is a [`Decision`]: a call made of our types alone. Nothing that the client has sent goes on as it came,
//!    but the bytes of archives and streams.
//! 4. [`Guard::settle`] puts down what the engine has done, [`Guard::rewrite`] shows the client what is its own.
//! 5. [`audit`] keeps what was asked and what was decided.
//!
//! Every refusal has a [`Rule`] and a reason. `longshore-guard-transport` carries the bytes.

mod answer;
pub mod audit;
mod bodies;
mod call;
mod check;
mod container;
mod context;
mod decision;
mod dockerfile;
mod fields;
mod filters;
mod guard;
mod host_config;
mod image_ref;
mod job;
mod job_create;
pub mod job_guard;
mod json;
mod mounts;
mod names;
mod out;
mod own_container;
mod policy;
mod query;
mod refusal;
mod registry_auth;
mod route;
mod server;
mod table;
mod target;

pub use answer::PLATFORM;
pub use call::Build;
pub use check::Check;
pub use context::{ContextReader, START, check_start, program_start};
pub use decision::{Context, Decision, Effect, EngineBody, EngineCall, Forward, LineShape, Local, Push, Reply, Shape};
pub use guard::{DockerfileError, EngineFacts, Guard, Host};
pub use image_ref::ImageRef;
pub use own_container::{own_container, path_on_host};
pub use policy::{Budget, JobPolicy, Place, Policy, SCOPE_LABEL, ServerPolicy, Socket};
pub use refusal::{Refusal, Rule, printable};
pub use route::{BodyKind, Head, Headers, Request};
pub use table::{Port, Ports, Table};
pub use target::{NEWEST_API, OLDEST_API, OLDEST_ENGINE};
