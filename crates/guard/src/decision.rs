//! What becomes of a request: an answer of the guard's own, or one call to the engine with what is known of its answer.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::call::Build;
use crate::check::Check;
use crate::filters::Filters;
use crate::table::Container;
use crate::target::encode;

/// What the policy says of a request that it lets through.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    Answer(Local),
    Forward(Box<Forward>),
    /// An image is given a name of the engine's namespace for the time of a push, and loses it again.
    Push(Box<Push>),
}

/// An answer of the guard's own.
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
    /// What has to hold on the engine before the call is made.
    pub checks: Vec<Check>,
    /// The context of a build is read, and its Dockerfile written anew.
    pub build: Option<Box<Context>>,
}

/// The context of a build.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    pub build: Build,
    /// The file that the Dockerfile is written to anew. Nobody can guess it, so nothing of the context takes its place.
    pub written_as: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// The engine's own name for the time of the push. What it meant before, it means again afterwards.
    pub reference: String,
    pub tag: EngineCall,
    pub push: EngineCall,
    pub untag: EngineCall,
}

/// A request as it goes to the engine, made of our types alone.
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
    /// The client's tar, looked at as it goes through.
    Tar,
    /// A tar with the guard's own program, whatever the client has sent.
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

    pub(crate) fn program(self) -> Self {
        Self { body: EngineBody::Program, ..self }
    }

    /// Adds to the query. Empty values are left out.
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

/// How the engine's answer goes back to the client.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// A status, and no body that matters.
    Status,
    /// JSON, read whole and written anew.
    Json(Shape),
    /// Bytes, as they come. The media type is the engine's, if it is a known one.
    Stream,
    /// The same, with the header that describes a file.
    Files,
    /// JSON values one by one, each rewritten.
    Lines(LineShape),
    /// Both directions, after a 101.
    Hijack,
}

/// What is done to an answer of JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Same,
    Created,
    Info,
    /// What a server may know of the host.
    ServerInfo,
    Container,
    /// Those of the server among the containers, volumes or networks of a list.
    ServersOwn,
    /// The gateways of all networks, and nothing else of them.
    Gateways,
    /// An image, or a list of images, without what others have labelled.
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
    /// What a pull or a build prints.
    Progress,
    /// The same, of the import of the guard's own program.
    Import,
    Events(Filters),
}

/// What a call changes in the table, once the engine has done it.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    None,
    ContainerCreated {
        container: Container,
        volumes: Vec<String>,
    },
    /// Its published ports listen before the call is made.
    ContainerStarted {
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
    },
    NetworkRemoved {
        id: String,
    },
    VolumeCreated {
        name: String,
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
    /// The ids of these are asked of the engine when the stream has ended: what the client calls it, and the engine.
    ImagesMade {
        references: BTreeMap<String, String>,
        kept: bool,
    },
}
