//! The commands for builds and what they leave.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::Server;
use crate::args::values::key_value;

#[derive(Debug, ClapArgs)]
pub(crate) struct Approval {
    /// `repo#number/job` or the job's ID; `repo#number` if only one job of the build is awaiting approval
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) server: Server,
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
