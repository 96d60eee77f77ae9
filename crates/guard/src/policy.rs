//! The policies: what a client may do.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::image_ref::ImageRef;
use crate::listed::text_length;
use crate::names::{is_clean_path, normal_path};
use crate::pushing;
use crate::refusal::{Judged, Refusal, Rule, refuse};
use crate::subnets::JobSubnets;

/// The policy of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Policy {
    /// A job with Docker inside.
    Job(Box<JobPolicy>),
    /// The server, which may send only what the executor sends.
    Server(ServerPolicy),
}

/// A folder of a job's container, and the volume that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The path in the job's container.
    pub path: String,
    /// The volume, by its name on the engine.
    pub volume: String,
    /// The folder in the volume that `path` shows; empty for its root.
    #[serde(default)]
    pub folder: String,
}

/// The guard's own socket, as seen from the job and from the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    /// Its paths in the job's containers.
    pub paths: Vec<String>,
    /// Its path on the engine's host. Nobody but the guard can write there.
    pub host: String,
}

/// The volumes that a job can fill, where the guard finds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// The folder with all volumes of the engine, as the guard sees it.
    pub folder: String,
    /// The folder with what the engine keeps of all containers. Some of these files are mounted in their containers, which
    /// may write to them, and their output is there.
    pub containers: String,
    /// The volumes of the job's pod, besides those that the job makes: its workspace, say.
    pub volumes: Vec<String>,
}

