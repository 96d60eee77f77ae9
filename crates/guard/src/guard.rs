//! The guard of one client: the client's policy, the table of its objects, and facts about the engine.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::bodies::Update;
use crate::call::{Call, ContainerAction};
use crate::check::INSTANCE;
use crate::decision::{Decision, Effect, EngineCall, Shape};
use crate::host_config::NetworkMode;
use crate::image_ref::{ImageName, ImageRef};
use crate::names::is_full_id;
use crate::policy::{JobPolicy, Policy};
use crate::refusal::{Judged, Refusal, refuse};
use crate::route::Request;
use crate::table::{Container, Image, Table, full_id};
use crate::target::{NEWEST_API, OLDEST_ENGINE};
use crate::{answer, dockerfile, job, server, server_own};

/// The engine behind the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    /// The minor version of the API that requests to the engine use.
    pub api: u32,
    pub version: String,
    pub os: String,
    pub arch: String,
    /// The engine's processors, in units of 10^-9. The engine refuses to give a container more.
    pub nano_cpus: i64,
}

impl EngineFacts {
    /// Reads the engine's `/version` and `/info`.
    ///
    /// # Errors
    /// If the engine is too old or too new for the guard, or the answers are not those of an engine.
    pub fn read(version: &Value, info: &Value) -> Result<Self, String> {
        let text = |key: &str| version.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let minor = |key: &str| text(key).strip_prefix("1.").and_then(|minor| minor.parse::<u32>().ok());
        let newest = minor("ApiVersion").ok_or("it does not tell its API version")?;
        if newest < OLDEST_ENGINE {
            return Err(format!(
                "its API version is 1.{newest}: the guard needs 1.{OLDEST_ENGINE} (Docker 20.10) or later"
            ));
        }
        let api = newest.min(NEWEST_API);
        if minor("MinAPIVersion").is_some_and(|oldest| oldest > api) {
            return Err(format!("it supports only API versions newer than 1.{NEWEST_API}: update Longshore"));
        }
        let cpus = info.get("NCPU").and_then(Value::as_i64).filter(|cpus| *cpus > 0).unwrap_or(1);
        Ok(Self {
            api,
            version: text("Version"),
            os: text("Os"),
            arch: text("Arch"),
            nano_cpus: cpus.saturating_mul(1_000_000_000),
        })
    }
}

/// What a server's guard knows of itself and its host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// The first 12 hexadecimal digits of the SHA-256 of the guard's own program.
    pub program: String,
    /// The path of the engine's socket on its host. `None` if it could not be determined.
    pub socket: Option<String>,
}

impl Host {
    /// Returns the name of the image that holds the guard's own program.
    pub(crate) fn image(&self) -> String {
        format!("{}:{}", server_own::AGENT, self.program)
    }

    pub(crate) fn socket(&self) -> Judged<&str> {
        match &self.socket {
            Some(path) => Ok(path),
            None => refuse!(Server, "the guard does not know the path of the engine's socket on its host"),
        }
    }
}

#[derive(Debug)]
pub struct Guard {
    pub(crate) policy: Policy,
    pub(crate) engine: EngineFacts,
    pub(crate) host: Host,
    pub table: Table,
}

impl Guard {
    #[must_use]
    pub fn new(policy: Policy, engine: EngineFacts, mut table: Table) -> Self {
        if let Policy::Job(job) = &policy {
            table.is_watched = true;
            // Not its own, and seen in its own containers.
            job.network.iter().chain(&job.sandbox).for_each(|id| table.know(id));
        }
        Self { policy, engine, host: Host::default(), table }
    }

    /// Adds what the guard of a server knows of its host.
    #[must_use]
    pub fn on_host(self, host: Host) -> Self {
        Self { host, ..self }
    }

    /// Learns a server's instance from a request, if the policy does not set one.
    pub fn learn_instance(&mut self, request: &Request) {
        if let (Policy::Server(server), Some(instance)) = (&mut self.policy, server::instance_of(&request.call)) {
            server.learn(instance);
        }
    }

