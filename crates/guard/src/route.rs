//! Requests: what a method and a path stand for (`table`), and the query parameters and the body that they may have.

mod table;

use std::collections::BTreeMap;

use self::table::{ROUTES, Route, lists, matches, no_route};
use crate::bodies::{Connect, ExecCreate, ExecStart, NetworkCreate, Update, VolumeCreate, keys};
use crate::call::{Call, ContainerAction};
use crate::container::{ContainerCreate, signal};
use crate::image_ref::ImageName;
use crate::prune::Prunable;
use crate::query::{Query, reference};
use crate::refusal::{Judged, Refusal, refuse};
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
    /// All of them, separated by commas: bollard sends two.
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
        let media = |one: &str| one.split(';').next().unwrap_or_default().trim().to_owned();
        if content_type.split(',').any(|one| media(one).contains("form")) {
            return refuse!(MediaType, "a form is not accepted: the engine would prefer its values to the query's");
        }
        let media = media(&content_type);
        if row.body == BodyKind::Json && !matches!(media.as_str(), "" | "application/json" | "text/json" | "text/plain")
        {
            return refuse!(MediaType, "the body is {media:?}, not JSON");
        }
        let auth = headers.registry_auth.map(RegistryAuth::header).transpose()?.unwrap_or_default();
        let registries = headers.registry_config.map(registry_config).transpose()?.unwrap_or_default();
        Ok(Self {
            route: row.route,
            object,
            query: Query::of(query, row.query, lists(row.route), row.body)?,
            auth,
            registries,
        })
    }

    #[must_use]
    pub fn body_kind(&self) -> BodyKind {
        match (self.route, self.query.get("fromSrc")) {
            (Route::ImageCreate, Some("-")) => BodyKind::Tar,
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
        match self.body_kind() {
            BodyKind::Empty => self.query.check_no_more_in(body)?,
            BodyKind::Json => self.query.check_repeated(body)?,
            BodyKind::Tar => {}
        }
        let route = self.route;
        Ok(Request { call: self.call(body)?, route })
    }

    fn call(self, body: &[u8]) -> Judged<Call> {
        let Self { route, object, query: q, auth, registries } = self;
        let action = |action| Ok(Call::Container { container: object.clone(), action });
        let prune = |kind, known| Ok(Call::Prune { kind, filters: q.filters(known)? });
        if matches!(route, Route::ImageInspect | Route::ImageHistory | Route::ImagePush | Route::ImageRemove) {
            q.check_platform_unset()?;
        }
        match route {
            Route::Ping => Ok(Call::Ping),
            Route::Version => Ok(Call::Version),
            Route::Info => Ok(Call::Info),
            Route::Auth => Ok(Call::Auth(RegistryAuth::body(body)?)),
            Route::Events => q.events(),
            Route::ContainerCreate => Ok(Call::ContainerCreate {
                name: q.text("name"),
                platform: q.platform()?,
                body: Box::new(ContainerCreate::read(body)?),
            }),
            Route::ContainerList => q.container_list(),
            Route::Inspect => action(ContainerAction::Inspect { size: q.flag("size")? }),
            Route::Top => action(ContainerAction::Top { ps_args: q.ps_args()? }),
            Route::Logs => action(ContainerAction::Logs(q.logs()?)),
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
            Route::Attach => action(ContainerAction::Attach(q.attach()?)),
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
            Route::ImageList => q.image_list(),
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
            Route::ImageLoad => Ok(Call::ImageLoad { quiet: q.flag("quiet")? }),
            Route::Build => q.build(registries).map(|build| Call::Build(Box::new(build))),
            Route::ContainerPrune => prune(Prunable::Containers, &["label"]),
            Route::NetworkPrune => prune(Prunable::Networks, &["label"]),
            Route::VolumePrune => prune(Prunable::Volumes, &["label", "all"]),
            Route::ImagePrune => prune(Prunable::Images, &["label", "dangling", "until"]),
            Route::BuildPrune => prune(Prunable::Builds, &["until", "unused-for", "id", "type"]),
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
