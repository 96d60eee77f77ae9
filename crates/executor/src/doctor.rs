//! Looks at the engine as a new user's machine has it, and says what is wrong and what to do.
//!
//! Each check stands for itself: a failed one does not hide the next. Everything that is made for a check is removed.

use std::time::{Duration, Instant};

use bollard::query_parameters::{AttachContainerOptionsBuilder, RemoveVolumeOptions};
use futures_util::StreamExt as _;

use crate::agent_image::PROGRAM;
use crate::engine::{Engine, Shared, api_version};
use crate::error::{ApiResult as _, EngineError};
use crate::labels::{self, Kind};
use crate::options::EngineOptions;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `socket`, `api`, `own-container`, `confinement`, `volume`, `network`, `agent`.
    pub name: &'static str,
    pub ok: bool,
    /// What was found.
    pub message: String,
    /// What to do about it, where something is wrong.
    pub advice: Option<String>,
}

impl Finding {
    fn good(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, ok: true, message: message.into(), advice: None }
    }

    /// The texts of our errors say both, parted by a colon or a semicolon.
    fn bad(name: &'static str, error: &impl ToString) -> Self {
        let text = error.to_string();
        let (message, advice) = match text.rsplit_once("; ") {
            Some((message, advice)) => (message.to_owned(), Some(advice.to_owned())),
            None => (text, None),
        };
        Self { name, ok: false, message, advice }
    }
}

/// Looks at everything. Needs no engine that works: that is one of the findings.
pub async fn doctor(options: EngineOptions) -> Vec<Finding> {
    let host = options.docker_host.clone();
    let engine = match Engine::connect(options).await {
        Ok(engine) => engine,
        Err(error) => return vec![Finding::bad("socket", &error), own_container(None).await],
    };
    let shared = &engine.shared;
    let mut findings = vec![Finding::good("socket", format!("{host} answers"))];
    findings.push(match shared.docker.version().await.api("tell its version") {
        Ok(version) => Finding::good(
            "api",
            format!(
                "engine {} on {}, API {}",
                version.version.unwrap_or_default(),
                version.arch.unwrap_or_default(),
                api_version(&shared.docker)
            ),
        ),
        Err(error) => Finding::bad("api", &error),
    });
    findings.push(own_container(Some(shared)).await);
    findings.extend(confinement(&engine).await);
    findings.push(volume(shared).await);
    let network = shared.network.ready(shared).await;
    findings.push(match &network {
        Ok(name) => Finding::good("network", format!("{name} is there, its containers kept from each other")),
        Err(error) => Finding::bad("network", error),
    });
    findings.push(match agent(shared).await {
        Ok(took) => Finding::good("agent", format!("the agent started in a container in {} ms", took.as_millis())),
        Err(error) => Finding::bad("agent", &error),
    });
    if let Ok(name) = network {
        // Made for this look only. One that is in use stays.
        let _ = shared.docker.remove_network(name).await;
    }
    engine.shutdown(true).await;
    findings
}

/// Our own container's full id, if this process runs in one: from where the engine mounts our hostname and hosts from. Those of
/// containers that run beside us can be seen as well on their host, elsewhere.
fn own_container_id(mountinfo: &str) -> Option<&str> {
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (source, target) = (fields.next()?, fields.next()?);
        let (_, rest) =
            source.split_once("/containers/").filter(|_| ["/etc/hostname", "/etc/hosts"].contains(&target))?;
        let id = rest.get(..64)?;
        id.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(id)
    })
}