    /// Returns references in a server's request to containers that the table does not know. Before the request is judged, the caller
    /// asks the engine for them and passes the answers to [`Guard::learn_container`]. So a guard that was restarted knows containers
    /// that are older than itself.
    #[must_use]
    pub fn unknown_containers(&self, request: &Request) -> Vec<String> {
        let Policy::Server(_) = &self.policy else { return Vec::new() };
        let reference = match &request.call {
            Call::Container { container, .. } => Some(container),
            Call::ContainerCreate { body, .. } => match &body.host.network {
                NetworkMode::Container(container) => Some(container),
                NetworkMode::Default | NetworkMode::None | NetworkMode::Named(_) => None,
            },
            _ => None,
        };
        // The engine is not asked for prefixes of ids, which may match other containers. Names are always asked for: they may belong
        // to another container by now.
        let is_asked = |reference: &&String| match is_full_id(reference) {
            true => !self.table.containers.contains_key(*reference),
            false => reference.starts_with(crate::names::RESERVED),
        };
        reference.filter(is_asked).cloned().into_iter().collect()
    }

    /// Adds a container that the engine has described, if it is the server's: it has the label, and a name that no job can choose.
    pub fn learn_container(&mut self, reference: &str, container: Option<&Value>) {
        let Policy::Server(policy) = &self.policy else { return };
        self.table.forget_name(reference);
        let Some(container) = container else { return };
        let name = container["Name"].as_str().unwrap_or_default().trim_start_matches('/');
        let is_own = container["Config"]["Labels"][INSTANCE].as_str().is_some_and(|instance| policy.is_own(instance));
        if let Some(id) = container["Id"].as_str().and_then(full_id)
            && is_own
            && server_own::is_ours(name)
        {
            self.table.add_container(id, Container { name: name.to_owned(), ..Container::default() });
        }
    }

    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    #[must_use]
    pub fn engine(&self) -> &EngineFacts {
        &self.engine
    }

    /// Returns image references in a request that the policy allows and the table does not know. Before the request is judged, the
    /// caller asks the engine for them and passes the answers to [`Guard::learn_answer`].
    #[must_use]
    pub fn unknown_images(&self, request: &Request) -> Vec<String> {
        let reference = match &request.call {
            Call::ContainerCreate { body, .. } => match ImageName::parse(&body.image) {
                Ok(ImageName::Ref { reference, .. }) => Some(reference),
                Ok(ImageName::Id(_)) | Err(_) => None,
            },
            Call::ImageInspect { image } | Call::ImageHistory { image } | Call::ImageTag { image, .. } => match image {
                ImageName::Ref { reference, .. } => Some(reference.clone()),
                ImageName::Id(_) => None,
            },
            _ => None,
        };
        reference
            .into_iter()
            .filter(|reference| self.is_unknown(reference))
            .map(|reference| reference.to_string())
            .collect()
    }

    fn is_unknown(&self, reference: &ImageRef) -> bool {
        match &self.policy {
            Policy::Job(job) => !self.table.knows_image(reference) && job.may_look_up(reference),
            Policy::Server(_) => false,
        }
    }

    /// Whether the table knows an image by this full reference.
    #[must_use]
    pub fn knows_image(&self, reference: &str) -> bool {
        self.table.images.contains_key(reference)
    }

    /// Adds an image of the engine that the policy lets the client use.
    pub fn learn_image(&mut self, reference: &str, id: &str) {
        if let Some(id) = full_id(id).filter(|_| !self.table.images.contains_key(reference)) {
            self.table.add_image(reference.to_owned(), Image { id, kept_as: None });
        }
    }

    /// Adds an image that the engine has described, if the policy lets the client use it. An image with a digest came from a registry:
    /// the client has to pull it from there, with credentials of its own.
    pub fn learn_answer(&mut self, reference: &str, image: &Value) {
        let Policy::Job(policy) = &self.policy else { return };
        let Ok(parsed) = ImageRef::parse(reference) else { return };
        let is_local = image.get("RepoDigests").and_then(Value::as_array).is_none_or(Vec::is_empty);
        let may_use = policy.may_use(&parsed) || (is_local && policy.may_look_up(&parsed));
        if let Some(id) = image.get("Id").and_then(Value::as_str).filter(|_| may_use) {
            self.learn_image(reference, id);
        }
    }

    /// Returns the call that pulls a base image of a build.
    ///
    /// # Errors
    /// If the policy allows no pulls from its registry.
    pub fn pull(&self, reference: &str, build: &crate::Build) -> Result<EngineCall, Refusal> {
        let Policy::Job(policy) = &self.policy else {
            return Err(Refusal::new(crate::Rule::Image, "the server may not pull images for builds".to_owned()));
        };
        let image = ImageRef::parse(reference)?;
        policy.may_pull(&image)?;
        self.has_pull_left(policy)?;
        let mut call = job::pull_call(&image, &build.platform);
        let auth = build.registries.iter().find(|(server, _)| job::registry_of(server) == image.registry);
        call.credentials = auth.map(|(_, auth)| ("X-Registry-Auth", auth.to_header()));
        Ok(call)
    }

