//! The commands that take the server's settings.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::config::Settings;

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

/// The settings are the server's: what it checks is what the server would use.
#[derive(Debug, ClapArgs)]
pub(crate) struct Doctor {
    /// Check nothing; tell of containers that could take over the host, those that run and those that start, until
    /// Ctrl-C
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
