//! The frozen plan: what a build will do, decided once, stored as JSON, never changed.
//!
//! Made by the scheduler from pipeline files and an event; read by the dispatcher, the executor and the pages. Secrets
//! are not in it, only their names. What could not be known when it was frozen (what a step or another job puts out,
//! secrets, the build's number) stands in it as a [`Template`] or an [`Expression`]; all else is plain text.
//!
//! Who knows what, beyond [`JobPlan::known`]: the server when a job's needs are done `build`, `needs`, `secrets` and, for
//! the job's own texts ([`JobPlan::change_own`]), the job's `env`; the agent between steps `steps`, `env` (what the step
//! will find, `LONGSHORE_ENV` included) and `hash-files`.

mod texts;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    expression::{Expression, Value},
    template::Template,
};

/// Where the workspace lies in a job's container; `CI_WORKSPACE`.
pub const WORKSPACE: &str = "/longshore/workspace";

/// The shape that [`BuildPlan`]s have.
pub const VERSION: u32 = 2;

/// A build's jobs, in the order of the files and of each file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPlan {
    /// Of this JSON's shape: [`VERSION`].
    pub version: u32,
    pub jobs: Vec<JobPlan>,
}

impl BuildPlan {
    #[must_use]
    pub const fn new(jobs: Vec<JobPlan>) -> Self {
        Self { version: VERSION, jobs }
    }
}

/// One container on one workspace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobPlan {
    /// Unique in the build: `pipeline/job` and, of a matrix, ` (a, b)` behind it.
    pub key: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The job's key in its file: what the jobs of a matrix have in common.
    pub job: String,
    /// What people read: `job` and, of a matrix, ` (a, b)` behind it.
    pub name: String,
    /// The matrix's values for this job, in its file's order of axes; empty without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matrix: Vec<(String, String)>,
    /// What the jobs of one matrix mean to each other; nothing without a matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix_group: Option<MatrixGroup>,
    /// Jobs that have to be over first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// `if`, asked once all needs are over. Without one: [`runs`](crate::expression::runs) says when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Expression>,
    /// A question that somebody has to say yes to before the job starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// The same of the commit itself, which is a stranger's (see [`stranger::question`](crate::stranger::question)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stranger: Option<String>,
    /// The pipeline's, the same in all its jobs: of the builds of a repository, one at a time has this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Labels that a server has to have to take it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runs_on: BTreeMap<String, String>,
    pub image: Template,
    /// The environment of every step: `CI_*`, the pipeline's, the job's, later ones winning.
    pub env: BTreeMap<String, Template>,
    /// Secrets that leave the store for it, and nothing else does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretUse>,
    /// Values of contexts that its templates and conditions ask for: `event`, `repo`, `matrix`, `inputs`, and of each
    /// only what is asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub known: BTreeMap<String, Value>,
    /// How the workspace starts with the commit's files; without it, it starts empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkout: Option<Checkout>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServicePlan>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<CachePlan>,
    pub steps: Vec<StepPlan>,
    /// What jobs that need it get from it, filled in when its last step is over.
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
    /// Whether it gets a guarded Docker API.
    #[serde(default, skip_serializing_if = "is_false")]
    pub docker: bool,
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Whether it was planned under the rule that text which the pipeline's author did not write never becomes script. Plans of
    /// versions without that rule lack it: what was put into their scripts already cannot be told apart any more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub scripts_judged: bool,
}

impl JobPlan {
    /// What somebody has to say yes to before the job starts.
    #[must_use]
    pub fn question(&self) -> Option<String> {
        match (&self.approval, &self.stranger) {
            (Some(asked), Some(of_commit)) => Some(format!("{asked} ({of_commit})")),
            (Some(asked), None) => Some(asked.clone()),
            (None, of_commit) => of_commit.clone(),
        }
    }
}

/// A job that has to be over first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The other's [`JobPlan::key`].
    pub key: String,
    /// The other's [`JobPlan::job`]: its name in `needs.<job>`.
    pub job: String,
    /// It is waited for, and its result does not matter.
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
}

/// What the jobs of one matrix mean to each other. They are those with the same `pipeline` and `job`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixGroup {
    /// When one fails, those that wait are skipped and those that run are canceled.
    pub fail_fast: bool,
    /// How many run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
}

/// A group that one build of a repository has at a time, from its first job's start until all jobs of the pipeline are over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    pub group: String,
    /// The newer build cancels the older one; without it the newer one waits, in the order of creation.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cancel_in_progress: bool,
}

/// A secret of the repository that a job gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    /// Its name in the store.
    pub name: String,
    /// The environment variable that has it, or where `file` is set, the path of the file that does.
    pub variable: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub file: bool,
}

/// How the commit's files are put into the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// Commits of history; 0 for all.
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

/// A container beside the job's, reached by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePlan {
    pub name: String,
    pub image: Template,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Template>,
    /// Instead of the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<Template>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Template>,
    /// When it counts as ready; without it the image's HEALTHCHECK says so, or else its ports do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
}

/// When a service counts as ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    pub probe: Probe,
    pub timeout_ms: u64,
}

/// What is asked of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// A command in its container that succeeds.
    Exec(String),
    /// A port that takes connections.
    Tcp(u16),
    /// `:8080/healthz`: a port and a path that answer with 2xx or 3xx.
    Http(String),
}

/// Paths that are kept between builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachePlan {
    pub paths: Vec<Template>,
    pub key: Template,
    /// Beginnings of other keys that will do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<Template>,
}

/// Files that are kept after the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactPlan {
    pub name: Template,
    /// Globs, relative to the workspace.
    pub paths: Vec<Template>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_in_ms: Option<u64>,
    pub when: ArtifactWhen,
}

/// After which end of the job an artifact is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactWhen {
    #[default]
    Success,
    Failure,
    Always,
}

/// Reports that are read after the job, whatever its end: globs, relative to the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reports {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub junit: Vec<Template>,
}

impl Reports {
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.junit.is_empty()
    }
}

/// How often something is tried again, and after which ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Tries after the first one.
    pub max: u32,
    pub on: Vec<RetryOn>,
}

/// An end after which another try may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryOn {
    /// Ours: the engine, the image, the network.
    Error,
    /// The command's.
    Failure,
    Timeout,
}

/// What a job's container may use; the server's own limits where nothing is said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Of `/dev/shm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_bytes: Option<u64>,
}

impl Resources {
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cpu_millis.is_none() && self.memory_bytes.is_none() && self.pids.is_none() && self.shm_bytes.is_none()
    }
}

/// One command of a job, or one container beside it on the same workspace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StepPlan {
    /// Its name in `steps.<id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What people read: `name`, or the script's first line, or the image.
    pub name: String,
    /// The script; without one the image's own program runs, as a plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Template>,
    /// The step's own environment, over the job's.
    pub env: BTreeMap<String, Template>,
    /// Relative to the workspace, or absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<Template>,
    /// `sh`, `bash` or a program with its arguments, such as `python3 -u`.
    pub shell: String,
    /// `if`. Without one: [`runs`](crate::expression::runs) says when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Expression>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub continue_on_error: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// A container of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Template>,
    /// `PLUGIN_*` of a step with an image of its own, by the names in the file; lists are joined by commas.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, Template>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<Template>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Template>,
    /// Who it runs as: a name or a number of the image, `user` or `user:group`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether it has a terminal.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tty: bool,
    /// Whether the next step starts at once; it ends with the job.
    #[serde(default, skip_serializing_if = "is_false")]
    pub background: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}
