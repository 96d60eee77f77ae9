//! The files of other jobs that a job starts with: `needs: [{ job: build, artifacts: [binaries] }]`.
//!
//! They follow the commit's files in the workspace's tar. All of them come from jobs of the same build, so from the
//! same event: what a fork's job left never reaches a job of another build. Used by `runner`.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream};
use longshore_core::{ArtifactFile, ErrorKind, JobPlan, Outcome, Timestamp, plan::Need};
use longshore_executor::{CheckoutSource, CheckoutStream};
use longshore_files::artifacts::{Blobs, Pieces};
use longshore_store::{
    Store, StoreError,
    artifacts::{self, Artifact},
    builds::Build,
    jobs::{self, Job},
};
use tokio::{io::AsyncReadExt as _, sync::mpsc};
use tokio_util::io::StreamReader;

/// All artifacts of a job.
const ALL: &str = "*";
/// Files that one query returns.
const FILES_PER_QUERY: u32 = 500;
/// How many files a job takes from others, and how many bytes their paths have: they are in memory while it runs.
const MAX_FILES: usize = 200_000;
const MAX_PATHS: usize = 32 << 20;
/// How many pieces of the tar may wait.
const MAX_PIECES_AHEAD: usize = 4;
/// How long a piece waits for the agent to take one. It holds a thread of the server meanwhile.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// A file, and the job that left it.
struct Needed {
    file: ArtifactFile,
    job: String,
    created_at: Timestamp,
}

/// Returns the workspace's files, followed by those that the job needs from others.
pub(crate) async fn with_needed(
    store: &Store,
    build: &Build,
    plan: &JobPlan,
    checkout: Option<Arc<dyn CheckoutSource>>,
) -> Result<Option<Arc<dyn CheckoutSource>>, Outcome> {
    if plan.needs.iter().all(|need| need.artifacts.is_empty()) {
        return Ok(checkout);
    }
    let files = find(store, build, plan).await?;
    let files = files.into_iter().map(|(path, needed)| (path, needed.file, needed.created_at)).collect();
    Ok(Some(Arc::new(WithFiles { checkout, blobs: store.blobs().clone(), files })))
}

/// The files that were found so far.
#[derive(Default)]
struct FoundFiles {
    by_path: BTreeMap<String, Needed>,
    path_bytes: usize,
}

impl FoundFiles {
    /// Adds a file of a job's artifact. The error says why the job cannot have it.
    fn add(&mut self, file: ArtifactFile, job: &str, created_at: Timestamp) -> Result<(), String> {
        if let Some(other) = self.by_path.get(&file.path).filter(|other| other.file.blob != file.blob) {
            return Err(format!(
                "the jobs `{}` and `{job}` have different files at `{}`: use the artifacts of only one of them, or write \
                 the files to different paths",
                other.job, file.path
            ));
        }
        self.path_bytes += file.path.len();
        if self.by_path.len() >= MAX_FILES || self.path_bytes > MAX_PATHS {
            return Err(format!(
                "the artifacts that this job needs have more than {MAX_FILES} files, or more than {} MiB of paths: \
                 name fewer of them, or put the files into archives",
                MAX_PATHS >> 20
            ));
        }
        self.by_path.insert(file.path.clone(), Needed { file, job: job.to_owned(), created_at });
        Ok(())
    }
}

/// Finds the files, by their paths.
async fn find(store: &Store, build: &Build, plan: &JobPlan) -> Result<BTreeMap<String, Needed>, Outcome> {
    let internal = |error: StoreError| Outcome::Error { kind: ErrorKind::Internal, message: error.to_string() };
    let missing = |message: String| Outcome::Error { kind: ErrorKind::ArtifactMissing, message };
    let all = jobs::of_build(store, build.id).await.map_err(internal)?;
    let mut found = FoundFiles::default();
    for need in plan.needs.iter().filter(|need| !need.artifacts.is_empty()) {
        let Some(job) = all.iter().find(|job| job.key == need.key) else { continue };
        let left = artifacts::of_job(store, job.id).await.map_err(internal)?;
        for artifact in wanted(need, job, &left).map_err(missing)? {
            let mut after: Option<String> = None;
            loop {
                let page =
                    artifacts::files(store, artifact.id, after.as_deref(), FILES_PER_QUERY).await.map_err(internal)?;
                let Some(last) = page.last() else { break };
                after = Some(last.path.clone());
                for file in page {
                    found.add(file, &job.name, artifact.created_at).map_err(missing)?;
                }
            }
        }
    }
    Ok(found.by_path)
}

/// Returns those of a job's artifacts that are needed.
fn wanted<'a>(need: &Need, job: &Job, left: &'a [Artifact]) -> Result<Vec<&'a Artifact>, String> {
    if need.artifacts.iter().any(|name| name == ALL) {
        return Ok(left.iter().collect());
    }
    let mut found = Vec::new();
    for name in &need.artifacts {
        match left.iter().find(|artifact| artifact.name == *name) {
            Some(artifact) => found.push(artifact),
            // A job for which its result does not matter gets the files that there are.
            None if need.optional => {}
            None => {
                let names: Vec<String> = left.iter().map(|artifact| format!("`{}`", artifact.name)).collect();
                let has = match names.as_slice() {
                    [] => "has none, or they have expired".to_owned(),
                    names => format!("has {}", names.join(", ")),
                };
                return Err(format!(
                    "the artifact `{name}` of the job `{}` does not exist: the job is {} and {has}; rerun the whole build, or add \
                     `optional: true` to the need",
                    job.name, job.status
                ));
            }
        }
    }
    Ok(found)
}

