//! The frozen plan: what a build does. It is decided once, stored as JSON, and never changed.
//!
//! The scheduler makes it from pipeline files and an event; the dispatcher, the executor and the pages read it. It
//! contains the names of secrets, never their values. Values that are unknown when the plan is frozen (outputs of steps
//! and jobs, secrets, the build's number) are in it as a [`Template`] or an [`Expression`]; everything else is plain
//! text.
//!
//! The values beyond [`JobPlan::known`] come later. When a job's needs have ended, the server knows `build`, `needs`,
//! `secrets` and, for the job's own texts ([`JobPlan::change_own`]), the job's `env`. Between steps, the agent knows
//! `steps`, `env` (the environment of the next step, `LONGSHORE_ENV` included) and `hash-files`.

mod collected;
mod pull;
mod step;
mod texts;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    collected::{ArtifactPlan, ArtifactWhen, Collected, ReportFormat, Reports},
    pull::PullPolicy,
    step::{StepPlan, Wait},
};
use crate::{
    docker::Docker,
    expression::{Expression, Value},
    template::Template,
};

/// The path of the workspace in a job's container; also the value of `CI_WORKSPACE`.
pub const WORKSPACE: &str = "/longshore/workspace";

/// The version of the JSON format of [`BuildPlan`].
pub const VERSION: u32 = 2;

/// A build's jobs, in the order of the files and of the jobs in each file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPlan {
    /// The version of the JSON format: [`VERSION`].
    pub version: u32,
    pub jobs: Vec<JobPlan>,
}

impl BuildPlan {
    #[must_use]
    pub const fn new(jobs: Vec<JobPlan>) -> Self {
        Self { version: VERSION, jobs }
    }
}

/// One job: one container on one workspace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobPlan {
    /// Unique in the build: `pipeline/job`, followed by ` (a, b)` for a matrix.
    pub key: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The job's key in its file. All jobs of a matrix have the same.
    pub job: String,
    /// The name for people: `job`, followed by ` (a, b)` for a matrix.
    pub name: String,
    /// The matrix's values for this job, in the file's order of axes; empty without a matrix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matrix: Vec<(String, String)>,
    /// How the jobs of one matrix affect each other; `None` without a matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix_group: Option<MatrixGroup>,
    /// The jobs that must have ended before this one starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// The key of the needed job whose workspace it begins on. The job then has no checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_of: Option<String>,
    /// `if`, evaluated when all needs have ended. [`runs`](crate::expression::runs) decides for jobs without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Expression>,
    /// The question that somebody must answer with yes before the job starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// The same for a commit of a stranger (see [`stranger::question`](crate::stranger::question)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stranger: Option<String>,
    /// The pipeline's group, the same for all its jobs. Only one build of the repository has the group at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// The labels that a server must have to run the job.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runs_on: BTreeMap<String, String>,
    pub image: Template,
    /// When its registry is asked for it; by default, as the server's setting says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<PullPolicy>,
    /// What its containers can reach.
    #[serde(default, skip_serializing_if = "is_default_network")]
    pub network: Network,
    /// Capabilities that it asks for beyond those of every job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// The environment of every step: `CI_*`, then the pipeline's variables, then the job's. Later ones override.
    pub env: BTreeMap<String, Template>,
    /// The secrets that the job gets. No others leave the store for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretUse>,
    /// The values of `event`, `repo`, `matrix` and `inputs` that its templates and conditions refer to, and no others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub known: BTreeMap<String, Value>,
    /// How the commit's files get into the workspace. `None` for an empty workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkout: Option<Checkout>,
    /// The files that the job depends on, as globs: an earlier success with the same ones is used instead. Its
    /// workspace has no others, and no history. Empty for a job that always runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reuse: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServicePlan>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<CachePlan>,
    pub steps: Vec<StepPlan>,
    /// The outputs for jobs that need this one, filled in after its last step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, Template>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactPlan>,
    #[serde(default, skip_serializing_if = "Reports::is_empty")]
    pub reports: Reports,
    pub timeout_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Whether the build may succeed although this job did not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub continue_on_error: bool,
    /// What the job asks for of Docker.
    #[serde(default, skip_serializing_if = "Docker::is_none")]
    pub docker: Docker,
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Whether the planner made sure that no text becomes script that the pipeline's author did not write. `false` in
    /// plans of versions before that rule, where such text can no longer be told from the script.
    #[serde(default, skip_serializing_if = "is_false")]
    pub scripts_judged: bool,
}

impl JobPlan {
    /// Returns the keys of the jobs that hand something to it: the one whose workspace it begins on, those whose
    /// artifacts it takes, and those whose outputs are in its texts or conditions. A key may come twice.
    pub fn takes_from(&self) -> impl Iterator<Item = &str> {
        let outputs_of = self.refers().outputs_of;
        let takes = move |need: &&Need| {
            !need.artifacts.is_empty() || outputs_of.iter().any(|job| job.as_ref().is_none_or(|job| *job == need.job))
        };
        let needs = self.needs.iter().filter(takes).map(|need| need.key.as_str());
        self.workspace_of.as_deref().into_iter().chain(needs)
    }

