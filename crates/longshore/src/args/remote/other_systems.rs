//! The commands for other systems that a server talks to: forges, registries, and those that tell people of builds.

use clap::{Args as ClapArgs, Subcommand};

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

/// A place to which messages about builds are sent.
#[derive(Debug, ClapArgs)]
pub(crate) struct NewNotification {
    /// email, slack, discord, matrix, mattermost, teams or webhook
    pub(crate) kind: String,
    /// Mailboxes (a@example.org,b@example.org), a webhook's URL, or a Matrix room
    /// (`https://matrix.example/!id:example`). Read from standard input if not given, so that other users of this
    /// machine do not see it. For Matrix, the access token is read from there
    #[arg(required_if_eq("kind", "matrix"))]
    pub(crate) address: Option<String>,
    /// A name to recognize it by; the kind if not given
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// What to tell: failure, fixed, approval, anomaly; all if not given
    #[arg(long, value_name = "EVENT", value_delimiter = ',', value_parser = ["failure", "fixed", "approval", "anomaly"])]
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
    /// List who is notified, and whether messages arrive
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
