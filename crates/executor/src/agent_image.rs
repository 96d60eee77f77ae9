//! Brings our own executable onto the engine: an image and a volume, once per version.
//!
//! The image is imported from a tar with the one file, and named by a call of its own: Podman takes no tag, no label and no entry point with
//! an import. The volume is filled from it by the engine's copy-up, when a container is created (Docker) or started (Podman). Both are named
//! after the executable's hash, so that an upgrade never touches running jobs. Every job's container mounts the volume
//! read-only; sandboxes run the image.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bollard::body_try_stream;
use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, MountVolumeOptions};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptions, RemoveImageOptionsBuilder, RemoveVolumeOptionsBuilder,
    TagImageOptionsBuilder, WaitContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio::sync::{Mutex, OnceCell};
use tokio_util::io::ReaderStream;

use crate::engine::Shared;
use crate::error::{ApiResult as _, EngineError};
use crate::fault::Fault;
use crate::labels::{self, Kind};
use crate::options::EngineOptions;
use crate::removal::remove_container;
use crate::runtime_dir;

/// Where the executable's folder is mounted in every container.
pub(crate) const MOUNT: &str = "/.longshore";
/// The executable in it.
pub(crate) const PROGRAM: &str = "/.longshore/longshore";
/// The image's repository; its tag is the hash.
pub(crate) const REPOSITORY: &str = "longshore-agent";

/// The executable on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) hash: String,
    pub(crate) image: String,
    pub(crate) volume: String,
}

impl Delivered {
    fn of(hash: &str) -> Self {
        Self { hash: hash.to_owned(), image: format!("{REPOSITORY}:{hash}"), volume: format!("{REPOSITORY}-{hash}") }
    }
}

/// Knows whether the executable is on the engine, and brings it there.
pub(crate) struct AgentImage {
    executable: PathBuf,
    runtime_dir: Option<PathBuf>,
    hash: OnceCell<String>,
    /// Held while it is being brought: whoever comes meanwhile waits for the same.
    delivered: Mutex<Option<Delivered>>,
    /// It was brought again because it did not run, and has not run since.
    doubted: AtomicBool,
}

impl AgentImage {
    pub(crate) fn new(options: &EngineOptions) -> Self {
        Self {
            executable: options.executable.clone(),
            runtime_dir: options.runtime_dir.clone(),
            hash: OnceCell::new(),
            delivered: Mutex::new(None),
            doubted: AtomicBool::new(false),
        }
    }

    /// First 12 hexadecimal digits of the executable's SHA-256.
    pub(crate) async fn hash(&self) -> Result<&str, EngineError> {
        let hash = self
            .hash
            .get_or_try_init(|| async {
                let (executable, dir) = (self.executable.clone(), self.runtime_dir.clone());
                tokio::task::spawn_blocking(move || hash_of(&executable, dir.as_deref()))
                    .await
                    .map_err(io::Error::other)
                    .flatten()
                    .map_err(|error| EngineError::Local {
                        what: "Longshore's own executable could not be read",
                        reason: error.to_string(),
                    })
            })
            .await?;
        Ok(hash)
    }

    /// The executable on the engine, brought there if it is not.
    pub(crate) async fn ready(&self, shared: &Shared) -> Result<Delivered, EngineError> {
        let mut delivered = self.delivered.lock().await;
        if let Some(delivered) = &*delivered {
            return Ok(delivered.clone());
        }
        let wanted = Delivered::of(self.hash().await?);
        // Two short-lived processes must not fill one volume at once: the second would find it half full.
        let _lock = runtime_dir::lock(self.runtime_dir.as_deref(), "agent").await;
        self.deliver(shared, &wanted).await?;
        *delivered = Some(wanted.clone());
        Ok(wanted)
    }

    /// Says without looking that it is there: a sandbox of this very executable was found. A wrong guess is met by
    /// [`AgentImage::again`].
    pub(crate) async fn assume(&self, hash: &str) {
        let mut delivered = self.delivered.lock().await;
        delivered.get_or_insert_with(|| Delivered::of(hash));
    }

    /// Someone took it away (or it was never there): the next to ask brings it anew. `false` if what is on the engine stays.
    pub(crate) async fn again(&self, shared: &Shared) -> bool {
        let mut delivered = self.delivered.lock().await;
        match delivered.take() {
            Some(lost) => drop_volume(shared, &lost).await,
            None => true,
        }
    }

