//! The requests that the guard knows, as closed types. Nothing else reaches the engine.

use std::collections::BTreeMap;

use crate::bodies::{Connect, ExecCreate, ExecStart, NetworkCreate, Update, VolumeCreate};
use crate::container::ContainerCreate;
use crate::filters::Filters;
use crate::image_ref::{ImageName, ImageRef};
use crate::prune::Prunable;
use crate::registry_auth::RegistryAuth;

/// A request, parsed and not yet judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Ping,
    Version,
    Info,
    Auth(RegistryAuth),
    Events {
        since: String,
        until: String,
        filters: Filters,
    },
    ContainerCreate {
        name: String,
        platform: String,
        body: Box<ContainerCreate>,
    },
    ContainerList {
        all: bool,
        limit: Option<u32>,
        size: bool,
        filters: Filters,
    },
    Container {
        container: String,
        action: ContainerAction,
    },
    ExecStart {
        exec: String,
        body: ExecStart,
    },
    ExecResize {
        exec: String,
        size: Size,
    },
    ExecInspect {
        exec: String,
    },
    ImageList {
        all: bool,
        digests: bool,
        filters: Filters,
    },
    ImageInspect {
        image: ImageName,
    },
    ImageHistory {
        image: ImageName,
    },
    /// Asks a registry for the digest of an image's name.
    ImageDigest {
        image: ImageRef,
        auth: RegistryAuth,
    },
    ImagePull {
        image: ImageRef,
        platform: String,
        auth: RegistryAuth,
    },
    /// Imports the agent's image from a tar. Only the server does.
    ImageImport {
        changes: Vec<String>,
    },
    ImageTag {
        image: ImageName,
        target: ImageRef,
    },
    ImagePush {
        image: ImageRef,
        auth: RegistryAuth,
    },
    ImageRemove {
        image: ImageName,
        force: bool,
    },
    /// Loads images from an archive.
    ImageLoad {
        quiet: bool,
    },
    Build(Box<Build>),
    /// Removes what is not used any more.
    Prune {
        kind: Prunable,
        filters: Filters,
    },
    NetworkList {
        filters: Filters,
    },
    NetworkInspect {
        network: String,
    },
    NetworkCreate(NetworkCreate),
    NetworkConnect {
        network: String,
        body: Connect,
    },
    NetworkDisconnect {
        network: String,
        body: Connect,
    },
    NetworkRemove {
        network: String,
    },
    VolumeList {
        filters: Filters,
    },
    VolumeCreate(VolumeCreate),
    VolumeInspect {
        volume: String,
    },
    VolumeRemove {
        volume: String,
        force: bool,
    },
}

/// What a request does with one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContainerAction {
    Inspect { size: bool },
    Top { ps_args: String },
    Logs(Logs),
    Stats { stream: bool, one_shot: bool },
    Changes,
    Resize(Size),
    Start { detach_keys: String },
    Stop { seconds: Option<i64>, signal: String },
    Restart { seconds: Option<i64>, signal: String },
    Kill { signal: String },
    Pause,
    Unpause,
    Rename { name: String },
    Update(Update),
    Wait { condition: String },
    Attach(Attach),
    Remove { volumes: bool, force: bool },
    ArchiveInfo { path: String },
    ArchiveGet { path: String },
    ArchivePut { path: String, no_overwrite: bool, copy_owner: bool },
    Export,
    Exec(ExecCreate),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) height: u32,
    pub(crate) width: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logs {
    pub(crate) follow: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) timestamps: bool,
    pub(crate) details: bool,
    pub(crate) since: String,
    pub(crate) until: String,
    pub(crate) tail: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attach {
    pub(crate) detach_keys: String,
    pub(crate) logs: bool,
    pub(crate) stream: bool,
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// `POST /build`, with the classic builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    pub(crate) dockerfile: String,
    pub(crate) tags: Vec<ImageRef>,
    pub(crate) args: BTreeMap<String, Option<String>>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) target: String,
    pub(crate) platform: String,
    pub(crate) quiet: bool,
    pub(crate) network: String,
    pub(crate) registries: BTreeMap<String, RegistryAuth>,
}

impl Build {
    /// Returns the Dockerfile's path within the context.
    #[must_use]
    pub fn dockerfile_name(&self) -> &str {
        &self.dockerfile
    }
}
