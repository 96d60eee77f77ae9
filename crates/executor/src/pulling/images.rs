//! Decides which image a job gets: which image the jobs of a build share, when an image is pulled, and for how long a
//! pull is retried.
//!
//! An image that came to the engine by somebody's credentials can be used by all jobs. So that it is used only by those
//! that its registry gives it to, an image of a guarded registry counts as being here only for credentials that it was
//! pulled with; a job with others, or with none, has to pull it. Only this process remembers which image was pulled
//! with which credentials: after a restart the registry is asked once more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use longshore_core::{BuildId, ImageRef, RegistryCredentials};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::engine::{Engine, Image};
use crate::error::EngineError;
use crate::names::ImageId;
use crate::options::PullPolicy;
use crate::pulling::image_access::ImageAccess;

/// How long a build's images are remembered, and which credentials an image was pulled with.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// Pause before the next try of a pull.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// An image, and what it is pulled with.
type Pulled = (ImageRef, Option<RegistryCredentials>);

/// The state of an image before anything is pulled.
pub(crate) enum ImageState {
    /// The image that the build's jobs share.
    Agreed(Image),
    /// The image that the engine has under that name, if any.
    Local(Option<Image>),
    /// The engine has this image under that name, and its registry has to be asked whether the job may have it.
    Guarded(ImageId),
}

impl ImageState {
    /// Returns whether the image is used without a pull.
    pub(crate) const fn is_enough(&self, policy: PullPolicy) -> bool {
        match (self, policy) {
            (Self::Agreed(_), _) | (Self::Local(Some(_)), PullPolicy::Missing | PullPolicy::Never) => true,
            (Self::Local(Some(_)), PullPolicy::Always) | (Self::Local(None) | Self::Guarded(_), _) => false,
        }
    }
}

/// An image that a job has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUse {
    pub name: ImageRef,
    pub id: ImageId,
    /// It was not on the engine before we pulled it.
    pub pulled: bool,
}

/// Remembers the images that the jobs of a build share, and allows one pull of each image at a time.
pub(crate) struct Images {
    engine: Arc<dyn Engine>,
    /// How long a pull is retried.
    pull_patience: Duration,
    /// The image that each tag meant when a build's first job resolved it. The build's other jobs and their retries get
    /// the same image. The next build resolves the tag again, because somebody may have built the image in between.
    agreed: Mutex<HashMap<(BuildId, ImageRef), (Instant, Image)>>,
    pulls: Mutex<HashMap<Pulled, Arc<tokio::sync::Mutex<()>>>>,
    /// The image of a guarded registry that each was when it was last pulled.
    given: Mutex<HashMap<Pulled, (Instant, ImageId)>>,
    /// The images that were used since the last report.
    used: Mutex<HashMap<ImageRef, ImageUse>>,
}

impl Images {
    pub(crate) fn new(engine: Arc<dyn Engine>, pull_patience: Duration) -> Self {
        Self {
            engine,
            pull_patience,
            agreed: Mutex::default(),
            pulls: Mutex::default(),
            given: Mutex::default(),
            used: Mutex::default(),
        }
    }

    /// Returns the image that the build's jobs share.
    pub(crate) fn agreed(&self, build: BuildId, image: &ImageRef) -> Option<Image> {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        agreed.get(&(build, image.clone())).map(|(_, found)| found.clone())
    }

    /// Returns the image that the build's jobs share, or else the one that the engine has. Refuses an image that the
    /// job may not use.
    pub(crate) async fn known(
        &self,
        build: BuildId,
        access: &ImageAccess,
        image: &ImageRef,
    ) -> Result<ImageState, EngineError> {
        access.check(image)?;
        if let Some(agreed) = self.agreed(build, image) {
            return Ok(ImageState::Agreed(agreed));
        }
        Ok(match self.engine.image(image).await? {
            Some(local) if !self.may_use(access, image, &local) => ImageState::Guarded(local.id),
            local => ImageState::Local(local),
        })
    }

    /// Returns whether a job may use an image that the engine has without asking its registry.
    fn may_use(&self, access: &ImageAccess, image: &ImageRef, local: &Image) -> bool {
        if local.digest.is_none() || !access.is_guarded(image) {
            return true;
        }
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = (image.clone(), access.credentials(image).cloned());
        given.get(&asked).is_some_and(|(at, id)| *id == local.id && at.elapsed() < REMEMBERED)
    }

    /// Returns the image for a job of this build, pulled if the policy says so. Sends lines for the job's log to
    /// `notes`.
    pub(crate) async fn resolve(
        &self,
        build: BuildId,
        access: &ImageAccess,
        image: &ImageRef,
        known: ImageState,
        policy: PullPolicy,
        notes: &mpsc::Sender<String>,
    ) -> Result<Image, EngineError> {
        // What the engine had under that name before anything was pulled.
        let before = match &known {
            ImageState::Agreed(agreed) => return Ok(agreed.clone()),
            ImageState::Local(local) => local.as_ref().map(|local| local.id.clone()),
            ImageState::Guarded(local) => Some(local.clone()),
        };
        let found = self.resolve_tag(access, image, known, policy, notes).await?;
        self.note_used(image, &found, before.as_ref() != Some(&found.id));
        let mut agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        agreed.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
        // The first job decides for all.
        let (_, found) = agreed.entry((build, image.clone())).or_insert_with(|| (Instant::now(), found));
        Ok(found.clone())
    }

