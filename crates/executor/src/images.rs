//! Decides which image a job gets: which image the jobs of a build share, when an image is pulled, and for how long a
//! pull is retried.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use longshore_core::{BuildId, ImageRef};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::engine::{Engine, Image};
use crate::error::EngineError;

use crate::options::PullPolicy;

/// How long a build's images are remembered.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// Pause before the next try of a pull.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What is known of an image before anything is pulled.
pub(crate) enum Known {
    /// The image that the build's jobs share.
    Agreed(Image),
    /// The image that the engine has under that name, if any.
    Local(Option<Image>),
}

impl Known {
    /// Whether the image is used without a pull.
    pub(crate) const fn is_enough(&self, policy: PullPolicy) -> bool {
        match (self, policy) {
            (Self::Agreed(_), _) | (Self::Local(Some(_)), PullPolicy::Missing | PullPolicy::Never) => true,
            (Self::Local(Some(_)), PullPolicy::Always) | (Self::Local(None), _) => false,
        }
    }
}

/// Remembers the images that the jobs of a build share, and allows one pull of each image at a time.
pub(crate) struct Images {
    engine: Arc<dyn Engine>,
    /// How long a pull is retried.
    pull_patience: Duration,
    /// The image that each tag meant when a build's first job resolved it. The build's other jobs and their retries get
    /// the same image. The next build resolves the tag again, because somebody may have built the image in between.
    agreed: Mutex<HashMap<(BuildId, ImageRef), (Instant, Image)>>,
    pulls: Mutex<HashMap<ImageRef, Arc<tokio::sync::Mutex<()>>>>,
}

impl Images {
    pub(crate) fn new(engine: Arc<dyn Engine>, pull_patience: Duration) -> Self {
        Self { engine, pull_patience, agreed: Mutex::default(), pulls: Mutex::default() }
    }

    /// Returns the image that the build's jobs share.
    fn agreed(&self, build: BuildId, image: &ImageRef) -> Option<Image> {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        agreed.get(&(build, image.clone())).map(|(_, found)| found.clone())
    }

    /// Returns the image that the build's jobs share, or else the one that the engine has.
    pub(crate) async fn known(&self, build: BuildId, image: &ImageRef) -> Result<Known, EngineError> {
        Ok(match self.agreed(build, image) {
            Some(agreed) => Known::Agreed(agreed),
            None => Known::Local(self.engine.image(image).await?),
        })
    }

    /// Returns the image for a job of this build, pulled if the policy says so. Sends lines for the job's log to
    /// `notes`.
    pub(crate) async fn resolve(
        &self,
        build: BuildId,
        image: &ImageRef,
        known: Known,
        policy: PullPolicy,
        notes: &mpsc::Sender<String>,
    ) -> Result<Image, EngineError> {
        let local = match known {
            Known::Agreed(agreed) => return Ok(agreed),
            Known::Local(local) => local,
        };
        let found = self.resolve_tag(image, local, policy, notes).await?;
        let mut agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        agreed.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
        // The first job decides for all.
        let (_, found) = agreed.entry((build, image.clone())).or_insert_with(|| (Instant::now(), found));
        Ok(found.clone())
    }

    async fn resolve_tag(
        &self,
        image: &ImageRef,
        local: Option<Image>,
        policy: PullPolicy,
        notes: &mpsc::Sender<String>,
    ) -> Result<Image, EngineError> {
        match (policy, local) {
            (PullPolicy::Missing | PullPolicy::Never, Some(found)) => Ok(found),
            (PullPolicy::Never, None) => Err(EngineError::ImageMissing {
                image: image.to_string(),
                reason: "it is not on this engine, and pulling is turned off".to_owned(),
            }),
            (PullPolicy::Missing | PullPolicy::Always, None) => {
                self.pull(image, notes, self.pull_patience).await?;
                self.pulled(image).await
            }
            // If the engine has the image, a registry that is down is not waited for.
            (PullPolicy::Always, Some(found)) => match self.pull(image, notes, Duration::ZERO).await {
                Ok(()) => self.pulled(image).await,
                Err(EngineError::PullFailed { reason, .. }) => {
                    let _ = notes.send(format!("using the {image} that is here: {reason}")).await;
                    Ok(found)
                }
                Err(error) => Err(error),
            },
        }
    }

    /// Forgets an image of a build that does not exist any more.
    pub(crate) fn forget_agreed(&self, build: BuildId, image: &ImageRef) {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner).remove(&(build, image.clone()));
    }

    async fn pulled(&self, image: &ImageRef) -> Result<Image, EngineError> {
        self.engine.image(image).await?.ok_or_else(|| EngineError::ImageMissing {
            image: image.to_string(),
            reason: "it was pulled and is gone again".to_owned(),
        })
    }

    /// Pulls an image, and retries for `patience` while the registry is down, slow or limits the rate.
    async fn pull(
        &self,
        image: &ImageRef,
        notes: &mpsc::Sender<String>,
        patience: Duration,
    ) -> Result<(), EngineError> {
        let turn = {
            let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            pulls.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(pulls.entry(image.clone()).or_default())
        };
        let _turn = match turn.try_lock() {
            Ok(held) => held,
            Err(_) => {
                let _ = notes.send(format!("waiting for a pull of {image} that is under way")).await;
                let held = turn.lock().await;
                if self.engine.image(image).await?.is_some() {
                    return Ok(());
                }
                held
            }
        };
        let give_up = Instant::now() + patience;
        let pauses = ExponentialBuilder::new().with_min_delay(PAUSE).with_max_delay(LONGEST_PAUSE).without_max_times();
        for pause in pauses.build() {
            match self.pull_once(image, notes).await {
                Err(EngineError::PullFailed { reason, .. }) if Instant::now() + pause < give_up => {
                    let seconds = pause.as_secs();
                    let note = format!("{image} cannot be pulled now: {reason}; trying again in {seconds} s");
                    let _ = notes.send(note).await;
                    tokio::time::sleep(pause).await;
                }
                pulled => return pulled,
            }
        }
        self.pull_once(image, notes).await
    }

    async fn pull_once(&self, image: &ImageRef, notes: &mpsc::Sender<String>) -> Result<(), EngineError> {
        let _ = notes.send(format!("pulling {image}")).await;
        self.engine.pull(image, notes).await
    }
}
