//! The port: what running jobs needs from an engine, independent of how the engine does it.
//!
//! Implemented by `engine-docker`. A Kubernetes engine would start a pod where Docker starts a container in a sandbox.
//! The terms are those of a pod: a **sandbox** holds the network namespace, a **container** runs an agent as PID 1, a
//! **volume** holds its workspace and its spool, a **link** carries bytes to and from the agent.
//!
//! The engine's crate checks every answer: one that cannot be understood is [`EngineError::NotUnderstood`], never a
//! guess, and answers are limited in size. A call waits for nothing but the engine; the executor does retries and
//! pauses.

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
pub use longshore_agent_protocol::pod::{Healthcheck, ImageConfig, MemberId, PodSecret};
use longshore_core::{BuildId, ImageRef, RegistryCredentials, Timestamp};
use tokio::sync::mpsc;

use crate::attempt::AttemptId;
use crate::error::EngineError;
use crate::following::link::Link;
use crate::guarding::docker::GuardedDocker;
use crate::guarding::guard_log::GuardLog;
use crate::names::{ContainerId, ContainerName, ImageId, Instance, Nonce, VolumeName};
use crate::objects::{AgentObject, DockerPart, Kind, MadeImage, ObjectId, Objects, VolumeObject};
use crate::options::Limits;

/// The result of a call.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, EngineError>>;

/// Something that starts containers.
pub trait Engine: fmt::Debug + Send + Sync {
    /// Returns the instance whose name everything that we create there carries.
    fn instance(&self) -> &Instance;

    /// Prepares what every job needs and would otherwise wait for: the agent's program and the network.
    fn prepare(&self) -> Answer<'_, ()>;

    /// Returns the image if it can be started without a pull.
    fn image<'a>(&'a self, image: &'a ImageRef) -> Answer<'a, Option<Image>>;

    /// Returns an image that its registry has just given: also one that a job is pushing under that name.
    fn given_image<'a>(&'a self, image: &'a ImageRef) -> Answer<'a, Option<Image>> {
        self.image(image)
    }

    /// Pulls the image once, with these credentials or without any; success means that the registry gave it to them.
    /// Sends lines about the progress to `notes`. Stops when it is dropped.
    fn pull<'a>(
        &'a self,
        image: &'a ImageRef,
        credentials: Option<&'a RegistryCredentials>,
        notes: &'a mpsc::Sender<String>,
    ) -> Answer<'a, ()>;

    /// Creates a sandbox without starting it. It may exist although the answer was lost; the caller knows its name.
    fn create_sandbox<'a>(&'a self, sandbox: &'a SandboxSpec) -> Answer<'a, ContainerId>;

    /// Creates the guard of a job's Docker API, with the volume of its socket, without starting it. It says a line on
    /// standard output once it listens.
    fn create_guard<'a>(&'a self, guard: &'a GuardSpec<'a>) -> Answer<'a, ContainerId>;

    /// Creates the builder of a job with Docker, with the volume of what it builds, without starting it. What it says
    /// is for people.
    fn create_builder<'a>(&'a self, builder: &'a BuilderSpec<'a>) -> Answer<'a, ContainerId>;

    /// Lists a part of what a job with Docker has besides its pod's containers and its workspace: guard and builder,
    /// everything that was made through the guard, the job's own sandbox and network. In the order in which it can be
    /// removed; an empty list says that nothing of it is left.
    fn list_guarded(&self, attempt: AttemptId, part: DockerPart) -> Answer<'_, Vec<ObjectId>>;

    /// Lists the images that jobs have made through their guards, those of other instances too.
    fn list_made_images(&self) -> Answer<'_, Vec<MadeImage>>;

    /// Names an attempt of this instance in what is made through its guard.
    fn scope_of(&self, attempt: AttemptId) -> String;

    /// Reads what the guard of an attempt has recorded, whether it runs or has ended. `None` if there is no guard.
    fn read_guard_log(&self, attempt: AttemptId) -> Answer<'_, Option<GuardLog>>;

    /// Starts a sandbox that was just created.
    fn start_sandbox<'a>(&'a self, sandbox: &'a ContainerId) -> Answer<'a, ()>;

    /// Returns the running sandboxes of this instance and of this program's version that were created for `scope`.
    fn find_sandboxes<'a>(&'a self, scope: &'a str) -> Answer<'a, Vec<ContainerId>>;

    /// Creates a job's container with its volume, without starting it.
    fn create<'a>(&'a self, pod: &'a PodSpec<'a>) -> Answer<'a, Pod>;

    /// Creates a container beside the job's, without starting it.
    fn create_member<'a>(&'a self, member: &'a MemberSpec<'a>) -> Answer<'a, ContainerId>;

    /// Starts a container beside the job's. Its agent joins the job's agent by itself.
    fn start_member<'a>(&'a self, container: &'a ContainerId) -> Answer<'a, ()>;

    /// Finds a container beside the job's that was created for an attempt.
    fn find_member(&self, attempt: AttemptId, member: MemberId) -> Answer<'_, Option<FoundMember>>;

    /// Lists the containers beside the job's that were created for an attempt.
    fn list_members(&self, attempt: AttemptId) -> Answer<'_, Vec<ContainerId>>;

    /// Starts a container that was just created. The link is open before the first byte is written, so no byte is lost.
    fn start<'a>(&'a self, container: &'a ContainerId) -> Answer<'a, Link>;

    /// Finds what was created for an attempt. It needs nothing but the attempt, because a process may have died between
    /// any two calls.
    fn find(&self, attempt: AttemptId) -> Answer<'_, Option<FoundPod>>;

    /// Opens a link to a running container.
    fn attach<'a>(&'a self, container: &'a ContainerId) -> Answer<'a, Link>;

    /// Returns whether a container runs, and how it ended.
    fn standing<'a>(&'a self, container: &'a ContainerId) -> Answer<'a, Standing>;

    /// Kills every process in a container. Returns once the engine has accepted the call.
    fn kill<'a>(&'a self, container: &'a ContainerId) -> Answer<'a, ()>;

    /// Reads the spool in an ended container's volume, file by file in the order of the names. If there is none, the
    /// error [is "not found"](EngineError::is_not_found).
    fn read_spool(&self, container: &ContainerId) -> BoxStream<'static, Result<SpoolPiece, EngineError>>;

    /// Lists the objects of an instance; with `None`, of every instance. A list is only a hint: what it names may be
    /// gone by now.
    fn list<'a>(&'a self, instance: Option<&'a Instance>) -> Answer<'a, Objects>;

    /// Lists the copies of our program on this engine, in every version.
    fn list_agents(&self) -> Answer<'_, Vec<AgentObject>>;

    /// Lists the volumes that were created for an attempt.
    fn list_volumes(&self, attempt: AttemptId) -> Answer<'_, Vec<VolumeObject>>;

    /// Creates a volume, unless it exists. [`EngineError::VolumeGone`] if a layer of an overlay is not.
    fn create_volume<'a>(&'a self, volume: &'a VolumeSpec<'a>) -> Answer<'a, ()>;

    /// Returns whether a volume can be an overlay over others. The engine is asked once, by trying.
    fn has_overlays(&self) -> Answer<'_, bool>;

    /// Runs our own program with volumes in a container of its own, and returns what it prints.
    fn run_tool<'a>(&'a self, tool: &'a ToolSpec<'a>) -> Answer<'a, String>;

    /// Reads a small text file of an image; `None` if there is none.
    fn read_image_file<'a>(&'a self, image: &'a Image, path: &'a str) -> Answer<'a, Option<String>>;

    /// Removes an object; a container with its processes. An object in use is refused as a conflict.
    fn remove<'a>(&'a self, object: &'a ObjectId) -> Answer<'a, ()>;

    /// Delivers our program to the engine again, because the present one does not run. Returns `false` if that
    /// cannot be done now, or does not help on this engine.
    fn renew_agent(&self) -> BoxFuture<'_, bool>;
}

