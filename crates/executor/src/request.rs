//! A job for the executor to run, and the updates that it sends meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use longshore_agent_protocol::mask::Patterns;
use longshore_agent_protocol::message::{ProgramSpec, ServiceSpec};
use longshore_agent_protocol::{ArtifactSpec, JobSpec, MemberId, StepSpec};
use longshore_core::expression::Value;
use longshore_core::plan::{Collected, WORKSPACE};
use longshore_core::result::{AgentError, JobResult, StepResult};
use longshore_core::{BuildId, ErrorKind, ImageRef, JobId, JobPlan, Outcome, StepPlan, Template, Timestamp};
use tokio::sync::mpsc;

use crate::attempt::AttemptId;
use crate::engine::DockerSocket;
use crate::error::EngineError;
use crate::following::artifacts::ArtifactStore;
use crate::following::checkout::CheckoutSource;
use crate::guarding::docker::DockerAccess;
use crate::lasting::job_caches::{JobCache, JobCaches};
use crate::operator_env::OperatorEnv;
use crate::options::{Limits, PullPolicy};
use crate::pulling::image_access::ImageAccess;

/// Everything needed to run one attempt.
#[derive(Clone)]
pub struct JobRequest {
    pub build: BuildId,
    pub job: JobId,
    /// Counts from 1.
    pub attempt: u32,
    /// Repository and trust level: sandboxes are never shared between two scopes.
    pub scope: String,
    /// Its image is known; the agent fills in the rest.
    pub plan: JobPlan,
    /// What the operator gives every container of the job. The plan's own variables win over these.
    pub operator: OperatorEnv,
    /// Variables that override the plan's environment.
    pub env: BTreeMap<String, String>,
    /// Variables that override both. Their values are masked, and travel over the attached stream only.
    pub secrets: BTreeMap<String, String>,
    /// Secrets that are files, by the variables that contain their paths; masked as well.
    pub secret_files: BTreeMap<String, String>,
    /// Contexts of expressions in addition to the plan's: `build`, `needs`, `secrets`.
    pub known: BTreeMap<String, Value>,
    /// More values to mask.
    pub masks: Vec<String>,
    pub checkout: Option<Arc<dyn CheckoutSource>>,
    /// Where the files that it leaves are stored. Without it, it leaves none.
    pub artifacts: Option<Arc<dyn ArtifactStore>>,
    pub limits: Limits,
    /// When registries are asked for images, if the plan does not set it.
    pub pull: PullPolicy,
    /// Which images it may use, and with whose credentials.
    pub images: ImageAccess,
    pub docker: DockerAccess,
    pub caches: JobCaches,
    pub workspace: Workspace,
}

/// What a job's workspace starts with, and what happens to it afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Workspace {
    /// The attempts whose workspaces it begins on: the needed job's, then the one that that one began on, and so on.
    pub base: Vec<AttemptId>,
    /// The needed job, for people.
    pub needed: String,
    /// Another job begins on it, so it outlives this one.
    pub kept: bool,
}

impl JobRequest {
    /// Returns the attempt that this request is for.
    #[must_use]
    pub const fn attempt_id(&self) -> AttemptId {
        AttemptId { job: self.job, attempt: self.attempt }
    }

    /// Returns the job's image.
    pub(crate) fn image(&self) -> Result<ImageRef, EngineError> {
        let image = self.shown_image();
        ImageRef::parse(&image).map_err(|error| EngineError::ImageMissing { image, reason: error.to_string() })
    }

    /// Returns when the registry is asked for the job's image.
    pub(crate) fn pull(&self) -> PullPolicy {
        self.plan.pull.unwrap_or(self.pull)
    }

    /// Returns when the registry is asked for the image of a container beside the job's.
    pub(crate) fn pull_of(&self, member: MemberId) -> PullPolicy {
        let of_member = match member {
            MemberId::Service(at) => self.plan.services.get(usize::from(at)).and_then(|service| service.pull),
            MemberId::Step(at, _) => self.plan.steps.get(usize::from(at)).and_then(|step| step.pull),
        };
        of_member.unwrap_or_else(|| self.pull())
    }

    /// Refuses a job one of whose images its rule does not allow, as far as their names are known.
    pub(crate) fn check_images(&self) -> Result<(), EngineError> {
        self.images.check(&self.image()?)?;
        let services = self.plan.services.iter().map(|service| &service.image);
        let steps = self.plan.steps.iter().filter_map(|step| step.image.as_ref());
        for name in services.chain(steps).filter_map(Template::as_known) {
            let image = ImageRef::parse(name)
                .map_err(|error| EngineError::ImageMissing { image: name.to_owned(), reason: error.to_string() })?;
            self.images.check(&image)?;
        }
        Ok(())
    }

    /// Returns the image's name, for people.
    fn shown_image(&self) -> String {
        self.plan.image.as_known().map_or_else(|| self.plan.image.shown(), str::to_owned)
    }

