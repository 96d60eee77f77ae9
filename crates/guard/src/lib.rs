//! The guard: a Docker API that lets through only what its client may do.
//!
//! Access to the host's Docker socket is root on the host. So a job with Docker inside, and the server itself, talk to
//! a guard, and only the guard talks to the engine. This crate decides what the guard lets through; it does no input or
//! output:
//!
//! 1. [`Head::parse`] and [`Head::read`] parse a request into closed types. Anything ambiguous or unknown is refused.
//! 2. [`Guard::judge`] checks it against the client's [`Policy`] and the [`Table`] of its own objects.
//! 3. A request that is let through becomes a [`Decision`]: a call written anew from our types. Of what the client
//!    sent, only the bytes of archives and streams are forwarded as they are.
//! 4. [`Guard::settle`] records what the engine has done, and [`Guard::rewrite`] reduces its answer to what the client
//!    may see.
//! 5. [`audit`] records each request and its decision.
//!
//! Every refusal has a [`Rule`] and a reason. `longshore-guard-transport` carries the bytes.

mod anonymous;
mod answer;
pub mod audit;
mod bodies;
pub mod builder;
mod call;
mod check;
mod conduct;
mod container;
mod container_call;
mod copy;
mod decision;
mod disk_bytes;
mod dockerfile;
mod facts;
mod fields;
mod filling;
mod filters;
mod guard;
mod gunzip;
mod host_config;
mod image_bytes;
mod image_ref;
mod job;
mod job_create;
pub mod job_guard;
mod json;
mod listed;
mod mounts;
mod names;
mod out;
mod own_container;
mod policy;
mod prune;
mod pushing;
mod query;
mod refusal;
mod registry_auth;
mod route;
mod server;
mod server_create;
mod server_own;
mod subnets;
mod table;
mod tar;
mod target;

pub use answer::PLATFORM;
pub use call::Build;
pub use check::Check;
pub use conduct::{Conduct, Refused};
pub use copy::OWN_NAMESPACE_API;
pub use decision::{Context, Decision, Effect, EngineBody, EngineCall, Forward, LineShape, Local, Push, Reply, Shape};
pub use disk_bytes::Measured;
pub use dockerfile::DockerfileError;
pub use facts::{EngineFacts, Host};
pub use guard::Guard;
pub use gunzip::Gunzip;
pub use image_ref::ImageRef;
pub use own_container::{own_container, path_on_host};
pub use policy::{Budget, Disk, JobPolicy, Place, Policy, SCOPE_LABEL, ServerPolicy, Socket};
pub use prune::Prune;
pub use pushing::{BeforePush, is_push_mark, push_mark};
pub use refusal::{NO_BUILDKIT, Refusal, Rule, printable};
pub use route::{BodyKind, Head, Headers, Request};
pub use subnets::JobSubnets;
pub use table::{Port, Ports, Protocol, Table};
pub use tar::{ImageReader, LoadedNames, TarReader, program_start};
pub use target::{NEWEST_API, OLDEST_API, OLDEST_ENGINE};
