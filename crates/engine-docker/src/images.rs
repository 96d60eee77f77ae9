//! Looks up images on the engine, and pulls them.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error as ApiError;
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt as _;
use longshore_core::{ImageRef, RegistryCredentials, RegistryHost};
use longshore_executor::engine::{Healthcheck, Image, ImageConfig};
use longshore_executor::names::ImageId;
use longshore_executor::{EngineError, PullFailure, Refusal};
use longshore_guard::push_mark;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::error::{ApiResult as _, from_api, misnamed, not_understood};
use crate::labels;

/// Interval between two lines of a pull's progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// Milliseconds that a HEALTHCHECK may take if its image does not say.
const DEFAULT_HEALTHCHECK_TIMEOUT_MS: i64 = 30_000;
/// The name of Docker Hub in credentials.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Limit for what each container of an image takes in the engine's lists, as JSON. All who read a list read all of it.
const MOST_LISTED: usize = 64 << 10;
/// Limit for the volumes of an image.
const MOST_VOLUMES: usize = 16;

/// Returns the image if the engine has it. Every image of a job, a service or a step passes here.
pub(crate) async fn find(docker: &Docker, image: &ImageRef) -> Result<Option<Image>, EngineError> {
    look(docker, image, false).await
}

/// Returns an image that its registry has just given: also one that a job is pushing under that name, if the registry
/// has it.
pub(crate) async fn find_given(docker: &Docker, image: &ImageRef) -> Result<Option<Image>, EngineError> {
    look(docker, image, true).await
}

async fn look(docker: &Docker, image: &ImageRef, is_given: bool) -> Result<Option<Image>, EngineError> {
    const WHAT: &str = "inspect an image";
    let inspected = match docker.inspect_image(&with_tag(image.as_str())).await.api(WHAT) {
        Ok(inspected) => inspected,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(EngineError::Refused { refusal: Refusal::Invalid, message, .. }) => {
            return Err(EngineError::ImageMissing { image: image.to_string(), reason: message });
        }
        Err(error) => return Err(error),
    };
    let names = inspected.repo_tags.iter().flatten().map(String::as_str);
    let repo_digests = inspected.repo_digests.unwrap_or_default();
    // Others do not start what a job pushes, by a name that the registry may not let it push.
    if push_mark(&with_tag(image.as_str()), names).is_some()
        && !(is_given && of_repository(image, &repo_digests).is_some())
    {
        return Ok(None);
    }
    let id = inspected.id.ok_or_else(|| not_understood(WHAT, "it has no id"))?;
    let config = inspected.config.unwrap_or_default();
    check_size(image, &config)?;
    let home = config.env.iter().flatten().find_map(|variable| variable.strip_prefix("HOME=")).map(str::to_owned);
    Ok(Some(Image {
        home,
        bytes: inspected.size.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
        id: ImageId::new(id).map_err(misnamed(WHAT))?,
        labels: labels::like_ours(config.labels.iter().flat_map(|labels| labels.keys())),
        volumes: config.volumes.clone().unwrap_or_default(),
        config: image_config(config),
        digest: digest(image, &repo_digests),
        architecture: inspected.architecture.unwrap_or_default(),
    }))
}

/// Refuses an image whose containers would make the engine's lists too long for those who read them.
fn check_size(image: &ImageRef, config: &bollard::models::ImageConfig) -> Result<(), EngineError> {
    let refused = |reason| Err(EngineError::ImageNotAllowed { image: image.to_string(), reason });
    if config.volumes.iter().flatten().count() > MOST_VOLUMES {
        return refused(format!("it has more than {MOST_VOLUMES} volumes"));
    }
    let listed = (
        (&config.labels, &config.cmd, &config.entrypoint, &config.exposed_ports),
        (&config.volumes, &config.healthcheck, &config.user, &config.working_dir),
    );
    // Plain text and numbers.
    let json = serde_json::to_string(&listed).unwrap_or_default();
    // The engine writes these as `\u003c`.
    let escaped = json.chars().filter(|c| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}')).count();
    if json.len() + 5 * escaped > MOST_LISTED {
        return refused(format!(
            "its labels, command, entrypoint, ports, volumes and health check take more than {} KiB",
            MOST_LISTED >> 10
        ));
    }
    Ok(())
}

