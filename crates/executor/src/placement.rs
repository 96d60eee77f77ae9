//! Starts a container with our agent in it for a request, and opens a link to the agent.
//!
//! The image is looked up while a sandbox is taken. Then the container is created and started; the kind of an error
//! decides what to do before the next try. This runs as a task of its own, to its end, even if its caller gives up: a
//! create call that is dropped half-way would leave a container that nobody knows. A caller that gives up has the
//! result removed (see `cleanup`).

use std::sync::Arc;
use std::time::Duration;

use longshore_core::ImageRef;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::engine::{BuilderSpec, Engine, GuardSpec, Image, Mounted, Pod, PodSecret, PodSpec};
use crate::error::EngineError;
use crate::following::agent::AgentHealth;
use crate::following::link::{Link, LinkReader, LinkWriter};
use crate::guarding::builders::start_builder;
use crate::guarding::guards::start_guard;
use crate::lasting::caches::Caches;
use crate::lasting::workspaces::AttemptWorkspace;
use crate::names::Nonce;
use crate::objects::ObjectId;
use crate::options::PullPolicy;
use crate::pulling::image_access::ImageAccess;
use crate::pulling::images::{ImageState, Images};
use crate::removing::removal::Removals;
use crate::request::{JobRequest, JobUpdate, Phase, UsedImage};
use crate::room::Room;
use crate::sandboxes::{Sandbox, Sandboxes};
use crate::starts::Starts;

/// Limit for tries with another sandbox, the agent delivered again, or the image resolved again.
const MAX_TRIES: u32 = 4;
/// Pause before the next try after an error of the engine's own, times the number of tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A job's started container.
pub(crate) struct Placed {
    pub(crate) pod: Pod,
    pub(crate) sandbox: Sandbox,
    pub(crate) reader: LinkReader,
    pub(crate) writer: LinkWriter,
    /// The link to the guard of its Docker API, if it has one.
    pub(crate) guard: Option<Link>,
}

/// What a start needs.
#[derive(Clone)]
pub(crate) struct Placement {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) images: Arc<Images>,
    pub(crate) sandboxes: Arc<Sandboxes>,
    pub(crate) agent: Arc<AgentHealth>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) room: Room,
    pub(crate) removals: Arc<Removals>,
    pub(crate) starts: Arc<Starts>,
    /// How long to wait for an engine that is away, while an earlier container has to be removed.
    pub(crate) patience: Duration,
}

/// Where a start reports to, and what ends it.
pub(crate) struct Caller {
    /// Lines for the job's log.
    pub(crate) notes: mpsc::Sender<String>,
    /// Receives updates only while somebody waits for the start.
    pub(crate) updates: mpsc::WeakSender<JobUpdate>,
    pub(crate) cancel: CancellationToken,
}

impl Placement {
    /// Starts a container for a request.
    pub(crate) async fn place(self, request: Arc<JobRequest>, caller: Caller) -> Result<Placed, EngineError> {
        let name = request.image()?;
        request.check_images()?;
        self.room.check()?;
        let (known, sandbox) =
            tokio::join!(self.images.known(request.build, &request.images, &name), self.take_sandbox(&request));
        let sandbox = sandbox?;
        let resolved = async {
            let known = known?;
            if !known.is_enough(request.pull()) {
                caller.report(Phase::Pulling).await;
            }
            self.resolve(&request, &name, known, &caller).await
        };
        let image = match resolved.await {
            Ok(image) => image,
            Err(error) => {
                self.sandboxes.give_back(sandbox);
                return Err(error);
            }
        };
        caller.update(JobUpdate::Image { step: None, image: used(&name, &image) }).await;
        caller.report(Phase::Starting).await;
        if let Some(note) = emulation(&name, &image) {
            let _ = caller.notes.send(note).await;
        }
        self.start(&request, &name, image, sandbox, &caller).await
    }

    /// Takes a sandbox: of the pool, or of the job's own if it has Docker.
    async fn take_sandbox(&self, request: &JobRequest) -> Result<Sandbox, EngineError> {
        match request.docker.guarded() {
            None => self.sandboxes.take(&request.scope, request.plan.network).await,
            Some(_) => self.sandboxes.create_own(request.build, request.attempt_id()).await,
        }
    }

