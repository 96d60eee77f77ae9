//! Looks up images on the engine, and pulls them.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt as _;
use longshore_core::ImageRef;
use longshore_executor::engine::{Healthcheck, Image, ImageConfig};
use longshore_executor::names::ImageId;
use longshore_executor::{EngineError, Refusal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::error::{ApiResult as _, misnamed, not_understood};
use crate::labels;

/// Interval between two lines of a pull's progress.
const PROGRESS: Duration = Duration::from_secs(5);
/// Milliseconds that a HEALTHCHECK may take if its image does not say.
const PROBE: i64 = 30_000;

/// Returns the image if the engine has it.
pub(crate) async fn find(docker: &Docker, image: &ImageRef) -> Result<Option<Image>, EngineError> {
    const WHAT: &str = "inspect an image";
    let inspected = match docker.inspect_image(image.as_str()).await.api(WHAT) {
        Ok(inspected) => inspected,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(EngineError::Refused { refusal: Refusal::Invalid, message, .. }) => {
            return Err(EngineError::ImageMissing { image: image.to_string(), reason: message });
        }
        Err(error) => return Err(error),
    };
    let id = inspected.id.ok_or_else(|| not_understood(WHAT, "it has no id"))?;
    let config = inspected.config.unwrap_or_default();
    Ok(Some(Image {
        id: ImageId::new(id).map_err(misnamed(WHAT))?,
        labels: labels::like_ours(config.labels.iter().flat_map(|labels| labels.keys())),
        config: image_config(config),
        architecture: inspected.architecture.unwrap_or_default(),
    }))
}

/// What the image's containers are started with.
fn image_config(config: bollard::models::ImageConfig) -> ImageConfig {
    let healthcheck = config.healthcheck.and_then(|health| {
        let timeout_ms = health.timeout.filter(|nanos| *nanos > 0).map_or(PROBE, |nanos| nanos / 1_000_000);
        let mut words = health.test?.into_iter();
        let command = match words.next()?.as_str() {
            "CMD" => words.collect(),
            "CMD-SHELL" => ["/bin/sh".to_owned(), "-c".to_owned()].into_iter().chain(words).collect(),
            _ => return None,
        };
        Some(Healthcheck { command, timeout_ms: u64::try_from(timeout_ms).unwrap_or(0) })
    });
    let mut ports: Vec<u16> = config
        .exposed_ports
        .unwrap_or_default()
        .into_iter()
        .filter_map(|port| port.strip_suffix("/tcp").unwrap_or(&port).parse().ok())
        .collect();
    ports.sort_unstable();
    ImageConfig {
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        directory: config.working_dir.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        healthcheck,
        ports,
    }
}

/// Pulls once. The engine stops pulling when this future is dropped.
pub(crate) async fn pull(docker: &Docker, image: &ImageRef, notes: &mpsc::Sender<String>) -> Result<(), EngineError> {
    let options = CreateImageOptions { from_image: Some(with_tag(image.as_str())), ..CreateImageOptions::default() };
    let mut progress = std::pin::pin!(docker.create_image(Some(options), None, None));
    let mut layers: HashMap<String, bool> = HashMap::new();
    let mut noted = Instant::now();
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
        if noted.elapsed() >= PROGRESS {
            noted = Instant::now();
            let done = layers.values().filter(|done| **done).count();
            let _ = notes.send(format!("pulling {image}: {done} of {} layers are here", layers.len())).await;
        }
    }
    Ok(())
}

/// Adds `:latest` to an image without a tag; otherwise the engine would pull every tag.
fn with_tag(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// Tells whether the registry refuses the image or does not answer.
fn pull_error(image: &ImageRef, error: EngineError) -> EngineError {
    let EngineError::Refused { message, .. } = &error else { return error };
    let reason = message.clone();
    let lower = reason.to_ascii_lowercase();
    let unreachable =
        ["dial tcp", "no such host", "connection refused", "timeout", "deadline exceeded", "proxyconnect", "x509"];
    let absent =
        ["manifest unknown", "not found", "does not exist", "no matching manifest", "invalid reference format"];
    let image = image.to_string();
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
    use bollard::errors::Error as ApiError;
    use longshore_core::ErrorKind;

    use super::*;
    use crate::error::from_api;

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
            let error =
                from_api("pull", ApiError::DockerResponseServerError { status_code: 500, message: text.to_owned() });
            let error = pull_error(&ImageRef::parse("i").unwrap(), error);
            assert_eq!(error.kind(), kind, "{text}");
        }
    }
}