    /// Refuses a pull beyond the budget.
    pub(crate) fn has_pull_left(&self, policy: &JobPolicy) -> Judged<()> {
        if self.table.conduct.pulls >= policy.budget.pulls {
            return refuse!(Budget, "the job has used all of its {} pulls of images", policy.budget.pulls);
        }
        Ok(())
    }

    /// Notes a pull that begins. Called before the engine is asked.
    pub fn note_pull(&mut self, reference: &str) {
        if let Ok(image) = ImageRef::parse(reference) {
            self.table.conduct.note_pull(&image);
        }
    }

    /// Returns why every request is refused, if it is.
    #[must_use]
    pub fn frozen(&self) -> Option<Refusal> {
        self.table.conduct.frozen.as_ref().map(|reason| Refusal::new(crate::Rule::Frozen, reason.clone()))
    }

    /// Notes a request of a job that was refused. Returns why everything is refused from now on, if that begins here.
    pub fn note_refusal(&mut self, refusal: &Refusal, call: &str, at_ms: u64) -> Option<String> {
        let Policy::Job(policy) = &self.policy else { return None };
        self.table.conduct.note(refusal, call, at_ms, policy.budget.refusals).map(str::to_owned)
    }

    /// Returns the container that joins every network of the client, if there is one.
    #[must_use]
    pub fn sandbox(&self) -> Option<&str> {
        match &self.policy {
            Policy::Job(job) => job.sandbox.as_deref(),
            Policy::Server(_) => None,
        }
    }

    /// Returns a container's address on a network of the client, from the engine's description of the container.
    #[must_use]
    pub fn address_of(&self, container: &Value) -> Option<std::net::IpAddr> {
        let networks = container.get("NetworkSettings")?.get("Networks")?.as_object()?;
        let own = |end: &&Value| {
            let id = end.get("NetworkID").and_then(Value::as_str).unwrap_or_default();
            answer::network_name(self, id).is_some()
        };
        networks.values().filter(own).find_map(|end| end.get("IPAddress")?.as_str()?.parse().ok())
    }

    /// Judges a request. `nonce` is random: it becomes part of the names of objects that the client did not name.
    ///
    /// # Errors
    /// If the policy refuses it.
    pub fn judge(&self, request: &Request, nonce: &str) -> Result<Decision, Refusal> {
        match &self.policy {
            Policy::Job(policy) => job::judge(self, policy, &request.call, nonce),
            Policy::Server(policy) => server::judge(self, policy, &request.call),
        }
    }

    /// Records the effect of a call in the table. `created` is the id in the engine's answer, if it has one.
    pub fn settle(&mut self, effect: &Effect, succeeded: bool, created: Option<&str>) {
        let table = &mut self.table;
        // A create call that failed may have created its volumes. A job's have names that nobody else can choose.
        let is_sure = succeeded || matches!(self.policy, Policy::Job(_));
        if let Effect::ContainerCreated { volumes, .. } = effect
            && is_sure
        {
            table.volumes.extend(volumes.iter().cloned());
        }
        if !succeeded {
            return;
        }
        let created = created.and_then(full_id);
        match (effect, created) {
            (Effect::ContainerCreated { container, .. }, Some(id)) => table.add_container(id, container.clone()),
            (Effect::ExecCreated { container }, Some(id)) => {
                table.add_exec(id, container.clone());
            }
            (Effect::NetworkCreated { name }, Some(id)) => {
                table.add_network(id, name.clone());
            }
            (Effect::ContainerCreated { .. } | Effect::ExecCreated { .. } | Effect::NetworkCreated { .. }, None) => {}
            (Effect::ContainerRenamed { id, name }, _) => {
                if let Some(container) = table.containers.get_mut(id) {
                    container.name.clone_from(name);
                }
            }
            (Effect::ContainerUpdated { id, container }, _) => {
                if let Some(known) = table.containers.get_mut(id) {
                    known.clone_from(container);
                }
            }
            (Effect::ContainerRemoved { id }, _) => {
                table.containers.remove(id);
                table.forget_execs_of(id);
            }
            (Effect::NetworkRemoved { id }, _) => {
                table.networks.remove(id);
            }
            (Effect::VolumeCreated { name }, _) => {
                table.volumes.insert(name.clone());
            }
            (Effect::VolumeRemoved { name }, _) => {
                table.volumes.remove(name);
            }
            (Effect::ImageTagged { reference, id, kept_as }, _) => {
                table.add_image(reference.clone(), Image { id: id.clone(), kept_as: kept_as.clone() });
            }
            (Effect::ImageUntagged { references }, _) => {
                for reference in references {
                    table.images.remove(reference);
                }
            }
            (Effect::ImagesMade { .. } | Effect::ContainerStarted { .. } | Effect::None, _) => {}
        }
    }

