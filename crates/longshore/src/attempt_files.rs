//! The files that attempts hand over: stores them in the data folder for the executor, and makes artifacts of them at
//! the end.
//!
//! Used by `runner`. The files of an attempt become artifacts in the transaction of its job's end.

use std::{io, sync::Arc, time::Duration};

use longshore_core::{ArtifactKind, BlobId, JobId, JobPlan, Timestamp, plan::ReportFormat};
use longshore_executor::{AnnouncedFile, ArtifactLimits, ArtifactStore, ArtifactWriter, AttemptId};
use longshore_files::artifacts::{Blobs, Incoming, IncomingLimits, ReceivedFiles};
use longshore_store::{Store, artifacts::NewArtifact};

/// The store of one attempt's files.
struct AttemptFiles {
    blobs: Blobs,
    attempt: AttemptId,
    limits: IncomingLimits,
}

/// Returns the store of an attempt's files.
pub(crate) fn store_of(store: &Store, attempt: AttemptId, limits: &ArtifactLimits) -> Arc<dyn ArtifactStore> {
    let ArtifactLimits { file_bytes, job_bytes, files } = *limits;
    let limits = IncomingLimits { file_bytes, job_bytes, files };
    Arc::new(AttemptFiles { blobs: store.blobs().clone(), attempt, limits })
}

impl ArtifactStore for AttemptFiles {
    fn open(&self) -> io::Result<Box<dyn ArtifactWriter>> {
        let AttemptId { job, attempt } = self.attempt;
        Ok(Box::new(Writer(self.blobs.receive(job, attempt, self.limits)?)))
    }
}

struct Writer(Incoming);

impl ArtifactWriter for Writer {
    fn files(&self) -> u32 {
        self.0.files()
    }

    fn is_complete(&self) -> bool {
        self.0.is_complete()
    }

    fn begin(&mut self, file: &AnnouncedFile) -> io::Result<()> {
        let AnnouncedFile { artifact, name, path, bytes, executable } = file;
        self.0.begin(*artifact, name, path, *bytes, *executable)
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.0.write(data)
    }

    fn end(&mut self, whole: bool) -> io::Result<()> {
        self.0.end(whole)
    }

    fn complete(&mut self, files: u32) -> io::Result<()> {
        self.0.complete(files)
    }
}

/// The artifacts of a plan, in its order: the kind of each, and how long it is kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExpectedArtifacts(Vec<(ArtifactKind, Option<Duration>)>);

impl ExpectedArtifacts {
    /// `keep` is how long artifacts are kept whose plan does not say it.
    pub(crate) fn of(plan: &JobPlan, keep: Option<Duration>) -> Self {
        let age = |expire_in_ms: Option<u64>| expire_in_ms.map(Duration::from_millis).or(keep);
        Self(plan.collected().iter().map(|one| (one.kind, age(one.expire_in_ms))).collect())
    }
}

/// A file of a report, to be read by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReportFile {
    pub(crate) format: ReportFormat,
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) blob: BlobId,
}

/// The files of an attempt that is over.
#[derive(Debug, Default)]
pub(crate) struct AttemptArtifacts {
    pub(crate) artifacts: Vec<NewArtifact>,
}

impl AttemptArtifacts {
    /// Reads the artifacts of an attempt. There are none unless all of its files have arrived.
    pub(crate) async fn of(store: &Store, job: JobId, attempt: u32, expected: &ExpectedArtifacts) -> io::Result<Self> {
        if expected.0.is_empty() {
            return Ok(Self::default());
        }
        let blobs = store.blobs().clone();
        let received =
            tokio::task::spawn_blocking(move || blobs.received_of(job, attempt)).await.map_err(io::Error::other)??;
        Ok(Self::from_received(received, expected, Timestamp::now()))
    }

    fn from_received(received: ReceivedFiles, expected: &ExpectedArtifacts, now: Timestamp) -> Self {
        let mut kept = Self::default();
        if !received.complete {
            return kept;
        }
        for file in received.files {
            let Some((kind, age)) = expected.0.get(usize::from(file.artifact)) else { continue };
            let known = kept.artifacts.iter_mut().find(|one| one.kind == *kind && one.name == file.name);
            match known {
                Some(artifact) => artifact.files.push(file.file),
                None => {
                    kept.artifacts.push(NewArtifact {
                        kind: *kind,
                        name: file.name,
                        expires_at: age.map(|age| now + age),
                        files: vec![file.file],
                    });
                }
            }
        }
        // An agent that is not ours may send a path under one name from two places of the plan.
        for artifact in &mut kept.artifacts {
            artifact.files.sort_by(|a, b| a.path.cmp(&b.path));
            artifact.files.dedup_by(|a, b| a.path == b.path);
        }
        kept
    }

    /// Returns the files of reports.
    pub(crate) fn reports(&self) -> impl Iterator<Item = ReportFile> + '_ {
        self.artifacts.iter().flat_map(|artifact| {
            let format = match artifact.kind {
                ArtifactKind::Report(format) => Some(format),
                ArtifactKind::Files => None,
            };
            format.into_iter().flat_map(|format| {
                artifact.files.iter().map(move |file| ReportFile {
                    format,
                    path: file.path.clone(),
                    bytes: file.bytes,
                    blob: file.blob,
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::ArtifactFile;
    use longshore_files::artifacts::ReceivedFile;

    use super::*;

    fn received(artifact: u16, name: &str, path: &str) -> ReceivedFile {
        let file = ArtifactFile { path: path.to_owned(), executable: false, bytes: 1, blob: BlobId::new([1; 32]) };
        ReceivedFile { artifact, name: name.to_owned(), file }
    }

    fn received_files(files: Vec<ReceivedFile>, complete: bool) -> ReceivedFiles {
        let mut received = ReceivedFiles::default();
        (received.files, received.complete) = (files, complete);
        received
    }

    #[test]
    fn a_path_that_comes_twice_under_one_name_is_kept_once_and_what_no_plan_names_is_not_kept() {
        let expected = ExpectedArtifacts(vec![(ArtifactKind::Files, None), (ArtifactKind::Files, None)]);
        let files = vec![
            received(0, "x", "b"),
            received(1, "x", "b"),
            received(0, "x", "a"),
            received(7, "x", "c"),
            received(1, "y", "b"),
        ];
        let all = received_files(files, true);
        let kept = AttemptArtifacts::from_received(all, &expected, Timestamp::now());
        let paths = |name: &str| -> Vec<String> {
            let found = kept.artifacts.iter().filter(|artifact| artifact.name == name);
            found.flat_map(|artifact| artifact.files.iter().map(|file| file.path.clone())).collect()
        };
        assert_eq!((paths("x"), paths("y")), (vec!["a".to_owned(), "b".to_owned()], vec!["b".to_owned()]));
        assert_eq!(kept.artifacts.len(), 2);
    }

    #[test]
    fn of_an_attempt_whose_files_have_not_all_arrived_none_is_kept() {
        let expected = ExpectedArtifacts(vec![(ArtifactKind::Files, None)]);
        let half = received_files(vec![received(0, "x", "a")], false);
        assert!(AttemptArtifacts::from_received(half, &expected, Timestamp::now()).artifacts.is_empty());
    }
}
