//! The messages between the runner and the agent.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_core::expression::{Expression, Value};
use longshore_core::plan::{Ready, Retry};
pub use longshore_core::result::{AgentError, JobResult, StepResult, StepStatus};
use longshore_core::template::Template;
use serde::{Deserialize, Serialize};

use crate::artifact::{AnnouncedFile, ArtifactLimits, ArtifactSpec, ArtifactWindow};
use crate::pod::{MemberId, PodSecret};

/// Everything an agent needs to run a job to its end, even if the runner never returns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobSpec {
    /// Environment of every step, including secrets: the plan travels only over the attached stream. Expressions in it
    /// are evaluated before the first step.
    pub env: BTreeMap<String, Template>,
    /// Contexts of expressions, by name: everything the runner knows, including secrets.
    pub known: BTreeMap<String, Value>,
    /// Secrets as files: each variable holds the path of a file with this text, outside the workspace.
    pub secret_files: BTreeMap<String, String>,
    /// Values to mask: as they are, in base64 and URL-encoded.
    pub masks: Vec<String>,
    /// The workspace's path in the container. Created if missing, owned by the steps' user.
    pub workspace: String,
    /// The image's USER (`name`, `uid`, `name:group`, `uid:gid`), empty for root. Names are looked up in the image's
    /// own passwd file.
    pub user: String,
    /// Milliseconds from the plan's arrival to the job's end.
    pub timeout_ms: u64,
    /// Milliseconds between TERM and KILL.
    pub grace_ms: u64,
    /// Whether checkout data follows. Steps wait for its end.
    pub checkout: bool,
    pub steps: Vec<StepSpec>,
    /// Evaluated after the last step.
    pub outputs: BTreeMap<String, Template>,
    /// The services that run beside the job's container; see `pod`. Empty for a member of a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceSpec>,
    /// Folders that are put before the steps' PATH.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// The caches that the engine has mounted, which are given to the job's user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<CacheSpec>,
    /// The workspace has the files that another job left. They are given to the job's user.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_workspace: bool,
    /// Certificates, as PEM, that the container's programs trust besides those that its image trusts. Empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub authorities: String,
    /// What the keys of the pod's members derive from. Without it, the job's nonce takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_secret: Option<PodSecret>,
    /// The receiver is a member of a pod, and this is its purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberPurpose>,
    /// What the agent collects after the last step, and hands over before the job ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_limits: Option<ArtifactLimits>,
}

/// A folder of a cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheSpec {
    /// As in the pipeline: from the workspace on, `~/...` or absolute.
    pub path: String,
    /// The number of the user whose files it has. `None` for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
}

/// A service of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Also its host name in the pod.
    pub name: String,
    pub env: BTreeMap<String, Template>,
    pub program: ProgramSpec,
    /// Instead of the image's USER.
    pub user: Option<String>,
    /// When it counts as ready; without it the image's HEALTHCHECK says so, or else its ports do.
    pub ready: Option<Ready>,
}

/// The program of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProgramSpec {
    /// Instead of the image's ENTRYPOINT, and without the image's CMD. Empty for the image's own.
    pub entrypoint: Vec<Template>,
    /// Instead of the image's CMD. Empty for the image's own.
    pub command: Vec<Template>,
}

/// Why a container is in a pod beside the job's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberPurpose {
    /// Its only step is a step of the job. Its end carries what the step passes on.
    Step,
    /// Its only step runs until it is ended, and it reports when it is ready.
    Service { ready: Option<Ready> },
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StepSpec {
    /// The step's name in the context `steps`.
    pub id: Option<String>,
    pub name: String,
    pub run: Template,
    pub env: BTreeMap<String, Template>,
    pub working_directory: Option<Template>,
    /// `sh`, `bash` or a program with its arguments.
    pub shell: String,
    /// `None` means the step runs if everything before it succeeded.
    pub condition: Option<Expression>,
    pub continue_on_error: bool,
    /// The limit of each try.
    pub timeout_ms: Option<u64>,
    pub retry: Option<Retry>,
    /// Overrides the job's user; see [`JobSpec::user`].
    pub user: Option<String>,
    /// Whether a terminal serves as all of the step's streams.
    pub tty: bool,
    /// Whether the next step starts at once. A background step is ended after the last step.
    pub background: bool,
    /// The image of the container that it runs in, if that is not the job's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Template>,
    /// Runs an image's program instead of `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramSpec>,
    /// The numbers of the background steps that it waits for, instead of running anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wait: Vec<u16>,
}

