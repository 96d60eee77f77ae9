//! Our objects on an engine, as a list shows them.

use longshore_core::{BuildId, Timestamp};

use crate::attempt::AttemptId;
use crate::names::{ContainerId, ContainerName, ImageId, NetworkName, VolumeName};

/// The purpose of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Job,
    /// A service of a job.
    Service,
    /// A job's step with its own image.
    Step,
    /// The guard of a job's Docker API.
    Guard,
    /// The builder of a job with Docker.
    Builder,
    /// What a job has made through its guard.
    Inner,
    Sandbox,
    Volume,
    /// A volume that outlives its attempt: a layer of a cache.
    Cache,
    /// A volume that outlives its attempt: a workspace that another job of the build begins on.
    Workspace,
    Network,
    Agent,
}

impl Kind {
    /// Returns the word in the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Service => "service",
            Self::Step => "step",
            Self::Guard => "guard",
            Self::Builder => "builder",
            Self::Inner => "inner",
            Self::Sandbox => "sandbox",
            Self::Volume => "volume",
            Self::Cache => "cache",
            Self::Workspace => "workspace",
            Self::Network => "network",
            Self::Agent => "agent",
        }
    }
}

/// A container that Longshore created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerObject {
    pub id: ContainerId,
    /// For people.
    pub name: String,
    pub instance: String,
    pub kind: Kind,
    pub build: Option<BuildId>,
    pub attempt: Option<AttemptId>,
    pub running: bool,
    pub created: Timestamp,
    /// The sandbox whose network namespace it has joined.
    pub joined: Option<ContainerId>,
}

/// A volume that Longshore created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeObject {
    pub name: VolumeName,
    pub instance: String,
    /// `None` for a word that only a later version knows.
    pub kind: Option<Kind>,
    pub attempt: Option<AttemptId>,
    /// `None` if the engine does not say.
    pub created: Option<Timestamp>,
}

/// A network that Longshore created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkObject {
    pub name: NetworkName,
    pub instance: String,
    /// The attempt that has it for itself; `None` if it is the instance's.
    pub attempt: Option<AttemptId>,
}

/// The objects of one instance, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    pub containers: Vec<ContainerObject>,
    pub volumes: Vec<VolumeObject>,
    pub networks: Vec<NetworkObject>,
}

/// A part of what a job with Docker has besides its pod. Each is listed by itself, so that a job that makes one list too
/// long to be read keeps nothing else on the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DockerPart {
    /// Guard and builder, which are found by their names.
    Guard,
    Containers,
    Images,
    Volumes,
    /// The job's own is the last: by it the rest is found again.
    Networks,
}

impl DockerPart {
    /// In the order in which they can be removed.
    pub const ALL: [Self; 5] = [Self::Guard, Self::Containers, Self::Images, Self::Volumes, Self::Networks];
}

impl std::fmt::Display for DockerPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Guard => "guard and builder",
            Self::Containers => "containers",
            Self::Images => "images",
            Self::Volumes => "volumes",
            Self::Networks => "networks",
        })
    }
}

/// An image that a job has made through its guard, or a layer of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeImage {
    pub id: ImageId,
    /// Names the job's attempt and its instance, as [`Engine::scope_of`](crate::engine::Engine::scope_of) does.
    pub scope: String,
}

/// A copy of our program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentObject {
    pub id: ObjectId,
    /// Whether it is of the same version as this process.
    pub current: bool,
}

/// An object that can be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectId {
    Container(ContainerId),
    /// A container whose id is not known, because the answer to its creation was lost.
    NamedContainer(ContainerName),
    Volume(VolumeName),
    Network(NetworkName),
    Image(ImageId),
}

impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Container(id) => write!(f, "container {id}"),
            Self::NamedContainer(name) => write!(f, "container {name}"),
            Self::Volume(name) => write!(f, "volume {name}"),
            Self::Network(name) => write!(f, "network {name}"),
            Self::Image(id) => write!(f, "image {id}"),
        }
    }
}