    /// Tries until a container runs, or no try is left.
    async fn start(
        &self,
        request: &JobRequest,
        name: &ImageRef,
        mut image: Image,
        mut sandbox: Sandbox,
        caller: &Caller,
    ) -> Result<Placed, EngineError> {
        let _start = self.starts.begin();
        let mut tries = 0;
        let mut noted = false;
        loop {
            tries += 1;
            let error = match self.try_start(request, &image, &sandbox, caller, &mut noted).await {
                Ok((pod, link, guard)) => {
                    let (reader, writer) = link.split();
                    return Ok(Placed { pod, sandbox, reader, writer, guard });
                }
                Err(error) => error,
            };
            tracing::debug!(%error, tries, "the job's container did not start");
            if tries >= MAX_TRIES {
                self.sandboxes.discard(sandbox);
                return Err(match error {
                    EngineError::Stale(inner) => *inner,
                    // One sandbox may have been removed or idle for too long, but not every one. A program of another
                    // architecture shows in no other way: the start succeeds, and the container ends at once.
                    EngineError::SandboxGone(_) => {
                        EngineError::AgentFailed(format!("{tries} sandboxes in a row ended at once"))
                    }
                    error => error,
                });
            }
            match error {
                EngineError::SandboxGone(_) => {
                    self.sandboxes.discard(sandbox);
                    // After a restart of the engine, all idle sandboxes have ended as well.
                    self.sandboxes.drain();
                    sandbox = self.take_sandbox(request).await?;
                }
                EngineError::Stale(_) => {}
                EngineError::AgentFailed(_) if self.agent.renew().await => {}
                EngineError::ImageGone(_) => {
                    self.images.forget_agreed(request.build, name);
                    image = match self.resolve_again(request, name, caller).await {
                        Ok(image) => image,
                        Err(error) => {
                            self.sandboxes.give_back(sandbox);
                            return Err(error);
                        }
                    };
                }
                EngineError::NameTaken(_) => {
                    if let Err(error) = self.remove_earlier(request, &sandbox).await {
                        self.sandboxes.discard(sandbox);
                        return Err(error);
                    }
                }
                // The engine may have created it although the answer was lost; the next try finds it.
                error if error.is_away() || error.is_unanswered() => {
                    self.sandboxes.discard(sandbox);
                    return Err(error);
                }
                error if error.is_transient() => tokio::time::sleep(RETRY_PAUSE * tries).await,
                error => {
                    self.sandboxes.give_back(sandbox);
                    return Err(error);
                }
            }
        }
    }

    async fn resolve(
        &self,
        request: &JobRequest,
        name: &ImageRef,
        known: ImageState,
        caller: &Caller,
    ) -> Result<Image, EngineError> {
        tokio::select! {
            // The engine stops a pull when the call is dropped.
            () = caller.cancel.cancelled() => Err(EngineError::Away("canceled".to_owned())),
            image = self.images.resolve(request.build, &request.images, name, known, request.pull(), &caller.notes) => image,
        }
    }

    async fn resolve_again(
        &self,
        request: &JobRequest,
        name: &ImageRef,
        caller: &Caller,
    ) -> Result<Image, EngineError> {
        let known = self.images.known(request.build, &request.images, name).await?;
        self.resolve(request, name, known, caller).await
    }

    /// Makes one try. If a container was created and did not start, it is removed before this returns.
    async fn try_start(
        &self,
        request: &JobRequest,
        image: &Image,
        sandbox: &Sandbox,
        caller: &Caller,
        noted: &mut bool,
    ) -> Result<(Pod, Link, Option<Link>), EngineError> {
        let mut guarded = None;
        if let Some(docker) = request.docker.guarded() {
            let guard = GuardSpec {
                build: request.build,
                attempt: request.attempt_id(),
                sandbox: &sandbox.id,
                limits: &request.limits,
                docker,
            };
            // Both are waited for, so that none is created behind the back of who removes them.
            let (guard, builder) = tokio::join!(
                start_guard(&*self.engine, &self.removals, &guard, self.patience),
                self.start_builder(request, docker.builder(), sandbox, caller)
            );
            builder?;
            guarded = Some(guard?);
        }
        let mounts = self.prepare_volumes(request, image, caller, noted).await?;
        let spec = PodSpec {
            build: request.build,
            attempt: request.attempt_id(),
            image,
            sandbox: &sandbox.id,
            nonce: Nonce::random(),
            secret: PodSecret(rand::random()),
            limits: &request.limits,
            docker: request.docker_socket(),
            mounts: &mounts,
        };
        let pod = self.engine.create(&spec).await?;
        match self.engine.start(&pod.container).await {
            Ok(link) => Ok((pod, link, guarded)),
            // The engine would not answer about the container now either.
            Err(error) if error.is_unanswered() => {
                self.removals.unanswered.remove_later(ObjectId::Container(pod.container));
                Err(error)
            }
            Err(error) => {
                self.removals.now(&ObjectId::Container(pod.container), self.patience).await;
                // The next try may fill them from its image only if they are new.
                Caches::of(&*self.engine, request).discard(&self.removals, self.patience).await;
                Err(error)
            }
        }
    }