    /// Records the image that the import of the guard's own program has made, from a line of the engine's output.
    pub fn settle_import(&mut self, line: &Value) {
        if let Some(id) = line["status"].as_str().filter(|text| text.starts_with("sha256:")).and_then(full_id) {
            self.table.programs.insert(id);
        }
    }

    /// Records an image that a pull or a build has made, with the id that the engine gave it.
    pub fn settle_image(&mut self, reference: &str, engine_reference: &str, kept: bool, id: &str) {
        if let Some(id) = full_id(id) {
            let kept_as = kept.then(|| engine_reference.to_owned());
            self.table.add_image(reference.to_owned(), Image { id, kept_as });
        }
    }

    /// Rewrites an answer of the engine: only own objects, under the names that the client knows, without paths of the host.
    ///
    /// # Errors
    /// If the answer is not what the engine should return here.
    pub fn rewrite(&self, shape: &Shape, answer: Value) -> Result<Value, String> {
        answer::rewrite(self, shape, answer)
    }

    /// Rewrites one value of a stream. `None` if it is not for this client.
    #[must_use]
    pub fn rewrite_line(&self, shape: &crate::LineShape, line: Value) -> Option<Value> {
        answer::rewrite_line(self, shape, line)
    }

    /// Rewrites a text of the engine with the names that the client knows.
    #[must_use]
    pub fn rewrite_text(&self, text: &str) -> String {
        answer::text(self, text)
    }

    /// Rewrites a build's Dockerfile, with the ids of its base images.
    ///
    /// # Errors
    /// If it is refused, or names images whose ids have to be learned first.
    pub fn dockerfile(&self, build: &crate::Build, text: &str) -> Result<String, DockerfileError> {
        let Policy::Job(policy) = &self.policy else {
            return Err(DockerfileError::Refused(Refusal::new(crate::Rule::Build, "the server may not build images")));
        };
        let written = dockerfile::rewrite(text, &build.args, |reference| {
            if let Ok((id, _)) = self.table.image(&ImageName::Ref { reference: reference.clone(), prefix: None }) {
                return Ok(id.to_owned());
            }
            if policy.may_look_up(reference) || policy.may_pull(reference).is_ok() {
                return Err(DockerfileError::Unknown(reference.to_string()));
            }
            Err(DockerfileError::Refused(Refusal::new(
                crate::Rule::Image,
                format!(
                    "the base image {} is not on this engine, and may not be pulled from {}",
                    reference.familiar(),
                    reference.registry
                ),
            )))
        })?;
        // The label marks every layer, also those that a failed build or an earlier stage leaves behind.
        let label = format!("LABEL {}={}\n", crate::SCOPE_LABEL, policy.scope);
        Ok(written.lines().flat_map(|line| [line, "\n", if line.starts_with("FROM ") { &label } else { "" }]).collect())
    }

    /// Returns the calls that remove all of the client's objects, in order. A call that is answered with 404 has succeeded.
    #[must_use]
    pub fn removals(&self) -> Vec<EngineCall> {
        let prefix = self.policy.prefix();
        if prefix.is_empty() {
            return Vec::new();
        }
        let table = &self.table;
        let containers = table
            .containers
            .keys()
            .map(|id| EngineCall::new("DELETE", format!("/containers/{id}")).flag("force", true).flag("v", true));
        let networks = table.networks.keys().map(|id| EngineCall::new("DELETE", format!("/networks/{id}")));
        let volumes = table.volumes.iter().map(|name| EngineCall::new("DELETE", format!("/volumes/{prefix}{name}")));
        let kept: BTreeSet<&String> = table.images.values().filter_map(|image| image.kept_as.as_ref()).collect();
        let images = kept.into_iter().map(|name| EngineCall::new("DELETE", format!("/images/{name}")));
        containers.chain(networks).chain(volumes).chain(images).collect()
    }

