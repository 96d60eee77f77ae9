//! The commands that read pipeline files, without running them.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

#[derive(Debug, ClapArgs)]
pub(crate) struct Lint {
    /// Pipeline files or working trees; by default the current folder
    pub(crate) paths: Vec<PathBuf>,
    /// Output format
    #[arg(long, default_value = "human")]
    pub(crate) format: LintFormat,
    /// Also warn of events that this forge never sends: github, gitea, forgejo, gitlab, bitbucket, gogs, or git for a
    /// plain remote
    #[arg(long, value_name = "FORGE")]
    pub(crate) forge: Option<longshore_forge::Forge>,
    #[command(flatten)]
    pub(crate) limits: PlanLimits,
}

/// Limits of plans that a server's settings can change.
#[derive(Debug, ClapArgs)]
pub(crate) struct PlanLimits {
    /// Maximum number of jobs in a build
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
    /// The file to convert, `-` for standard input, or a folder: a repository or a folder of pipeline files
    pub(crate) file: PathBuf,
    /// The CI system that the file is for; by default detected
    #[arg(long)]
    pub(crate) from: Option<ConvertFrom>,
    /// Where to write the pipeline, or the pipelines of a folder; by default standard output
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
    /// Overwrite existing files
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
