//! Finds jobs' containers, inspects their state, and kills them.

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum};
use bollard::query_parameters::KillContainerOptionsBuilder;
use longshore_core::Timestamp;
use longshore_executor::engine::{
    End, FoundMember, FoundPod, MemberId, MemberStanding, Pod, PodSecret, Removal, Standing,
};
use longshore_executor::names::{ContainerId, ContainerName, Instance, Nonce};
use longshore_executor::{AttemptId, EngineError, Refusal};

use crate::container::JOINED;
use crate::error::{ApiResult as _, misnamed, not_understood};
use crate::labels;
use crate::link::EXEC_ERROR;
use crate::unanswered::unless_unanswered;

const INSPECT: &str = "inspect a container";
/// What the engine says of a container that has not ended is long before.
const NEVER: Timestamp = Timestamp::from_millis(0);

/// Returns the attempt's container, if there is one. It is looked up by its name and recognised by its labels.
pub(crate) async fn find(
    docker: &Docker,
    instance: &Instance,
    attempt: AttemptId,
) -> Result<Option<FoundPod>, EngineError> {
    let Some(Inspected { inspected, started, .. }) = inspect_own(docker, instance, attempt, None).await? else {
        return Ok(None);
    };
    let pod = pod(inspected, attempt).ok_or_else(|| {
        not_understood(INSPECT, format!("{} does not look like one of ours", attempt.container_name()))
    })?;
    Ok(Some(FoundPod { pod, started }))
}

/// Returns a container beside the job's, if there is one.
pub(crate) async fn find_member(
    docker: &Docker,
    instance: &Instance,
    attempt: AttemptId,
    member: MemberId,
) -> Result<Option<FoundMember>, EngineError> {
    let Some(Inspected { inspected, started, running }) = inspect_own(docker, instance, attempt, Some(member)).await?
    else {
        return Ok(None);
    };
    let standing = match (running, started) {
        (true, _) => MemberStanding::Running,
        (false, true) => MemberStanding::Ended,
        (false, false) => MemberStanding::Created,
    };
    let mut key = [0; 16];
    let words = inspected.config.and_then(|config| config.entrypoint).unwrap_or_default();
    let given = words.iter().skip_while(|word| *word != "--marker").nth(1);
    if given.is_none_or(|given| hex::decode_to_slice(given, &mut key).is_err()) {
        return Err(not_understood(INSPECT, format!("{} does not look like one of ours", attempt.member_name(member))));
    }
    Ok(Some(FoundMember { container: created(inspected.id.unwrap_or_default())?, standing, key }))
}