    /// Returns the call that restores a name to the image that had it before a push used it.
    #[must_use]
    pub fn restore_name(&self, reference: &str, id: &str) -> Option<EngineCall> {
        full_id(id).map(|id| job::tag_call(&id, reference))
    }

    /// Returns the label by which the client's objects are found on the engine, also if the table was lost.
    #[must_use]
    pub fn label(&self) -> Option<String> {
        match &self.policy {
            Policy::Job(job) => Some(job.label()),
            Policy::Server(_) => None,
        }
    }

    /// Returns the repository by which the images that the client has made are found on the engine, also if the table was lost.
    #[must_use]
    pub fn image_repository(&self) -> Option<String> {
        match &self.policy {
            Policy::Job(job) => Some(job.image_repository()),
            Policy::Server(_) => None,
        }
    }
}

/// Why a Dockerfile was not rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileError {
    Refused(Refusal),
    /// The id of this image is unknown and has to be looked up.
    Unknown(String),
}

/// Returns the call to the engine for an action on a container. The path has the full id, whatever the client wrote.
pub(crate) fn container_call(id: &str, action: &ContainerAction) -> EngineCall {
    let call = |method, verb: &str| EngineCall::new(method, format!("/containers/{id}{verb}"));
    match action {
        ContainerAction::Inspect { size } => call("GET", "/json").flag("size", *size),
        ContainerAction::Top { ps_args } => call("GET", "/top").query("ps_args", ps_args),
        ContainerAction::Logs(logs) => call("GET", "/logs")
            .flag("follow", logs.follow)
            .flag("stdout", logs.stdout)
            .flag("stderr", logs.stderr)
            .flag("timestamps", logs.timestamps)
            .flag("details", logs.details)
            .query("since", &logs.since)
            .query("until", &logs.until)
            .query("tail", &logs.tail),
        ContainerAction::Stats { stream, one_shot } => {
            call("GET", "/stats").query("stream", if *stream { "1" } else { "0" }).flag("one-shot", *one_shot)
        }
        ContainerAction::Changes => call("GET", "/changes"),
        ContainerAction::Export => call("GET", "/export"),
        ContainerAction::Resize(size) => {
            call("POST", "/resize").query("h", size.height.to_string()).query("w", size.width.to_string())
        }
        ContainerAction::Start { detach_keys } => call("POST", "/start").query("detachKeys", detach_keys),
        ContainerAction::Stop { seconds, signal } => stop(call("POST", "/stop"), *seconds, signal),
        ContainerAction::Restart { seconds, signal } => stop(call("POST", "/restart"), *seconds, signal),
        ContainerAction::Kill { signal } => call("POST", "/kill").query("signal", signal),
        ContainerAction::Pause => call("POST", "/pause"),
        ContainerAction::Unpause => call("POST", "/unpause"),
        ContainerAction::Rename { name } => call("POST", "/rename").query("name", name),
        ContainerAction::Update(update) => call("POST", "/update").json(Update::write(update)),
        ContainerAction::Wait { condition } => call("POST", "/wait").query("condition", condition),
        ContainerAction::Attach(attach) => call("POST", "/attach")
            .query("detachKeys", &attach.detach_keys)
            .flag("logs", attach.logs)
            .flag("stream", attach.stream)
            .flag("stdin", attach.stdin)
            .flag("stdout", attach.stdout)
            .flag("stderr", attach.stderr),
        ContainerAction::Remove { volumes, force } => call("DELETE", "").flag("v", *volumes).flag("force", *force),
        ContainerAction::ArchiveInfo { path } => call("HEAD", "/archive").query("path", path),
        ContainerAction::ArchiveGet { path } => call("GET", "/archive").query("path", path),
        ContainerAction::ArchivePut { path, no_overwrite, copy_owner } => call("PUT", "/archive")
            .query("path", path)
            .flag("noOverwriteDirNonDir", *no_overwrite)
            .flag("copyUIDGID", *copy_owner)
            .tar(),
        ContainerAction::Exec(exec) => call("POST", "/exec").json(exec.write()),
    }
}

fn stop(call: EngineCall, seconds: Option<i64>, signal: &str) -> EngineCall {
    let seconds = seconds.map(|seconds| seconds.to_string()).unwrap_or_default();
    call.query("t", seconds).query("signal", signal)
}

pub(crate) fn check_platform(platform: &str) -> Judged<()> {
    if platform.is_empty() || platform.starts_with("linux") {
        return Ok(());
    }
    refuse!(Image, "the platform {platform:?} is not supported by this engine")
}
