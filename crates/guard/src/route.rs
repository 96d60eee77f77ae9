//! The routes: the request that a method and a path stand for, and the query parameters that it may have.

use std::collections::BTreeMap;

use crate::bodies::{Connect, ExecCreate, ExecStart, NetworkCreate, Update, VolumeCreate, keys};
use crate::call::{Attach, Call, ContainerAction, Logs};
use crate::container::{ContainerCreate, signal};
use crate::image_ref::ImageName;
use crate::query::{Query, reference};
use crate::refusal::{Judged, Refusal, Rule, refuse};
use crate::registry_auth::{RegistryAuth, registry_config};
use crate::target::{self, Target};

/// The kind of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// No body, or an empty chunked one.
    Empty,
    /// JSON, which is read whole before the request is judged.
    Json,
    /// An uncompressed tar, which is forwarded while it arrives.
    Tar,
}

/// The head of a request, parsed and not yet judged. [`Head::read`] turns it and the body into a [`Request`].
#[derive(Debug)]
pub struct Head {
    route: Route,
    /// The object that the path names, if the route has one.
    object: String,
    query: Query,
    auth: RegistryAuth,
    registries: BTreeMap<String, RegistryAuth>,
}

/// The headers that the guard reads. No others are forwarded.
#[derive(Debug, Default, Clone, Copy)]
pub struct Headers<'a> {
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
    pub registry_auth: Option<&'a str>,
    pub registry_config: Option<&'a str>,
}

/// A parsed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub(crate) call: Call,
    route: Route,
}

impl Request {
    /// Returns the route, for the audit log.
    #[must_use]
    pub fn route(&self) -> &'static str {
        self.route.row().pattern
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Ping,
    Version,
    Info,
    Auth,
    Events,
    ContainerCreate,
    ContainerList,
    Inspect,
    Top,
    Logs,
    Stats,
    Changes,
    Resize,
    Start,
    Stop,
    Restart,
    Kill,
    Pause,
    Unpause,
    Rename,
    Update,
    Wait,
    Attach,
    Remove,
    ArchiveInfo,
    ArchiveGet,
    ArchivePut,
    Export,
    Exec,
    ExecStart,
    ExecResize,
    ExecInspect,
    ImageList,
    ImageInspect,
    ImageHistory,
    ImageDigest,
    ImageCreate,
    ImageTag,
    ImagePush,
    ImageRemove,
    Build,
    NetworkList,
    NetworkInspect,
    NetworkCreate,
    NetworkConnect,
    NetworkDisconnect,
    NetworkRemove,
    VolumeList,
    VolumeCreate,
    VolumeInspect,
    VolumeRemove,
}

struct Row {
    route: Route,
    methods: &'static [&'static str],
    /// `*` stands for one part of the path, `**` for one or more.
    pattern: &'static str,
    query: &'static [&'static str],
    body: BodyKind,
}

use BodyKind::{Empty, Json as AsJson, Tar};

const fn row(
    route: Route,
    methods: &'static [&'static str],
    pattern: &'static str,
    query: &'static [&'static str],
    body: BodyKind,
) -> Row {
    Row { route, methods, pattern, query, body }
}

/// All query parameters that clients send to the classic builder.
const BUILD: &[&str] = &[
    "dockerfile",
    "t",
    "q",
    "nocache",
    "rm",
    "forcerm",
    "pull",
    "buildargs",
    "labels",
    "target",
    "platform",
    "networkmode",
    "version",
    "memory",
    "memswap",
    "cpushares",
    "cpuperiod",
    "cpuquota",
    "cpusetcpus",
    "cpusetmems",
    "shmsize",
    "ulimits",
    "cachefrom",
    "extrahosts",
    "cgroupparent",
    "squash",
    "securityopt",
    "remote",
    "outputs",
    "session",
    "buildid",
    "isolation",
];

