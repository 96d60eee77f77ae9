//! The images that jobs name: is it here, what does it say of itself, and how it is pulled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt as _;
use longshore_core::BuildId;
use tokio::sync::mpsc;

use crate::engine::Shared;
use crate::error::{ApiResult as _, EngineError};
use crate::labels;
use crate::options::PullPolicy;

/// A build's images are remembered for so long.
const AGREED: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two lines of a pull's progress.
const PROGRESS: Duration = Duration::from_secs(5);

/// Before the next try of a pull.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What we need to know of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageFacts {
    /// Containers are created from the id: a tag that moves meanwhile changes nothing.
    pub(crate) id: String,
    /// Its USER.
    pub(crate) user: String,
    /// `amd64`.
    pub(crate) architecture: String,
    /// Names of its labels that look like ours.
    pub(crate) labels: Vec<String>,
}

/// What is known of an image before anything is pulled.
pub(crate) enum Look {
    /// The build's jobs have agreed on it.
    Agreed(ImageFacts),
    /// It is what the engine has under that name, if anything.
    Here(Option<ImageFacts>),
}

impl Look {
    /// Whether the image is taken as it is.
    pub(crate) const fn is_enough(&self, policy: PullPolicy) -> bool {
        match (self, policy) {
            (Self::Agreed(_), _) | (Self::Here(Some(_)), PullPolicy::Missing | PullPolicy::Never) => true,
            (Self::Here(Some(_)), PullPolicy::Always) | (Self::Here(None), _) => false,
        }
    }
}

/// What builds have agreed on, and one pull at a time for each image.
pub(crate) struct Images {
    /// What a tag was when a build's first job resolved it: its other jobs, and their retries, get the same. The next build looks
    /// again: somebody may have built the image anew in between.
    agreed: Mutex<HashMap<(BuildId, String), (Instant, ImageFacts)>>,
    pulls: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Images {
    pub(crate) fn new() -> Self {
        Self { agreed: Mutex::default(), pulls: Mutex::default() }
    }

    /// The image if the engine has it.
    async fn here(&self, shared: &Shared, image: &str) -> Result<Option<ImageFacts>, EngineError> {
        let inspected = match shared.docker.inspect_image(image).await.api("inspect an image") {
            Ok(inspected) => inspected,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(EngineError::Refused { status: 400, message, .. }) => {
                return Err(EngineError::ImageMissing { image: image.to_owned(), reason: message });
            }
            Err(error) => return Err(error),
        };
        let config = inspected.config.unwrap_or_default();
        Ok(Some(ImageFacts {
            id: inspected.id.unwrap_or_else(|| image.to_owned()),
            labels: labels::like_ours(config.labels.iter().flat_map(|labels| labels.keys())),
            user: config.user.unwrap_or_default(),
            architecture: inspected.architecture.unwrap_or_default(),
        }))
    }

    /// What the build's jobs have agreed on.
    fn agreed(&self, build: BuildId, image: &str) -> Option<ImageFacts> {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        agreed.get(&(build, image.to_owned())).map(|(_, facts)| facts.clone())
    }

    /// What the build's jobs have agreed on, or what a look at the engine says.
    pub(crate) async fn look(&self, shared: &Shared, build: BuildId, image: &str) -> Result<Look, EngineError> {
        Ok(match self.agreed(build, image) {
            Some(facts) => Look::Agreed(facts),
            None => Look::Here(self.here(shared, image).await?),
        })
    }

    /// The image, pulled if the policy wants it, once a build. Lines for the job's log go to `notes`.
    pub(crate) async fn resolve(
        &self,
        shared: &Shared,
        build: BuildId,
        image: &str,
        look: Look,
        policy: PullPolicy,
        notes: &mpsc::Sender<String>,
    ) -> Result<ImageFacts, EngineError> {
        let here = match look {
            Look::Agreed(facts) => return Ok(facts),
            Look::Here(here) => here,
        };
        let facts = self.resolve_tag(shared, image, here, policy, notes).await?;
        let mut agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        agreed.retain(|_, (at, _)| at.elapsed() < AGREED);
        // Whoever was first has said it for all.
        let (_, facts) = agreed.entry((build, image.to_owned())).or_insert_with(|| (Instant::now(), facts));
        Ok(facts.clone())
    }

    async fn resolve_tag(
        &self,
        shared: &Shared,
        image: &str,
        here: Option<ImageFacts>,
        policy: PullPolicy,
        notes: &mpsc::Sender<String>,
    ) -> Result<ImageFacts, EngineError> {
        match (policy, here) {
            (PullPolicy::Missing | PullPolicy::Never, Some(facts)) => Ok(facts),
            (PullPolicy::Never, None) => Err(EngineError::ImageMissing {
                image: image.to_owned(),
                reason: "it is not on this engine, and pulling is turned off".to_owned(),
            }),
            (PullPolicy::Missing, None) => {
                self.pull(shared, image, notes, shared.options.pull_patience).await?;
                self.pulled(shared, image).await
            }
            (PullPolicy::Always, None) => {
                self.pull(shared, image, notes, shared.options.pull_patience).await?;
                self.pulled(shared, image).await
            }
            // What is here will do: nobody waits for a registry that is down.
            (PullPolicy::Always, Some(facts)) => match self.pull(shared, image, notes, Duration::ZERO).await {
                Ok(()) => self.pulled(shared, image).await,
                Err(EngineError::PullFailed { reason, .. }) => {
                    let _ = notes.send(format!("using the {image} that is here: {reason}")).await;
                    Ok(facts)
                }
                Err(error) => Err(error),
            },
        }
    }

    /// What the build agreed on is not there any more.
    pub(crate) fn disagree(&self, build: BuildId, image: &str) {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner).remove(&(build, image.to_owned()));
    }

