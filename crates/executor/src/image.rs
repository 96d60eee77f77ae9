//! The images that jobs name: is it here, what does it say of itself, and how it is pulled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt as _;
use longshore_core::BuildId;
use tokio::sync::mpsc;

use crate::engine::Shared;
use crate::error::{ApiResult as _, EngineError};
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
}

/// Cache of facts, and one pull at a time for each image.
pub(crate) struct Images {
    /// What a tag was when a build's first job resolved it: its other jobs, and their retries, get the same.
    agreed: Mutex<HashMap<(BuildId, String), (Instant, ImageFacts)>>,
    known: Mutex<HashMap<String, (Instant, ImageFacts)>>,
    pulls: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Images {
    pub(crate) fn new() -> Self {
        Self { agreed: Mutex::default(), known: Mutex::default(), pulls: Mutex::default() }
    }

    /// The image if the engine has it.
    pub(crate) async fn here(&self, shared: &Shared, image: &str) -> Result<Option<ImageFacts>, EngineError> {
        let believed = shared.options.tag_believed;
        if let Some((at, facts)) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(image)
            && at.elapsed() < believed
        {
            return Ok(Some(facts.clone()));
        }
        let inspected = match shared.docker.inspect_image(image).await.api("inspect an image") {
            Ok(inspected) => inspected,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(EngineError::Refused { status: 400, message, .. }) => {
                return Err(EngineError::ImageMissing { image: image.to_owned(), reason: message });
            }
            Err(error) => return Err(error),
        };
        let facts = ImageFacts {
            id: inspected.id.unwrap_or_else(|| image.to_owned()),
            user: inspected.config.and_then(|config| config.user).unwrap_or_default(),
            architecture: inspected.architecture.unwrap_or_default(),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, _)| at.elapsed() < believed);
        known.insert(image.to_owned(), (Instant::now(), facts.clone()));
        Ok(Some(facts))
    }

    /// What the build's jobs have agreed on.
    pub(crate) fn agreed(&self, build: BuildId, image: &str) -> Option<ImageFacts> {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        agreed.get(&(build, image.to_owned())).map(|(_, facts)| facts.clone())
    }

    /// The image, pulled if the policy wants it, once a build. Lines for the job's log go to `notes`.
    pub(crate) async fn resolve(
        &self,
        shared: &Shared,
        build: BuildId,
        image: &str,
        policy: PullPolicy,
        notes: &mpsc::Sender<String>,
    ) -> Result<ImageFacts, EngineError> {
        if let Some(facts) = self.agreed(build, image) {
            return Ok(facts);
        }
        let facts = self.resolve_tag(shared, image, policy, notes).await?;
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
        policy: PullPolicy,
        notes: &mpsc::Sender<String>,
    ) -> Result<ImageFacts, EngineError> {
        let here = self.here(shared, image).await?;
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
        self.forget(image);
    }

    /// What we believed of a tag was wrong.
    fn forget(&self, image: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(image);
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
                self.forget(image);
                if self.here(shared, image).await?.is_some() {
                    return Ok(());
                }
                held
            }
        };
        let give_up = Instant::now() + patience;
        let mut pause = PAUSE;
        loop {
            match self.pull_once(shared, image, notes).await {
                Err(EngineError::PullFailed { reason, .. }) if Instant::now() + pause < give_up => {
                    let seconds = pause.as_secs();
                    let note = format!("{image} cannot be pulled now: {reason}; trying again in {seconds} s");
                    let _ = notes.send(note).await;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                pulled => return pulled,
            }
        }
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
        self.forget(image);
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