#[rustfmt::skip]
const ROUTES: &[Row] = &[
    row(Route::Ping, &["GET", "HEAD"], "_ping", &[], Empty),
    row(Route::Version, &["GET"], "version", &[], Empty),
    row(Route::Info, &["GET"], "info", &[], Empty),
    row(Route::Auth, &["POST"], "auth", &[], AsJson),
    row(Route::Events, &["GET"], "events", &["since", "until", "filters"], Empty),
    row(Route::ContainerCreate, &["POST"], "containers/create", &["name", "platform"], AsJson),
    row(Route::ContainerList, &["GET"], "containers/json", &["all", "limit", "size", "filters", "trunc_cmd"], Empty),
    row(Route::Inspect, &["GET"], "containers/*/json", &["size"], Empty),
    row(Route::Top, &["GET"], "containers/*/top", &["ps_args"], Empty),
    row(Route::Logs, &["GET"], "containers/*/logs", &["follow", "stdout", "stderr", "since", "until", "timestamps", "tail", "details"], Empty),
    row(Route::Stats, &["GET"], "containers/*/stats", &["stream", "one-shot"], Empty),
    row(Route::Changes, &["GET"], "containers/*/changes", &[], Empty),
    row(Route::Export, &["GET"], "containers/*/export", &[], Empty),
    row(Route::Resize, &["POST"], "containers/*/resize", &["h", "w"], Empty),
    row(Route::Start, &["POST"], "containers/*/start", &["detachKeys"], Empty),
    row(Route::Stop, &["POST"], "containers/*/stop", &["t", "signal"], Empty),
    row(Route::Restart, &["POST"], "containers/*/restart", &["t", "signal"], Empty),
    row(Route::Kill, &["POST"], "containers/*/kill", &["signal"], Empty),
    row(Route::Pause, &["POST"], "containers/*/pause", &[], Empty),
    row(Route::Unpause, &["POST"], "containers/*/unpause", &[], Empty),
    row(Route::Rename, &["POST"], "containers/*/rename", &["name"], Empty),
    row(Route::Update, &["POST"], "containers/*/update", &[], AsJson),
    row(Route::Wait, &["POST"], "containers/*/wait", &["condition"], Empty),
    row(Route::Attach, &["POST"], "containers/*/attach", &["detachKeys", "logs", "stream", "stdin", "stdout", "stderr"], Empty),
    row(Route::Exec, &["POST"], "containers/*/exec", &[], AsJson),
    row(Route::ArchiveInfo, &["HEAD"], "containers/*/archive", &["path"], Empty),
    row(Route::ArchiveGet, &["GET"], "containers/*/archive", &["path"], Empty),
    row(Route::ArchivePut, &["PUT"], "containers/*/archive", &["path", "noOverwriteDirNonDir", "copyUIDGID"], Tar),
    row(Route::Remove, &["DELETE"], "containers/*", &["v", "force", "link"], Empty),
    row(Route::ExecStart, &["POST"], "exec/*/start", &[], AsJson),
    row(Route::ExecResize, &["POST"], "exec/*/resize", &["h", "w"], Empty),
    row(Route::ExecInspect, &["GET"], "exec/*/json", &[], Empty),
    row(Route::ImageList, &["GET"], "images/json", &["all", "filters", "digests", "shared-size", "manifests", "only_ids", "filter"], Empty),
    row(Route::ImageCreate, &["POST"], "images/create", &["fromImage", "tag", "platform", "fromSrc", "changes", "repo", "message"], Empty),
    row(Route::ImageInspect, &["GET"], "images/**/json", &[], Empty),
    row(Route::ImageHistory, &["GET"], "images/**/history", &[], Empty),
    row(Route::ImageDigest, &["GET"], "distribution/**/json", &[], Empty),
    row(Route::ImageTag, &["POST"], "images/**/tag", &["repo", "tag", "force"], Empty),
    row(Route::ImagePush, &["POST"], "images/**/push", &["tag"], Empty),
    row(Route::ImageRemove, &["DELETE"], "images/**", &["force", "noprune"], Empty),
    row(Route::Build, &["POST"], "build", BUILD, Tar),
    row(Route::NetworkList, &["GET"], "networks", &["filters"], Empty),
    row(Route::NetworkCreate, &["POST"], "networks/create", &[], AsJson),
    row(Route::NetworkConnect, &["POST"], "networks/*/connect", &[], AsJson),
    row(Route::NetworkDisconnect, &["POST"], "networks/*/disconnect", &[], AsJson),
    row(Route::NetworkInspect, &["GET"], "networks/*", &["verbose", "scope"], Empty),
    row(Route::NetworkRemove, &["DELETE"], "networks/*", &[], Empty),
    row(Route::VolumeList, &["GET"], "volumes", &["filters"], Empty),
    row(Route::VolumeCreate, &["POST"], "volumes/create", &[], AsJson),
    row(Route::VolumeInspect, &["GET"], "volumes/*", &[], Empty),
    row(Route::VolumeRemove, &["DELETE"], "volumes/*", &["force"], Empty),
];

