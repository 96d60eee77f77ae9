//! From a request to a started container with our agent in it, attached: volume and container, attach, start, in that order.
//!
//! Runs as a task of its own, to its end, whatever happens to who asked; who gave up on it has it abandoned (see `removal`).

use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::CreateContainerOptionsBuilder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::adoption;
use crate::container;
use crate::engine::Shared;
use crate::error::{ApiResult as _, EngineError};
use crate::fault::Fault;
use crate::image::{ImageFacts, Look};
use crate::job::{ContainerFacts, JobRequest, JobUpdate, Phase};
use crate::link::{LinkReader, LinkWriter, attach};
use crate::removal::{make_way, remove_container};
use crate::sandbox::{Sandbox, Sandboxes};

/// Tries with another sandbox, the agent brought again, the image resolved again.
const TRIES: u32 = 4;
/// Before the next try after an error of the engine's own, times the number of tries.
const PASSING: Duration = Duration::from_millis(100);

/// A job's container, started.
pub(crate) struct Placed {
    pub(crate) facts: ContainerFacts,
    pub(crate) sandbox: Sandbox,
    pub(crate) reader: LinkReader,
    pub(crate) writer: LinkWriter,
}

/// See the module.
pub(crate) async fn place(
    shared: Arc<Shared>,
    request: Arc<JobRequest>,
    notes: mpsc::Sender<String>,
    updates: mpsc::WeakSender<JobUpdate>,
    cancel: CancellationToken,
) -> Result<Placed, EngineError> {
    let name = request.image()?;
    let looking = shared.images.look(&shared, request.build, &name);
    let (look, sandbox) = tokio::join!(looking, Sandboxes::take(&shared, &request.scope));
    let mut sandbox = sandbox?;
    let look = match look {
        Ok(look) => look,
        Err(error) => {
            Sandboxes::give_back(&shared, sandbox);
            return Err(error);
        }
    };
    if !look.is_enough(request.pull) {
        tell(&updates, Phase::Pulling).await;
    }
    let mut image = match resolve(&shared, &request, look, &notes, &cancel).await {
        Ok(image) => image,
        Err(error) => {
            Sandboxes::give_back(&shared, sandbox);
            return Err(error);
        }
    };
    tell(&updates, Phase::Starting).await;
    let host = std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64");
    if !image.architecture.is_empty() && image.architecture != host {
        let note = format!(
            "{} is an image for {}, this engine runs {host}: it works only under emulation",
            name, image.architecture
        );
        let _ = notes.send(note).await;
    }

    let starting = Arc::clone(&shared);
    let _start = starting.starts.begin();
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match try_place(&shared, &request, &image, &sandbox).await {
            Ok((facts, (reader, writer))) => return Ok(Placed { facts, sandbox, reader, writer }),
            Err(error) => error,
        };
        let fault = Fault::of(&error);
        tracing::debug!(%error, ?fault, tries, "the job's container did not start");
        if tries >= TRIES {
            Sandboxes::discard(&shared, sandbox);
            return Err(match fault {
                Fault::AgentMissing => EngineError::AgentFailed(error.engine_text().to_owned()),
                // One may have been removed or been idle for too long; not every one. A program of another architecture shows
                // only so: the start succeeds, and the container ends at once.
                Fault::SandboxGone => EngineError::AgentFailed(format!("{tries} sandboxes in a row ended at once")),
                _ => error,
            });
        }
        match fault {
            Fault::SandboxGone => {
                Sandboxes::discard(&shared, sandbox);
                // One may have been removed; after a restart of the engine all that wait are dead.
                Sandboxes::drain(&shared);
                sandbox = Sandboxes::take(&shared, &request.scope).await?;
            }
            Fault::AgentMissing => {
                shared.agent.again(&shared).await;
            }
            Fault::AgentBroken if shared.agent.doubt(&shared).await => {}
            Fault::ImageGone => {
                shared.images.disagree(request.build, &name);
                image = match look_again(&shared, &request, &notes, &cancel).await {
                    Ok(image) => image,
                    Err(error) => {
                        Sandboxes::give_back(&shared, sandbox);
                        return Err(error);
                    }
                };
            }
            Fault::NoContainerQuota | Fault::NoVolumeQuota if shared.quotas.refused(fault) => {}
            Fault::NameTaken => {
                if let Err(error) = remove_leftover(&shared, &request, &sandbox).await {
                    Sandboxes::discard(&shared, sandbox);
                    return Err(error);
                }
            }
            Fault::Other if error.is_passing() && !error.is_away() => tokio::time::sleep(PASSING * tries).await,
            // What was asked for may have been done though the answer was lost: the next try meets it.
            Fault::Other if error.is_away() => {
                Sandboxes::discard(&shared, sandbox);
                return Err(error);
            }
            Fault::AgentBroken | Fault::NetworkGone | Fault::NoContainerQuota | Fault::NoVolumeQuota | Fault::Other => {
                Sandboxes::give_back(&shared, sandbox);
                return Err(match fault {
                    Fault::AgentBroken => EngineError::AgentFailed(error.engine_text().to_owned()),
                    _ => error,
                });
            }
        }
    }
}

