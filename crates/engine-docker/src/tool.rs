//! Runs our own program with volumes, in a container that has nothing else; and reads files out of images.

use std::io::Read as _;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, DownloadFromContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use longshore_executor::EngineError;
use longshore_executor::engine::{Image, ToolSpec};
use longshore_executor::names::{Instance, VolumeName};
use longshore_executor::objects::Kind;

use crate::agent_image::Delivered;
use crate::error::{ApiResult as _, from_api, not_understood};
use crate::labels;
use crate::paths::PROGRAM;
use crate::temporary::Temporary;

/// Where the volumes are mounted.
const VOLUMES: &str = "/longshore/volumes";
/// The most bytes that are read of what the program prints.
const MAX_OUTPUT: usize = 64 << 10;
/// How long the output of a program that has ended may take to end, too.
const LATE_OUTPUT: Duration = Duration::from_secs(10);
/// The most bytes that are read of an image's file.
const MAX_FILE: u64 = 8 << 20;
/// The most memory of the program: what a job has left in a volume may ask for any.
const MEMORY_BYTES: i64 = 1 << 30;
/// What the program needs beyond being root: it gives files to other users, and reads those of others.
const CAPABILITIES: [&str; 4] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"];

/// Runs a task to its end, and returns what it printed.
pub(crate) async fn run(
    docker: &Docker,
    instance: &Instance,
    agent: &Delivered,
    tool: &ToolSpec<'_>,
) -> Result<String, EngineError> {
    let volumes = tool.read.iter().map(|volume| (volume, true)).chain(tool.write.iter().map(|volume| (volume, false)));
    let mounts = volumes.enumerate().map(|(at, (volume, read_only))| mount(instance, at, volume, read_only)).collect();
    let program = [PROGRAM, "tool"].into_iter().chain(tool.arguments.iter().copied());
    let body = ContainerCreateBody {
        image: Some(agent.image.clone()),
        entrypoint: Some(program.map(str::to_owned).collect()),
        cmd: Some(Vec::new()),
        user: Some("0".to_owned()),
        labels: Some(tool_labels(instance, agent)),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            mounts: Some(mounts),
            readonly_rootfs: Some(true),
            init: Some(false),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            pids_limit: Some(32),
            memory: Some(MEMORY_BYTES),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let container = Temporary::create(docker, &agent.hash, body).await?;
    let ran = follow(docker, container.id()).await;
    container.remove().await;
    ran
}

async fn follow(docker: &Docker, id: &str) -> Result<String, EngineError> {
    let options = AttachContainerOptionsBuilder::new().stdout(true).stderr(true).stream(true).build();
    let mut attached = docker.attach_container(id, Some(options)).await.api("attach to a container")?;
    docker.start_container(id, None).await.api("start a container")?;
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let read = async {
        while let Some(piece) = attached.output.next().await {
            let (into, bytes) = match piece.api("read a container's output")? {
                LogOutput::StdErr { message } => (&mut complained, message),
                LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                    (&mut said, message)
                }
            };
            into.extend_from_slice(&bytes[..bytes.len().min(MAX_OUTPUT - into.len().min(MAX_OUTPUT))]);
        }
        Ok::<_, EngineError>(())
    };
    let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
    let mut wait = docker.wait_container(id, Some(options));
    // An engine under load may keep the stream of a container open that has ended.
    let ended = async {
        let ended = wait.next().await;
        tokio::time::sleep(LATE_OUTPUT).await;
        ended
    };
    let ended = tokio::select! {
        read = read => match read {
            Ok(()) => wait.next().await,
            Err(error) => return Err(error),
        },
        ended = ended => ended,
    };
    match ended {
        None | Some(Ok(_)) => Ok(String::from_utf8_lossy(&said).into_owned()),
        Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => {
            let complained = String::from_utf8_lossy(&complained);
            let reason = format!("it ended with {code}: {}", complained.trim());
            if complained.contains("No space left on device") {
                return Err(EngineError::NoRoom(format!("no space left on the engine's disk: {reason}")));
            }
            Err(EngineError::Local { what: "a task with volumes failed", reason })
        }
        Some(Err(error)) => Err(from_api("wait for a container", error)),
    }
}

/// Returns the mount of a volume that is there. The engine makes one anew that was removed a moment ago: the labels are
/// for that one, which is removed as a cache that belongs to nobody.
fn mount(instance: &Instance, at: usize, volume: &VolumeName, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume.to_string()),
        target: Some(format!("{VOLUMES}/{at}")),
        read_only: Some(read_only),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            labels: Some(labels::of(instance, Kind::Cache)),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

/// Like those of a container that delivers the agent: the sweep at a start removes what a killed process left.
fn tool_labels(instance: &Instance, agent: &Delivered) -> std::collections::HashMap<String, String> {
    let mut own = labels::of(instance, Kind::Agent);
    own.insert(labels::AGENT.to_owned(), agent.hash.clone());
    own
}

/// Reads a file of an image, from a container that is never started. A link is followed by the engine, within the
/// image.
pub(crate) async fn read_image_file(
    docker: &Docker,
    instance: &Instance,
    agent: &Delivered,
    image: &Image,
    path: &str,
) -> Result<Option<String>, EngineError> {
    const WHAT: &str = "read a file of an image";
    let mut own = tool_labels(instance, agent);
    labels::override_images(&mut own, &image.labels);
    let body = ContainerCreateBody {
        image: Some(image.id.to_string()),
        entrypoint: Some(vec![PROGRAM.to_owned()]),
        cmd: Some(Vec::new()),
        labels: Some(own),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let container = Temporary::create(docker, &agent.hash, body).await?;
    let read = async {
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let mut archive = docker.download_from_container(container.id(), Some(options));
        let mut bytes = Vec::new();
        while let Some(piece) = archive.next().await {
            match piece.api(WHAT) {
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            }
            if bytes.len() as u64 > MAX_FILE {
                return Err(not_understood(WHAT, format!("{path} is too long")));
            }
        }
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().map_err(|error| not_understood(WHAT, error))?;
        for entry in entries {
            let mut entry = entry.map_err(|error| not_understood(WHAT, error))?;
            if entry.header().entry_type().is_file() {
                let mut text = Vec::new();
                entry.read_to_end(&mut text).map_err(|error| not_understood(WHAT, error))?;
                return Ok(Some(String::from_utf8_lossy(&text).into_owned()));
            }
        }
        Ok(None)
    };
    let read = read.await;
    container.remove().await;
    read
}