/// The budget of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    pub containers: usize,
    pub networks: usize,
    pub volumes: usize,
    /// Execs that run at once.
    pub execs: usize,
    /// Pulls of images, those of builds' base images too.
    pub pulls: u64,
    /// Names of images that the job has built or tagged.
    pub images: usize,
    /// Bytes of the images that the job has built, loaded and pulled.
    pub image_bytes: u64,
    /// Bytes of everything that its containers write: their own files, and all volumes. Over it, the job ends.
    pub disk_bytes: u64,
    /// Refusals within a minute after which everything is refused.
    pub refusals: usize,
    /// Bytes of all containers together.
    pub memory: i64,
    /// Processors of all containers together, in units of 10^-9.
    pub nano_cpus: i64,
    /// Processes of all containers together.
    pub pids: i64,
    /// The memory of a container that sets no limit.
    pub memory_each: i64,
    pub pids_each: i64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            containers: 16,
            networks: 4,
            volumes: 16,
            execs: 256,
            pulls: 200,
            images: 128,
            image_bytes: 20 << 30,
            disk_bytes: 20 << 30,
            refusals: 30,
            memory: 4 << 30,
            nano_cpus: 4_000_000_000,
            pids: 8192,
            memory_each: 256 << 20,
            pids_each: 512,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobPolicy {
    /// Identifies the job in the names of its objects on the engine: lower-case letters and digits.
    pub scope: String,
    /// The full id of the job's own network, which containers join by default. Without it, they have no network by
    /// default.
    #[serde(default)]
    pub network: Option<String>,
    /// The full id of the container that holds the network namespace of the job's pod. It joins every network of the
    /// job, and published ports listen there, on `localhost`. Without it, no port is published.
    #[serde(default)]
    pub sandbox: Option<String>,
    /// The meaning of `host-gateway`: the sandbox's address on the job's network.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// The guard's own socket, for containers that use Docker themselves.
    #[serde(default)]
    pub socket: Option<Socket>,
    /// The subnets of the networks that the job makes, one each. Without a free one, the engine chooses.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// Labels that everything gets that the job creates, besides the scope.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub places: Vec<Place>,
    /// Images on the engine that may be used without a pull: references, or prefixes of them that end in `*`.
    #[serde(default)]
    pub images: Vec<String>,
    /// Whether images may be used that were built or loaded on the engine and did not come from a registry.
    #[serde(default)]
    pub local_images: bool,
    /// Registries that images may be pulled from.
    #[serde(default)]
    pub registries: Vec<String>,
    /// Repositories that may be pushed to: names with their registry, or prefixes of them that end in `*`.
    #[serde(default)]
    pub push: Vec<String>,
    /// Images that others start from this engine, whose names may not be pushed.
    #[serde(default)]
    pub reserved: Vec<String>,
    /// Whether images may be built.
    #[serde(default)]
    pub build: bool,
    /// Whether images may be loaded. What a builder of the job has built comes to the engine by that.
    #[serde(default)]
    pub load: bool,
    /// Capabilities that containers may have besides the default ones.
    #[serde(default)]
    pub capabilities: Vec<String>,
    #[serde(default)]
    pub cgroup_parent: Option<String>,
    #[serde(default)]
    pub budget: Budget,
    /// Without it, what the job's containers write is not measured.
    #[serde(default)]
    pub disk: Option<Disk>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerPolicy {
    /// The instance that the server's objects are named after. If it is not set, the first one that the server names.
    #[serde(default)]
    pub instance: Option<String>,
    /// The subnets that the server's network may have.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// The range of the networks of jobs with Docker. Empty: they have no subnets of the server's choice.
    #[serde(default)]
    pub docker_subnet: String,
    /// Whether a job may have the engine's own socket (`docker: raw`).
    #[serde(default)]
    pub raw: bool,
    /// The image of jobs' builders. Without it, no job has one.
    #[serde(default)]
    pub builder: Option<String>,
    /// Capabilities that jobs may have besides the default ones.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

/// The instance of `longshore doctor`, which tries things beside the server.
const DOCTOR: &str = "doctor";

impl ServerPolicy {
    /// Returns whether a network of a job with Docker may have this subnet.
    pub(crate) fn has_job_subnet(&self, subnet: &str) -> bool {
        self.docker_subnet.parse::<JobSubnets>().is_ok_and(|range| range.has(subnet))
    }

    /// Returns the instances whose objects the server may use.
    pub(crate) fn instances(&self) -> Vec<String> {
        self.instance.iter().cloned().chain([DOCTOR.to_owned()]).collect()
    }

    pub(crate) fn is_own(&self, instance: &str) -> bool {
        instance == DOCTOR || self.instance.as_deref() == Some(instance)
    }

    /// Takes the first instance that the server names, if none is set. Returns whether it did.
    pub fn learn(&mut self, instance: &str) -> bool {
        let learns = self.instance.is_none() && instance != DOCTOR && is_instance(instance);
        if learns {
            self.instance = Some(instance.to_owned());
        }
        learns
    }
}

/// The labels of an object together, in bytes of JSON: the engine sends all of them with each event about it, and in
/// each list.
pub(crate) const LONGEST_LABELS: usize = 32 << 10;

/// Refuses labels that only Longshore may set, and labels that are too long together.
pub(crate) fn unreserved(labels: BTreeMap<String, String>) -> Judged<BTreeMap<String, String>> {
    if let Some(label) = labels.keys().find(|label| is_reserved_label(label)) {
        return Err(Refusal::new(Rule::Label, format!("the label {label} is reserved")));
    }
    if labels.iter().map(|(label, value)| text_length(label) + text_length(value)).sum::<usize>() > LONGEST_LABELS {
        return refuse!(Limit, "the labels are longer than {} KiB of JSON together", LONGEST_LABELS >> 10);
    }
    Ok(labels)
}

fn is_instance(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// If it is not a policy, or contains a value that the guard cannot enforce.
    pub fn parse(text: &str) -> Result<Self, String> {
        let policy: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match &policy {
            Self::Job(job) => job.check()?,
            Self::Server(server) => {
                if server.instance.as_deref().is_some_and(|instance| !is_instance(instance)) {
                    return Err("instance is not a name of letters, digits, '_', '.' and '-'".to_owned());
                }
            }
        }
        Ok(policy)
    }

    /// Returns the prefix that the guard adds to the names of the client's objects on the engine.
    pub(crate) fn prefix(&self) -> String {
        match self {
            Self::Job(job) => job.prefix(),
            Self::Server(_) => String::new(),
        }
    }

    /// Returns the client's name in the audit log.
    #[must_use]
    pub fn client(&self) -> String {
        match self {
            Self::Job(job) => format!("job {}", job.scope),
            Self::Server(server) => format!("server {}", server.instance.as_deref().unwrap_or_default()),
        }
    }
}

/// The label with the scope.
pub const SCOPE_LABEL: &str = "longshore.guard.scope";
/// The start of the names of images that jobs have made.
pub(crate) const MADE_IN_JOBS: &str = "longshore-guard/";
/// The label with the name that the client chose.
pub(crate) const NAME_LABEL: &str = "longshore.guard.name";
/// The prefix of labels that clients may not set.
const RESERVED_LABELS: &str = "longshore.";

impl JobPolicy {
    fn check(&self) -> Result<(), String> {
        let scope = &self.scope;
        if !(4..=32).contains(&scope.len()) || !scope.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            return Err("scope is not 4 to 32 lower-case letters and digits".to_owned());
        }
        if self.network.as_ref().is_some_and(|network| !crate::names::is_full_id(network)) {
            return Err("network is not the full id of a network".to_owned());
        }
        if self.sandbox.as_ref().is_some_and(|sandbox| !crate::names::is_full_id(sandbox)) {
            return Err("sandbox is not the full id of a container".to_owned());
        }
        if self.socket.as_ref().is_some_and(|socket| !is_clean_path(&socket.host)) {
            return Err("the socket's path on the host is not a plain absolute path".to_owned());
        }
        for place in &self.places {
            if !is_clean_path(&place.path) || normal_path(&place.path) != place.path || place.path == "/" {
                return Err(format!("the place {:?} is not a plain absolute path", place.path));
            }
            if !place.folder.is_empty()
                && (!is_clean_path(&format!("/{}", place.folder)) || place.folder.starts_with('/'))
            {
                return Err(format!("the folder {:?} leads out of its volume", place.folder));
            }
        }
        Ok(())
    }

    pub(crate) fn prefix(&self) -> String {
        format!("{}-guard-{}-", crate::names::RESERVED, self.scope)
    }

    pub(crate) fn engine_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix())
    }

    /// Returns the filter that lists what carries the label of this scope.
    pub(crate) fn label(&self) -> String {
        format!("{SCOPE_LABEL}={}", self.scope)
    }

    /// Adds our labels to a client's. A client that sets a Longshore label is refused, because these are trusted.
    pub(crate) fn stamp(&self, labels: BTreeMap<String, String>, name: &str) -> Judged<BTreeMap<String, String>> {
        let mut labels = unreserved(labels)?;
        labels.extend(self.labels.clone());
        labels.insert(SCOPE_LABEL.to_owned(), self.scope.clone());
        labels.insert(NAME_LABEL.to_owned(), name.to_owned());
        Ok(labels)
    }

    /// Returns the engine's name for an image that the client has named `reference`. It cannot collide with anybody
    /// else's names.
    pub(crate) fn engine_image(&self, reference: &str) -> String {
        format!("{}:{}", self.image_repository(), pushing::digest(reference))
    }

    /// Returns the repository of the images that the client has made.
    pub(crate) fn image_repository(&self) -> String {
        format!("{MADE_IN_JOBS}{}", self.scope)
    }

    /// Whether the image with this name on the engine may be used without a pull.
    pub(crate) fn may_use(&self, image: &ImageRef) -> bool {
        let full = image.to_string();
        self.images.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => full.starts_with(&whole_start(start)),
            None => ImageRef::parse(pattern).is_ok_and(|allowed| allowed == *image),
        })
    }

    /// Whether the engine may be asked for an image that the client has not made or pulled.
    pub(crate) fn may_look_up(&self, image: &ImageRef) -> bool {
        self.may_use(image) || (self.local_images && !is_reserved(image))
    }

    pub(crate) fn may_pull(&self, image: &ImageRef) -> Judged<()> {
        if is_reserved(image) {
            return refuse!(Image, "{} is a reserved name", image.familiar());
        }
        if self.registries.contains(&image.registry) {
            return Ok(());
        }
        if self.registries.is_empty() {
            return refuse!(
                Registry,
                "pulling images from {} is not allowed here, nor from any other registry",
                image.registry
            );
        }
        let known = self.registries.join(", ");
        refuse!(Registry, "pulling images from {} is not allowed here, only from {known}", image.registry)
    }

    fn is_kept(&self, name: &str) -> bool {
        self.reserved.iter().any(|kept| ImageRef::parse(kept).is_ok_and(|kept| kept.name() == name))
    }

    pub(crate) fn may_push(&self, image: &ImageRef) -> Judged<()> {
        // During a push, the image has this name on the engine. Names in Docker's own library, to which nobody can
        // push, belong to the host's images.
        let name = image.name();
        let is_of_library = image.registry == "docker.io" && image.repository.starts_with("library/");
        if is_reserved(image) || is_of_library || self.is_kept(&name) {
            return refuse!(Registry, "{} may not be pushed: the name is reserved", image.familiar());
        }
        let allowed = self.push.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => *pattern == name,
        });
        if allowed { Ok(()) } else { refuse!(Registry, "pushing to the repository {name} is not allowed") }
    }

    /// Returns the place that a path of the job is in, and the folder within its volume.
    pub(crate) fn place(&self, path: &str) -> Option<(&Place, String)> {
        let within = |place: &&Place| path == place.path || path.starts_with(&format!("{}/", place.path));
        let place = self.places.iter().filter(within).max_by_key(|place| place.path.len())?;
        let rest = path[place.path.len()..].trim_start_matches('/');
        let folder = [place.folder.as_str(), rest].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>();
        Some((place, folder.join("/")))
    }
}

/// Whether a label is one that clients may not set.
pub(crate) fn is_reserved_label(label: &str) -> bool {
    label.to_ascii_lowercase().starts_with(RESERVED_LABELS)
}

/// Whether the name is one that other clients' images or our own program's may have.
pub(crate) fn is_reserved(image: &ImageRef) -> bool {
    let name = image.familiar();
    crate::names::RESERVED_IMAGES.iter().any(|start| name.starts_with(start))
}

/// Expands the prefix of a reference to its full form.
fn whole_start(start: &str) -> String {
    match start.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => start.to_owned(),
        Some(_) => format!("docker.io/{start}"),
        None => format!("docker.io/library/{start}"),
    }
}
