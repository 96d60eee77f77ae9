//! What the runner and the agent say to each other.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_core::expression::{Expression, Value};
use longshore_core::plan::Retry;
pub use longshore_core::result::{AgentError, JobResult, StepResult, StepStatus};
use longshore_core::template::Template;
use serde::{Deserialize, Serialize};

/// Everything an agent needs to run a job to its end, even if nobody comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Environment of every step, secrets included: the plan travels over the attached stream only.
    /// What is not known in it yet is filled in before the first step.
    pub env: BTreeMap<String, Template>,
    /// Contexts of expressions, by their names: all that the runner knows, secrets included.
    pub known: BTreeMap<String, Value>,
    /// Secrets that are files: each variable carries the path of a file with this text, outside the workspace.
    pub secret_files: BTreeMap<String, String>,
    /// Values never to be shown: each as it is, in base64 and URL-encoded.
    pub masks: Vec<String>,
    /// The workspace's path in the container; made if missing, owned by the steps' user.
    pub workspace: String,
    /// USER of the image (`name`, `uid`, `name:group`, `uid:gid`), empty for root. Names are looked up in the image's own passwd.
    pub user: String,
    /// Milliseconds from the plan's arrival to the job's end.
    pub timeout_ms: u64,
    /// Milliseconds between TERM and KILL.
    pub grace_ms: u64,
    /// Whether checkout data follows; steps wait for its end.
    pub checkout: bool,
    pub steps: Vec<StepSpec>,
    /// Filled in when the last step is over.
    pub outputs: BTreeMap<String, Template>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Its name in the context `steps`.
    pub id: Option<String>,
    pub name: String,
    pub run: Template,
    pub env: BTreeMap<String, Template>,
    pub working_directory: Option<Template>,
    /// `sh`, `bash` or a program with its arguments.
    pub shell: String,
    /// Without one it runs as long as everything before it has succeeded.
    pub condition: Option<Expression>,
    pub continue_on_error: bool,
    /// Of each try.
    pub timeout_ms: Option<u64>,
    pub retry: Option<Retry>,
    /// Instead of the job's; as [`JobSpec::user`].
    pub user: Option<String>,
    /// Its streams are one terminal.
    pub tty: bool,
    /// The next step starts at once; it is ended after the last one.
    pub background: bool,
}

/// From the runner to the agent. Not numbered: what was lost with a connection is said again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToAgent {
    /// Opens a session: everything after `last_seq` is sent again. The reply's marker carries `nonce`.
    Hello { version: u32, last_seq: u64, nonce: [u8; 16] },
    /// The job. Said again after a lost connection it changes nothing.
    Plan(Box<JobSpec>),
    /// The next bytes of the checkout, a plain tar of the workspace; `offset` is their place in it. What the agent already has
    /// is skipped, so that a new session may begin anywhere up to `Ready::checkout_received`.
    Checkout { offset: u64, data: Bytes },
    /// The checkout is whole at this length.
    CheckoutEnd { length: u64 },
    /// Everything up to here is stored: the spool may forget it.
    Ack { seq: u64 },
    /// Stop: TERM, grace, KILL, `always()` steps, end.
    Cancel,
}

/// From the agent to the runner. Numbered from 1 and spooled until acknowledged, but for `Ready` and `Lost`, which belong to one
/// session and carry 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromAgent {
    /// The first answer to every Hello, before the replay.
    Ready {
        version: u32,
        /// A plan has come: it need not be said again (and does no harm if it is).
        planned: bool,
        /// Bytes of the checkout that have come: the same tar may go on from here.
        checkout_received: u64,
        /// Its end has come too: steps may be running.
        checkout_whole: bool,
    },
    /// Bytes of this session could not be read (another client wrote between them): open a new one.
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
    /// Something the agent has to say to people: a step that could not start, a limit reached. `step` is `u16::MAX` for none.
    Note {
        step: u16,
        time_ms: i64,
        text: String,
    },
    /// The last word. The agent ends when it is acknowledged, or after a short wait when nobody is there.
    JobFinished {
        time_ms: i64,
        end: JobEnd,
    },
}

/// The job's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnd {
    pub result: JobResult,
    /// The job's own outputs, without what would show a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, String>,
    /// Agents of earlier builds do not say it: they have not looked.
    #[serde(default)]
    pub sandbox: SandboxLeft,
}

impl From<JobResult> for JobEnd {
    fn from(result: JobResult) -> Self {
        Self { result, outputs: BTreeMap::new(), sandbox: SandboxLeft::default() }
    }
}

/// How an agent leaves what its sandbox's jobs share.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SandboxLeft {
    /// The shared files were compared with what they were when the agent began, byte for byte, after the job's last process had ended.
    pub as_it_was: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}
