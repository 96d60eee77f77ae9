//! Brings our own executable to the engine, as an image and a volume, once per version.
//!
//! The image is imported from a tar that contains only this file, and is tagged by a separate call, because Podman
//! takes no tag, no label and no entry point with an import. The volume is filled from the image by the engine's
//! copy-up, when a container is created (Docker) or started (Podman). Both are named after the executable's hash, so
//! that an upgrade never touches running jobs. Every job's container mounts the volume read-only; sandboxes run the
//! image.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::body_try_stream;
use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, MountVolumeOptions};
use bollard::query_parameters::{
    CreateImageOptions, RemoveImageOptionsBuilder, RemoveVolumeOptionsBuilder, TagImageOptionsBuilder,
    WaitContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio::sync::{Mutex, OnceCell};
use tokio_util::io::ReaderStream;

use longshore_executor::EngineError;
use longshore_executor::names::Instance;
use longshore_executor::objects::Kind;
use longshore_executor::runtime_dir;
use longshore_guard::program_start;

use crate::error::{ApiResult as _, from_api, not_understood};
use crate::fault::Fault;
use crate::labels;
use crate::options::DockerOptions;
use crate::paths::{MOUNT, PROGRAM};
use crate::temporary::Temporary;

/// Completes "the engine refused to …".
const IMPORT: &str = "import the agent's image";
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

/// Tracks whether the executable is on the engine, and brings it there.
#[derive(Debug)]
pub(crate) struct AgentImage {
    executable: PathBuf,
    instance: Instance,
    runtime_dir: Option<PathBuf>,
    hash: OnceCell<String>,
    /// Locked while the executable is being delivered, so that everyone else waits for the same delivery.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    delivered: Option<Delivered>,
    /// The executable is missing or incomplete. This volume has to be removed before the next delivery.
    stale: Option<Delivered>,
}

impl AgentImage {
    pub(crate) fn new(options: &DockerOptions) -> Self {
        Self {
            executable: options.executable.clone(),
            instance: options.instance.clone(),
            runtime_dir: options.runtime_dir.clone(),
            hash: OnceCell::new(),
            state: Mutex::default(),
        }
    }

    /// Returns the first 12 hexadecimal digits of the executable's SHA-256.
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

    /// Returns the executable on the engine, and brings it there first if it is missing.
    pub(crate) async fn ready(&self, docker: &Docker) -> Result<Delivered, EngineError> {
        let mut state = self.state.lock().await;
        if let Some(delivered) = &state.delivered {
            return Ok(delivered.clone());
        }
        if let Some(stale) = state.stale.take() {
            drop_volume(docker, &stale).await;
        }
        let wanted = Delivered::of(self.hash().await?);
        // Two short-lived processes must not fill one volume at once: the second would find it half full.
        let _lock = runtime_dir::lock(self.runtime_dir.as_deref(), "agent").await;
        self.deliver(docker, &wanted).await?;
        state.delivered = Some(wanted.clone());
        Ok(wanted)
    }

    /// Records without a call that the executable exists, because a sandbox with this hash was found. If that is
    /// wrong, the start of a container fails and [`AgentImage::forget`] follows.
    pub(crate) async fn assume(&self, hash: &str) {
        let mut state = self.state.lock().await;
        if state.stale.is_none() {
            state.delivered.get_or_insert_with(|| Delivered::of(hash));
        }
    }

    /// Forgets what was delivered, because someone removed it. The next [`AgentImage::ready`] delivers it again, once
    /// no container uses the old volume.
    pub(crate) async fn forget(&self) {
        let mut state = self.state.lock().await;
        if let Some(lost) = state.delivered.take() {
            state.stale = Some(lost);
        }
    }

    /// Returns whether this is the name of the image or the volume that was delivered.
    pub(crate) async fn is_delivered(&self, name: &str) -> bool {
        self.state.lock().await.delivered.as_ref().is_some_and(|ours| ours.volume == name || ours.image == name)
    }

    /// Removes what was delivered, so that the next [`AgentImage::ready`] delivers it again. Returns `false` if what is
    /// on the engine stays.
    pub(crate) async fn drop_delivered(&self, docker: &Docker) -> bool {
        let mut state = self.state.lock().await;
        match state.delivered.take().or(state.stale.take()) {
            Some(lost) => drop_volume(docker, &lost).await,
            None => true,
        }
    }

    async fn deliver(&self, docker: &Docker, wanted: &Delivered) -> Result<(), EngineError> {
        match docker.inspect_image(&wanted.image).await.api("inspect an image") {
            Ok(_) => {}
            Err(error) if error.is_not_found() => self.import(docker, wanted).await?,
            Err(error) => return Err(error),
        }
        match docker.inspect_volume(&wanted.volume).await.api("inspect a volume") {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => fill_volume(docker, &self.instance, wanted).await,
            Err(error) => Err(error),
        }
    }

    async fn import(&self, docker: &Docker, wanted: &Delivered) -> Result<(), EngineError> {
        tracing::info!(image = wanted.image, "bringing the agent to the engine");
        let body = executable_as_tar(&self.executable).await.map_err(|error| EngineError::Local {
            what: "Longshore's own executable could not be read",
            reason: error.to_string(),
        })?;
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            changes: vec![
                format!("LABEL {}={}", labels::INSTANCE, self.instance),
                format!("LABEL {}={}", labels::KIND, Kind::Agent.as_str()),
                format!("LABEL {}={}", labels::AGENT, wanted.hash),
                format!("ENTRYPOINT [\"{PROGRAM}\"]"),
            ],
            ..CreateImageOptions::default()
        };
        let mut progress = std::pin::pin!(docker.create_image(Some(options), Some(body_try_stream(body)), None));
        let mut id = None;
        while let Some(info) = progress.next().await {
            id = info.api(IMPORT)?.status.filter(|status| status.starts_with("sha256:")).or(id);
        }
        let id = id.ok_or_else(|| not_understood(IMPORT, "it names no image"))?;
        let options = TagImageOptionsBuilder::new().repo(REPOSITORY).tag(&wanted.hash).build();
        let tagged = docker.tag_image(&id, Some(options)).await.api("name the agent's image");
        if tagged.is_err() {
            let options = RemoveImageOptionsBuilder::new().build();
            let _ = docker.remove_image(&id, Some(options), None).await;
        }
        tagged
    }
}