/// From the runner to the agent. Not numbered: a message lost with a connection is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToAgent {
    /// Opens a session: the agent sends everything after `last_seq` again. The reply's marker carries `nonce`.
    Hello { version: u32, last_seq: u64, nonce: [u8; 16] },
    /// The job. A repeated plan, after a lost connection, changes nothing.
    Plan(Box<JobSpec>),
    /// The next bytes of the checkout, a plain tar of the workspace, at `offset`. The agent skips bytes it already has,
    /// so a new session may continue from any offset up to `Ready::checkout_received`.
    Checkout { offset: u64, data: Bytes },
    /// The checkout is complete at this length.
    CheckoutEnd { length: u64 },
    /// Everything up to this number is stored; the spool may forget it.
    Ack { seq: u64 },
    /// Stops the job: TERM, grace period, KILL, `always()` steps, end.
    Cancel,
    /// A container of the pod cannot be started. Sent again in every session.
    ContainerFailed(ContainerFailure),
    /// The runner takes artifacts: from here, in this session. Sent in every session until all are stored.
    TakeArtifacts(ArtifactWindow),
    /// More may be sent: `limit` of [`ArtifactWindow`] is now this.
    ArtifactRoom { limit: u64 },
    /// All artifacts are stored.
    ArtifactsStored,
}

/// The container that a step needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRequest {
    /// The try of the step, from 1.
    pub attempt: u32,
    /// Its image, with all expressions evaluated.
    pub image: String,
}

/// A container of the pod that cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFailure {
    pub container: MemberId,
    /// For people.
    pub message: String,
}

/// From the agent to the runner. Numbered from 1 and spooled until acknowledged, except `Ready`, `Lost` and those about
/// artifacts, which belong to one session and carry 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromAgent {
    /// The first reply to every Hello, before the replay.
    Ready {
        version: u32,
        /// Whether a plan has arrived. It need not be sent again, but may be.
        planned: bool,
        /// Bytes of the checkout received. The client may continue the same tar from here.
        checkout_received: u64,
        /// Whether the end of the checkout has arrived too. Steps may be running.
        checkout_whole: bool,
    },
    /// Bytes of this session could not be read (another client wrote between them). The client opens a new session.
    Lost,
    StepStarted {
        step: u16,
        time_ms: i64,
    },
    /// Masked bytes of a step's stream.
    Output {
        step: u16,
        stderr: bool,
        time_ms: i64,
        data: Bytes,
    },
    StepFinished {
        step: u16,
        time_ms: i64,
        result: StepResult,
    },
    /// A message for people, for example that a step could not start or that a limit was reached. `step` is `u16::MAX`
    /// for none.
    Note {
        step: u16,
        time_ms: i64,
        text: String,
    },
    /// The turn of a step with its own image has come, and its container does not exist yet: the runner starts it. May
    /// be sent although the container has been started by now.
    RunContainer {
        step: u16,
        time_ms: i64,
        container: ContainerRequest,
    },
    /// A service is ready. A member says so of itself, and its conductor passes it on with the service's number.
    ServiceReady {
        time_ms: i64,
        step: Option<u16>,
    },
    /// The next of the job's files, unless data of it have been sent before. Its data follow.
    ArtifactFile(AnnouncedFile),
    /// The next bytes of the file. The first ones of a session begin at the window's offset.
    ArtifactData(Bytes),
    /// The end of the file. `whole`: all announced bytes were sent, and it did not change meanwhile. Otherwise it is
    /// left out.
    ArtifactFileEnd {
        whole: bool,
    },
    /// All of the job's files have been sent. The number includes those that were left out.
    ArtifactsEnd {
        files: u32,
    },
    /// The last message. The agent exits when it is acknowledged, or after a short wait if no client is connected.
    JobFinished {
        time_ms: i64,
        end: JobEnd,
    },
}

/// How the job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnd {
    pub result: JobResult,
    /// The job's outputs, without those that would reveal a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, String>,
    /// Agents of earlier builds do not send this: they did not check.
    #[serde(default)]
    pub sandbox: SandboxLeft,
    /// Whether the workspace has more files than an engine deletes in a moment, caches in it not counted. `None` if
    /// nobody has counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub many_files: Option<bool>,
    /// From a member whose purpose is a step: the variables that it passes on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// From a member whose purpose is a step: the folders that it puts before PATH.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
}

impl From<JobResult> for JobEnd {
    fn from(result: JobResult) -> Self {
        Self {
            result,
            outputs: BTreeMap::new(),
            sandbox: SandboxLeft::default(),
            many_files: None,
            env: BTreeMap::new(),
            path: Vec::new(),
        }
    }
}

/// The state in which an agent leaves the files that its sandbox's jobs share.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SandboxLeft {
    /// Whether the shared files were, byte for byte, as they were when the agent began, compared after the job's last
    /// process had ended.
    #[serde(rename = "as_it_was")]
    pub is_restored: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}
