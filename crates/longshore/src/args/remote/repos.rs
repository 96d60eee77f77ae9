//! The commands for repositories, their secrets and caches.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

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
        /// With --branch: these jobs also get a BuildKit builder of their own, where the server names an image for it
        /// (LONGSHORE_BUILDKIT_IMAGE)
        #[arg(long, requires = "branches")]
        buildkit: bool,
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

/// Which builds and jobs can use a secret. Options can be repeated; rules that are left out stay as they are.
#[derive(Debug, ClapArgs)]
pub(crate) struct Rules {
    /// Keep the current value
    #[arg(long, conflicts_with_all = ["value", "file"])]
    pub(crate) rules_only: bool,
    /// Remove the existing rules first; without new ones, all jobs can use the secret
    #[arg(long)]
    pub(crate) no_rules: bool,
    /// Allow builds of branches that match this glob; a pull request counts as its source branch, and as its target branch too where that one's files run
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
