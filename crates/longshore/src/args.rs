//! The command line, as clap reads it. What each command does is in `commands`.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use longshore_agent::AgentOptions;

use crate::config::Settings;

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
    /// Make a pipeline of ours out of another system's; what cannot be carried over becomes a comment
    Convert(Convert),
    /// Print the JSON Schema of pipeline files
    Schema,
    /// Look at socket, engine, mounts, networks and disk; say what is wrong and what to do
    Doctor(Engine),
    /// Register, list, show and remove repositories
    Repo(Remote<Repo>),
    /// Start, list, show, follow, cancel and rerun builds
    Build(Remote<Build>),
    /// Set, list and remove a repository's secrets
    Secret(Remote<Secret>),
    /// Make, list and revoke tokens
    Token(Remote<Token>),
    /// Let a job go on that waits for approval
    Approve(Approval),
    /// End a job that waits for approval
    Decline(Approval),
    /// Remove from the engine what is idle of every Longshore on it
    Clean(Engine),
    /// Write a server's database, logs and keys into one tar, while it runs
    Backup(Backup),
    /// Unpack a backup into an empty data folder
    Restore(Restore),
    /// Look whether a data folder is whole: the database, and every log to its last record
    Check(Check),
    #[command(hide = true)]
    Agent(Agent),
    #[command(hide = true)]
    Sandbox(Sandbox),
    /// Asked by `doctor`, within a container
    #[command(hide = true)]
    Probe { script: PathBuf },
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
    /// Print the commented defaults and end
    #[arg(long)]
    pub(crate) print_config: bool,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// What every command that talks to the engine takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Engine {
    /// The engine's socket
    #[arg(long, env = "LONGSHORE_DOCKER_HOST", default_value = crate::DEFAULT_DOCKER_HOST, value_name = "URL")]
    pub(crate) docker_host: String,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    /// The working tree
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) limits: PlanLimits,
    /// Only this pipeline, by its name or its file
    #[arg(long, value_name = "NAME")]
    pub(crate) pipeline: Option<String>,
    /// Only this job and what it needs
    #[arg(long, value_name = "NAME")]
    pub(crate) job: Option<String>,
    /// As if this had happened
    #[arg(long, default_value = "push", value_name = "EVENT")]
    pub(crate) event: RunEvent,
    /// An input of a manual run
    #[arg(long = "input", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) inputs: Vec<(String, String)>,
    /// A variable for every step
    #[arg(long = "env", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) env: Vec<(String, String)>,
    /// A variable for every step whose value is masked in the log; KEY alone takes it from the environment
    #[arg(long = "secret", value_name = "KEY[=VALUE]", value_parser = secret)]
    pub(crate) secrets: Vec<(String, String)>,
    /// Jobs at once; the number of cores where it is not given
    #[arg(long, env = "LONGSHORE_CAPACITY", value_name = "N")]
    pub(crate) capacity: Option<NonZeroUsize>,
    /// Let jobs go on that wait for approval; without it they are left out, with those that need them
    #[arg(long)]
    pub(crate) approve: bool,
    #[command(flatten)]
    pub(crate) engine: Engine,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunEvent {
    Push,
    Tag,
    Manual,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Lint {
    /// Pipeline files or working trees; the current folder where none is given
    pub(crate) paths: Vec<PathBuf>,
    /// How findings are printed
    #[arg(long, default_value = "human")]
    pub(crate) format: LintFormat,
    #[command(flatten)]
    pub(crate) limits: PlanLimits,
}

/// What a server's settings may say of plans, where there is no server.
#[derive(Debug, ClapArgs)]
pub(crate) struct PlanLimits {
    /// Jobs that a build may have, after the matrix
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
    /// The file to convert, or `-` for standard input
    pub(crate) file: PathBuf,
    /// The system that the file is of; told by its name and its keys without it
    #[arg(long)]
    pub(crate) from: Option<ConvertFrom>,
    /// Where to write the pipeline; standard output without it
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
    /// Overwrite that file
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

/// How a server is reached.
#[derive(Debug, ClapArgs)]
pub(crate) struct Server {
    /// The server's address
    #[arg(long, env = "LONGSHORE_URL", default_value = "http://localhost:8080", global = true, value_parser = address)]
    pub(crate) url: String,
    /// Authorities whose certificates are trusted besides the system's, as PEM; what `SSL_CERT_FILE` names where it is not given
    #[arg(long, env = "LONGSHORE_CA_FILE", global = true, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// A token of the server
    #[arg(long, env = "LONGSHORE_TOKEN", hide_env_values = true, global = true)]
    pub(crate) token: Option<String>,
    /// As JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// A command that talks to a server.
#[derive(Debug, ClapArgs)]
pub(crate) struct Remote<C: Subcommand> {
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(subcommand)]
    pub(crate) command: C,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Approval {
    /// `repo#number/job` or the job's id; `repo#number` where one job of the build waits
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Repo {
    /// Register a repository; prints its webhook address and secret, once
    Add {
        /// `owner/name` or `name`
        name: String,
        /// http, https or ssh
        clone_url: String,
        /// git, github, gitea or forgejo
        #[arg(long, default_value = "git")]
        forge: String,
        /// Readable without a token
        #[arg(long)]
        public: bool,
    },
    /// All repositories
    List,
    /// One repository
    Show {
        /// Its name or id
        repo: String,
    },
    /// Remove a repository with its builds and logs
    Remove {
        /// Its name or id
        repo: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Build {
    /// Start a build of a branch, a tag or a commit
    Start {
        /// The repository's name or id
        repo: String,
        /// A branch or else a tag, by its short name or as `refs/...`; the default branch where none is given
        #[arg(long = "ref", value_name = "REF")]
        git_ref: Option<String>,
        /// A commit that is on it; its newest where none is given
        #[arg(long)]
        commit: Option<String>,
        /// An input that the pipeline declares under `on: manual`
        #[arg(long = "input", value_name = "KEY=VALUE", value_parser = key_value)]
        inputs: Vec<(String, String)>,
    },
    /// The newest builds, of one repository or of all
    List {
        /// The repository's name or id
        repo: Option<String>,
        /// So many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// One build with its jobs and steps
    Show {
        /// `repo#number` or the build's id
        build: String,
    },
    /// The log of a build's jobs
    Logs {
        /// `repo#number` or the build's id
        build: String,
        /// Only this job; its name without the matrix's values means all of them
        #[arg(long)]
        job: Option<String>,
        /// Stay until the build has ended; the exit code says how
        #[arg(long, short)]
        follow: bool,
    },
    /// Stop a build
    Cancel {
        /// `repo#number` or the build's id
        build: String,
    },
    /// Run a build once more, as a new build
    Rerun {
        /// `repo#number` or the build's id
        build: String,
        /// Only what did not succeed
        #[arg(long)]
        failed_only: bool,
    },
}

/// Which builds and jobs may have a secret. Each option may be given several times; what is not given stays as it is.
#[derive(Debug, ClapArgs)]
pub(crate) struct Rules {
    /// Keep the value that is there
    #[arg(long, conflicts_with_all = ["value", "file"])]
    pub(crate) rules_only: bool,
    /// Take away the rules that are there first: without others, every job may have it
    #[arg(long)]
    pub(crate) no_rules: bool,
    /// Builds of these branches may have it: a glob; a pull request is of its source branch
    #[arg(long = "branch", value_name = "GLOB")]
    pub(crate) branches: Vec<String>,
    /// Builds of these tags may have it: a glob
    #[arg(long = "tag", value_name = "GLOB")]
    pub(crate) tags: Vec<String>,
    /// Builds of these events may have it: push, tag, pull-request, schedule, manual
    #[arg(long = "event", value_name = "EVENT")]
    pub(crate) events: Vec<String>,
    /// These jobs may have it: a glob of `job` or `pipeline/job`
    #[arg(long = "job", value_name = "GLOB")]
    pub(crate) jobs: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Set a secret, or change its value or its rules; the value is read from standard input where it is not given
    Set {
        /// The repository's name or id
        repo: String,
        /// Letters, digits and underscores; what `secrets:` of a job names
        name: String,
        /// The value; other users of this machine may see it among the running processes
        #[arg(long, conflicts_with = "file")]
        value: Option<String>,
        /// A file with the value, taken as it is
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        rules: Rules,
    },
    /// The names of a repository's secrets, and their rules; values are never shown
    List {
        /// The repository's name or id
        repo: String,
    },
    /// Remove a secret
    Remove {
        /// The repository's name or id
        repo: String,
        /// Its name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token; prints it, once
    Create {
        /// What people call it
        name: String,
        /// read, build, approve, admin
        #[arg(long = "scope", value_name = "SCOPE", default_values = ["read"], value_delimiter = ',')]
        scopes: Vec<String>,
        /// Only for this repository, by its name or id; may be given several times. All of them where none is given
        #[arg(long = "repo", value_name = "REPO")]
        repos: Vec<String>,
        /// Ends it after so many days; it has no end where it is not given
        #[arg(long, value_name = "DAYS")]
        expires_in_days: Option<u32>,
    },
    /// All tokens, without their values
    List,
    /// Print a link that signs a browser in: once, within ten minutes
    SignIn,
    /// End a token, and the sign-ins that were made with it
    Revoke {
        /// Its id, as `longshore token list` shows it
        id: String,
    },
}

/// What every command that works on a data folder takes.
#[derive(Debug, ClapArgs)]
pub(crate) struct Data {
    /// The server's data folder
    #[arg(long = "data", env = "LONGSHORE_DATA", default_value = crate::DEFAULT_DATA, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Backup {
    /// A file that is not there yet, a folder to make one in, or `-` for standard output
    #[arg(value_name = "FILE|DIR|-")]
    pub(crate) target: PathBuf,
    /// Leave out the key of secrets and the admin token
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
    /// Take the place of the server that the data are from, and take up its running jobs: that one must be stopped, and stay so. Without FILE:
    /// for a folder that is there already, before its server's first start
    #[arg(long)]
    pub(crate) take_over: bool,
    #[command(flatten)]
    pub(crate) data: Data,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Check {
    /// Only the database's pages and the lengths of logs, not every byte
    #[arg(long)]
    pub(crate) quick: bool,
    #[command(flatten)]
    pub(crate) data: Data,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Agent {
    /// The job's own marker, 32 hexadecimal digits
    #[arg(long, value_parser = nonce)]
    marker: Nonce,
    /// Where the job's volume is
    #[arg(long, default_value = "/longshore")]
    root: PathBuf,
}

/// A type of its own, since clap takes an array for a list.
#[derive(Debug, Clone, Copy)]
struct Nonce([u8; 16]);

impl Agent {
    pub(crate) fn run(self) -> ExitCode {
        longshore_agent::run(AgentOptions::new(self.marker.0, self.root))
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Sandbox {
    /// Seconds without a job after which it ends; for ever where it is not given
    #[arg(long)]
    idle: Option<u64>,
}

impl Sandbox {
    pub(crate) fn run(self) -> ExitCode {
        longshore_agent::sandbox(self.idle.map(Duration::from_secs))
    }
}

fn nonce(text: &str) -> Result<Nonce, String> {
    let mut nonce = [0; 16];
    hex::decode_to_slice(text, &mut nonce).map_err(|error| format!("not 32 hexadecimal digits: {error}"))?;
    Ok(Nonce(nonce))
}

fn address(text: &str) -> Result<String, String> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok(text.to_owned());
    }
    Err(format!("an address begins with http:// or https://: write http://{text}"))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not KEY=VALUE")),
    }
}

fn secret(text: &str) -> Result<(String, String), String> {
    if text.contains('=') {
        return key_value(text);
    }
    std::env::var(text)
        .map(|value| (text.to_owned(), value))
        .map_err(|_| format!("`{text}` has no value: write {text}=VALUE, or set it in the environment"))
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
        look_at(&Args::command(), &[]);
    }

    fn look_at(command: &clap::Command, inherited: &[clap::Id]) {
        let mut global = inherited.to_vec();
        for arg in command.get_arguments() {
            let what = format!("`{}` of `{}`", arg.get_id(), command.get_name());
            assert!(!inherited.contains(arg.get_id()), "{what} is what a command above takes");
            assert!(arg.is_hide_set() || arg.get_help().is_some(), "{what} has no help");
            global.extend(arg.is_global_set().then(|| arg.get_id().clone()));
        }
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            assert!(below.get_about().is_some(), "`{}` has no help", below.get_name());
            look_at(below, &global);
        }
    }
}