    /// Returns its timeout in milliseconds.
    pub(crate) fn timeout_ms(&self) -> u64 {
        let most = self.limits.time.map_or(u64::MAX, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self.plan.timeout_ms.min(most)
    }

    /// Returns which Docker API the job's own container, and those of its steps, get.
    pub(crate) const fn docker_socket(&self) -> DockerSocket {
        match self.docker {
            DockerAccess::None => DockerSocket::None,
            DockerAccess::Guarded(_) => DockerSocket::Guarded,
            DockerAccess::Raw => DockerSocket::Raw,
        }
    }

    /// Returns whether it needs containers beside its own.
    pub(crate) fn has_members(&self) -> bool {
        !self.plan.services.is_empty() || self.plan.steps.iter().any(|step| step.image.is_some())
    }

    /// Returns every value that the agent masks.
    fn hidden(&self) -> impl Iterator<Item = &str> {
        self.masks.iter().chain(self.secrets.values()).chain(self.secret_files.values()).map(String::as_str)
    }

    /// Returns the values to mask, as patterns to look for in what the agent sends. `None` if there is nothing to mask.
    pub(crate) fn patterns(&self) -> Result<Option<Arc<Patterns>>, EngineError> {
        let of_registries: Vec<String> = self.images.hidden().collect();
        let hidden: Vec<&str> = self.hidden().chain(of_registries.iter().map(String::as_str)).collect();
        Patterns::new(&hidden)
            .map_err(|error| EngineError::Local { what: "the masks cannot be built", reason: error.to_string() })
    }

    /// Returns the plan that is sent to the agent.
    pub(crate) fn spec(&self, user: &str) -> JobSpec {
        let mut env = self.plan.env.clone();
        env.extend(self.env.iter().chain(&self.secrets).map(|(name, value)| (name.clone(), value.as_str().into())));
        let mut env = self.operator.below(env);
        for (name, value) in self.docker.variables() {
            env.entry(name.to_owned()).or_insert_with(|| value.into());
        }
        let mut known = self.plan.known.clone();
        known.extend(self.known.clone());
        JobSpec {
            env,
            known,
            secret_files: self.secret_files.clone(),
            outputs: self.plan.outputs.clone(),
            masks: self.hidden().map(str::to_owned).collect(),
            workspace: WORKSPACE.to_owned(),
            user: user.to_owned(),
            timeout_ms: self.timeout_ms(),
            grace_ms: u64::try_from(self.limits.grace.as_millis()).unwrap_or(u64::MAX),
            checkout: self.checkout.is_some(),
            steps: (0..)
                .zip(&self.plan.steps)
                .map(|(at, step)| StepSpec {
                    id: step.id.clone(),
                    name: step.name.clone(),
                    run: step.run.clone().unwrap_or_default(),
                    env: self.operator.in_both_cases(with_settings(step)),
                    working_directory: step.working_directory.clone(),
                    shell: step.shell.clone(),
                    condition: step.condition.clone(),
                    continue_on_error: step.continue_on_error,
                    timeout_ms: step.timeout_ms,
                    retry: step.retry.clone(),
                    user: step.user.clone(),
                    tty: step.tty,
                    background: step.background,
                    image: step.image.clone(),
                    program: (step.image.is_some() && step.run.is_none())
                        .then(|| ProgramSpec { entrypoint: step.entrypoint.clone(), command: step.command.clone() }),
                    wait: step.wait.iter().flat_map(|wait| wait.positions(self.plan.steps_before(at))).collect(),
                })
                .collect(),
            services: self
                .plan
                .services
                .iter()
                .map(|service| ServiceSpec {
                    name: service.name.clone(),
                    env: self.operator.below(service.env.clone()),
                    program: ProgramSpec { entrypoint: service.entrypoint.clone(), command: service.command.clone() },
                    user: service.user.clone(),
                    ready: service.ready.clone(),
                })
                .collect(),
            path: Vec::new(),
            on_workspace: !self.workspace.base.is_empty(),
            caches: self.caches.wanted.iter().flat_map(JobCache::specs).collect(),
            authorities: self.operator.authorities.clone(),
            pod_secret: None,
            member: None,
            artifacts: self.artifact_specs(),
            artifact_limits: (self.artifacts.is_some() && self.leaves_files()).then_some(self.limits.artifacts),
        }
    }

    /// Returns whether the plan says that it leaves files.
    pub(crate) fn leaves_files(&self) -> bool {
        !self.plan.collected().is_empty()
    }

    /// Returns what the agent collects.
    fn artifact_specs(&self) -> Vec<ArtifactSpec> {
        if self.artifacts.is_none() {
            return Vec::new();
        }
        let spec = |one: Collected<'_>| ArtifactSpec {
            kind: one.kind,
            name: one.name,
            paths: one.paths.to_vec(),
            when: one.when,
        };
        self.plan.collected().into_iter().map(spec).collect()
    }