async fn own_container(shared: Option<&Shared>) -> Finding {
    let name = "own-container";
    let mountinfo = tokio::fs::read_to_string("/proc/self/mountinfo").await.unwrap_or_default();
    match (own_container_id(&mountinfo), shared) {
        (None, _) => Finding::good(name, "Longshore runs outside of a container"),
        (Some(id), None) => Finding::good(name, format!("Longshore runs in container {}", &id[..12])),
        (Some(id), Some(shared)) => match shared.docker.inspect_container(id, None).await.api("inspect a container") {
            Ok(found) => {
                let name_of = found.name.unwrap_or_default();
                Finding::good(
                    name,
                    format!("Longshore runs in container {} ({})", &id[..12], name_of.trim_start_matches('/')),
                )
            }
            Err(_) => Finding {
                name,
                ok: false,
                message: format!("Longshore runs in container {}, which this engine does not know", &id[..12]),
                advice: Some("mount the socket of the engine that runs this container".to_owned()),
            },
        },
    }
}

async fn confinement(engine: &Engine) -> Vec<Finding> {
    let name = "confinement";
    match engine.gaps().await {
        Ok(gaps) if gaps.is_empty() => {
            vec![Finding::good(name, "jobs are held to memory, processes and processors, their system calls filtered")]
        }
        Ok(gaps) => gaps.iter().map(|gap| Finding::bad(name, gap)).collect(),
        Err(error) => vec![Finding::bad(name, &error)],
    }
}

async fn volume(shared: &Shared) -> Finding {
    let name = format!("longshore-doctor-{:08x}", rand::random::<u32>());
    let request = bollard::models::VolumeCreateRequest {
        name: Some(name.clone()),
        labels: Some(labels::of(&shared.options.instance, Kind::Volume)),
        ..bollard::models::VolumeCreateRequest::default()
    };
    let made = shared.docker.create_volume(request).await.api("create a volume");
    let removed = shared.docker.remove_volume(&name, None::<RemoveVolumeOptions>).await.api("remove a volume");
    match made.map(|_| ()).and(removed) {
        Ok(()) => Finding::good("volume", "volumes can be created and removed"),
        Err(error) => Finding::bad("volume", &error),
    }
}

/// Starts our program on our image and reads what it says.
async fn agent(shared: &Shared) -> Result<Duration, EngineError> {
    let agent = shared.agent.ready(shared).await?;
    let began = Instant::now();
    let body = bollard::models::ContainerCreateBody {
        image: Some(agent.image),
        entrypoint: Some(vec![PROGRAM.to_owned(), "--version".to_owned()]),
        cmd: Some(Vec::new()),
        labels: Some(labels::of(&shared.options.instance, Kind::Agent)),
        host_config: Some(bollard::models::HostConfig {
            network_mode: Some("none".to_owned()),
            ..bollard::models::HostConfig::default()
        }),
        ..bollard::models::ContainerCreateBody::default()
    };
    let id = shared.docker.create_container(None, body).await.api("create a container")?.id;
    let said = async {
        let options = AttachContainerOptionsBuilder::new().stream(true).stdout(true).stderr(true).build();
        let mut attached = shared.docker.attach_container(&id, Some(options)).await.api("attach to a container")?;
        shared.docker.start_container(&id, None).await.api("start a container")?;
        let said = tokio::time::timeout(Duration::from_secs(30), attached.output.next()).await;
        match said {
            Ok(Some(Ok(_))) => Ok(began.elapsed()),
            Ok(_) => Err(EngineError::AgentFailed("it ended without a word".to_owned())),
            Err(_) => Err(EngineError::AgentFailed("it said nothing for half a minute".to_owned())),
        }
    }
    .await;
    crate::removal::remove_container(shared, &id, shared.options.patience).await;
    said.map_err(|error| match error {
        EngineError::Refused { message, .. } => EngineError::AgentFailed(message),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_container_is_found_by_its_mounts() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let text = format!(
            "1 0 0:1 / / rw - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/X\n\
             2 1 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n"
        );
        assert_eq!(own_container_id(&text), Some(id));
        let beside = text.replace("/etc/hostname", "/var/lib/docker/overlay2/Y/merged/etc/hostname");
        assert_eq!(own_container_id(&beside), None, "another's, seen on the host");
        assert_eq!(own_container_id("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"), None);
    }
}