    /// It is there and does not run: half of it, perhaps, from an engine that died or had no room while it was brought. Says whether
    /// to try again with a new one, which is worth it once.
    pub(crate) async fn doubt(&self, shared: &Shared) -> bool {
        let again = !self.doubted.load(Ordering::Relaxed) && self.again(shared).await;
        if again {
            tracing::warn!("Longshore's own program did not run in a container: it is brought to the engine again");
            self.doubted.store(true, Ordering::Relaxed);
        }
        again
    }

    /// It runs.
    pub(crate) fn trust(&self) {
        self.doubted.store(false, Ordering::Relaxed);
    }

    async fn deliver(&self, shared: &Shared, wanted: &Delivered) -> Result<(), EngineError> {
        match shared.docker.inspect_image(&wanted.image).await.api("inspect an image") {
            Ok(_) => {}
            Err(error) if error.is_not_found() => self.import(shared, wanted).await?,
            Err(error) => return Err(error),
        }
        match shared.docker.inspect_volume(&wanted.volume).await.api("inspect a volume") {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => fill_volume(shared, wanted).await,
            Err(error) => Err(error),
        }
    }

    async fn import(&self, shared: &Shared, wanted: &Delivered) -> Result<(), EngineError> {
        tracing::info!(image = wanted.image, "bringing the agent to the engine");
        let body = executable_as_tar(&self.executable).await.map_err(|error| EngineError::Local {
            what: "Longshore's own executable could not be read",
            reason: error.to_string(),
        })?;
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            changes: vec![
                format!("LABEL {}={}", labels::INSTANCE, shared.options.instance),
                format!("LABEL {}={}", labels::KIND, Kind::Agent.as_str()),
                format!("LABEL {}={}", labels::AGENT, wanted.hash),
                format!("ENTRYPOINT [\"{PROGRAM}\"]"),
            ],
            ..CreateImageOptions::default()
        };
        let mut progress = std::pin::pin!(shared.docker.create_image(Some(options), Some(body_try_stream(body)), None));
        let mut id = None;
        while let Some(info) = progress.next().await {
            id = info.api("import the agent's image")?.status.filter(|status| status.starts_with("sha256:")).or(id);
        }
        let id = id.ok_or_else(|| EngineError::Refused {
            what: "import the agent's image",
            status: 500,
            message: "it names no image".to_owned(),
        })?;
        let options = TagImageOptionsBuilder::new().repo(REPOSITORY).tag(&wanted.hash).build();
        let tagged = shared.docker.tag_image(&id, Some(options)).await.api("name the agent's image");
        if tagged.is_err() {
            let options = RemoveImageOptionsBuilder::new().build();
            let _ = shared.docker.remove_image(&id, Some(options), None).await;
        }
        tagged
    }
}

/// The executable's hash, if an image of this name is an agent's. Podman says the registry that it would ask for it.
pub(crate) fn hash_of_image(name: &str) -> Option<&str> {
    let short = ["docker.io/library/", "localhost/"].iter().find_map(|registry| name.strip_prefix(registry));
    short.unwrap_or(name).strip_prefix(REPOSITORY)?.strip_prefix(':').filter(|hash| is_hash(hash))
}

/// The executable's hash, if a volume of this name is an agent's.
pub(crate) fn hash_of_volume(name: &str) -> Option<&str> {
    name.strip_prefix(REPOSITORY)?.strip_prefix('-').filter(|hash| is_hash(hash))
}

fn is_hash(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// An empty or half-filled volume would never be filled by copy-up. One that a job uses stays. `true` if it is gone.
async fn drop_volume(shared: &Shared, lost: &Delivered) -> bool {
    let options = RemoveVolumeOptionsBuilder::new().build();
    match shared.docker.remove_volume(&lost.volume, Some(options)).await.api("remove a volume") {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(volume = lost.volume, %error, "the agent's volume stays");
            error.is_not_found()
        }
    }
}

