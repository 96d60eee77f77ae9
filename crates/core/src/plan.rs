//! The frozen plan: what a build will do, decided once, stored as JSON, never changed.
//!
//! Made by the scheduler from pipeline files and an event; read by the dispatcher and the executor.
//! Secrets are not in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where the workspace lies in a job's container; `CI_WORKSPACE`.
pub const WORKSPACE: &str = "/longshore/workspace";

/// A build's jobs, in the order of the files and of each file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPlan {
    /// Of this JSON's shape; 1.
    pub version: u32,
    pub jobs: Vec<JobPlan>,
}

/// One container on one workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPlan {
    /// Unique in the build: `pipeline/job` and, of a matrix, ` (a, b)` behind it.
    pub key: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// What people read: the job's key in its file and, of a matrix, ` (a, b)` behind it.
    pub name: String,
    /// The matrix's values for this job, in its file's order of axes; empty without one.
    pub matrix: Vec<(String, String)>,
    /// Keys of jobs that have to succeed first.
    pub needs: Vec<String>,
    pub image: String,
    /// The environment of every step: `CI_*`, the pipeline's, the job's, later ones winning.
    pub env: BTreeMap<String, String>,
    pub steps: Vec<StepPlan>,
    pub timeout_ms: u64,
    /// Whether the workspace starts with the commit's files.
    pub checkout: bool,
}

/// One command of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPlan {
    /// What people read: `name`, or the script's first line.
    pub name: String,
    /// The script.
    pub run: String,
    /// The step's own environment, over the job's.
    pub env: BTreeMap<String, String>,
    /// Relative to the workspace, or absolute.
    pub working_directory: Option<String>,
    /// `sh`, `bash` or a program with its arguments, such as `python3 -u`.
    pub shell: String,
    pub condition: StepCondition,
    pub continue_on_error: bool,
    pub timeout_ms: Option<u64>,
}

/// When a step runs, by what came before it in its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepCondition {
    #[default]
    Success,
    Failure,
    Always,
}
