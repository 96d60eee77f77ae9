//! The table of routes.

use super::BodyKind::{self, Empty, Json as AsJson, Tar};
use crate::refusal::{NO_BUILDKIT, Refusal, Rule};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
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
    ImageLoad,
    Build,
    ContainerPrune,
    NetworkPrune,
    VolumePrune,
    ImagePrune,
    BuildPrune,
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

pub(super) struct Row {
    pub(super) route: Route,
    pub(super) methods: &'static [&'static str],
    /// `*` stands for one part of the path, `**` for one or more.
    pub(super) pattern: &'static str,
    pub(super) query: &'static [&'static str],
    pub(super) body: BodyKind,
}

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
pub(super) const ROUTES: &[Row] = &[
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
    row(Route::Attach, &["POST"], "containers/*/attach", &["detachKeys", "logs", "stream", "stdin", "stdout", "stderr", "hijack"], Empty),
    row(Route::Exec, &["POST"], "containers/*/exec", &[], AsJson),
    row(Route::ArchiveInfo, &["HEAD"], "containers/*/archive", &["path"], Empty),
    row(Route::ArchiveGet, &["GET"], "containers/*/archive", &["path"], Empty),
    row(Route::ArchivePut, &["PUT"], "containers/*/archive", &["path", "noOverwriteDirNonDir", "copyUIDGID"], Tar),
    row(Route::Remove, &["DELETE"], "containers/*", &["v", "force", "link"], Empty),
    row(Route::ExecStart, &["POST"], "exec/*/start", &[], AsJson),
    row(Route::ExecResize, &["POST"], "exec/*/resize", &["h", "w"], Empty),
    row(Route::ExecInspect, &["GET"], "exec/*/json", &[], Empty),
    row(Route::ImageList, &["GET"], "images/json", &["all", "filters", "digests", "shared-size", "manifests", "only_ids", "filter"], Empty),
    row(Route::ImageCreate, &["POST"], "images/create", &["fromImage", "tag", "platform", "fromSrc", "changes", "repo", "message", "registry", "authconfig"], Empty),
    row(Route::ImageInspect, &["GET"], "images/**/json", &["manifests", "platform"], Empty),
    row(Route::ImageHistory, &["GET"], "images/**/history", &["platform"], Empty),
    row(Route::ImageDigest, &["GET"], "distribution/**/json", &[], Empty),
    row(Route::ImageTag, &["POST"], "images/**/tag", &["repo", "tag", "force"], Empty),
    row(Route::ImagePush, &["POST"], "images/**/push", &["tag", "platform"], Empty),
    row(Route::ImageRemove, &["DELETE"], "images/**", &["force", "noprune", "platforms"], Empty),
    row(Route::ImageLoad, &["POST"], "images/load", &["quiet"], Tar),
    row(Route::Build, &["POST"], "build", BUILD, Tar),
    row(Route::ContainerPrune, &["POST"], "containers/prune", &["filters"], Empty),
    row(Route::NetworkPrune, &["POST"], "networks/prune", &["filters"], Empty),
    row(Route::VolumePrune, &["POST"], "volumes/prune", &["filters"], Empty),
    row(Route::ImagePrune, &["POST"], "images/prune", &["filters"], Empty),
    row(Route::BuildPrune, &["POST"], "build/prune", &["filters", "all", "keep-storage", "reserved-space", "max-used-space", "min-free-space"], Empty),
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
    pub(super) fn row(self) -> &'static Row {
        // Every route is in the table, as a test checks.
        ROUTES.iter().find(|row| row.route == self).unwrap_or(&ROUTES[0])
    }
}

/// Matches a path with a pattern. Returns the object: what the stars stand for. Only two stars stand for a part with
/// slashes of its own.
pub(super) fn matches(pattern: &str, segments: &[String]) -> Option<String> {
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
            "*" if !segment.contains('/') => object = segment.clone(),
            word if word == segment => {}
            _ => return None,
        }
    }
    Some(object)
}

/// Refuses a request without a route, and suggests another way where there is one.
pub(super) fn no_route(segments: &[String]) -> Refusal {
    let reason = match segments[0].as_str() {
        "session" | "grpc" => NO_BUILDKIT.to_owned(),
        "swarm" | "services" | "tasks" | "nodes" | "secrets" | "configs" | "plugins" => {
            format!("{} of the engine are not accessible here", segments[0])
        }
        "commit" => "a container is not made into an image here: build one (`docker build`)".to_owned(),
        "images" if segments.last().is_some_and(|last| last == "get") => {
            "images are not saved here: push them, or write what is needed of them into the workspace".to_owned()
        }
        _ => "the guard does not allow this request".to_owned(),
    };
    Refusal::new(Rule::Route, reason)
}

/// Returns the query parameters that may be repeated: the tags of a build, and the changes of an import.
pub(super) fn lists(route: Route) -> &'static [&'static str] {
    match route {
        Route::Build => &["t"],
        Route::ImageCreate => &["changes"],
        _ => &[],
    }
}
