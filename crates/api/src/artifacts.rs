//! Artifacts as answers: their JSON, who may see them, and their files as bodies. Shared by routes and pages.

use std::{
    io::{self, Read as _, Seek as _},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{Stream, stream};
use longshore_core::{
    ArtifactFile, ArtifactId, JobId, Timestamp,
    access::{Action, Object},
};
use longshore_files::artifacts::{BlobFile, Blobs, ObjectError, Pieces, ZipWriter};
use longshore_store::{
    Store,
    artifacts::{self, Artifact},
};
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use crate::{auth::Caller, error::ApiError, range::ByteRange, request_slots::RequestSlot};

/// Bytes of a body that are read at once, and how many pieces of a zip wait for the client.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_AHEAD: usize = 2;
/// How long a zip waits for a client that takes nothing of it. Then it breaks off, so that the client holds no thread.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Files of a zip whose names are read at once.
const NAMES_PER_QUERY: u32 = 500;

/// A file runs nothing, loads nothing, and is not interpreted as another type.
const FILE_POLICY: HeaderValue =
    HeaderValue::from_static("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:");

#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ArtifactView {
    #[schema(value_type = String, format = "uuid")]
    pub(crate) id: ArtifactId,
    #[schema(value_type = String, format = "uuid")]
    pub(crate) job: JobId,
    pub(crate) name: String,
    /// How many there are.
    pub(crate) files: u64,
    /// Of all files together, before packing.
    pub(crate) bytes: u64,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Timestamp,
    /// When it is removed. Without a date, it goes with its build.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) expires_at: Option<Timestamp>,
}

impl From<Artifact> for ArtifactView {
    fn from(artifact: Artifact) -> Self {
        let Artifact { id, job, kind: _, name, files, bytes, page: _, created_at, expires_at } = artifact;
        Self { id, job, name, files, bytes, created_at, expires_at }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ArtifactFileView {
    /// From the workspace on.
    path: String,
    bytes: u64,
    executable: bool,
    sha256: String,
}

impl From<ArtifactFile> for ArtifactFileView {
    fn from(file: ArtifactFile) -> Self {
        let ArtifactFile { path, executable, bytes, blob } = file;
        Self { path, bytes, executable, sha256: blob.to_string() }
    }
}

/// Returns the artifact if the caller may see it.
pub(crate) async fn find_artifact(store: &Store, caller: &Caller, id: ArtifactId) -> Result<Artifact, ApiError> {
    caller.require(Action::See, Object::SomeRepo)?;
    let (artifact, repo) = artifacts::get(store, id).await?.ok_or_else(|| ApiError::not_found("artifact"))?;
    caller.repo(store, repo).await.map_err(|error| error.with_noun("artifact"))?;
    Ok(artifact)
}

/// Answers with a file of an artifact, or with the part of it that the client asks for.
pub(crate) async fn send_file(store: &Store, file: &ArtifactFile, asked: &HeaderMap) -> Result<Response, ApiError> {
    let tag = HeaderValue::from_str(&format!("\"{}\"", file.blob)).map_err(ApiError::internal)?;
    if asked.get(header::IF_NONE_MATCH) == Some(&tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let range = ByteRange::parse(asked);
    let (from, to) = match range.map(|range| range.within(file.bytes)) {
        None => (0, file.bytes),
        Some(Some(part)) => part,
        Some(None) => {
            let mut response = ApiError::range_not_satisfiable(file.bytes).into_response();
            let range = HeaderValue::from_str(&format!("bytes */{}", file.bytes)).map_err(ApiError::internal)?;
            response.headers_mut().insert(header::CONTENT_RANGE, range);
            return Ok(response);
        }
    };
    let (blobs, blob) = (store.blobs().clone(), file.blob);
    let opened = tokio::task::spawn_blocking(move || {
        let mut opened = blobs.open(&blob)?.ok_or(io::ErrorKind::NotFound)?;
        if from > 0 {
            opened.seek(io::SeekFrom::Start(from))?;
        }
        Ok::<_, io::Error>(opened)
    });
    let opened = opened.await.map_err(ApiError::internal)?.map_err(unreadable)?;
    let mut response = Body::from_stream(pieces_of(opened, to - from)).into_response();
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {from}-{}/{}", to - 1, file.bytes);
        let range = HeaderValue::from_str(&range).map_err(ApiError::internal)?;
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(to - from));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::ETAG, tag);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(&file.path)));
    headers.insert(header::CONTENT_SECURITY_POLICY, FILE_POLICY);
    Ok(response)
}

/// Returns the next `bytes` bytes of a file. Each piece is read when the client has taken the one before, so that a
/// slow client occupies no thread.
fn pieces_of(file: BlobFile, bytes: u64) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((file, bytes), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES))];
            file.read_exact(&mut piece)?;
            Ok::<_, io::Error>((piece, file))
        });
        let (piece, file) = read.await.map_err(io::Error::other)??;
        let left = left - piece.len() as u64;
        Ok(Some((Bytes::from(piece), (file, left))))
    })
}

/// Returns the error for a file that cannot be read. An object store that is away is not the server's own fault, and
/// the reader is told so.
fn unreadable(error: io::Error) -> ApiError {
    match ObjectError::of(&error) {
        Some(said @ (ObjectError::Away { .. } | ObjectError::Refused { .. })) => {
            ApiError::unavailable(said.to_string())
        }
        Some(ObjectError::Missing { .. } | ObjectError::Local(_)) | None => ApiError::internal(error),
    }
}