    /// Starts the job's builder, if it has one. Its image is the operator's choice, so no rule for the repository's
    /// images applies.
    async fn start_builder(
        &self,
        request: &JobRequest,
        name: Option<&ImageRef>,
        sandbox: &Sandbox,
        caller: &Caller,
    ) -> Result<(), EngineError> {
        let Some(name) = name else { return Ok(()) };
        let access = ImageAccess { rule: None, own_engine: true, ..request.images.clone() };
        let known = self.images.known(request.build, &access, name).await?;
        let image =
            self.images.resolve(request.build, &access, name, known, PullPolicy::Missing, &caller.notes).await?;
        let spec = BuilderSpec {
            build: request.build,
            attempt: request.attempt_id(),
            sandbox: &sandbox.id,
            name,
            image: &image,
            limits: &request.limits,
        };
        let started = start_builder(&*self.engine, &self.removals, &spec, self.patience).await;
        if matches!(started, Err(EngineError::ImageGone(_))) {
            self.images.forget_agreed(request.build, name);
        }
        started
    }

    /// Prepares the job's workspace and caches, and says in its log what was found, once.
    async fn prepare_volumes(
        &self,
        request: &JobRequest,
        image: &Image,
        caller: &Caller,
        noted: &mut bool,
    ) -> Result<Vec<Mounted>, EngineError> {
        let line = AttemptWorkspace::new(&*self.engine, request).prepare().await?;
        if let Some(line) = line.filter(|_| !*noted) {
            let _ = caller.notes.send(line).await;
        }
        if request.caches.wanted.is_empty() {
            *noted = true;
            return Ok(Vec::new());
        }
        let user = self.accounts.find(image).await?;
        let (mounts, lines) = Caches::of(&*self.engine, request).prepare(&user).await?;
        if !std::mem::replace(noted, true) {
            for line in lines {
                let _ = caller.notes.send(line).await;
            }
        }
        Ok(mounts)
    }

    /// Removes a container of this same attempt: an earlier process died between creating it and giving its agent a
    /// plan, or its database is older than the run. Removes the volume as well, because its spool is not of this run.
    async fn remove_earlier(&self, request: &JobRequest, sandbox: &Sandbox) -> Result<(), EngineError> {
        let Some(found) = self.engine.find(request.attempt_id()).await? else { return Ok(()) };
        if request.has_members() {
            self.removals.members(request.attempt_id(), self.patience).await;
        }
        self.removals.make_way(&found.pod, self.patience).await;
        AttemptWorkspace::new(&*self.engine, request).discard(&self.removals, self.patience).await;
        Caches::of(&*self.engine, request).discard(&self.removals, self.patience).await;
        if found.pod.sandbox != sandbox.id {
            self.removals.later(ObjectId::Container(found.pod.sandbox));
        }
        Ok(())
    }
}

impl Caller {
    async fn report(&self, phase: Phase) {
        self.update(JobUpdate::Phase(phase)).await;
    }

    async fn update(&self, update: JobUpdate) {
        if let Some(updates) = self.updates.upgrade() {
            let _ = updates.send(update).await;
        }
    }
}

/// Returns the report about the image that a container is started from.
pub(crate) fn used(name: &ImageRef, image: &Image) -> UsedImage {
    UsedImage { name: name.to_string(), digest: image.digest.clone() }
}

/// Returns the note for an image of another architecture than this host's.
fn emulation(name: &ImageRef, image: &Image) -> Option<String> {
    let host = std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64");
    let architecture = &image.architecture;
    (!architecture.is_empty() && *architecture != host).then(|| {
        format!("{name} is an image for {architecture}, but this host runs {host}: it works only under emulation")
    })
}
