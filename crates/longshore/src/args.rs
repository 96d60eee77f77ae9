//! The command line, as clap reads it. What each command does is in `commands`.

mod env_file;
mod remote;
mod values;

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use longshore_agent::{AgentOptions, Membership};
use longshore_agent_protocol::ImageConfig;
use longshore_core::DeniedAddresses;

pub(crate) use self::remote::{
    Approval, Artifact, Build, Cache, Connection, NewNotification, Notification, Registry, Remote, Repo, Rules, Secret,
    Server, Token,
};
use self::values::{Nonce, image_config, key_value, nonce, secret};
use crate::config::{S3Settings, Settings};

/// A CI server in one container: every push runs in sibling containers on the host's own Docker.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, max_term_width = 110)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server: API, webhooks, scheduler and executor in one process
    Serve(Box<Serve>),
    /// Run a working tree's pipelines on the local Docker, without a server
    Run(Run),
    /// Check pipeline files
    Lint(Lint),
    /// Convert another CI system's pipeline; what cannot be converted becomes a comment
    Convert(Convert),
    /// Print the JSON Schema of pipeline files
    Schema,
    /// Check the Docker socket, mounts, networks and disk, and say how to fix problems
    Doctor(Box<Doctor>),
    /// Manage repositories
    Repo(Remote<Repo>),
    /// Start, view, cancel and rerun builds
    Build(Remote<Build>),
    /// List and download the artifacts of a build
    Artifact(Remote<Artifact>),
    /// Manage a repository's secrets
    Secret(Remote<Secret>),
    /// Manage credentials for private image registries
    Registry(Remote<Registry>),
    /// Manage connections to forges
    Connection(Remote<Connection>),
    /// Manage who is told of builds: by e-mail, in chats, by webhooks
    Notification(Remote<Notification>),
    /// List and remove caches
    Cache(Remote<Cache>),
    /// Manage API tokens
    Token(Remote<Token>),
    /// Approve a job that is awaiting approval
    Approve(Approval),
    /// Decline a job that is awaiting approval
    Decline(Approval),
    /// Remove Longshore's unused containers, networks and volumes from the Docker engine
    Clean(Engine),
    /// Back up a running server's database, logs and keys into a tar file
    Backup(Backup),
    /// Restore a backup into an empty data folder
    Restore(Restore),
    /// Verify a data folder: the database and all logs
    Check(Check),
    /// Serve a guarded Docker API on a socket, within a policy
    Guard(Box<Guard>),
    /// List, export and verify the audit log: who did what
    #[command(subcommand)]
    Audit(Audit),
    #[command(hide = true)]
    Agent(Agent),
    #[command(hide = true)]
    Sandbox(Sandbox),
    /// Asked by `doctor`, within a container
    #[command(hide = true)]
    Probe { script: PathBuf },
    /// Does a task with volumes, within a container
    #[command(hide = true)]
    Tool { arguments: Vec<String> },
    /// Whether whoever asks may `connect` to a socket, or `read` a file
    #[command(hide = true)]
    May { what: String, path: PathBuf },
    #[command(hide = true)]
    Healthcheck {
        #[arg(long, env = "LONGSHORE_LISTEN", default_value = crate::DEFAULT_LISTEN)]
        listen: String,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Serve {
    /// A TOML file with settings
    #[arg(long, env = "LONGSHORE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the default settings with comments, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
    /// The guard's socket, of a server that was started with its guard
    #[arg(long, hide = true, value_name = "PATH")]
    pub(crate) behind_guard: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// What every command that talks to the engine takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Engine {
    /// The Docker engine's socket
    #[arg(long, env = "LONGSHORE_DOCKER_HOST", default_value = crate::DEFAULT_DOCKER_HOST, value_name = "URL")]
    pub(crate) docker_host: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The settings are the server's: what it checks is what the server would use.
#[derive(Debug, ClapArgs)]
pub(crate) struct Doctor {
    /// Check nothing; tell of containers that could take over the host, those that run and those that start, until Ctrl-C
    #[arg(long)]
    pub(crate) watch: bool,
    /// A TOML file with settings
    #[arg(long, env = "LONGSHORE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Guard {
    /// The socket that the client uses
    #[arg(long, value_name = "PATH")]
    pub(crate) listen: PathBuf,
    /// Permissions of that socket, in octal
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = mode)]
    pub(crate) mode: u32,
    /// The engine's socket
    #[arg(long, value_name = "PATH", default_value = "/var/run/docker.sock")]
    pub(crate) socket: PathBuf,
    #[command(flatten)]
    pub(crate) policy: GuardPolicy,
    /// With --server: let it give the engine's own socket to jobs that say `docker: raw`
    #[arg(long, env = "LONGSHORE_GUARD_RAW", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) raw: bool,
    /// With --server: the subnets that the jobs' network may have
    #[arg(
        long,
        env = "LONGSHORE_NETWORK_SUBNET",
        value_name = "SUBNET,...",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) subnets: String,
    /// With --server: the capabilities that its jobs may have beyond those of every job
    #[arg(
        long,
        env = "LONGSHORE_JOB_CAPABILITIES",
        value_name = "NAME,...",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) capabilities: String,
    /// Started by a server, whose end is its own
    #[arg(long, hide = true)]
    pub(crate) child: bool,
    /// Where to keep track of the client's objects across restarts
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Where to log every request
    #[arg(long, value_name = "FILE")]
    pub(crate) audit: Option<PathBuf>,
    /// On exit, remove everything that the client created
    #[arg(long)]
    pub(crate) remove_on_exit: bool,
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub(crate) struct GuardPolicy {
    /// A file with the policy (JSON)
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// The policy (JSON)
    #[arg(long, value_name = "JSON")]
    pub(crate) policy_json: Option<String>,
    /// A Longshore server's policy
    #[arg(long)]
    pub(crate) server: bool,
}