/// Answers with all files of an artifact as a zip, which is made while it is sent. Whoever makes it holds the slot, also
/// if the client is gone before.
pub(crate) async fn send_zip(store: &Store, artifact: &Artifact, slot: RequestSlot) -> Result<Response, ApiError> {
    // Whether the files can be read is checked before the answer begins.
    if let [first, ..] = artifacts::files(store, artifact.id, None, 1).await?.as_slice() {
        let (blobs, blob) = (store.blobs().clone(), first.blob);
        let opened = tokio::task::spawn_blocking(move || blobs.open(&blob).map(drop));
        opened.await.map_err(ApiError::internal)?.map_err(unreadable)?;
    }
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let out = Pieces::new(sender.clone(), CLIENT_TIMEOUT);
    let writing = write_zip(store.clone(), artifact.id, out);
    tokio::spawn(async move {
        let _held = slot;
        // A body that breaks off is not a valid zip, and the client sees that.
        if let Err(error) = writing.await {
            let _ = sender.send(Err(error)).await;
        }
    });
    let mut response = Body::from_stream(received(pieces)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    headers.insert(header::CONTENT_DISPOSITION, attachment(&format!("{}.zip", artifact.name))?);
    Ok(response)
}

async fn write_zip(store: Store, id: ArtifactId, out: Pieces) -> io::Result<()> {
    let mut zip = ZipWriter::new(out);
    let mut after: Option<String> = None;
    loop {
        let files = artifacts::files(&store, id, after.as_deref(), NAMES_PER_QUERY).await.map_err(io::Error::other)?;
        let Some(last) = files.last() else { break };
        after = Some(last.path.clone());
        let blobs = store.blobs().clone();
        let written = tokio::task::spawn_blocking(move || {
            files.iter().try_for_each(|file| add_to_zip(&mut zip, &blobs, file)).map(|()| zip)
        });
        zip = written.await.map_err(io::Error::other)??;
    }
    tokio::task::spawn_blocking(move || zip.finish().map(drop)).await.map_err(io::Error::other)?
}

fn add_to_zip(zip: &mut ZipWriter<Pieces>, blobs: &Blobs, file: &ArtifactFile) -> io::Result<()> {
    let opened = blobs.open(&file.blob)?.ok_or(io::ErrorKind::NotFound)?;
    zip.add(&file.path, file.executable, file.bytes, opened)
}

fn received(pieces: mpsc::Receiver<io::Result<Bytes>>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(pieces, |mut pieces| async move { pieces.recv().await.map(|piece| (piece, pieces)) })
}

/// Returns the header that has a browser save what comes, under this name.
pub(crate) fn attachment(name: &str) -> Result<HeaderValue, ApiError> {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
    let encoded: String = name
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    HeaderValue::from_str(&format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"))
        .map_err(ApiError::internal)
}

/// Returns what a file is, by the end of its name.
pub(crate) fn content_type(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let end = name.rsplit_once('.').map_or("", |(_, end)| end).to_ascii_lowercase();
    match end.as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "wasm" => "application/wasm",
        "xml" => "application/xml",
        "txt" | "log" | "md" | "csv" | "yml" | "yaml" | "toml" | "diff" | "patch" | "info" => {
            "text/plain; charset=utf-8"
        }
        _ => "application/octet-stream",
    }
}

/// Returns whether a browser shows such a file safely where it is. All others it saves.
pub(crate) fn is_shown(content_type: &str) -> bool {
    let raster = ["image/png", "image/jpeg", "image/gif", "image/webp"];
    content_type.starts_with("text/plain") || raster.contains(&content_type)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_name_reaches_the_browser_and_nothing_else_of_the_header() {
        let header = attachment("a\"b\r\nSet-Cookie: x; ä.zip").unwrap();
        let text = header.to_str().unwrap();
        assert_eq!(text.matches('"').count(), 2, "{text}");
        assert!(!text.contains('\r') && !text.contains("Set-Cookie: "), "{text}");
        assert!(text.ends_with("%C3%A4.zip"), "{text}");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_a_zip_holds_no_thread() {
        let (sender, mut pieces) = mpsc::channel(1);
        let mut out = Pieces::new(sender, Duration::from_millis(20));
        let written = tokio::task::spawn_blocking(move || {
            (out.write(&[1; Pieces::LENGTH]).is_ok(), out.write(&[2; Pieces::LENGTH]).map_err(|error| error.kind()))
        });
        let written = timeout(Duration::from_secs(60), written).await.unwrap().unwrap();
        assert_eq!(written, (true, Err(io::ErrorKind::TimedOut)));
        assert_eq!(pieces.recv().await.unwrap().unwrap().len(), Pieces::LENGTH);
    }

    #[test]
    fn what_a_page_could_run_is_not_shown_where_it_is() {
        for path in ["x.html", "x.HTM", "a.svg", "x.xml", "x.js", "x", "x.pdf"] {
            assert!(!is_shown(content_type(path)), "{path}");
        }
        for path in ["a/b.log", "x.PNG", "notes.txt"] {
            assert!(is_shown(content_type(path)), "{path}");
        }
    }
}
