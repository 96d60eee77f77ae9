//! What a client may do: the policies, as settings.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::image_ref::ImageRef;
use crate::names::{is_clean_path, normal_path};
use crate::refusal::{Judged, Refusal, Rule, refuse};

/// Whom the guard stands in front of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Policy {
    /// A job with Docker inside.
    Job(Box<JobPolicy>),
    /// The server: only what the executor asks for.
    Server(ServerPolicy),
}

/// A folder that a job sees, and where it is: in a volume.
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

/// The guard's own socket, as the job sees it and as the engine does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    /// Its paths in the job's containers.
    pub paths: Vec<String>,
    /// Its path on the engine's host. Nobody but the guard can write there.
    pub host: String,
}

/// The budget of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    pub containers: usize,
    pub networks: usize,
    pub volumes: usize,
    pub execs: usize,
    /// Bytes of all containers together.
    pub memory: i64,
    /// Processors of all containers together, in thousand millionths.
    pub nano_cpus: i64,
    /// Processes of all containers together.
    pub pids: i64,
    /// What a container gets that does not say what it needs.
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
    /// Names the job in what it makes on the engine: lower-case letters and digits.
    pub scope: String,
    /// The job's own network, by its full id: where containers are that ask for none. Without it they have no network.
    #[serde(default)]
    pub network: Option<String>,
    /// The container that holds the network namespace of the job's own containers, by its full id. It is on every network of the
    /// job, and published ports answer there, on `localhost`. Without it, no port is published.
    #[serde(default)]
    pub sandbox: Option<String>,
    /// What `host-gateway` means: the sandbox's address on the job's network.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// The guard's own socket, for containers that are to use Docker themselves.
    #[serde(default)]
    pub socket: Option<Socket>,
    /// Labels of everything that is made, beside the scope.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub places: Vec<Place>,
    /// Images of the engine that may be used as they are: whole references, or their start and a `*`.
    #[serde(default)]
    pub images: Vec<String>,
    /// Whether images may be used that were built or loaded on the engine, and came from no registry.
    #[serde(default)]
    pub local_images: bool,
    /// Registries that images are pulled from.
    #[serde(default)]
    pub registries: Vec<String>,
    /// Repositories that may be pushed to: whole names with their registry, or their start and a `*`.
    #[serde(default)]
    pub push: Vec<String>,
    /// Whether images may be built.
    #[serde(default)]
    pub build: bool,
    /// Capabilities beyond those that every container may have.
    #[serde(default)]
    pub capabilities: Vec<String>,
    #[serde(default)]
    pub cgroup_parent: Option<String>,
    #[serde(default)]
    pub budget: Budget,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerPolicy {
    /// The instance that the server's objects are named after. Without one it is the first that the server names.
    #[serde(default)]
    pub instance: Option<String>,
    /// The subnets that its network may have.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// Whether a job may have the engine's own socket (`docker: raw`).
    #[serde(default)]
    pub raw: bool,
    /// What jobs may have of the kernel's capabilities, beyond those of every job.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

/// The instance of `longshore doctor`, which tries things beside the server.
const DOCTOR: &str = "doctor";

impl ServerPolicy {
    /// The instances whose objects the server may use.
    pub(crate) fn instances(&self) -> Vec<String> {
        self.instance.iter().cloned().chain([DOCTOR.to_owned()]).collect()
    }

    pub(crate) fn is_own(&self, instance: &str) -> bool {
        instance == DOCTOR || self.instance.as_deref() == Some(instance)
    }

    /// Takes the first instance that the server names, if none is set.
    pub(crate) fn learn(&mut self, instance: &str) {
        if self.instance.is_none() && instance != DOCTOR && is_instance(instance) {
            self.instance = Some(instance.to_owned());
        }
    }
}

fn is_instance(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// It is not a policy, or a value in it is not one that the guard can hold to.
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

    /// The start of the names that this client's objects have on the engine, where the guard chooses them.
    pub(crate) fn prefix(&self) -> String {
        match self {
            Self::Job(job) => job.prefix(),
            Self::Server(_) => String::new(),
        }
    }

    /// The client in the audit log.
    #[must_use]
    pub fn client(&self) -> String {
        match self {
            Self::Job(job) => format!("job {}", job.scope),
            Self::Server(server) => format!("server {}", server.instance.as_deref().unwrap_or_default()),
        }
    }
}

/// The label that carries the scope.
pub const SCOPE_LABEL: &str = "longshore.guard.scope";
/// The label that carries the name that the client chose.
pub(crate) const NAME_LABEL: &str = "longshore.guard.name";
/// The start of labels that only we set.
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

    /// The filter that lists what carries this scope's label.
    pub(crate) fn label(&self) -> String {
        format!("{SCOPE_LABEL}={}", self.scope)
    }

    /// A client's labels and ours. Those of ours that a client sets are refused: they would be believed.
    pub(crate) fn stamp(&self, mut labels: BTreeMap<String, String>, name: &str) -> Judged<BTreeMap<String, String>> {
        if let Some(label) = labels.keys().find(|label| label.to_ascii_lowercase().starts_with(RESERVED_LABELS)) {
            return Err(Refusal::new(Rule::Label, format!("the label {label} is reserved")));
        }
        labels.extend(self.labels.clone());
        labels.insert(SCOPE_LABEL.to_owned(), self.scope.clone());
        labels.insert(NAME_LABEL.to_owned(), name.to_owned());
        Ok(labels)
    }

    /// The reference under which the engine keeps an image that the client calls so: nobody else's name can be taken by it.
    pub(crate) fn engine_image(&self, reference: &str) -> String {
        use sha2::{Digest as _, Sha256};
        let digest = hex::encode(&Sha256::digest(reference.as_bytes())[..16]);
        format!("{}:{digest}", self.image_repository())
    }

    /// The repository of the images that the client has made.
    pub(crate) fn image_repository(&self) -> String {
        format!("{}-guard/{}", crate::names::RESERVED, self.scope)
    }

    /// Whether the engine's image of this name may be used as it is.
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
            return refuse!(Image, "{} is a name of Longshore's own", image.familiar());
        }
        if self.registries.contains(&image.registry) {
            return Ok(());
        }
        refuse!(Registry, "images are not pulled from {} here: {}", image.registry, self.known_registries())
    }

    fn known_registries(&self) -> String {
        if self.registries.is_empty() {
            "from none".to_owned()
        } else {
            format!("only from {}", self.registries.join(", "))
        }
    }

    pub(crate) fn may_push(&self, image: &ImageRef) -> Judged<()> {
        // For the time of a push the name is the engine's. Nobody pushes to Docker's own library: such names here are the host's.
        if is_reserved(image) || (image.registry == "docker.io" && image.repository.starts_with("library/")) {
            return refuse!(Registry, "{} is not a name that may be pushed", image.familiar());
        }
        let name = image.name();
        let allowed = self.push.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => *pattern == name,
        });
        if allowed { Ok(()) } else { refuse!(Registry, "{name} is not a repository that may be pushed to") }
    }

    /// The volume and the folder in it that a path of the job's is.
    pub(crate) fn place(&self, path: &str) -> Option<(&Place, String)> {
        let within = |place: &&Place| path == place.path || path.starts_with(&format!("{}/", place.path));
        let place = self.places.iter().filter(within).max_by_key(|place| place.path.len())?;
        let rest = path[place.path.len()..].trim_start_matches('/');
        let folder = [place.folder.as_str(), rest].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>();
        Some((place, folder.join("/")))
    }
}

/// Whether what other clients make is called so, or our own program.
pub(crate) fn is_reserved(image: &ImageRef) -> bool {
    let name = image.familiar();
    crate::names::RESERVED_IMAGES.iter().any(|start| name.starts_with(start))
}

/// The start of references as it is in full.
fn whole_start(start: &str) -> String {
    match start.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => start.to_owned(),
        Some(_) => format!("docker.io/{start}"),
        None => format!("docker.io/library/{start}"),
    }
}