/// Returns the executable's hash if an image with this name is an agent's. Podman puts the registry that it would pull
/// from in front of the name.
pub(crate) fn hash_of_image(name: &str) -> Option<&str> {
    let short = ["docker.io/library/", "localhost/"].iter().find_map(|registry| name.strip_prefix(registry));
    short.unwrap_or(name).strip_prefix(REPOSITORY)?.strip_prefix(':').filter(|hash| is_hash(hash))
}

/// Returns the executable's hash if a volume with this name is an agent's.
pub(crate) fn hash_of_volume(name: &str) -> Option<&str> {
    name.strip_prefix(REPOSITORY)?.strip_prefix('-').filter(|hash| is_hash(hash))
}

fn is_hash(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Removes the volume, because copy-up never completes one that is half full. A volume that a job uses stays. Returns
/// `true` if it is gone.
async fn drop_volume(docker: &Docker, lost: &Delivered) -> bool {
    let options = RemoveVolumeOptionsBuilder::new().build();
    match docker.remove_volume(&lost.volume, Some(options)).await.api("remove a volume") {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(volume = lost.volume, %error, "the agent's volume stays");
            error.is_not_found()
        }
    }
}

/// Fills the volume: a container that is created and started copies the content of the image at the volume's path into
/// the volume, if the volume is empty. The container runs the copied program once.
async fn fill_volume(docker: &Docker, instance: &Instance, wanted: &Delivered) -> Result<(), EngineError> {
    let mut volume_labels = labels::of(instance, Kind::Agent);
    volume_labels.insert(labels::AGENT.to_owned(), wanted.hash.clone());
    let body = ContainerCreateBody {
        image: Some(wanted.image.clone()),
        entrypoint: Some(vec![PROGRAM.to_owned(), "--version".to_owned()]),
        cmd: Some(Vec::new()),
        labels: Some(volume_labels.clone()),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
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
    let filled = match Temporary::create(docker, &wanted.hash, body).await {
        Ok(container) => {
            let filled = run_once(docker, container.id()).await;
            container.remove().await;
            filled
        }
        Err(error) => Err(error),
    };
    if filled.is_err() {
        // Anyone who finds the volume takes it as complete.
        drop_volume(docker, wanted).await;
    }
    filled
}

/// Starts the container and waits until it ends, with any result: a program that does not run is reported by the first
/// sandbox.
async fn run_once(docker: &Docker, id: &str) -> Result<(), EngineError> {
    match docker.start_container(id, None).await.api("start a container") {
        Ok(()) => {}
        Err(error) if matches!(Fault::of(&error), Fault::AgentBroken) => return Ok(()),
        Err(error) => return Err(error),
    }
    let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
    match docker.wait_container(id, Some(options)).next().await {
        None | Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. })) => Ok(()),
        Some(Err(error)) => Err(from_api("wait for a container", error)),
    }
}

