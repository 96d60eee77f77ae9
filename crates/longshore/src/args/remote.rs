//! The commands that talk to a server.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::values::{address, key_value};

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
pub(crate) enum Registry {
    /// Set the credentials for a registry; the password or token is read from standard input
    Add {
        /// As in an image's name, with the port if there is one: `registry.example:5000`, or `docker.io`
        host: String,
        /// Who pulls
        #[arg(long, value_name = "NAME")]
        username: String,
        /// Only for this repository's jobs, by its name or id; for those of all repositories where it is not given
        #[arg(long, value_name = "REPO")]
        repo: Option<String>,
    },
    /// The registries that the server has credentials for; passwords are never shown
    List {
        /// Those of this repository
        #[arg(long, value_name = "REPO")]
        repo: Option<String>,
    },
    /// Remove the credentials for a registry
    Remove {
        /// Its host
        host: String,
        /// Those of this repository
        #[arg(long, value_name = "REPO")]
        repo: Option<String>,
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