/// Returns the container of this name if it was made for an attempt.
pub(crate) async fn find_named(
    docker: &Docker,
    instance: &Instance,
    attempt: AttemptId,
    name: &ContainerName,
) -> Result<Option<ContainerId>, EngineError> {
    let inspected = match docker.inspect_container(name.as_str(), None).await.api(INSPECT) {
        Ok(inspected) => inspected,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let labels = inspected.config.and_then(|config| config.labels).unwrap_or_default();
    let is_ours = labels.get(labels::INSTANCE).map(String::as_str) == Some(instance.as_str())
        && labels::attempt(&labels) == Some(attempt);
    inspected.id.filter(|_| is_ours).map(created).transpose()
}

/// A container that was created for an attempt.
struct Inspected {
    inspected: ContainerInspectResponse,
    /// It runs, or has run.
    started: bool,
    running: bool,
}

/// Inspects the job's container, or one beside it. It is looked up by its name and recognised by its labels.
async fn inspect_own(
    docker: &Docker,
    instance: &Instance,
    attempt: AttemptId,
    member: Option<MemberId>,
) -> Result<Option<Inspected>, EngineError> {
    let name = member.map_or_else(|| attempt.container_name(), |member| attempt.member_name(member));
    let inspected = match unless_unanswered(docker, INSPECT, docker.inspect_container(name.as_str(), None)).await {
        Ok(inspected) => inspected,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let label = |key| inspected.config.as_ref()?.labels.as_ref()?.get(key).filter(|text| !text.is_empty()).cloned();
    let of_attempt = label(labels::JOB) == Some(attempt.job.to_string())
        && label(labels::ATTEMPT) == Some(attempt.attempt.to_string())
        && label(labels::MEMBER) == member.map(|member| member.to_string());
    if of_attempt && let Some(instance) = label(labels::INSTANCE).filter(|other| other != instance.as_str()) {
        return Err(EngineError::Elsewhere { container: name.to_string(), instance });
    }
    if !of_attempt {
        return Err(EngineError::Refused {
            refusal: Refusal::Conflict,
            what: "create a container",
            code: 409,
            message: format!("another container is named {name}: remove or rename it"),
        });
    }
    let state = inspected.state.as_ref().ok_or_else(|| not_understood(INSPECT, "it has no state"))?;
    let running = is_running(state)?;
    let started = running || state.started_at.as_ref().is_some_and(|at| !at.is_empty() && !at.starts_with("0001-"));
    Ok(Some(Inspected { inspected, started, running }))
}

/// Restores from an inspected container what was known when it was created.
fn pod(inspected: ContainerInspectResponse, attempt: AttemptId) -> Option<Pod> {
    let config = inspected.config?;
    let mut nonce = [0; 16];
    hex::decode_to_slice(config.entrypoint?.last()?, &mut nonce).ok()?;
    let mut labels = config.labels.unwrap_or_default();
    // A container of an earlier build has none.
    let mut secret = nonce;
    if let Some(text) = labels.remove(labels::POD) {
        hex::decode_to_slice(text, &mut secret).ok()?;
    }
    let network = inspected.host_config?.network_mode?;
    Some(Pod {
        container: ContainerId::new(inspected.id?).ok()?,
        volume: attempt.volume_name(),
        sandbox: ContainerId::new(network.strip_prefix(JOINED)?).ok()?,
        nonce: Nonce(nonce),
        secret: PodSecret(secret),
        user: labels.remove(labels::USER).unwrap_or_default(),
    })
}

/// Returns whether a container runs, and how it ended.
pub(crate) async fn standing(docker: &Docker, id: &ContainerId) -> Result<Standing, EngineError> {
    match docker.inspect_container(id.as_str(), None).await.api(INSPECT) {
        Ok(inspected) => read_standing(inspected.state),
        Err(error) if error.is_not_found() => Ok(Standing::Vanished),
        Err(error) => Err(error),
    }
}

fn read_standing(state: Option<ContainerState>) -> Result<Standing, EngineError> {
    let state = state.ok_or_else(|| not_understood(INSPECT, "it has no state"))?;
    if is_running(&state)? {
        return Ok(Standing::Running);
    }
    let message = state.error.filter(|text| !text.is_empty());
    Ok(Standing::Ended(End {
        code: state.exit_code.ok_or_else(|| not_understood(INSPECT, "it has ended without an exit code"))?,
        out_of_memory: state.oom_killed == Some(true),
        cannot_run: message.as_ref().is_some_and(|text| text.contains(EXEC_ERROR)),
        message,
        at: state.finished_at.and_then(|at| serde_json::from_value(at.into()).ok()).filter(|at| *at > NEVER),
        removal: match state.status {
            Some(ContainerStateStatusEnum::REMOVING) => Removal::UnderWay,
            Some(ContainerStateStatusEnum::DEAD) => Removal::Failed,
            _ => Removal::No,
        },
    }))
}

fn is_running(state: &ContainerState) -> Result<bool, EngineError> {
    state.running.ok_or_else(|| not_understood(INSPECT, "it does not say whether it runs"))
}

/// Checks the id in the answer to a create call.
pub(crate) fn created(id: String) -> Result<ContainerId, EngineError> {
    ContainerId::new(id).map_err(misnamed("create a container"))
}

pub(crate) async fn kill(docker: &Docker, id: &ContainerId) -> Result<(), EngineError> {
    let options = KillContainerOptionsBuilder::new().signal("KILL").build();
    docker.kill_container(id.as_str(), Some(options)).await.api("kill a container")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_of_a_pod_is_in_a_label_and_an_earlier_builds_is_its_nonce() {
        let attempt = AttemptId { job: longshore_core::JobId::new(), attempt: 1 };
        let found = |labels: &[(&str, String)]| {
            let labels = labels.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect();
            let config = bollard::models::ContainerConfig {
                entrypoint: Some(vec!["--marker".to_owned(), hex::encode([1; 16])]),
                labels: Some(labels),
                ..Default::default()
            };
            let host_config =
                bollard::models::HostConfig { network_mode: Some(format!("{JOINED}ab")), ..Default::default() };
            let id = Some("cd".to_owned());
            let inspected = ContainerInspectResponse {
                id,
                config: Some(config),
                host_config: Some(host_config),
                ..ContainerInspectResponse::default()
            };
            pod(inspected, attempt).map(|pod| (pod.nonce.0, pod.secret.0))
        };
        assert_eq!(found(&[(labels::POD, hex::encode([2; 16]))]), Some(([1; 16], [2; 16])));
        assert_eq!(found(&[]), Some(([1; 16], [1; 16])));
        assert_eq!(found(&[(labels::POD, "no secret".to_owned())]), None);
    }

    #[test]
    fn a_state_that_says_nothing_is_an_error_and_no_end() {
        let state = |running, exit_code| ContainerState { running, exit_code, ..ContainerState::default() };
        for unknown in [None, Some(state(None, Some(0))), Some(state(Some(false), None))] {
            let read = read_standing(unknown.clone());
            assert!(matches!(read, Err(EngineError::NotUnderstood { .. })), "{unknown:?}: {read:?}");
        }
        assert_eq!(read_standing(Some(state(Some(true), Some(0)))).unwrap(), Standing::Running);
        let ended = read_standing(Some(state(Some(false), Some(7)))).unwrap();
        assert!(matches!(ended, Standing::Ended(End { code: 7, at: None, removal: Removal::No, .. })), "{ended:?}");
        for (said, at) in [("2026-01-31T12:00:00.123456789Z", Some(1_769_860_800_123)), ("0001-01-01T00:00:00Z", None)]
        {
            let ended = ContainerState { finished_at: Some(said.to_owned()), ..state(Some(false), Some(0)) };
            let Standing::Ended(end) = read_standing(Some(ended)).unwrap() else { panic!("it has ended") };
            assert_eq!(end.at.map(Timestamp::as_millis), at, "{said}");
        }
    }
}
