//! The pipeline language: from the text of pipeline files to the frozen plan of a build.
//!
//! ```text
//! SourceFile -> yaml: a tree with places -> read: (Option<Pipeline>, Vec<Diagnostic>) -> plan: BuildPlan
//!              \ wanted_templates -> the caller reads those files, too /
//! ```
//!
//! The ingest loop, `longshore run` and `longshore lint` call it. It is pure: no files, no clock, no network. The same
//! text, event and facts always make the same plan. Every problem of a file is a [`Diagnostic`] with a stable code, and
//! all problems of a file are reported at once. Once a pipeline has been read, planning it cannot fail on what its
//! author wrote.
//!
//! A key of the language is written in three places, which tests compare: `keys` (its name), `read` (its meaning) and
//! `schema` (what editors know about it).

mod changes;
mod check;
mod code;
mod contexts;
pub mod docker_rules;
mod duration;
mod fields;
mod filter;
pub mod findings;
mod graph;
pub mod image_rules;
mod input;
mod keys;
mod matrix;
mod merge;
mod model;
pub mod notification_rules;
mod plan;
mod read;
pub mod report;
mod scalar;
mod schedule;
mod schema;
mod scope;
pub mod secret_rules;
mod size;
pub mod source;
pub mod suggest;
mod syntax;
mod templates;
mod text;
pub mod tree;
mod triggers;
mod variables;
pub mod yaml;

pub use changes::is_path_pattern;
pub use check::{Checked, check, check_within, unreadable};
pub use code::Code;
pub use input::{Input, InputKind};
pub use model::{OptionalEvent, Pipeline};
pub use plan::{NoMatch, Planned, RepoFacts};
pub use schedule::Schedule;
pub use schema::json_schema;
pub use source::SourceFile;
pub use templates::{TemplateFiles, wanted_templates};
pub use variables::{BuildFacts, build_variables};

#[doc(no_inline)]
pub use longshore_core::Diagnostic;

/// The limits of a pipeline file. Documented in `docs/pipeline.md`.
pub mod limits {
    /// Bytes of a file.
    pub const FILE_BYTES: usize = 256 * 1024;
    /// Depth of nested mappings and lists.
    pub const DEPTH: usize = 32;
    /// Keys, values, lists and mappings in a file, before aliases: far more than anybody writes in a file of this size,
    /// and few enough that a file made of brackets alone is read quickly.
    pub const NODES: usize = 40_000;
    /// Nodes that aliases and merges may add.
    pub const ALIAS_NODES: usize = 20_000;
    /// Bytes of text that aliases and merges may add.
    pub const ALIAS_BYTES: usize = 512 * 1024;
    /// Jobs of a build after the matrix, unless the server sets another number.
    pub const JOBS: usize = 256;
    /// Combinations of a matrix before `exclude` applies; also the entries of `include` and of `exclude`.
    pub const COMBINATIONS: usize = 4096;
    /// Template files that the pipelines of a repository use.
    pub const TEMPLATES: usize = 50;
    /// Steps of a job.
    pub const STEPS: usize = 200;
    /// Expressions of a pipeline, counted once for each job that its matrix makes.
    pub const EXPRESSIONS: usize = 50_000;
    /// Different patterns of all `changed()` of a pipeline.
    pub const CHANGED_PATTERNS: usize = 1000;
    /// Bytes of one environment variable's value. The kernel takes at most 128 KiB.
    pub const ENV_VALUE_BYTES: usize = 64 * 1024;
    /// Bytes of one job's scripts and environment together.
    pub const JOB_BYTES: usize = 512 * 1024;
    /// Bytes of a build's scripts and environments together.
    pub const PLAN_BYTES: usize = 16 * 1024 * 1024;
    /// Jobs of which each begins on the workspace of the one before. The engine mounts them over each other.
    pub const WORKSPACES: usize = 12;
    /// Longest `timeout`, in milliseconds: 24 hours.
    pub const TIMEOUT_MS: u64 = 24 * 60 * 60 * 1000;
    /// Default `timeout` of a job, in milliseconds: one hour.
    pub const DEFAULT_TIMEOUT_MS: u64 = 60 * 60 * 1000;
    /// Characters of a name.
    pub const NAME_CHARS: usize = 64;
    /// Findings shown for one file; one more says how many are left out.
    pub const FINDINGS: usize = 100;
    /// Bytes of the commit message in `CI_COMMIT_MESSAGE`; a longer message is cut.
    pub const MESSAGE_BYTES: usize = 16 * 1024;
}