/// Returns a text that identifies the files that a job takes from others: their paths and their contents. Empty if it
/// takes none.
pub(crate) async fn fingerprint(store: &Store, build: &Build, plan: &JobPlan) -> Result<String, Outcome> {
    if plan.needs.iter().all(|need| need.artifacts.is_empty()) {
        return Ok(String::new());
    }
    let files = find(store, build, plan).await?;
    let line =
        |(path, needed): (&String, &Needed)| format!("{path:?} {} {}\n", needed.file.executable, needed.file.blob);
    Ok(files.iter().map(line).collect())
}

struct WithFiles {
    checkout: Option<Arc<dyn CheckoutSource>>,
    blobs: Blobs,
    files: Arc<[(String, ArtifactFile, Timestamp)]>,
}

impl CheckoutSource for WithFiles {
    fn open(&self) -> BoxFuture<'_, io::Result<CheckoutStream>> {
        Box::pin(async {
            let files = tar_of(self.blobs.clone(), Arc::clone(&self.files), PIECE_TIMEOUT);
            Ok(match &self.checkout {
                None => CheckoutStream { tar: 0, bytes: Box::pin(files) },
                Some(checkout) => {
                    let CheckoutStream { tar, bytes } = checkout.open().await?;
                    CheckoutStream { tar, bytes: Box::pin(bytes.chain(files)) }
                }
            })
        })
    }
}

/// Returns the files as a tar, which is made while it is read. The same files make the same bytes. It breaks off with
/// an error if nobody reads on within `patience`.
fn tar_of(
    blobs: Blobs,
    files: Arc<[(String, ArtifactFile, Timestamp)]>,
    patience: Duration,
) -> StreamReader<impl futures_util::Stream<Item = io::Result<Bytes>> + Send, Bytes> {
    let (sender, pieces) = mpsc::channel(MAX_PIECES_AHEAD);
    let out = Pieces::new(sender, patience);
    let writing = tokio::task::spawn_blocking(move || write_tar(&blobs, &files, out));
    StreamReader::new(Box::pin(stream::unfold(Some((pieces, writing)), |open| async move {
        let (mut pieces, writing) = open?;
        match pieces.recv().await {
            Some(piece) => Some((piece, Some((pieces, writing)))),
            // No more pieces come. The tar is whole only if its writer says so.
            None => match writing.await.map_err(io::Error::other).flatten() {
                Ok(()) => None,
                Err(error) => Some((Err(error), None)),
            },
        }
    })))
}

fn write_tar(blobs: &Blobs, files: &[(String, ArtifactFile, Timestamp)], out: Pieces) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    for (path, file, created_at) in files {
        let opened =
            blobs.open(&file.blob)?.ok_or_else(|| io::Error::other(format!("the contents of `{path}` are missing")))?;
        if opened.size() != file.bytes {
            return Err(io::Error::other(format!("the contents of `{path}` are not as long as they were")));
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(file.bytes);
        header.set_mode(if file.executable { 0o755 } else { 0o644 });
        header.set_mtime(u64::try_from(created_at.as_millis() / 1000).unwrap_or(0));
        tar.append_data(&mut header, path, opened.take(file.bytes))?;
    }
    tar.into_inner()?.flush()
}

#[cfg(test)]
mod tests {
    use longshore_core::JobId;
    use longshore_files::artifacts::IncomingLimits;

    use super::*;

    /// Puts a file of these bytes under `name` there, for a job.
    fn put(blobs: &Blobs, name: &str, bytes: &[u8]) -> (String, ArtifactFile, Timestamp) {
        let job = JobId::new();
        let limits = IncomingLimits { file_bytes: 1 << 30, job_bytes: 1 << 30, files: 10 };
        let mut incoming = blobs.receive(job, 1, limits).unwrap();
        incoming.begin(0, "out", name, bytes.len() as u64, false).unwrap();
        incoming.write(bytes).unwrap();
        incoming.end(true).unwrap();
        incoming.complete(1).unwrap();
        let blob = blobs.named_by(job, 1)[0];
        let file = ArtifactFile { path: name.to_owned(), executable: false, bytes: bytes.len() as u64, blob };
        (name.to_owned(), file, Timestamp::now())
    }

    #[tokio::test]
    async fn bytes_that_others_put_in_place_of_a_files_end_the_tar_in_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(folder.path(), false);
        let (is, other, longer) = (put(&blobs, "a", b"is"), put(&blobs, "b", b"no"), put(&blobs, "c", b"longer"));
        let path = |file: &(String, ArtifactFile, Timestamp)| blobs.path(&file.1.blob);
        let read =
            async || tar_of(blobs.clone(), [is.clone()].into(), PIECE_TIMEOUT).read_to_end(&mut Vec::new()).await;
        read().await.unwrap();
        for put in [&other, &longer] {
            std::fs::copy(path(put), path(&is)).unwrap();
            read().await.unwrap_err();
        }
    }

    #[tokio::test]
    async fn an_agent_that_takes_nothing_holds_no_thread_and_gets_no_tar_that_looks_whole() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(folder.path(), false);
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let files: Arc<[_]> = [put(&blobs, "large", &bytes)].into();

        let mut whole = Vec::new();
        tar_of(blobs.clone(), Arc::clone(&files), PIECE_TIMEOUT).read_to_end(&mut whole).await.unwrap();
        assert!(whole.len() > bytes.len());
        let (begun, before) = (tokio::time::Instant::now(), Arc::strong_count(&files));
        let mut stalled = tar_of(blobs, Arc::clone(&files), Duration::from_millis(20));
        while Arc::strong_count(&files) > before {
            assert!(begun.elapsed() < Duration::from_secs(60), "its writer still waits");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let error = stalled.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