/// What has to be known about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Containers are created from the id, so a tag that moves meanwhile changes nothing.
    pub id: ImageId,
    /// Its entrypoint, command, user and so on.
    pub config: ImageConfig,
    /// Its digest at its registry, `sha256:...`. An image that was built or loaded on the engine has none.
    pub digest: Option<String>,
    /// `amd64`; empty if the image does not say.
    pub architecture: String,
    /// The names of its labels that look like ours. Its containers must not inherit them.
    pub labels: Vec<String>,
    /// The variable HOME, if the image sets it.
    pub home: Option<String>,
    /// The folders that each of its containers has a new volume for (VOLUME).
    pub volumes: Vec<String>,
    /// Its size on the engine's disk, with layers that other images have too.
    pub bytes: u64,
}

/// A volume to create.
#[derive(Debug, Clone, Copy)]
pub struct VolumeSpec<'a> {
    pub name: &'a VolumeName,
    /// The attempt that it is made for.
    pub owner: Option<(BuildId, AttemptId)>,
    pub content: VolumeContent<'a>,
    /// The most bytes in it, where the engine can limit that.
    pub disk: Option<u64>,
}

/// The content of a new volume, and how long it lasts.
#[derive(Debug, Clone, Copy)]
pub enum VolumeContent<'a> {
    /// Nothing. It may outlive the attempt.
    Lasting,
    /// Nothing. Another job of the build begins on it, so it outlives the attempt.
    Workspace,
    /// Nothing. It is removed with the attempt.
    Passing,
    /// The files of `lower`, the topmost first. Changes go into `upper`; `work` is the kernel's own. It is removed with
    /// the attempt.
    Overlay { upper: &'a VolumeName, work: &'a VolumeName, lower: &'a [VolumeName] },
    /// The files of several volumes, the topmost first, read-only.
    Merged { lower: &'a [VolumeName] },
}

impl VolumeContent<'_> {
    /// Returns the kind of a volume with it.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Lasting => Kind::Cache,
            Self::Workspace => Kind::Workspace,
            Self::Passing | Self::Overlay { .. } | Self::Merged { .. } => Kind::Volume,
        }
    }
}