/// The image that the build agreed on is gone: what its name means now.
async fn look_again(
    shared: &Shared,
    request: &JobRequest,
    notes: &mpsc::Sender<String>,
    cancel: &CancellationToken,
) -> Result<ImageFacts, EngineError> {
    let look = shared.images.look(shared, request.build, &request.image()?).await?;
    resolve(shared, request, look, notes, cancel).await
}

async fn resolve(
    shared: &Shared,
    request: &JobRequest,
    look: Look,
    notes: &mpsc::Sender<String>,
    cancel: &CancellationToken,
) -> Result<ImageFacts, EngineError> {
    let name = request.image()?;
    tokio::select! {
        // The engine stops a pull when its client goes.
        () = cancel.cancelled() => Err(EngineError::Gone("canceled".to_owned())),
        image = shared.images.resolve(shared, request.build, &name, look, request.pull, notes) => image,
    }
}

/// One try. A container that was created and did not start is gone again when this returns.
async fn try_place(
    shared: &Arc<Shared>,
    request: &JobRequest,
    image: &ImageFacts,
    sandbox: &Sandbox,
) -> Result<(ContainerFacts, (LinkReader, LinkWriter)), EngineError> {
    let agent = shared.agent.ready(shared).await?;
    let nonce: [u8; 16] = rand::random();
    let attempt = request.attempt_id();
    let body = container::body(&shared.options.instance, request, image, &agent, &sandbox.id, nonce, &shared.quotas);
    let options = CreateContainerOptionsBuilder::new().name(&attempt.container_name()).build();
    let created = shared.docker.create_container(Some(options), body).await.api("create a container")?;
    let facts = ContainerFacts {
        container: created.id,
        volume: attempt.volume_name(),
        sandbox: sandbox.id.clone(),
        nonce,
        user: image.user.clone(),
    };
    let started = async {
        // Before it runs: the engine throws away what nobody reads.
        let link = attach(shared, &facts.container).await?;
        shared.docker.start_container(&facts.container, None).await.api("start a container")?;
        Ok(link)
    };
    match started.await {
        Ok(link) => Ok((facts, link)),
        Err(error) => {
            remove_container(shared, &facts.container, shared.options.patience).await;
            Err(error)
        }
    }
}

/// A container of this very attempt: an earlier process died between asking for it and giving its agent anything to do, or its
/// database is older than what it did. The volume goes too: what lies in that spool is not this run's.
async fn remove_leftover(shared: &Arc<Shared>, request: &JobRequest, sandbox: &Sandbox) -> Result<(), EngineError> {
    let attempt = request.attempt_id();
    let found = adoption::inspect(shared, attempt).await?;
    let Some(facts) = found.and_then(|found| adoption::facts(found, attempt)) else { return Ok(()) };
    make_way(shared, &facts).await;
    if facts.sandbox != sandbox.id {
        shared.removals.container(shared, facts.sandbox);
    }
    Ok(())
}

async fn tell(updates: &mpsc::WeakSender<JobUpdate>, phase: Phase) {
    if let Some(updates) = updates.upgrade() {
        let _ = updates.send(JobUpdate::Phase(phase)).await;
    }
}
