//! Docker as an engine: images, sandboxes, containers, their links, and the doctor.
//!
//! Implements the executor's port ([`longshore_executor::Engine`]) and is the only crate that names bollard. It makes
//! no decisions about jobs: each method is one or a few calls, and errors are reported by meaning (`error`, `fault`).
//!
//! bollard logs request bodies at debug: the caller's log filter keeps `bollard=info` as its floor. No body contains
//! secrets.

mod agent_image;
mod archive;
mod builder;
mod confinement;
mod connect;
mod container;
mod containers;
mod doctor;
mod doctor_host;
mod engine;
mod error;
mod fault;
mod finding;
mod guard_log;
mod guard_names;
mod guarded;
mod guarded_list;
mod images;
mod inventory;
pub mod labels;
mod link;
mod network;
mod options;
mod overlay;
mod paths;
mod quota;
mod removal;
mod sandbox;
mod temporary;
mod tool;
mod transport;
mod trial;
mod unanswered;
mod unsuited;
mod volumes;
mod watch;

pub use confinement::Gap;
pub use doctor::doctor;
pub use engine::DockerEngine;
pub use finding::{Finding, Severity};
pub use options::DockerOptions;
pub use watch::{Risk, watch};
