//! The files that a job leaves: which ones the agent collects, and how it announces them. PROTOCOL.md describes the
//! channel that they travel over.

use longshore_core::artifact::ArtifactKind;
use longshore_core::plan::ArtifactWhen;
use longshore_core::template::Template;
use serde::{Deserialize, Serialize};

/// Bytes of artifacts that may be on their way at once: those that the runner has not taken yet.
pub const WINDOW: u64 = 4 << 20;
/// The bytes that each message of the channel counts besides its data, so that many small files have a limit too.
pub const MESSAGE_COST: u64 = 512;

/// Files to collect after the last step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactSpec {
    pub kind: ArtifactKind,
    pub name: Template,
    /// Globs, relative to the workspace. One that begins with `!` excludes files.
    pub paths: Vec<Template>,
    pub when: ArtifactWhen,
}

/// The limits for what a job leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactLimits {
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of all files of the job together.
    pub job_bytes: u64,
    /// The number of files of the job.
    pub files: u32,
}

impl Default for ArtifactLimits {
    fn default() -> Self {
        Self { file_bytes: 2 << 30, job_bytes: 5 << 30, files: 20_000 }
    }
}

/// A file that is about to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedFile {
    /// Its place in [`JobSpec::artifacts`](crate::JobSpec::artifacts).
    pub artifact: u16,
    /// The artifact's name, with all expressions evaluated.
    pub name: String,
    pub path: String,
    pub bytes: u64,
    pub executable: bool,
}

/// Where the runner stands with a job's files in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArtifactWindow {
    /// The files before this one are stored.
    pub file: u32,
    /// So many bytes of this one have arrived.
    pub offset: u64,
    /// The most that may be sent in this session: data, and [`MESSAGE_COST`] for each message.
    pub limit: u64,
}