    /// Returns the outcome for the agent's result. The agent takes every TERM for a cancel; `canceled` says whether
    /// somebody asked us for one.
    pub(crate) fn outcome_of(&self, result: JobResult, canceled: bool) -> Outcome {
        match result {
            JobResult::Success => Outcome::Success,
            JobResult::Failure { step, exit_code, out_of_memory } => {
                let step = self
                    .plan
                    .steps
                    .get(usize::from(step))
                    .map_or_else(|| format!("step {step}"), |step| step.name.clone());
                Outcome::Failure { exit_code, step, out_of_memory }
            }
            JobResult::TimedOut { limit_ms } => Outcome::TimedOut { limit_ms },
            JobResult::Canceled if canceled => Outcome::Canceled,
            JobResult::Canceled => Outcome::Error {
                kind: ErrorKind::Lost,
                message:
                    "the job's container was stopped from outside (docker stop, a restart of the engine); rerun the job"
                        .to_owned(),
            },
            JobResult::Error { kind, message } => {
                let kind = match kind {
                    AgentError::ImageUnusable => ErrorKind::ImageUnusable,
                    AgentError::CheckoutFailed => ErrorKind::CheckoutFailed,
                    AgentError::DiskFull => ErrorKind::DiskFull,
                    AgentError::Expression => ErrorKind::Expression,
                    AgentError::ArtifactsFailed => ErrorKind::ArtifactsFailed,
                    AgentError::ServiceFailed => ErrorKind::ServiceFailed,
                    AgentError::ContainerFailed => ErrorKind::ContainerFailed,
                    AgentError::Protocol | AgentError::Internal => ErrorKind::AgentFailed,
                };
                let of_step = message.starts_with("step `");
                let message = if kind == ErrorKind::ImageUnusable && !of_step {
                    format!("image `{}`: {message}", self.shown_image())
                } else {
                    message
                };
                Outcome::Error { kind, message }
            }
        }
    }
}

/// Returns a step's variables, with the settings of a plugin as the `PLUGIN_*` that it reads.
fn with_settings(step: &StepPlan) -> BTreeMap<String, Template> {
    let setting = |(name, value): (&String, &Template)| {
        (format!("PLUGIN_{}", name.to_uppercase().replace(['-', '.'], "_")), value.clone())
    };
    step.env.clone().into_iter().chain(step.with.iter().map(setting)).collect()
}

impl fmt::Debug for JobRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Omits secrets and masks, and the environment, which may quote them.
        f.debug_struct("JobRequest")
            .field("build", &self.build)
            .field("job", &self.job)
            .field("attempt", &self.attempt)
            .field("key", &self.plan.key)
            .finish_non_exhaustive()
    }
}

/// A job that an earlier process had claimed.
#[derive(Debug, Clone)]
pub struct AdoptRequest {
    pub job: JobRequest,
    /// The last known session number; 0 if there is none.
    pub session: u32,
    /// Whether its agent is known to have begun. If so, a missing container means that the job is lost; otherwise the
    /// container still has to be created.
    pub began: bool,
}

/// An event in a running job. Updates are sent in order. The receiver has to keep reading, because a full channel
/// delays the job's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobUpdate {
    Phase(Phase),
    /// The started container is about to be removed, because nothing of the job has run in it: the job has not begun. A
    /// process that adopts the job has to know this, or it takes the job for lost.
    StartsOver(Stored),
    /// A session with this number is about to be opened.
    Session(u32),
    /// Sent once it is in the journal, as the following updates are.
    StepStarted {
        step: u16,
        time: Timestamp,
    },
    StepFinished {
        step: u16,
        time: Timestamp,
        result: StepResult,
    },
    ServiceReady {
        step: u16,
        time: Timestamp,
    },
    /// The image that a container is started from: a step's or a service's, or with `None` the job's own. Not in the
    /// journal, and so not sent again to the next process.
    Image {
        step: Option<u16>,
        image: UsedImage,
    },
    /// The outputs for the jobs that need this one.
    Outputs(BTreeMap<String, String>),
}

/// To be dropped by the receiver of an update once the update is stored.
#[derive(Debug, Clone)]
pub struct Stored(#[expect(dead_code, reason = "its end is what is waited for")] mpsc::Sender<()>);

impl Stored {
    /// Returns the other end too, which hears nothing but the end.
    pub(crate) fn new() -> (Self, mpsc::Receiver<()>) {
        let (stored, heard) = mpsc::channel(1);
        (Self(stored), heard)
    }
}

impl PartialEq for Stored {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Stored {}

/// An image that a container was started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedImage {
    pub name: String,
    /// `sha256:...`: what its registry calls it; `None` if it came from no registry.
    pub digest: Option<String>,
}

/// The phase that a job has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Pulling,
    Starting,
    Running,
}
