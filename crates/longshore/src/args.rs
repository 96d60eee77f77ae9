//! The command line, as clap reads it. What each command does is in `commands`.

mod audit;
mod data_folder;
mod env_file;
mod guard;
mod in_container;
mod pipeline_files;
mod remote;
mod serve;
mod values;

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

pub(crate) use self::{
    audit::{Audit, AuditList},
    data_folder::{Backup, Check, Restore},
    guard::Guard,
    pipeline_files::{Convert, ConvertFrom, Lint, LintFormat},
    remote::{
        Approval, Artifact, Build, Cache, Connection, NewNotification, Notification, Registry, Remote, Repo, Rules,
        Secret, Token,
    },
    serve::{Doctor, Serve},
};
use self::{
    in_container::{Agent, Sandbox},
    pipeline_files::PlanLimits,
    values::{key_value, secret},
};

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
    /// Manage who is notified of builds: by e-mail, in chats, by webhooks
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
    /// Looks after the caches of runs; started by a run that is over
    #[command(hide = true)]
    CacheUpkeep(CacheUpkeep),
    /// Whether whoever asks may `connect` to a socket, or `read` a file
    #[command(hide = true)]
    May { what: String, path: PathBuf },
    #[command(hide = true)]
    Healthcheck {
        #[arg(long, env = "LONGSHORE_LISTEN", default_value = crate::DEFAULT_LISTEN)]
        listen: String,
    },
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

#[derive(Debug, ClapArgs)]
pub(crate) struct CacheUpkeep {
    /// The engine that the runs used
    #[arg(long)]
    pub(crate) docker_host: String,
    /// Their instance's name on it
    #[arg(long)]
    pub(crate) instance: String,
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
    /// Returns the variables for all steps. What stands on the command line wins over files, later files over earlier
    /// ones.
    pub(crate) fn variables(&self) -> anyhow::Result<Vec<(String, String)>> {
        Ok([env_file::read_all(&self.env_files)?, self.env.clone()].concat())
    }

    /// Returns the secrets, in the order in which later ones win.
    pub(crate) fn all_secrets(&self) -> anyhow::Result<Vec<(String, String)>> {
        Ok([env_file::read_all(&self.secret_files)?, self.secrets.clone()].concat())
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
