//! The agent: PID 1 of every container of a pod. Also the sandbox, which holds its network namespace.
//!
//! Only the binary calls this (`longshore agent`, `longshore sandbox`). No async runtime: a few threads.
//!
//! ```text
//! stdin -> intake -> events -> job -> spool -> sender -> stdout
//!            |  acks, sessions          ^ |
//!            +------------------------->+ segments in <root>/spool
//! signals -> reaper -> events
//! ```
//!
//! The agent of the job's own container is the conductor: it decides when the pod's other containers, its members, do
//! what. A member's agent is the same program, with the conductor as its client (`pod`) in place of a runner on
//! standard input and output, and one step to run.
//!
//! `job` decides everything; `intake`, `sender` and `reaper` are threads around it, and `spool` is shared by all of
//! them. The messages are defined in `longshore-agent-protocol`. Nothing here knows an engine, and nothing waits for a
//! runner to connect.

mod account;
mod artifact_queue;
mod buildx;
mod ca_certificates;
mod caches;
mod checkout;
mod clock;
mod collect;
mod denied_addresses;
mod docker;
mod doctor_probe;
mod ending;
mod file_count;
mod files;
mod filter;
mod globs;
mod hash_files;
mod intake;
mod job;
mod memory;
mod pod;
mod processes;
mod readiness;
mod reaper;
mod sandbox;
mod sender;
mod shared_files;
mod spool;
mod start_error;
mod step;
mod streams;
mod sys;
mod terminal;
mod tool;
mod values;
mod verdict;
mod wake;

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use longshore_agent_protocol::{ImageConfig, UNFIT_SANDBOX};
use longshore_core::DeniedAddresses;

use crate::job::Runtime;
use crate::reaper::Children;
use crate::sandbox::Joins;
use crate::shared_files::SharedFiles;
use crate::spool::Spool;
use crate::wake::{Mailbox, Wake};

/// The options of the agent.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The job's nonce; sessions on standard input open with it. A member's key.
    pub nonce: [u8; 16],
    /// The folder of spool and step scripts, in the container's own file system.
    pub root: PathBuf,
    /// The most bytes that the spool may hold before the steps have to wait.
    pub spool_limit: u64,
    /// How long the disk may be full before the job ends.
    pub disk_full_after: Duration,
    /// How long all `always()` steps together may take after a cancel or timeout.
    pub always_limit: Duration,
    /// How long the last message waits for its acknowledgement if a client has ever connected, and if none has.
    pub ack_timeouts: (Duration, Duration),
    /// How long the job's artifacts wait for somebody who takes them.
    pub artifact_patience: Duration,
    /// The folder of the image's passwd and group files.
    pub etc: PathBuf,
    /// The agent is a member of a pod.
    pub membership: Option<Membership>,
    /// The agent is in a sandbox, and does not begin before it has joined it.
    pub in_sandbox: bool,
}

/// A member's place in its pod.
#[derive(Debug, Clone)]
pub struct Membership {
    /// The conductor's abstract socket.
    pub address: String,
    pub image: ImageConfig,
}

impl AgentOptions {
    /// Returns the options of real jobs.
    #[must_use]
    pub fn new(nonce: [u8; 16], root: PathBuf) -> Self {
        Self {
            nonce,
            root,
            spool_limit: 1 << 30,
            disk_full_after: Duration::from_secs(60),
            always_limit: Duration::from_secs(60),
            ack_timeouts: (Duration::from_secs(10), Duration::from_secs(3)),
            artifact_patience: Duration::from_secs(24 * 3600),
            etc: PathBuf::from("/etc"),
            membership: None,
            in_sandbox: false,
        }
    }
}

/// Longer than any job.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why an agent or a sandbox cannot start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("could not create {path}: {source}")]
    Folder { path: String, source: io::Error },
    #[error("{path} holds the spool of a job that has run: a job's container is never started twice")]
    SecondStart { path: String },
    #[error("the sandbox cannot be joined: {0}")]
    UnfitSandbox(io::Error),
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
}

/// Runs the job that arrives over standard input, to its end. The agent owns the calling process from here on.
#[must_use]
pub fn run(options: AgentOptions) -> ExitCode {
    report("agent", run_agent(options))
}

/// Holds a network namespace until a signal to end, or until unused for `idle`. Its jobs do not reach what is `denied`,
/// except the ports that are `allowed`.
#[must_use]
pub fn sandbox(idle: Option<Duration>, denied: &[DeniedAddresses], allowed: &[SocketAddr]) -> ExitCode {
    report(
        "sandbox",
        sandbox::run(idle, denied, allowed)
            .map_err(|source| StartError::System { what: "the sandbox cannot be held", source }),
    )
}

/// Answers the questions of `longshore doctor` from inside a container.
#[must_use]
pub fn probe(script: &Path) -> ExitCode {
    let answered = doctor_probe::run(script).map(|()| ExitCode::SUCCESS);
    report("probe", answered.map_err(|source| StartError::System { what: "a question cannot be answered", source }))
}