/// Returns the mount of the agent's volume, which every job's container has.
pub(crate) fn mount(instance: &Instance, agent: &Delivered) -> Mount {
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

/// Returns the executable's hash. Reading 20 MB takes a tenth of a short-lived process's time, so it stores the hash
/// together with what identifies the file.
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
    if let Some(hash) = runtime_dir.and_then(|dir| remembered_hash(dir, &key)) {
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
        remember_hash(dir, &key, &hash);
    }
    Ok(hash)
}

/// Returns the executable's hash, if it was computed for the same file (`key`) before.
fn remembered_hash(dir: &Path, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(hash_file(dir)).ok()?;
    let (known, hash) = text.trim_end().split_once(' ')?;
    (known == key && hash.len() == 12 && hash.bytes().all(|b| b.is_ascii_hexdigit())).then(|| hash.to_owned())
}

/// Stores the hash for the next process, which computes it again if that failed.
fn remember_hash(dir: &Path, key: &str, hash: &str) {
    let temporary = dir.join(format!("agent-hash.{}", std::process::id()));
    let written = runtime_dir::make(dir)
        .and_then(|()| std::fs::write(&temporary, format!("{key} {hash}\n")))
        .and_then(|()| std::fs::rename(&temporary, hash_file(dir)));
    if let Err(error) = written {
        tracing::debug!(%error, "the executable's hash is not remembered");
    }
}

fn hash_file(dir: &Path) -> PathBuf {
    dir.join("agent-hash")
}

/// Returns a tar with `/.longshore/longshore`, read from the file as it is sent.
async fn executable_as_tar(executable: &Path) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
    let file = tokio::fs::File::open(executable).await?;
    let size = file.metadata().await?.len();
    let head = program_start(size);
    let padding = (512 - size % 512) % 512;
    let tail = vec![0; usize::try_from(padding).unwrap_or(0) + 1024];
    let program = ReaderStream::with_capacity(file.take(size), 256 * 1024);
    Ok(stream::iter([Ok(Bytes::from(head))]).chain(program).chain(stream::iter([Ok(Bytes::from(tail))])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_remembered_for_the_same_file_only() {
        let dir = tempfile::tempdir().unwrap();
        remember_hash(dir.path(), "1-2-3", "0123456789ab");
        assert_eq!(remembered_hash(dir.path(), "1-2-3").as_deref(), Some("0123456789ab"));
        assert_eq!(remembered_hash(dir.path(), "1-2-4"), None);
    }

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
