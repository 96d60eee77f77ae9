//! The port: what the policy of running jobs needs of an engine, and nothing of how an engine does it.
//!
//! Implemented by `engine-docker`. A Kubernetes engine would start a pod where Docker starts a container in a sandbox; the words
//! here are the pod's: a **sandbox** holds the network namespace, a **container** runs an agent as PID 1, a **volume** holds
//! its workspace and its spool, a **link** carries bytes to and from the agent.
//!
//! Every answer is checked by the engine's crate: what cannot be understood is [`EngineError::NotUnderstood`], never a guess, and
//! answers have a limit in size. No call waits for anything but the engine; retries and pauses are ours.

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use longshore_core::{BuildId, ImageRef};
use tokio::sync::mpsc;

use crate::attempt::AttemptId;
use crate::error::EngineError;
use crate::link::Link;
use crate::names::{ContainerId, ContainerName, ImageId, Instance, Nonce, VolumeName};
use crate::objects::{AgentObject, ObjectId, Objects};
use crate::options::Limits;

/// What a call answers.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, EngineError>>;

/// Whatever starts containers.
pub trait Engine: fmt::Debug + Send + Sync {
    /// The name that everything we make there carries.
    fn instance(&self) -> &Instance;

    /// Makes ready what every job needs and would otherwise wait for: the agent's program, the network.
    fn prepare(&self) -> Answer<'_, ()>;

    /// The image, if it can be started without a pull.
    fn image<'a>(&'a self, image: &'a ImageRef) -> Answer<'a, Option<Image>>;

    /// Pulls the image, once. Lines about how far it is go to `notes`. Ends when it is dropped.
    fn pull<'a>(&'a self, image: &'a ImageRef, notes: &'a mpsc::Sender<String>) -> Answer<'a, ()>;

    /// Creates a sandbox and does not start it. It may be there although the answer was lost: the caller knows its name.
    fn create_sandbox<'a>(&'a self, sandbox: &'a SandboxSpec) -> Answer<'a, ContainerId>;

    /// Starts a sandbox that was just created.
    fn start_sandbox<'a>(&'a self, sandbox: &'a ContainerId) -> Answer<'a, ()>;

    /// Running sandboxes of this instance and of this program's version that were created for `scope`.
    fn find_sandboxes<'a>(&'a self, scope: &'a str) -> Answer<'a, Vec<ContainerId>>;

    /// Creates a job's container with its volume, and does not start it.
    fn create<'a>(&'a self, pod: &'a PodSpec<'a>) -> Answer<'a, Pod>;

    /// Starts a container that was just created. The link is open before the first byte is written, and so loses none.
    fn start<'a>(&'a self, container: &'a ContainerId) -> Answer<'a, Link>;

    /// What was created for an attempt. It is found from the attempt alone: a process may have died between any two calls.
    fn find(&self, attempt: AttemptId) -> Answer<'_, Option<FoundPod>>;

    /// A link to a container that runs.
    fn attach<'a>(&'a self, container: &'a ContainerId) -> Answer<'a, Link>;

    /// Whether a container runs, and how it ended.
    fn standing<'a>(&'a self, container: &'a ContainerId) -> Answer<'a, Standing>;

    /// Kills every process in a container. Returns once the engine has taken the order.
    fn kill<'a>(&'a self, container: &'a ContainerId) -> Answer<'a, ()>;

    /// The spool in an ended container's volume, file by file in the order of the names. There is none where the error
    /// [is "not found"](EngineError::is_not_found).
    fn read_spool(&self, container: &ContainerId) -> BoxStream<'static, Result<SpoolPiece, EngineError>>;

    /// What of an instance is there; with `None`, of every instance. A list only hints: what it names may be gone by now.
    fn list<'a>(&'a self, instance: Option<&'a Instance>) -> Answer<'a, Objects>;

    /// The copies of our program on this engine, in every version.
    fn list_agents(&self) -> Answer<'_, Vec<AgentObject>>;

    /// Removes one thing, a container with its processes. What somebody uses is refused as a conflict.
    fn remove<'a>(&'a self, object: &'a ObjectId) -> Answer<'a, ()>;

    /// Brings our program to the engine again, because the one that is there does not run. `false` if that cannot be done
    /// now, or does not help on this engine.
    fn renew_agent(&self) -> BoxFuture<'_, bool>;
}

/// What has to be known of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Containers are created from the id: a tag that moves meanwhile changes nothing.
    pub id: ImageId,
    /// Its USER.
    pub user: String,
    /// `amd64`; empty if the image does not say.
    pub architecture: String,
    /// Names of its labels that look like ours: its containers must not inherit them.
    pub labels: Vec<String>,
}

/// A sandbox to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSpec {
    pub name: ContainerName,
    /// Set if other processes shall find it for jobs of this scope.
    pub scope: Option<String>,
}

/// A job's container to create.
#[derive(Debug)]
pub struct PodSpec<'a> {
    pub build: BuildId,
    pub attempt: AttemptId,
    pub image: &'a Image,
    /// Whose network namespace it joins.
    pub sandbox: &'a ContainerId,
    pub nonce: Nonce,
    pub limits: &'a Limits,
}

/// A job's container with what belongs to it. All of it can be [found](Engine::find) again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub container: ContainerId,
    pub volume: VolumeName,
    pub sandbox: ContainerId,
    /// Sessions with its agent open with it.
    pub nonce: Nonce,
    /// The image's USER: part of the agent's orders, should it not have got them yet.
    pub user: String,
}

/// A pod that was found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPod {
    pub pod: Pod,
    /// It runs, or has run. Nothing has run in one that was only created.
    pub started: bool,
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Running,
    Ended(End),
    /// There is no such container.
    Vanished,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Of its first process; 128 + n for signal n.
    pub code: i64,
    /// The kernel killed something in it for its memory.
    pub out_of_memory: bool,
    /// The engine could not run the program at all.
    pub cannot_run: bool,
    /// What the engine says about it.
    pub message: Option<String>,
    pub removal: Removal,
}

/// Whether an ended container is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    No,
    UnderWay,
    /// The engine began to remove it and gave up.
    Failed,
}

/// A piece of a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolPiece {
    /// A file begins. Everything that is not a plain file comes with `plain` unset and without bytes.
    File { name: String, length: u64, plain: bool },
    /// The next bytes of the file.
    Bytes(Bytes),
}