    /// Pulls an image that a job of this build will ask for, if it would pull it.
    pub(crate) async fn pull_ahead(
        &self,
        build: BuildId,
        access: &ImageAccess,
        image: &ImageRef,
        policy: PullPolicy,
    ) -> Result<(), EngineError> {
        let known = self.known(build, access, image).await?;
        if known.is_enough(policy) {
            return Ok(());
        }
        self.agree_on(build, access, image, known, policy).await
    }

    /// Decides which image the jobs of this build get, pulled if the policy says so.
    pub(crate) async fn agree(
        &self,
        build: BuildId,
        access: &ImageAccess,
        image: &ImageRef,
        policy: PullPolicy,
    ) -> Result<(), EngineError> {
        let known = self.known(build, access, image).await?;
        self.agree_on(build, access, image, known, policy).await
    }

    async fn agree_on(
        &self,
        build: BuildId,
        access: &ImageAccess,
        image: &ImageRef,
        known: ImageState,
        policy: PullPolicy,
    ) -> Result<(), EngineError> {
        // The job that gets the image has nothing to say about its pull.
        let (notes, _) = mpsc::channel(1);
        self.resolve(build, access, image, known, policy, &notes).await.map(drop)
    }

    fn note_used(&self, name: &ImageRef, image: &Image, pulled: bool) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let before = used.get(name).is_some_and(|noted| noted.pulled && noted.id == image.id);
        used.insert(name.clone(), ImageUse { name: name.clone(), id: image.id.clone(), pulled: pulled || before });
    }

    /// Returns what was used since the last call.
    pub(crate) fn take_used(&self) -> Vec<ImageUse> {
        std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner)).into_values().collect()
    }

    async fn resolve_tag(
        &self,
        access: &ImageAccess,
        image: &ImageRef,
        known: ImageState,
        policy: PullPolicy,
        notes: &mpsc::Sender<String>,
    ) -> Result<Image, EngineError> {
        let missing = |reason: &str| EngineError::ImageMissing { image: image.to_string(), reason: reason.to_owned() };
        match (policy, known) {
            (_, ImageState::Agreed(found))
            | (PullPolicy::Missing | PullPolicy::Never, ImageState::Local(Some(found))) => Ok(found),
            (PullPolicy::Never, ImageState::Local(None)) => {
                Err(missing("it is not on this host, and pulling is turned off"))
            }
            (PullPolicy::Never, ImageState::Guarded(_)) => {
                Err(missing("its registry must confirm that this job may use the image, and pulling is turned off"))
            }
            (PullPolicy::Missing | PullPolicy::Always, ImageState::Local(None) | ImageState::Guarded(_)) => {
                self.pull(access, image, notes, self.pull_patience).await?;
                self.pulled(access, image).await
            }
            // If the engine has the image, a registry that is down is not waited for.
            (PullPolicy::Always, ImageState::Local(Some(found))) => {
                match self.pull(access, image, notes, Duration::ZERO).await {
                    Ok(()) => self.pulled(access, image).await,
                    Err(EngineError::PullFailed { why, .. }) if !why.is_refusal() => {
                        let _ = notes.send(format!("using the local {image}: {why}")).await;
                        Ok(found)
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Forgets an image of a build that does not exist any more.
    pub(crate) fn forget_agreed(&self, build: BuildId, image: &ImageRef) {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner).remove(&(build, image.clone()));
    }

    /// Returns an image whose registry has just given it to a job, and remembers that.
    async fn pulled(&self, access: &ImageAccess, image: &ImageRef) -> Result<Image, EngineError> {
        let found = self.engine.given_image(image).await?.ok_or_else(|| EngineError::ImageMissing {
            image: image.to_string(),
            reason: "it was removed right after it was pulled".to_owned(),
        })?;
        if access.is_guarded(image) {
            let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            given.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
            let asked = (image.clone(), access.credentials(image).cloned());
            given.insert(asked, (Instant::now(), found.id.clone()));
        }
        Ok(found)
    }

    /// Pulls an image, and retries for `patience` while the registry is down, slow or limits the rate.
    async fn pull(
        &self,
        access: &ImageAccess,
        image: &ImageRef,
        notes: &mpsc::Sender<String>,
        patience: Duration,
    ) -> Result<(), EngineError> {
        access.check_addresses(image).await?;
        let credentials = access.credentials(image);
        let turn = {
            let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            pulls.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(pulls.entry((image.clone(), credentials.cloned())).or_default())
        };
        let _turn = match turn.try_lock() {
            Ok(held) => held,
            Err(_) => {
                let _ = notes.send(format!("waiting for another pull of {image}")).await;
                let held = turn.lock().await;
                if self.engine.image(image).await?.is_some_and(|local| self.may_use(access, image, &local)) {
                    return Ok(());
                }
                held
            }
        };
        let give_up = Instant::now() + patience;
        let pauses =
            ExponentialBuilder::new().with_min_delay(RETRY_PAUSE).with_max_delay(MAX_PAUSE).without_max_times();
        for pause in pauses.build() {
            match self.pull_once(image, credentials, notes).await {
                Err(EngineError::PullFailed { why, .. }) if why.is_transient() && Instant::now() + pause < give_up => {
                    let seconds = pause.as_secs();
                    let note = format!("pulling {image} failed: {why}; retrying in {seconds} s");
                    let _ = notes.send(note).await;
                    tokio::time::sleep(pause).await;
                }
                pulled => return pulled,
            }
        }
        self.pull_once(image, credentials, notes).await
    }

    async fn pull_once(
        &self,
        image: &ImageRef,
        credentials: Option<&RegistryCredentials>,
        notes: &mpsc::Sender<String>,
    ) -> Result<(), EngineError> {
        let _ = notes.send(format!("pulling {image}")).await;
        self.engine.pull(image, credentials, notes).await
    }
}