impl GuardPolicy {
    /// Reads the policy's text, and says where it is from.
    pub(crate) fn read(&self) -> std::io::Result<(String, String)> {
        match (&self.policy, &self.policy_json) {
            (Some(file), _) => Ok((std::fs::read_to_string(file)?, file.display().to_string())),
            (None, json) => Ok((json.clone().unwrap_or_default(), "--policy-json".to_owned())),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List the newest records
    List(AuditList),
    /// Print all records, oldest first, each as a line of JSON with its place in the chain
    Export {
        /// Only records after this number
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: u32,
        #[command(flatten)]
        server: Server,
    },
    /// Verify that the log of a data folder, and that of the guard beside the server, was not changed
    Verify {
        /// Verify these files instead: an export, or a guard's log, its oldest file first
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        data: Data,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct AuditList {
    /// Only records with all of these words
    #[arg(value_name = "WORD")]
    pub(crate) words: Vec<String>,
    /// Only records about this repository, given by its name or ID
    #[arg(long, value_name = "REPO")]
    pub(crate) repo: Option<String>,
    /// Only what somebody of this name did
    #[arg(long, value_name = "NAME")]
    pub(crate) actor: Option<String>,
    /// Only this action (secret.set), or all of a kind (secret)
    #[arg(long, value_name = "ACTION")]
    pub(crate) action: Option<String>,
    /// Only what was allowed, denied or failed
    #[arg(long, value_name = "DECISION")]
    pub(crate) decision: Option<String>,
    /// The most records to list, up to 200
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Permissions of a file, as octal digits.
fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("permissions are three octal digits, such as 600".to_owned()),
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    /// The working tree
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) limits: PlanLimits,
    /// Run only this pipeline, given by its name or file
    #[arg(long, value_name = "NAME")]
    pub(crate) pipeline: Option<String>,
    /// Run only this job and the jobs it needs, given by its name or as `pipeline/job`; repeatable
    #[arg(long = "job", value_name = "NAME")]
    pub(crate) jobs: Vec<String>,
    /// The event to simulate. A tag is the newest one of the commit that is checked out
    #[arg(long, default_value = "push", value_name = "EVENT")]
    pub(crate) event: RunEvent,
    /// The branch that the pull request is for; by default the repository's default branch
    #[arg(long, value_name = "BRANCH")]
    pub(crate) base: Option<String>,
    /// Set an input of a manual run
    #[arg(long = "input", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) inputs: Vec<(String, String)>,
    /// Set a variable for all steps
    #[arg(long = "env", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) env: Vec<(String, String)>,
    /// Set the variables in a file: KEY=VALUE lines, as in a `.env`; repeatable
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<PathBuf>,
    /// Set a secret, masked in the log; KEY alone takes it from the environment
    #[arg(long = "secret", value_name = "KEY[=VALUE]", value_parser = secret)]
    pub(crate) secrets: Vec<(String, String)>,
    /// Set the secrets in a file, written like those of --env-file; repeatable
    #[arg(long = "secret-file", value_name = "FILE")]
    pub(crate) secret_files: Vec<PathBuf>,
    /// CA certificates (PEM) that jobs trust in addition to those in their images
    #[arg(long, env = "LONGSHORE_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Maximum number of concurrent jobs; by default the number of cores
    #[arg(long, env = "LONGSHORE_CAPACITY", value_name = "N")]
    pub(crate) capacity: Option<NonZeroUsize>,
    /// Approve jobs that ask for approval; otherwise they are skipped, with the jobs that need them
    #[arg(long)]
    pub(crate) approve: bool,
    #[command(flatten)]
    pub(crate) engine: Engine,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunEvent {
    Push,
    Tag,
    PullRequest,
    Manual,
}

impl Run {
    /// Returns the variables for all steps. What stands on the command line wins over files, later files over earlier ones.
    pub(crate) fn variables(&self) -> anyhow::Result<Vec<(String, String)>> {
        Ok([env_file::read_all(&self.env_files)?, self.env.clone()].concat())
    }

    /// Returns the secrets, in the order in which later ones win.
    pub(crate) fn all_secrets(&self) -> anyhow::Result<Vec<(String, String)>> {
        Ok([env_file::read_all(&self.secret_files)?, self.secrets.clone()].concat())
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Lint {
    /// Pipeline files or working trees; by default the current folder
    pub(crate) paths: Vec<PathBuf>,
    /// Output format
    #[arg(long, default_value = "human")]
    pub(crate) format: LintFormat,
    /// Also warn of events that this forge never sends: github, gitea, forgejo, gitlab, bitbucket, gogs, or git for a plain remote
    #[arg(long, value_name = "FORGE")]
    pub(crate) forge: Option<longshore_forge::Forge>,
    #[command(flatten)]
    pub(crate) limits: PlanLimits,
}

/// Limits of plans that a server's settings can change.
#[derive(Debug, ClapArgs)]
pub(crate) struct PlanLimits {
    /// Maximum number of jobs in a build
    #[arg(
        long,
        env = "LONGSHORE_MAX_JOBS",
        value_name = "N",
        default_value_t = longshore_pipeline::limits::JOBS,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..)
    )]
    pub(crate) max_jobs: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LintFormat {
    Human,
    Json,
    Sarif,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Convert {
    /// The file to convert, `-` for standard input, or a folder: a repository or a folder of pipeline files
    pub(crate) file: PathBuf,
    /// The CI system that the file is for; by default detected
    #[arg(long)]
    pub(crate) from: Option<ConvertFrom>,
    /// Where to write the pipeline, or the pipelines of a folder; by default standard output
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
    /// Overwrite existing files
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConvertFrom {
    Woodpecker,
    #[value(name = "gitlab")]
    GitLab,
    #[value(name = "github")]
    GitHub,
    Drone,
}

/// What every command that works on a data folder takes.
#[derive(Debug, ClapArgs)]
pub(crate) struct Data {
    /// The server's data folder
    #[arg(long = "data", env = "LONGSHORE_DATA", default_value = crate::DEFAULT_DATA, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Backup {
    /// A new file, a folder to create one in, or `-` for standard output
    #[arg(value_name = "FILE|DIR|-")]
    pub(crate) target: PathBuf,
    /// Leave out the encryption key and the admin token
    #[arg(long)]
    pub(crate) without_secrets: bool,
    #[command(flatten)]
    pub(crate) data: Data,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Restore {
    /// A backup, or `-` for standard input
    #[arg(value_name = "FILE|-", required_unless_present = "take_over")]
    pub(crate) source: Option<PathBuf>,
    /// Take over from the server that the data come from, with its running jobs: that server must be stopped, and
    /// stay stopped. Without FILE: for an existing folder, before its server's first start
    #[arg(long)]
    pub(crate) take_over: bool,
    #[command(flatten)]
    pub(crate) data: Data,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Check {
    /// Check only the database's pages and the lengths of logs, not every byte
    #[arg(long)]
    pub(crate) quick: bool,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) s3: S3Settings,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Agent {
    /// The job's own marker, 32 hexadecimal digits
    #[arg(long, value_parser = nonce)]
    marker: Nonce,
    /// The conductor's socket, for a container beside the job's
    #[arg(long, requires = "image")]
    join: Option<String>,
    /// What its image says, as JSON
    #[arg(long, value_parser = image_config)]
    image: Option<ImageConfig>,
    /// Where spool and scripts are
    #[arg(long, default_value = "/longshore")]
    root: PathBuf,
    /// It is in a sandbox, and begins once it has joined it
    #[arg(long)]
    in_sandbox: bool,
}

impl Agent {
    pub(crate) fn run(self) -> ExitCode {
        let membership = self.join.zip(self.image).map(|(address, image)| Membership { address, image });
        longshore_agent::run(AgentOptions {
            membership,
            in_sandbox: self.in_sandbox,
            ..AgentOptions::new(self.marker.0, self.root)
        })
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Sandbox {
    /// Exit after this many seconds without a job; by default never
    #[arg(long)]
    idle: Option<u64>,
    /// Networks that its jobs may not reach, or `host`
    #[arg(long)]
    deny: Vec<DeniedAddresses>,
    /// Ports that they may reach there all the same
    #[arg(long)]
    allow: Vec<SocketAddr>,
}

impl Sandbox {
    pub(crate) fn run(self) -> ExitCode {
        longshore_agent::sandbox(self.idle.map(Duration::from_secs), &self.deny, &self.allow)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_and_argument_says_what_it_is_and_none_takes_anothers_value() {
        check_command(&Args::command(), &[]);
    }

    fn check_command(command: &clap::Command, inherited: &[clap::Id]) {
        let mut global = inherited.to_vec();
        for arg in command.get_arguments() {
            let what = format!("`{}` of `{}`", arg.get_id(), command.get_name());
            assert!(!inherited.contains(arg.get_id()), "{what} is what a command above takes");
            assert!(arg.is_hide_set() || arg.get_help().is_some(), "{what} has no help");
            global.extend(arg.is_global_set().then(|| arg.get_id().clone()));
        }
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            assert!(below.get_about().is_some(), "`{}` has no help", below.get_name());
            check_command(below, &global);
        }
    }
}
