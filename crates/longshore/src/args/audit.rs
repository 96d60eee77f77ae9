//! The commands for the audit log.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::{data_folder::Data, remote::Server};

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