impl Route {
    fn row(self) -> &'static Row {
        // Every route is in the table, as a test checks.
        ROUTES.iter().find(|row| row.route == self).unwrap_or(&ROUTES[0])
    }
}

/// Matches a path with a pattern. Returns the object: what the stars stand for.
fn matches(pattern: &str, segments: &[String]) -> Option<String> {
    let parts: Vec<&str> = pattern.split('/').collect();
    if let Some(at) = parts.iter().position(|part| *part == "**") {
        let after = parts.len() - at - 1;
        let end = segments.len().checked_sub(after).filter(|end| *end > at)?;
        let fixed = parts[..at].iter().zip(&segments[..at]).chain(parts[at + 1..].iter().zip(&segments[end..]));
        return fixed.into_iter().all(|(part, segment)| part == segment).then(|| segments[at..end].join("/"));
    }
    if parts.len() != segments.len() {
        return None;
    }
    let mut object = String::new();
    for (part, segment) in parts.iter().zip(segments) {
        match *part {
            "*" => object = segment.clone(),
            word if word == segment => {}
            _ => return None,
        }
    }
    Some(object)
}

impl Head {
    /// Parses the request line and the headers. `newest` is the newest minor version of the API that the guard offers.
    ///
    /// # Errors
    /// If there is no such route, or something is not in its plain form.
    pub fn parse(method: &str, target: &str, headers: Headers<'_>, newest: u32) -> Result<Self, Refusal> {
        let Target { segments, query } = target::parse(target, newest)?;
        let found = ROUTES
            .iter()
            .filter(|row| row.methods.contains(&method))
            .find_map(|row| matches(row.pattern, &segments).map(|object| (row, object)));
        let Some((row, object)) = found else { return Err(no_route(&segments)) };
        if headers.content_encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return refuse!(MediaType, "a compressed body is not accepted: send it uncompressed");
        }
        let content_type = headers.content_type.unwrap_or_default().trim().to_ascii_lowercase();
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if media.contains("form") {
            return refuse!(MediaType, "a form is not accepted: the engine would prefer its values to the query's");
        }
        if row.body == AsJson && !matches!(media, "" | "application/json" | "text/json" | "text/plain") {
            return refuse!(MediaType, "the body is {media:?}, not JSON");
        }
        let auth = headers.registry_auth.map(RegistryAuth::header).transpose()?.unwrap_or_default();
        let registries = headers.registry_config.map(registry_config).transpose()?.unwrap_or_default();
        Ok(Self { route: row.route, object, query: Query::of(query, row.query, lists(row.route))?, auth, registries })
    }

    #[must_use]
    pub fn body_kind(&self) -> BodyKind {
        match (self.route, self.query.get("fromSrc")) {
            (Route::ImageCreate, Some("-")) => Tar,
            _ => self.route.row().body,
        }
    }

    /// Returns the route, for the audit log.
    #[must_use]
    pub fn route(&self) -> &'static str {
        self.route.row().pattern
    }

    /// Reads the request. `body` is the JSON body, or empty for the other kinds.
    ///
    /// # Errors
    /// If the body or a query parameter is not what the route expects.
    pub fn read(self, body: &[u8]) -> Result<Request, Refusal> {
        if self.body_kind() == Empty && !body.is_empty() {
            return refuse!(Body, "this request may not have a body");
        }
        let route = self.route;
        Ok(Request { call: self.call(body)?, route })
    }

    fn call(self, body: &[u8]) -> Judged<Call> {
        let Self { route, object, query: q, auth, registries } = self;
        let action = |action| Ok(Call::Container { container: object.clone(), action });
        match route {
            Route::Ping => Ok(Call::Ping),
            Route::Version => Ok(Call::Version),
            Route::Info => Ok(Call::Info),
            Route::Auth => Ok(Call::Auth(RegistryAuth::body(body)?)),
            Route::Events => Ok(Call::Events {
                since: q.time("since")?,
                until: q.time("until")?,
                filters: q.filters(&[
                    "type",
                    "event",
                    "label",
                    "container",
                    "network",
                    "volume",
                    "image",
                    "daemon",
                    "scope",
                ])?,
            }),
            Route::ContainerCreate => Ok(Call::ContainerCreate {
                name: q.text("name"),
                platform: q.platform()?,
                body: Box::new(ContainerCreate::read(body)?),
            }),
            Route::ContainerList => Ok(Call::ContainerList {
                all: q.flag("all")?,
                limit: q.number("limit")?.filter(|limit| *limit > 0),
                size: q.flag("size")?,
                filters: q
                    .filters(&["label", "status", "name", "id", "exited", "health", "ancestor", "network", "volume"])?,
            }),
            Route::Inspect => action(ContainerAction::Inspect { size: q.flag("size")? }),
            Route::Top => action(ContainerAction::Top { ps_args: q.ps_args()? }),
            Route::Logs => action(ContainerAction::Logs(Logs {
                follow: q.flag("follow")?,
                stdout: q.flag("stdout")?,
                stderr: q.flag("stderr")?,
                timestamps: q.flag("timestamps")?,
                details: q.flag("details")?,
                since: q.time("since")?,
                until: q.time("until")?,
                tail: q.time("tail")?,
            })),
            Route::Stats => action(ContainerAction::Stats {
                stream: q.get("stream").is_none() || q.flag("stream")?,
                one_shot: q.flag("one-shot")?,
            }),
            Route::Changes => action(ContainerAction::Changes),
            Route::Export => action(ContainerAction::Export),
            Route::Resize => action(ContainerAction::Resize(q.size()?)),
            Route::Start => action(ContainerAction::Start { detach_keys: keys(q.text("detachKeys"))? }),
            Route::Stop => action(ContainerAction::Stop { seconds: q.seconds()?, signal: signal(q.text("signal"))? }),
            Route::Restart => {
                action(ContainerAction::Restart { seconds: q.seconds()?, signal: signal(q.text("signal"))? })
            }
            Route::Kill => action(ContainerAction::Kill { signal: signal(q.text("signal"))? }),
            Route::Pause => action(ContainerAction::Pause),
            Route::Unpause => action(ContainerAction::Unpause),
            Route::Rename => action(ContainerAction::Rename { name: q.text("name") }),
            Route::Update => action(ContainerAction::Update(Update::read(body)?)),
            Route::Wait => action(ContainerAction::Wait { condition: q.condition()? }),
            Route::Attach => action(ContainerAction::Attach(Attach {
                detach_keys: keys(q.text("detachKeys"))?,
                logs: q.flag("logs")?,
                stream: q.flag("stream")?,
                stdin: q.flag("stdin")?,
                stdout: q.flag("stdout")?,
                stderr: q.flag("stderr")?,
            })),
            Route::Remove if q.flag("link")? => refuse!(Link, "removing links between containers is not allowed"),
            Route::Remove => action(ContainerAction::Remove { volumes: q.flag("v")?, force: q.flag("force")? }),
            Route::ArchiveInfo => action(ContainerAction::ArchiveInfo { path: q.path()? }),
            Route::ArchiveGet => action(ContainerAction::ArchiveGet { path: q.path()? }),
            Route::ArchivePut => action(ContainerAction::ArchivePut {
                path: q.path()?,
                no_overwrite: q.flag("noOverwriteDirNonDir")?,
                copy_owner: q.flag("copyUIDGID")?,
            }),
            Route::Exec => action(ContainerAction::Exec(ExecCreate::read(body)?)),
            Route::ExecStart => Ok(Call::ExecStart { exec: object, body: ExecStart::read(body)? }),
            Route::ExecResize => Ok(Call::ExecResize { exec: object, size: q.size()? }),
            Route::ExecInspect => Ok(Call::ExecInspect { exec: object }),
            Route::ImageList => {
                let mut filters = q.filters(&["reference", "label", "dangling"])?;
                // An old form of the filter by name, which one client still sends.
                if let Some(reference) = q.get("filter").filter(|text| !text.is_empty()) {
                    filters.0.entry("reference".to_owned()).or_default().push(reference.to_owned());
                }
                Ok(Call::ImageList { all: q.flag("all")?, digests: q.flag("digests")?, filters })
            }
            Route::ImageInspect => Ok(Call::ImageInspect { image: ImageName::parse(&object)? }),
            Route::ImageHistory => Ok(Call::ImageHistory { image: ImageName::parse(&object)? }),
            Route::ImageDigest => Ok(Call::ImageDigest { image: reference(&object, "")?, auth }),
            Route::ImageCreate => q.image_create(auth),
            Route::ImageTag => Ok(Call::ImageTag {
                image: ImageName::parse(&object)?,
                target: reference(&q.text("repo"), &q.text("tag"))?,
            }),
            Route::ImagePush => Ok(Call::ImagePush { image: reference(&object, &q.text("tag"))?, auth }),
            Route::ImageRemove => Ok(Call::ImageRemove { image: ImageName::parse(&object)?, force: q.flag("force")? }),
            Route::Build => q.build(registries).map(|build| Call::Build(Box::new(build))),
            Route::NetworkList => Ok(Call::NetworkList {
                filters: q.filters(&["name", "id", "label", "driver", "type", "scope", "dangling"])?,
            }),
            Route::NetworkInspect => Ok(Call::NetworkInspect { network: object }),
            Route::NetworkCreate => Ok(Call::NetworkCreate(NetworkCreate::read(body)?)),
            Route::NetworkConnect => Ok(Call::NetworkConnect { network: object, body: Connect::read(body)? }),
            Route::NetworkDisconnect => Ok(Call::NetworkDisconnect { network: object, body: Connect::read(body)? }),
            Route::NetworkRemove => Ok(Call::NetworkRemove { network: object }),
            Route::VolumeList => Ok(Call::VolumeList { filters: q.filters(&["name", "label", "dangling", "driver"])? }),
            Route::VolumeCreate => Ok(Call::VolumeCreate(VolumeCreate::read(body)?)),
            Route::VolumeInspect => Ok(Call::VolumeInspect { volume: object }),
            Route::VolumeRemove => Ok(Call::VolumeRemove { volume: object, force: q.flag("force")? }),
        }
    }
}

/// Refuses a request without a route, and suggests another way where there is one.
fn no_route(segments: &[String]) -> Refusal {
    let last = segments.last().map_or("", String::as_str);
    let reason = match segments[0].as_str() {
        "session" | "grpc" => {
            "BuildKit is not supported: set DOCKER_BUILDKIT=0, or run a builder within the job".to_owned()
        }
        "swarm" | "services" | "tasks" | "nodes" | "secrets" | "configs" | "plugins" => {
            format!("{} of the engine are not accessible here", segments[0])
        }
        _ if last == "prune" => "pruning is not allowed: remove your objects by name".to_owned(),
        _ => "the guard does not allow this request".to_owned(),
    };
    Refusal::new(Rule::Route, reason)
}

/// Returns the query parameters that may be repeated: the tags of a build, and the changes of an import.
fn lists(route: Route) -> &'static [&'static str] {
    match route {
        Route::Build => &["t"],
        Route::ImageCreate => &["changes"],
        _ => &[],
    }
}