/// Does a task with volumes that are mounted in this container, and prints the result.
#[must_use]
pub fn tool(arguments: &[String]) -> ExitCode {
    let done = tool::run(arguments).map(|()| ExitCode::SUCCESS);
    report("tool", done.map_err(|source| StartError::System { what: "the task cannot be done", source }))
}

fn report(who: &str, result: Result<ExitCode, StartError>) -> ExitCode {
    result.unwrap_or_else(|error| {
        // Standard output is reserved for frames.
        let _ = writeln!(io::stderr(), "longshore {who}: {error}");
        match error {
            StartError::UnfitSandbox(_) => ExitCode::from(UNFIT_SANDBOX),
            StartError::Folder { .. } | StartError::SecondStart { .. } | StartError::System { .. } => ExitCode::FAILURE,
        }
    })
}

fn run_agent(options: AgentOptions) -> Result<ExitCode, StartError> {
    let system = |what| move |source: io::Error| StartError::System { what, source };
    harden().map_err(system("the process cannot be set up"))?;
    let spool_folder = prepare_folders(&options.root)?;
    let joins = if options.membership.is_none() { Joins::Conductor } else { Joins::Member };
    // Held for the agent's life.
    let placement = options.in_sandbox.then(|| sandbox::join(joins)).transpose().map_err(StartError::UnfitSandbox)?;
    // A member leaves them to its conductor.
    let shared_files =
        placement.as_ref().filter(|_| joins == Joins::Conductor).map(|_| SharedFiles::open(&options.etc));

    let wake = Arc::new(Wake::new().map_err(system("no event descriptor"))?);
    let spool = Arc::new(Spool::new(spool_folder, options.spool_limit, Arc::clone(&wake)));
    let (sender, events) = sync_channel(64);
    let mailbox = Mailbox::new(sender, Arc::clone(&wake));
    let children = Arc::new(Children::default());
    let signals = reaper::signals().map_err(system("signals cannot be caught"))?;

    let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name.to_owned()).spawn(run).map(drop).map_err(system("no thread"))
    };
    let (watched, posted) = (Arc::clone(&children), mailbox.clone());
    spawn("reaper", Box::new(move || reaper::handle_signals(signals, &watched, &posted)))?;
    let (sent, acknowledged, posted) = (Arc::clone(&spool), Arc::clone(&spool), mailbox.clone());
    let nonce = options.nonce;
    match &options.membership {
        None => {
            spawn("sender", Box::new(move || sender::run(&sent, rustix::stdio::stdout())))?;
            spawn("intake", Box::new(move || intake::run(io::stdin().lock(), nonce, acknowledged, posted)))?;
        }
        Some(Membership { address, .. }) => {
            let input = pod::join(address, nonce).map_err(system("the pod cannot be joined"))?;
            let output = input.try_clone().map_err(system("no descriptor"))?;
            spawn("sender", Box::new(move || sender::run(&sent, output.as_fd())))?;
            let serve = move || {
                intake::run(input, nonce, acknowledged, posted);
                // Without its conductor a member serves nobody. All processes of its container end with it.
                std::process::exit(1);
            };
            spawn("intake", Box::new(serve))?;
        }
    }

    let (heard, unheard) = options.ack_timeouts;
    let is_member = options.membership.is_some();
    let memory = memory::Watch::start().map_err(system("no thread"))?;
    job::run(Runtime { options, spool: Arc::clone(&spool), wake, events, mailbox, children, memory, shared_files });
    if is_member {
        // Its conductor ends the connection, and with it this process.
        spool.wait_for_ack(A_YEAR);
    } else {
        spool.wait_for_ack(if spool.had_session() { heard } else { unheard });
    }
    Ok(ExitCode::SUCCESS)
}

/// Protects the agent from the steps beside it: they may not inspect it or set its limits. Their orphans become its
/// children.
fn harden() -> io::Result<()> {
    // First of all, because a change of ids can make the process dumpable again.
    sys::take_own_ids();
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    sys::keep_descriptors_from_children()?;
    if !rustix::process::getpid().is_init() {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    Ok(())
}

/// Creates the root, the scripts' folder and the spool's folder, and returns the last.
fn prepare_folders(root: &Path) -> Result<PathBuf, StartError> {
    let make = |path: &Path, mode| {
        let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
        made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
            .map_err(|source| StartError::Folder { path: path.display().to_string(), source })
    };
    let spool = root.join("spool");
    make(root, 0o755)?;
    make(&root.join("tmp"), 0o755)?;
    make(&spool, 0o700)?;
    let used = fs::read_dir(&spool).is_ok_and(|mut folder| folder.next().is_some());
    if used {
        return Err(StartError::SecondStart { path: spool.display().to_string() });
    }
    Ok(spool)
}
