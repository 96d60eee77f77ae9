//! The outcome of a request that is let through: an answer by the guard itself, or a call to the engine and how to
//! handle its answer.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::call::Build;
use crate::check::Check;
use crate::filters::Filters;
use crate::prune::Prune;
use crate::table::Container;
use crate::target::encode;

/// How a request that the policy lets through is carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    Answer(Local),
    Forward(Box<Forward>),
    /// Marks an image, tags it with the name that it is pushed under, pushes it, and removes both names again.
    Push(Box<Push>),
    /// Removes what the client does not use any more.
    Prune(Prune),
}

/// An answer by the guard itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Local {
    Pong,
    Json { status: u16, body: Value },
}

/// A call to the engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    pub call: EngineCall,
    pub reply: Reply,
    pub effect: Effect,
    /// Conditions that are checked on the engine before the call.
    pub checks: Vec<Check>,
    /// For a build: its context is read on the way, and its Dockerfile is rewritten.
    pub build: Option<Box<Context>>,
}

/// The context of a build.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    pub build: Build,
    /// The file name of the rewritten Dockerfile. It cannot be guessed, so no file of the context can replace it.
    pub written_as: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// The id of the image.
    pub image: String,
    /// The name that the image has on the engine during the push. Afterwards the name means what it meant before.
    pub reference: String,
    /// The path of the list of all images that are pushed under the name.
    pub marked: String,
    /// The mark.
    pub mark_name: String,
    /// Give the image its mark and the name, take the name, and take the mark.
    pub mark: EngineCall,
    pub tag: EngineCall,
    pub push: EngineCall,
    pub untag: EngineCall,
    pub unmark: EngineCall,
}

/// A request to the engine, written from our own types.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineCall {
    pub method: &'static str,
    /// Path and query, after the version.
    pub path: String,
    pub body: EngineBody,
    /// `X-Registry-Auth` or `X-Registry-Config`.
    pub credentials: Option<(&'static str, String)>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum EngineBody {
    Empty,
    Json(Value),
    /// The client's tar, which is inspected while it is forwarded.
    Tar,
    /// The client's archive of images, whose layers are compared with its images, and whose names are replaced.
    Images,
    /// A tar with the guard's own program, instead of what the client sent.
    Program,
}

impl EngineCall {
    pub(crate) fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), body: EngineBody::Empty, credentials: None }
    }

    pub(crate) fn json(self, body: Value) -> Self {
        Self { body: EngineBody::Json(body), ..self }
    }

    pub(crate) fn tar(self) -> Self {
        Self { body: EngineBody::Tar, ..self }
    }

    pub(crate) fn images(self) -> Self {
        Self { body: EngineBody::Images, ..self }
    }

    pub(crate) fn program(self) -> Self {
        Self { body: EngineBody::Program, ..self }
    }

    /// Adds a parameter to the query, unless its value is empty.
    pub(crate) fn query(mut self, key: &str, value: impl AsRef<str>) -> Self {
        let value = value.as_ref();
        if !value.is_empty() {
            self.path.push(if self.path.contains('?') { '&' } else { '?' });
            self.path.push_str(key);
            self.path.push('=');
            encode(value, &mut self.path);
        }
        self
    }

    pub(crate) fn flag(self, key: &str, value: bool) -> Self {
        if value { self.query(key, "1") } else { self }
    }
}

/// How the engine's answer is returned to the client.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The status alone.
    Status,
    /// JSON, read whole and rewritten.
    Json(Shape),
    /// Bytes, unchanged. The engine's media type is passed on if it is a known one.
    Stream,
    /// Like `Stream`. The text of an error, which can quote processes of others, is not passed on.
    Processes,
    /// Like `Stream`, with the header that describes a file.
    Files,
    /// A stream of JSON values, each rewritten.
    Lines(LineShape),
    /// A stream in both directions, after status 101.
    Hijack,
}

/// How a JSON answer is rewritten.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Same,
    Created,
    Info,
    /// What a server may see of the engine's `/info`.
    ServerInfo,
    Container,
    /// A list of containers, volumes or networks, reduced to the server's own.
    ServersOwn,
    /// The subnets and gateways of all networks, and nothing else about the networks.
    Addresses,
    /// An image, or a list of images, without the values of labels that others set.
    Unlabelled,
    Containers {
        names: Vec<String>,
        ids: Vec<String>,
        ancestors: Vec<String>,
        networks: Vec<String>,
        volumes: Vec<String>,
        limit: Option<u32>,
    },
    Exec,
    Image,
    History,
    Images {
        references: Vec<String>,
    },
    RemovedImage {
        reference: Option<String>,
    },
    Network,
    Networks {
        names: Vec<String>,
        ids: Vec<String>,
    },
    Volume,
    Volumes {
        names: Vec<String>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum LineShape {
    /// The output of a pull or a build.
    Progress,
    /// The output of a load. Maps the engine's names of the images to the client's.
    Loaded(BTreeMap<String, String>),
    /// The output of the import of the guard's own program.
    Import,
    Events(Filters),
}

/// What a call changes in the table once it has succeeded.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    None,
    ContainerCreated {
        container: Container,
        volumes: Vec<String>,
        /// Those that the engine fills with files of the image.
        filled: BTreeSet<String>,
        /// The containers whose namespaces or volumes it joins. No files are copied into or out of them meanwhile.
        joined: BTreeSet<String>,
    },
    /// Before the call, listeners are opened for its published ports.
    ContainerStarted {
        id: String,
    },
    /// A container that was paused may go on.
    ContainerUnpaused {
        id: String,
    },
    /// Files go into or out of a container, which stands still meanwhile.
    FilesCopied {
        id: String,
    },
    ContainerRenamed {
        id: String,
        name: String,
    },
    ContainerUpdated {
        id: String,
        container: Container,
    },
    ContainerRemoved {
        id: String,
    },
    ExecCreated {
        container: String,
    },
    NetworkCreated {
        name: String,
        subnet: Option<String>,
    },
    NetworkRemoved {
        id: String,
    },
    VolumeCreated {
        name: String,
        /// The volumes that it is an overlay of.
        layers: Vec<String>,
    },
    VolumeRemoved {
        name: String,
    },
    ImageTagged {
        reference: String,
        id: String,
        kept_as: Option<String>,
    },
    ImageUntagged {
        references: Vec<String>,
    },
    /// Maps the client's references to the engine's. When the stream has ended, the engine is asked for the images'
    /// ids.
    ImagesMade {
        references: BTreeMap<String, String>,
        kept: bool,
    },
}