/// A volume in a job's container, beside its workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    pub volume: VolumeName,
    pub target: String,
    /// An empty volume begins with what the image has there.
    pub fill_from_image: bool,
}

/// A task for our own program, in a container that has nothing but volumes: at `/longshore/volumes/0`, `/1` and so on,
/// those that it may only read first.
#[derive(Debug, Clone, Copy)]
pub struct ToolSpec<'a> {
    pub arguments: &'a [&'a str],
    pub read: &'a [VolumeName],
    pub write: &'a [VolumeName],
}

/// A sandbox to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSpec {
    pub name: ContainerName,
    /// Set if other processes may reuse the sandbox for jobs of this scope.
    pub scope: Option<String>,
    /// Whether it has a network besides its own loopback.
    pub open: bool,
    /// Set for a sandbox that serves this job alone, in a network of the job's own.
    pub owner: Option<(BuildId, AttemptId)>,
}

/// The Docker socket in a container of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DockerSocket {
    #[default]
    None,
    /// The socket of the pod's guard.
    Guarded,
    /// The engine's own socket.
    Raw,
}

/// The guard of a job's Docker API to create.
#[derive(Debug)]
pub struct GuardSpec<'a> {
    pub build: BuildId,
    pub attempt: AttemptId,
    /// The sandbox whose network namespace it joins.
    pub sandbox: &'a ContainerId,
    /// The budget of all containers that the job starts.
    pub limits: &'a Limits,
    pub docker: &'a GuardedDocker,
}

/// The builder of a job with Docker to create.
#[derive(Debug)]
pub struct BuilderSpec<'a> {
    pub build: BuildId,
    pub attempt: AttemptId,
    /// The sandbox whose network namespace it joins. It listens on the loopback there.
    pub sandbox: &'a ContainerId,
    /// The image's name, by which the operator has allowed it.
    pub name: &'a ImageRef,
    pub image: &'a Image,
    /// The limits of the job, of which the builder gets a part.
    pub limits: &'a Limits,
}

/// A job's container to create.
#[derive(Debug)]
pub struct PodSpec<'a> {
    pub build: BuildId,
    pub attempt: AttemptId,
    pub image: &'a Image,
    /// The sandbox whose network namespace it joins.
    pub sandbox: &'a ContainerId,
    pub nonce: Nonce,
    /// What the keys of the containers beside it derive from. Kept where the container's processes cannot read it.
    pub secret: PodSecret,
    pub limits: &'a Limits,
    pub docker: DockerSocket,
    pub mounts: &'a [Mounted],
}

/// A container beside the job's to create.
#[derive(Debug)]
pub struct MemberSpec<'a> {
    pub build: BuildId,
    pub attempt: AttemptId,
    pub member: MemberId,
    pub image: &'a Image,
    /// The sandbox whose network namespace it joins.
    pub sandbox: &'a ContainerId,
    /// What its key and its conductor's address derive from.
    pub secret: PodSecret,
    pub limits: &'a Limits,
    pub docker: DockerSocket,
    pub mounts: &'a [Mounted],
}

impl MemberSpec<'_> {
    /// Returns the key that its agent proves itself with.
    #[must_use]
    pub fn key(&self) -> [u8; 16] {
        self.secret.member_key(self.member)
    }

    /// Returns where its agent finds the job's agent.
    #[must_use]
    pub fn conductor(&self) -> String {
        self.secret.conductor_address()
    }
}

/// A container beside the job's that was found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundMember {
    pub container: ContainerId,
    pub standing: MemberStanding,
    /// The key of its agent. A different key belongs to another run of the attempt.
    pub key: [u8; 16],
}

/// The state of a container beside the job's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberStanding {
    Created,
    Running,
    Ended,
}

/// A job's container with what belongs to it. All of it can be [found](Engine::find) again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub container: ContainerId,
    pub volume: VolumeName,
    pub sandbox: ContainerId,
    /// Opens sessions with the container's agent.
    pub nonce: Nonce,
    /// What the keys of the containers beside it derive from.
    pub secret: PodSecret,
    /// The image's USER. The agent gets it with its plan.
    pub user: String,
}

/// A pod that was found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPod {
    pub pod: Pod,
    /// The container runs, or has run. `false` if it was only created.
    pub started: bool,
}

/// The state of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Running,
    Ended(End),
    /// The container does not exist.
    Vanished,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The exit code of its first process; 128 + n for signal n.
    pub code: i64,
    /// The kernel killed a process in it because of its memory.
    pub out_of_memory: bool,
    /// The engine could not run the program at all.
    pub cannot_run: bool,
    /// The engine's message about it.
    pub message: Option<String>,
    /// When it ended; `None` if the engine does not say.
    pub at: Option<Timestamp>,
    pub removal: Removal,
}

/// Whether an ended container is being removed.
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
    /// A file begins. Anything but a plain file has `plain` unset and no bytes.
    File { name: String, length: u64, plain: bool },
    /// The next bytes of the file.
    Bytes(Bytes),
}
