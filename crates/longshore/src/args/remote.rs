//! The commands that talk to a server.

mod builds;
mod other_systems;
mod repos;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

pub(crate) use self::{
    builds::{Approval, Artifact, Build},
    other_systems::{Connection, NewNotification, Notification, Registry},
    repos::{Cache, Repo, Rules, Secret},
};
use super::values::{Address, address};
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
    /// Returns the client for the server. A server on this machine's data folder is reached where it listens, and a
    /// command without a token is its administrator's.
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