    async fn pulled(&self, shared: &Shared, image: &str) -> Result<ImageFacts, EngineError> {
        self.here(shared, image).await?.ok_or_else(|| EngineError::ImageMissing {
            image: image.to_owned(),
            reason: "it was pulled and is gone again".to_owned(),
        })
    }

    /// Tries for `patience` while the registry is down, slow or limits the rate.
    async fn pull(
        &self,
        shared: &Shared,
        image: &str,
        notes: &mpsc::Sender<String>,
        patience: Duration,
    ) -> Result<(), EngineError> {
        let turn = {
            let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            pulls.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(pulls.entry(image.to_owned()).or_default())
        };
        let _turn = match turn.try_lock() {
            Ok(held) => held,
            Err(_) => {
                let _ = notes.send(format!("waiting for a pull of {image} that is under way")).await;
                let held = turn.lock().await;
                if self.here(shared, image).await?.is_some() {
                    return Ok(());
                }
                held
            }
        };
        let give_up = Instant::now() + patience;
        let pauses = ExponentialBuilder::new().with_min_delay(PAUSE).with_max_delay(LONGEST_PAUSE).without_max_times();
        for pause in pauses.build() {
            match self.pull_once(shared, image, notes).await {
                Err(EngineError::PullFailed { reason, .. }) if Instant::now() + pause < give_up => {
                    let seconds = pause.as_secs();
                    let note = format!("{image} cannot be pulled now: {reason}; trying again in {seconds} s");
                    let _ = notes.send(note).await;
                    tokio::time::sleep(pause).await;
                }
                pulled => return pulled,
            }
        }
        self.pull_once(shared, image, notes).await
    }

    async fn pull_once(&self, shared: &Shared, image: &str, notes: &mpsc::Sender<String>) -> Result<(), EngineError> {
        let _ = notes.send(format!("pulling {image}")).await;
        let options = CreateImageOptions { from_image: Some(with_tag(image)), ..CreateImageOptions::default() };
        let mut progress = std::pin::pin!(shared.docker.create_image(Some(options), None, None));
        let mut layers: HashMap<String, bool> = HashMap::new();
        let mut said = Instant::now();
        while let Some(info) = progress.next().await {
            let info = info.api("pull an image").map_err(|error| pull_error(image, error))?;
            let status = info.status.unwrap_or_default();
            match info.id {
                Some(layer) if !status.starts_with("Pulling from") => {
                    layers.insert(layer, matches!(status.as_str(), "Pull complete" | "Already exists"));
                }
                _ if status.starts_with("Status: ") => {
                    let _ = notes.send(status["Status: ".len()..].to_owned()).await;
                }
                _ => {}
            }
            if said.elapsed() >= PROGRESS {
                said = Instant::now();
                let done = layers.values().filter(|done| **done).count();
                let _ = notes.send(format!("pulling {image}: {done} of {} layers are here", layers.len())).await;
            }
        }
        Ok(())
    }
}

/// Without a tag the engine would pull every one there is.
fn with_tag(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

fn pull_error(image: &str, error: EngineError) -> EngineError {
    let EngineError::Refused { message, .. } = &error else { return error };
    let reason = message.clone();
    let lower = reason.to_ascii_lowercase();
    let unreachable =
        ["dial tcp", "no such host", "connection refused", "timeout", "deadline exceeded", "proxyconnect", "x509"];
    let absent =
        ["manifest unknown", "not found", "does not exist", "no matching manifest", "invalid reference format"];
    let image = image.to_owned();
    if unreachable.iter().any(|text| lower.contains(text)) {
        EngineError::PullFailed { image, reason }
    } else if absent.iter().any(|text| lower.contains(text)) {
        EngineError::ImageMissing { image, reason }
    } else {
        EngineError::PullFailed { image, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_core::ErrorKind;

    #[test]
    fn a_name_without_a_tag_means_latest_only() {
        assert_eq!(with_tag("busybox"), "busybox:latest");
        assert_eq!(with_tag("localhost:5000/a/b"), "localhost:5000/a/b:latest");
        assert_eq!(with_tag("a/b:1"), "a/b:1");
        assert_eq!(with_tag("a/b@sha256:00"), "a/b@sha256:00");
    }

    #[test]
    fn a_registry_that_is_down_is_told_from_one_that_says_no() {
        for (text, kind) in [
            (
                "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
                ErrorKind::PullFailed,
            ),
            ("Get \"https://r/v2/\": net/http: request canceled (Client.Timeout exceeded)", ErrorKind::PullFailed),
            ("manifest for busybox:nope not found: manifest unknown: manifest unknown", ErrorKind::ImageMissing),
            (
                "pull access denied for nope, repository does not exist or may require 'docker login'",
                ErrorKind::ImageMissing,
            ),
            ("toomanyrequests: You have reached your pull rate limit", ErrorKind::PullFailed),
        ] {
            let error = pull_error("i", EngineError::Refused { what: "pull", status: 500, message: text.to_owned() });
            assert_eq!(error.kind(), kind, "{text}");
        }
    }
}
