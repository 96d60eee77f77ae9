//! The commands that talk to a server.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::values::{Address, address, key_value};
use crate::{client::Client, own_server::OwnServer};

/// Where a server on this machine listens unless its settings say otherwise.
const DEFAULT_URL: &str = "http://localhost:8080";

/// How a server is reached.
#[derive(Debug, ClapArgs)]
pub(crate) struct Server {
    /// The server's address; by default that of the server on this machine's data folder, or http://localhost:8080
    #[arg(long, env = "LONGSHORE_URL", global = true, value_parser = address)]
    url: Option<Address>,
    /// CA certificates (PEM) to trust in addition to the system's; by default those in `SSL_CERT_FILE`
    #[arg(long, env = "LONGSHORE_CA_FILE", global = true, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// An API token; in the server's own container the administrator's by default
    #[arg(long, env = "LONGSHORE_TOKEN", hide_env_values = true, global = true)]
    pub(crate) token: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Server {
    /// Returns the client for the server. One that runs on this machine's data folder is reached where it listens, and a command
    /// without a token is its administrator's.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let given = self.url.as_ref().and_then(|url| url.0.as_deref());
        let token = self.token.clone().filter(|token| !token.is_empty());
        if let Some(own) = OwnServer::find(given) {
            let token = match token {
                Some(token) => Some(token),
                None => own.admin_token()?,
            };
            return Client::direct(&own.reached_at, token, self.ca_file.as_deref())
                .map(|client| client.shown_as(given.unwrap_or(&own.url)));
        }
        match given {
            Some(url) => Client::new(url, token, self.ca_file.as_deref()),
            None => Client::direct(DEFAULT_URL, token, self.ca_file.as_deref()),
        }
    }
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
    /// `repo#number/job` or the job's ID; `repo#number` if only one job of the build is awaiting approval
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Repo {
    /// Register a repository, and print its webhook URL and secret
    Add {
        /// `owner/name` or `name`
        name: String,
        /// The clone address: http, https or ssh. Not needed with --connection
        #[arg(required_unless_present = "connection", conflicts_with = "connection")]
        clone_url: Option<String>,
        /// A connection with access to it: its name, kind, address or ID; the server then sets up the webhook
        #[arg(long, value_name = "CONNECTION")]
        connection: Option<String>,
        /// git, github, gitea, forgejo, gitlab, bitbucket or gogs
        #[arg(long, default_value = "git", conflicts_with = "connection")]
        forge: String,
        /// Let everyone see builds and logs
        #[arg(long)]
        public: bool,
    },
    /// List repositories
    List,
    /// Show a repository
    Show {
        /// The repository's name or ID
        repo: String,
    },
    /// Use a connection for a repository: the server sets up its webhook and reports commit statuses
    Connect {
        /// The repository's name or ID
        repo: String,
        /// The connection's name, kind, address or ID
        connection: String,
        /// The repository's name on the forge; by default taken from the clone URL
        #[arg(long)]
        name: Option<String>,
    },
    /// Show the public key of a repository's deploy key; create one if there is none
    Key {
        /// The repository's name or ID
        repo: String,
        /// Create a new one, and trust the keys that the host shows now
        #[arg(long, conflicts_with = "remove")]
        new: bool,
        /// Remove it; the server's own SSH keys are used instead
        #[arg(long)]
        remove: bool,
    },
    /// Change a repository's name, forge or clone address, or what is known of it
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Change {
        /// The repository's name or ID
        repo: String,
        /// The new name
        #[arg(long, value_name = "NAME", group = "change")]
        name: Option<String>,
        /// The forge whose webhooks it gets: git, github, gitea, forgejo, gitlab, bitbucket or gogs
        #[arg(long, value_name = "FORGE", group = "change")]
        forge: Option<String>,
        /// The new clone address: http, https or ssh
        #[arg(long, value_name = "URL", group = "change")]
        clone_url: Option<String>,
        /// The default branch; empty for the one that the forge reports
        #[arg(long, value_name = "BRANCH", group = "change")]
        default_branch: Option<String>,
        /// Whether everyone sees builds and logs
        #[arg(long, value_name = "BOOL", group = "change")]
        public: Option<bool>,
    },
    /// Check a repository for pushes that no webhook reported, and build them
    Look {
        /// The repository's name or ID
        repo: String,
    },
    /// Let a repository's jobs use Docker: a guarded API, or the host's socket
    #[command(group = clap::ArgGroup::new("grant").required(true))]
    Docker {
        /// The repository's name or ID
        repo: String,
        /// Branch whose jobs get a guarded API with `docker: true` (glob; `refs/tags/v*` for tags); can be repeated
        #[arg(long = "branch", value_name = "GLOB", group = "grant")]
        branches: Vec<String>,
        /// Also allow `docker: raw`: the host's socket, which is root on the host
        #[arg(long, group = "grant")]
        raw: bool,
        /// Do not let jobs use Docker
        #[arg(long, group = "grant")]
        none: bool,
    },
    /// Delete a repository with its builds and logs
    Remove {
        /// The repository's name or ID
        repo: String,
        /// Delete it without asking
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Artifact {
    /// List the artifacts of a build's jobs
    List {
        /// `repo#number` or the build's ID
        build: String,
    },
    /// Download an artifact
    Get {
        /// `repo#number` or the build's ID
        build: String,
        /// The artifact's name
        name: String,
        /// The job, if several have an artifact of that name
        #[arg(long)]
        job: Option<String>,
        /// Only this file
        #[arg(long, conflicts_with = "zip")]
        path: Option<String>,
        /// Folder for the files; by default the artifact's name
        #[arg(long, short, value_name = "DIR")]
        output: Option<PathBuf>,
        /// Download one zip instead; `-` for standard output
        #[arg(long, value_name = "FILE", conflicts_with = "output")]
        zip: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Build {
    /// Start a build of a branch, a tag or a commit
    Start {
        /// The repository's name or ID
        repo: String,
        /// A branch or tag, by its short name or as `refs/...`; by default the default branch
        #[arg(long = "ref", value_name = "REF")]
        git_ref: Option<String>,
        /// A commit on that branch or tag; by default the latest
        #[arg(long)]
        commit: Option<String>,
        /// Set an input that the pipeline declares under `on: manual`
        #[arg(long = "input", value_name = "KEY=VALUE", value_parser = key_value)]
        inputs: Vec<(String, String)>,
        /// Follow the logs until the build has finished, and exit with 1 if it failed
        #[arg(long, short)]
        follow: bool,
    },
    /// List the newest builds of one or all repositories
    List {
        /// The repository's name or ID
        repo: Option<String>,
        /// Maximum number of builds
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show a build with its jobs and steps
    Show {
        /// `repo#number` or the build's ID
        build: String,
    },
    /// Print a build's tests, failures first
    Tests {
        /// `repo#number` or the build's ID
        build: String,
        /// Only `failed`, `passed` or `skipped`
        #[arg(long, value_parser = ["failed", "passed", "skipped"])]
        status: Option<String>,
        /// Maximum number of tests
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Print the logs of a build's jobs
    Logs {
        /// `repo#number` or the build's ID
        build: String,
        /// Only this job; without matrix values, all jobs of the matrix
        #[arg(long)]
        job: Option<String>,
        /// Follow the logs until the build has finished, and exit with 1 if it failed
        #[arg(long, short)]
        follow: bool,
    },
    /// Cancel a build
    Cancel {
        /// `repo#number` or the build's ID
        build: String,
    },
    /// Rerun a build, as a new build
    Rerun {
        /// `repo#number` or the build's ID
        build: String,
        /// Rerun only jobs that did not succeed
        #[arg(long)]
        failed_only: bool,
        /// Rerun only this job
        #[arg(long, conflicts_with = "failed_only", value_name = "NAME")]
        job: Option<String>,
        /// Follow the logs until the build has finished, and exit with 1 if it failed
        #[arg(long, short)]
        follow: bool,
    },
}

/// Which builds and jobs can use a secret. Options can be repeated; rules that are left out stay as they are.
#[derive(Debug, ClapArgs)]
pub(crate) struct Rules {
    /// Keep the current value
    #[arg(long, conflicts_with_all = ["value", "file"])]
    pub(crate) rules_only: bool,
    /// Remove the existing rules first; without new ones, all jobs can use the secret
    #[arg(long)]
    pub(crate) no_rules: bool,
    /// Allow builds of branches that match this glob; a pull request counts as its source branch
    #[arg(long = "branch", value_name = "GLOB")]
    pub(crate) branches: Vec<String>,
    /// Allow builds of tags that match this glob
    #[arg(long = "tag", value_name = "GLOB")]
    pub(crate) tags: Vec<String>,
    /// Allow builds of this event: push, tag, pull-request, schedule, manual
    #[arg(long = "event", value_name = "EVENT")]
    pub(crate) events: Vec<String>,
    /// Allow jobs that match this glob: `job` or `pipeline/job`
    #[arg(long = "job", value_name = "GLOB")]
    pub(crate) jobs: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Create a secret, or change its value or rules; the value is read from standard input by default
    Set {
        /// The repository's name or ID
        repo: String,
        /// The name that jobs list under `secrets:`: letters, digits and underscores
        name: String,
        /// The value; other users of this machine can see it in the process list
        #[arg(long, conflicts_with = "file")]
        value: Option<String>,
        /// Read the value from this file
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        rules: Rules,
    },
    /// List the names and rules of a repository's secrets; values are never shown
    List {
        /// The repository's name or ID
        repo: String,
    },
    /// Delete a secret
    Remove {
        /// The repository's name or ID
        repo: String,
        /// The secret's name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Registry {
    /// Set the credentials for a registry; the password or token is read from standard input
    Add {
        /// As in image names, with the port if any: `registry.example:5000`, or `docker.io`
        host: String,
        /// The user name
        #[arg(long, value_name = "NAME")]
        username: String,
        /// Only for jobs of this repository, given by its name or ID; by default for all
        #[arg(long, value_name = "REPO")]
        repo: Option<String>,
    },
    /// List the registries with credentials; passwords are never shown
    List {
        /// Only this repository's own credentials
        #[arg(long, value_name = "REPO")]
        repo: Option<String>,
    },
    /// Delete the credentials for a registry
    Remove {
        /// The registry's host
        host: String,
        /// Only this repository's own credentials
        #[arg(long, value_name = "REPO")]
        repo: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// List a repository's caches, most recently used first
    List {
        /// The repository's name or ID
        repo: String,
    },
    /// Remove caches of a repository
    Remove {
        /// The repository's name or ID
        repo: String,
        /// The cache's ID, or its key
        #[arg(required_unless_present = "all")]
        cache: Option<String>,
        /// Remove all caches of the repository
        #[arg(long, conflicts_with = "cache")]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Connection {
    /// Connect a forge, or replace a connection's token; the token is read from standard input
    Add {
        /// github, gitea, forgejo, gitlab, bitbucket or gogs
        kind: String,
        /// The forge's address in a browser, such as `https://forge.example`
        address: String,
        /// The connection's name; by default its kind
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// The ID of a GitHub App. Its private key (PEM) is read from standard input in place of a token
        #[arg(long = "app", value_name = "ID")]
        app_id: Option<String>,
    },
    /// List connections; tokens are never shown
    List,
    /// List the repositories that a connection has access to
    Repos {
        /// The connection's name, kind, address or ID
        connection: String,
    },
    /// Remove a connection that no repository uses
    Remove {
        /// The connection's name, kind, address or ID
        connection: String,
    },
}

/// A place where people are told of builds.
#[derive(Debug, ClapArgs)]
pub(crate) struct NewNotification {
    /// email, slack, discord, matrix, mattermost, teams or webhook
    pub(crate) kind: String,
    /// Mailboxes (a@example.org,b@example.org), a webhook's URL, or a Matrix room (`https://matrix.example/!id:example`).
    /// Read from standard input if not given, so that other users of this machine do not see it. For Matrix, the access token is
    /// read from there
    #[arg(required_if_eq("kind", "matrix"))]
    pub(crate) address: Option<String>,
    /// A name to recognize it by; the kind if not given
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// What to tell: failure, fixed, approval; all if not given
    #[arg(long, value_name = "EVENT", value_delimiter = ',', value_parser = ["failure", "fixed", "approval"])]
    pub(crate) on: Vec<String>,
    /// Tell only of builds of branches that match this glob (`refs/tags/v*` for tags); can be repeated
    #[arg(long = "branch", value_name = "GLOB")]
    pub(crate) branches: Vec<String>,
    /// Only builds of this repository, given by its name or ID; by default of all
    #[arg(long, value_name = "REPO")]
    pub(crate) repo: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Notification {
    /// Tell somebody of failed and fixed builds, and of jobs that wait for approval
    Add(NewNotification),
    /// List who is told, and whether messages arrive
    List {
        /// Only this repository's own
        #[arg(long, value_name = "REPO")]
        repo: Option<String>,
    },
    /// Send a test message
    Test {
        /// Its name or ID
        notification: String,
        /// One of this repository's own
        #[arg(long, value_name = "REPO")]
        repo: Option<String>,
    },
    /// Tell somebody no more
    Remove {
        /// Its name or ID
        notification: String,
        /// One of this repository's own
        #[arg(long, value_name = "REPO")]
        repo: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Create a token, and print it
    Create {
        /// A name to recognize it by
        name: String,
        /// read, build, approve, admin
        #[arg(long = "scope", value_name = "SCOPE", default_values = ["read"], value_delimiter = ',')]
        scopes: Vec<String>,
        /// Limit the token to this repository, given by its name or ID; can be repeated
        #[arg(long = "repo", value_name = "REPO")]
        repos: Vec<String>,
        /// Let the token expire after this many days; by default it does not expire
        #[arg(long, value_name = "DAYS")]
        expires_in_days: Option<u32>,
    },
    /// List tokens, without their values
    List,
    /// Print a link to sign in with a browser; it works once, within ten minutes
    SignIn,
    /// Revoke a token, and end the sessions that were started with it
    Revoke {
        /// The token's ID, as in `longshore token list`
        id: String,
    },
}
