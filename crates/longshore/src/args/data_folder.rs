//! The commands that work on a data folder.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::config::S3Settings;

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