/// Returns the digest that the image's own repository gives it, or else another repository.
fn digest(image: &ImageRef, repo_digests: &[String]) -> Option<String> {
    let first = || repo_digests.iter().find_map(|name| ImageRef::parse(name).ok());
    of_repository(image, repo_digests).or_else(first)?.digest().map(str::to_owned)
}

/// Returns the digest that the image has in its own repository.
fn of_repository(image: &ImageRef, repo_digests: &[String]) -> Option<ImageRef> {
    let mut digests = repo_digests.iter().filter_map(|name| ImageRef::parse(name).ok());
    digests.find(|other| other.registry() == image.registry() && other.path() == image.path())
}

/// Returns what the image's containers are started with.
fn image_config(config: bollard::models::ImageConfig) -> ImageConfig {
    let healthcheck = config.healthcheck.and_then(|health| {
        let timeout_ms =
            health.timeout.filter(|nanos| *nanos > 0).map_or(DEFAULT_HEALTHCHECK_TIMEOUT_MS, |nanos| nanos / 1_000_000);
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
pub(crate) async fn pull(
    docker: &Docker,
    image: &ImageRef,
    credentials: Option<&RegistryCredentials>,
    notes: &mpsc::Sender<String>,
) -> Result<(), EngineError> {
    let failed = |error| pull_error(image, credentials.is_some(), error);
    // The engine does not ask the registry for a digest that it has: anybody who knows the digest would get somebody
    // else's image.
    if image.digest().is_some() && find(docker, image).await?.is_some() {
        let asked = docker.inspect_registry_image(image.as_str(), credentials.map(|of| for_engine(image, of)));
        asked.await.map_err(failed)?;
    }
    let options = CreateImageOptions { from_image: Some(with_tag(image.as_str())), ..CreateImageOptions::default() };
    let credentials = credentials.map(|of| for_engine(image, of));
    let mut progress = std::pin::pin!(docker.create_image(Some(options), None, credentials));
    let mut layers: HashMap<String, Layer> = HashMap::new();
    let mut noted = Instant::now();
    while let Some(info) = progress.next().await {
        let info = info.map_err(failed)?;
        let status = info.status.unwrap_or_default();
        match info.id {
            Some(id) if !status.starts_with("Pulling from") => {
                let layer = layers.entry(id).or_default();
                layer.is_here = matches!(status.as_str(), "Pull complete" | "Already exists");
                if let Some(detail) = info.progress_detail.filter(|_| status == "Downloading") {
                    layer.bytes = (detail.current.unwrap_or(0), detail.total.unwrap_or(0));
                } else if layer.is_here || status == "Download complete" {
                    layer.bytes.0 = layer.bytes.1;
                }
            }
            _ if status.starts_with("Status: ") => {
                let _ = notes.send(status["Status: ".len()..].to_owned()).await;
            }
            _ => {}
        }
        if noted.elapsed() >= PROGRESS_INTERVAL {
            noted = Instant::now();
            let _ = notes.send(format!("pulling {image}: {}", progress_of(layers.values()))).await;
        }
    }
    Ok(())
}

/// How far the pull of a layer is.
#[derive(Debug, Clone, Copy, Default)]
struct Layer {
    is_here: bool,
    /// The bytes that have arrived and their total, as far as the engine reports them.
    bytes: (i64, i64),
}

fn progress_of<'a>(layers: impl Iterator<Item = &'a Layer> + Clone) -> String {
    let (all, done) = (layers.clone().count(), layers.clone().filter(|layer| layer.is_here).count());
    let (here, total) = layers.fold((0, 0), |(here, total), layer| (here + layer.bytes.0, total + layer.bytes.1));
    let megabytes = |bytes: i64| bytes.max(0).div_euclid(1_000_000);
    format!("{done} of {all} layers, {} of {} MB", megabytes(here), megabytes(total))
}

/// Credentials as the engine takes them with a call.
fn for_engine(image: &ImageRef, credentials: &RegistryCredentials) -> DockerCredentials {
    let host = RegistryHost::of(image);
    DockerCredentials {
        username: Some(credentials.username().to_owned()),
        password: Some(credentials.expose().to_owned()),
        serveraddress: Some(if host.is_docker_hub() { DOCKER_HUB.to_owned() } else { host.to_string() }),
        ..DockerCredentials::default()
    }
}

/// Adds `:latest` to an image without a tag; otherwise the engine would pull every tag.
fn with_tag(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// Returns why a pull failed, in our words. The engine passes on what the registry answers, which anybody may have
/// written: it is only searched for the reason.
fn pull_error(image: &ImageRef, with_credentials: bool, error: ApiError) -> EngineError {
    let (status, text) = match &error {
        ApiError::DockerResponseServerError { status_code, message } => (Some(*status_code), message),
        ApiError::DockerStreamError { error } => (None, error),
        _ => return from_api("pull an image", error),
    };
    tracing::debug!(%image, text, "a pull failed");
    let text = text.to_ascii_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if any(&["no space left on device"]) {
        return EngineError::NoRoom(format!(
            "no space left on the engine's disk for the image `{image}`: free some (`docker system df`, `docker system prune`)"
        ));
    }
    let why = if any(&["toomanyrequests", "too many requests", "rate limit"]) {
        PullFailure::RateLimited
    } else if any(&["no such host"]) {
        PullFailure::NoSuchHost
    } else if any(&["x509", "certificate"]) {
        PullFailure::NotTrusted
    } else if any(&["server gave http response to https client"]) {
        PullFailure::NotEncrypted
    } else if any(&["timeout", "deadline exceeded", "timed out"]) {
        PullFailure::TimedOut
    } else if any(&["dial tcp", "connection refused", "connection reset", "no route to host", "proxyconnect", "eof"]) {
        PullFailure::Unreachable
    } else if any(&["no matching manifest", "no match for platform"]) {
        PullFailure::OtherPlatform
    } else if any(&["unauthorized", "denied", "authentication required", "no basic auth credentials", "forbidden"]) {
        PullFailure::Denied { with_credentials }
    } else if any(&["manifest unknown", "name unknown", "not known to registry", "not found", "does not exist"]) {
        PullFailure::Absent
    } else if any(&["invalid reference format"]) {
        PullFailure::BadName
    } else {
        PullFailure::Failed(status_of(&text).or(status))
    };
    EngineError::PullFailed { image: image.to_string(), why }
}

/// Returns the registry's status, as in "received unexpected HTTP status: 503 Service Unavailable".
fn status_of(text: &str) -> Option<u16> {
    let rest = ["http status: ", "status code ", "status code: "].iter().find_map(|before| text.split_once(before))?.1;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use longshore_core::ErrorKind;

    use super::*;

    #[test]
    fn a_name_without_a_tag_means_latest_only() {
        assert_eq!(with_tag("busybox"), "busybox:latest");
        assert_eq!(with_tag("localhost:5000/a/b"), "localhost:5000/a/b:latest");
        assert_eq!(with_tag("a/b:1"), "a/b:1");
        assert_eq!(with_tag("a/b@sha256:00"), "a/b@sha256:00");
    }

    #[test]
    fn an_image_that_makes_the_engines_lists_long_is_refused() {
        let image = ImageRef::parse("a").unwrap();
        let label = |text: String| bollard::models::ImageConfig {
            labels: Some(HashMap::from([("label".to_owned(), text)])),
            ..Default::default()
        };
        assert!(check_size(&image, &label("x".repeat(60 << 10))).is_ok());
        for config in [
            label("x".repeat(64 << 10)),
            label("<".repeat(12 << 10)),
            label("\u{1}".repeat(12 << 10)),
            bollard::models::ImageConfig { cmd: Some(vec!["x".repeat(70 << 10)]), ..Default::default() },
            bollard::models::ImageConfig {
                volumes: Some((0..17).map(|at| format!("/{at}")).collect()),
                ..Default::default()
            },
        ] {
            let refused = check_size(&image, &config);
            assert!(matches!(refused, Err(EngineError::ImageNotAllowed { .. })), "{refused:?}");
        }
    }

    #[test]
    fn the_progress_of_a_pull_counts_layers_and_megabytes() {
        let layer = |is_here, here, total| Layer { is_here, bytes: (here, total) };
        let layers = [layer(true, 30_000_000, 30_000_000), layer(false, 2_500_000, 80_000_000), layer(false, 0, 0)];
        assert_eq!(progress_of(layers.iter()), "1 of 3 layers, 32 of 110 MB");
    }

    #[test]
    fn an_image_has_the_digest_of_its_own_repository() {
        let image = ImageRef::parse("registry.example/team/app:1").unwrap();
        let [one, two] = ["1", "2"].map(|digit| format!("sha256:{}", digit.repeat(64)));
        let digests = [format!("other.example/app@{one}"), format!("registry.example/team/app@{two}")];
        assert_eq!(digest(&image, &digests), Some(two));
        assert_eq!(digest(&image, &digests[..1]), Some(one));
        assert_eq!(digest(&image, &[]), None);
    }

    fn failure(text: &str, with_credentials: bool) -> PullFailure {
        let error = ApiError::DockerStreamError { error: text.to_owned() };
        match pull_error(&ImageRef::parse("registry.example/a").unwrap(), with_credentials, error) {
            EngineError::PullFailed { why, .. } => why,
            error => panic!("{error:?}"),
        }
    }

    #[test]
    fn why_a_pull_failed_is_told_in_our_words_only() {
        for (text, why) in [
            (
                "Get \"https://registry.example/v2/\": dial tcp: lookup registry.example on 192.0.2.1:53: no such host",
                PullFailure::NoSuchHost,
            ),
            ("Get \"https://r/v2/\": net/http: request canceled (Client.Timeout exceeded)", PullFailure::TimedOut),
            ("Get \"https://r/v2/\": dial tcp 192.0.2.1:443: connect: connection refused", PullFailure::Unreachable),
            ("Get \"https://r/v2/\": x509: certificate signed by unknown authority", PullFailure::NotTrusted),
            ("Get \"https://r/v2/\": http: server gave HTTP response to HTTPS client", PullFailure::NotEncrypted),
            ("manifest for busybox:nope not found: manifest unknown: manifest unknown", PullFailure::Absent),
            (
                "pull access denied for nope, repository does not exist or may require 'docker login'",
                PullFailure::Denied { with_credentials: false },
            ),
            ("Get \"https://r/v2/\": no basic auth credentials", PullFailure::Denied { with_credentials: false }),
            ("no matching manifest for linux/arm64/v8 in the manifest list entries", PullFailure::OtherPlatform),
            ("toomanyrequests: You have reached your pull rate limit", PullFailure::RateLimited),
            ("received unexpected HTTP status: 503 Service Unavailable", PullFailure::Failed(Some(503))),
            ("unknown: visit https://evil.example and enter your password", PullFailure::Failed(None)),
        ] {
            assert_eq!(failure(text, false), why, "{text}");
            let error = EngineError::PullFailed { image: "i".to_owned(), why }.to_string();
            assert!(!error.contains("evil") && !error.contains("https://r"), "{error}");
        }
        let refused = failure("unauthorized: incorrect username or password", true);
        assert_eq!(refused, PullFailure::Denied { with_credentials: true });
    }

    #[test]
    fn a_registry_that_is_down_is_told_from_one_that_says_no() {
        for (why, kind, is_transient) in [
            (PullFailure::Unreachable, ErrorKind::PullFailed, true),
            (PullFailure::RateLimited, ErrorKind::PullFailed, true),
            (PullFailure::Failed(Some(503)), ErrorKind::PullFailed, true),
            (PullFailure::NoSuchHost, ErrorKind::PullFailed, false),
            (PullFailure::NotTrusted, ErrorKind::PullFailed, false),
            (PullFailure::Denied { with_credentials: true }, ErrorKind::ImageMissing, false),
            (PullFailure::Absent, ErrorKind::ImageMissing, false),
        ] {
            assert_eq!(why.is_transient(), is_transient, "{why:?}");
            assert_eq!(EngineError::PullFailed { image: "i".to_owned(), why }.kind(), kind, "{why:?}");
        }
    }

    #[test]
    fn a_registry_cannot_make_a_full_disk_speak_for_it() {
        let error =
            ApiError::DockerStreamError { error: "unknown: no space left on device, visit evil.example".to_owned() };
        let error = pull_error(&ImageRef::parse("a").unwrap(), false, error);
        assert!(matches!(error, EngineError::NoRoom(_)) && !error.to_string().contains("evil"), "{error}");
    }
}