    /// Returns the question that somebody must answer with yes before the job starts.
    #[must_use]
    pub fn question(&self) -> Option<String> {
        match (&self.approval, &self.stranger) {
            (Some(asked), Some(of_commit)) => Some(format!("{asked} ({of_commit})")),
            (Some(asked), None) => Some(asked.clone()),
            (None, of_commit) => of_commit.clone(),
        }
    }
}

/// What a job's containers can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// What the engine's host reaches, except the addresses that the server denies.
    #[default]
    Default,
    /// The job's services, and nothing else.
    Internal,
    /// Nothing; such a job has no services.
    None,
}

impl Network {
    pub const ALL: [Self; 3] = [Self::Default, Self::Internal, Self::None];

    /// Returns the word, as in pipelines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Internal => "internal",
            Self::None => "none",
        }
    }

    /// Returns whether the containers reach anything outside their pod.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::Default => true,
            Self::Internal | Self::None => false,
        }
    }
}

fn is_default_network(network: &Network) -> bool {
    *network == Network::Default
}

/// A job that must have ended before another one starts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Need {
    /// The needed job's [`JobPlan::key`].
    pub key: String,
    /// The needed job's [`JobPlan::job`]: its name in `needs.<job>`.
    pub job: String,
    /// Whether the result of the needed job does not matter. The job waits for it anyway.
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
    /// The names of its artifacts whose files are put into the workspace; `*` for all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<String>,
}

/// How the jobs of one matrix, which have the same `pipeline` and `job`, affect each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixGroup {
    /// Whether a failure skips the jobs that wait and cancels the jobs that run.
    pub fail_fast: bool,
    /// How many of the jobs run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
}

/// A group that only one build of a repository has at a time, from the start of its first job until all jobs of the
/// pipeline have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    pub group: String,
    /// Whether a newer build cancels the older one. Otherwise the newer one waits, in the order of creation.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cancel_in_progress: bool,
}

/// A secret of the repository that a job gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    /// The name in the store.
    pub name: String,
    /// The environment variable for the value or, if `file` is set, for the path of a file with the value.
    pub variable: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub file: bool,
    /// Whether no variable of every step holds it, so that only what refers to `secrets` has it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub by_name: bool,
}

/// How the commit's files get into the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// The number of commits of history; 0 for all.
    pub depth: u32,
    #[serde(default, skip_serializing_if = "is_false")]
    pub submodules: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub lfs: bool,
}

impl Default for Checkout {
    fn default() -> Self {
        Self { depth: 1, submodules: false, lfs: false }
    }
}

/// A container beside the job's, which reaches it by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePlan {
    pub name: String,
    pub image: Template,
    /// When its registry is asked for it; by default, as for the job's own image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<PullPolicy>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Template>,
    /// Replaces the image's entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<Template>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Template>,
    /// When the service is ready. `None` means by the image's HEALTHCHECK, or else by its ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
    /// Who it runs as: a name or a number of the image, `user` or `user:group`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
}

/// When a service is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    pub probe: Probe,
    pub timeout_ms: u64,
}

/// A check for whether a service is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// A command in the service's container that has to succeed.
    Exec(String),
    /// A port that has to accept connections.
    Tcp(u16),
    /// A port and a path that have to answer with 2xx or 3xx: `:8080/healthz`.
    Http(String),
}

/// Paths that are cached between builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachePlan {
    pub paths: Vec<Template>,
    pub key: Template,
    /// Prefixes of other keys that may be used instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<Template>,
    #[serde(default, skip_serializing_if = "CacheSave::is_default")]
    pub save: CacheSave,
    /// Whether all jobs write into one folder, instead of each into its own.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shared: bool,
}

/// After which results of the job a cache is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheSave {
    #[default]
    Success,
    Always,
    Never,
}

impl CacheSave {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    const fn is_default(&self) -> bool {
        matches!(self, Self::Success)
    }
}

/// How often a job or a step is retried, and after which results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts after the first one.
    pub max: u32,
    pub on: Vec<RetryOn>,
}

/// A result after which a retry may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryOn {
    /// Not the command's fault: the engine, the image, the network.
    Error,
    /// The command failed.
    Failure,
    Timeout,
}

/// Limits for a job's container; the server's own limits apply to fields that are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resources {
    /// In thousandths of a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// The size of `/dev/shm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_bytes: Option<u64>,
}

impl Resources {
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cpu_millis.is_none() && self.memory_bytes.is_none() && self.pids.is_none() && self.shm_bytes.is_none()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}