/// A container that is created and started has copied what the image has at a volume's place into the volume, if that was empty. It
/// runs what it copied, once.
async fn fill_volume(shared: &Shared, wanted: &Delivered) -> Result<(), EngineError> {
    let mut volume_labels = labels::of(&shared.options.instance, Kind::Agent);
    volume_labels.insert(labels::AGENT.to_owned(), wanted.hash.clone());
    let body = ContainerCreateBody {
        image: Some(wanted.image.clone()),
        entrypoint: Some(vec![PROGRAM.to_owned(), "--version".to_owned()]),
        cmd: Some(Vec::new()),
        labels: Some(volume_labels.clone()),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            mounts: Some(vec![Mount {
                typ: Some(MountType::VOLUME),
                source: Some(wanted.volume.clone()),
                target: Some(MOUNT.to_owned()),
                volume_options: Some(MountVolumeOptions {
                    no_copy: Some(false),
                    labels: Some(volume_labels),
                    ..MountVolumeOptions::default()
                }),
                ..Mount::default()
            }]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let name = format!("longshore-agent-{}-{:08x}", wanted.hash, rand::random::<u32>());
    let created = shared
        .docker
        .create_container(Some(CreateContainerOptionsBuilder::new().name(&name).build()), body)
        .await
        .api("create a container");
    let filled = match &created {
        Ok(created) => run_once(shared, &created.id).await,
        Err(error) => Err(error.clone()),
    };
    if let Ok(created) = created {
        remove_container(shared, &created.id, shared.options.patience).await;
    }
    if filled.is_err() {
        // Whoever finds it takes it for whole.
        drop_volume(shared, wanted).await;
    }
    filled
}

/// Starts it and waits for its end, whatever that is: a program that does not run is met, and told, by the first sandbox.
async fn run_once(shared: &Shared, id: &str) -> Result<(), EngineError> {
    match shared.docker.start_container(id, None).await.api("start a container") {
        Ok(()) => {}
        Err(error) if matches!(Fault::of(&error), Fault::AgentBroken) => return Ok(()),
        Err(error) => return Err(error),
    }
    let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
    match shared.docker.wait_container(id, Some(options)).next().await {
        None | Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. })) => Ok(()),
        Some(Err(error)) => Err(EngineError::from_api("wait for a container", error)),
    }
}

/// The mount that every job's container has.
pub(crate) fn mount(instance: &str, agent: &Delivered) -> Mount {
    let mut volume_labels = labels::of(instance, Kind::Agent);
    volume_labels.insert(labels::AGENT.to_owned(), agent.hash.clone());
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(agent.volume.clone()),
        target: Some(MOUNT.to_owned()),
        read_only: Some(true),
        volume_options: Some(MountVolumeOptions {
            // An image that has a folder of this name must not fill our volume.
            no_copy: Some(true),
            labels: Some(volume_labels),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

/// Reading 20 MB costs a short-lived process a tenth of its time: there, the hash is remembered beside what it was made of.
fn hash_of(executable: &Path, runtime_dir: Option<&Path>) -> io::Result<String> {
    let mut file = std::fs::File::open(executable)?;
    let metadata = file.metadata()?;
    let key = format!(
        "{}-{}-{}-{}.{}",
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec()
    );
    if let Some(hash) = runtime_dir.and_then(|dir| runtime_dir::remembered_hash(dir, &key)) {
        return Ok(hash);
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    let hash = hex::encode(&hasher.finalize()[..6]);
    if let Some(dir) = runtime_dir {
        runtime_dir::remember_hash(dir, &key, &hash);
    }
    Ok(hash)
}

/// A tar with `/.longshore/longshore`, read from the file as it is sent.
async fn executable_as_tar(executable: &Path) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
    let file = tokio::fs::File::open(executable).await?;
    let size = file.metadata().await?.len();
    let mut head = tar::Builder::new(Vec::new());
    let mut folder = tar::Header::new_ustar();
    folder.set_entry_type(tar::EntryType::Directory);
    folder.set_mode(0o755);
    folder.set_size(0);
    head.append_data(&mut folder, ".longshore/", io::empty())?;
    let mut head = std::mem::take(head.get_mut());
    let mut program = tar::Header::new_ustar();
    program.set_path(".longshore/longshore")?;
    program.set_mode(0o755);
    program.set_size(size);
    program.set_cksum();
    head.extend_from_slice(program.as_bytes());
    let padding = (512 - size % 512) % 512;
    let tail = vec![0; usize::try_from(padding).unwrap_or(0) + 1024];
    let program = ReaderStream::with_capacity(file.take(size), 256 * 1024);
    Ok(stream::iter([Ok(Bytes::from(head))]).chain(program).chain(stream::iter([Ok(Bytes::from(tail))])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_image_and_volume_are_known_by_their_whole_names() {
        for name in ["longshore-agent:0123456789ab", "docker.io/library/longshore-agent:0123456789ab"] {
            assert_eq!(hash_of_image(name), Some("0123456789ab"), "{name}");
        }
        for name in [
            "longshore-agent:latest",
            "ghcr.io/x/longshore-agent:0123456789ab",
            "longshore-agents:0123456789ab",
            "<none>:<none>",
        ] {
            assert_eq!(hash_of_image(name), None, "{name}");
        }
        assert_eq!(hash_of_volume("longshore-agent-0123456789ab"), Some("0123456789ab"));
        assert_eq!(hash_of_volume("longshore-agent-0123456789ab-more"), None);
    }
}
