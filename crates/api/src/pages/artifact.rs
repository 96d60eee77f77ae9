//! `/artifacts/{artifact}`: the files of an artifact. `…/open/{path}` opens one of them as a page of its own, in a
//! sandbox: a coverage report or documentation works, and can do nothing with the reader's session.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use longshore_core::{ArtifactFile, ArtifactId, Timestamp};
use longshore_store::{artifacts, builds, jobs, repos};
use serde::Deserialize;

use super::{
    head::{Head, Place},
    html::Html,
    post::see_other,
    show,
    site::Site,
    visitor::Visitor,
};
use crate::{
    artifact_tickets::Tickets,
    artifacts::{ArtifactView, find_artifact, send_file},
    error::ApiError,
    params::{Path, PathPair, PathTriple, Query},
};

/// Files that one page lists.
const FILES_PER_PAGE: u32 = 100;
/// Characters of a path that are shown.
const MAX_PATH_CHARS: usize = 200;

/// Without `allow-same-origin`, the page has an origin of its own: it has no cookies and no storage, and can neither
/// read from this server nor send anything to it as the reader. Its scripts run, and it loads what is its own.
const SANDBOX_POLICY: HeaderValue = HeaderValue::from_static(
    "sandbox allow-scripts allow-popups; default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

#[derive(Template)]
#[template(path = "artifact.html")]
pub(crate) struct ArtifactPage {
    head: Head,
    artifact: ArtifactView,
    /// The file to open first, as a part of an address.
    page: Option<String>,
    repo: repos::Repo,
    build: builds::Build,
    job: jobs::Job,
    files: Vec<FileRow>,
    /// The path after which the next page begins.
    next: Option<String>,
    /// The error of the store of artifacts.
    trouble: Option<String>,
}

/// A file of the list.
#[derive(Debug)]
struct FileRow {
    path: String,
    /// The path as a part of an address.
    address: String,
    bytes: u64,
    executable: bool,
    /// A browser can show it as a page.
    is_page: bool,
}

impl From<ArtifactFile> for FileRow {
    fn from(file: ArtifactFile) -> Self {
        let lower = file.path.to_ascii_lowercase();
        Self {
            address: encoded(&file.path),
            is_page: lower.ends_with(".html") || lower.ends_with(".htm"),
            bytes: file.bytes,
            executable: file.executable,
            path: file.path,
        }
    }
}

/// Returns a path as a part of an address.
pub(super) fn encoded(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilesQuery {
    after: Option<String>,
}

pub(crate) async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<ArtifactId>,
    Query(query): Query<FilesQuery>,
) -> Result<Html<ArtifactPage>, ApiError> {
    let head = Head::new(&site, &visitor, Place::Elsewhere, "");
    let artifact = find_artifact(&site.store, &visitor.caller, id).await?;
    let gone = || ApiError::not_found("artifact");
    let job = jobs::get(&site.store, artifact.job).await?.ok_or_else(gone)?;
    let build = builds::get(&site.store, job.build).await?.ok_or_else(gone)?;
    let repo = repos::get(&site.store, job.repo).await?.ok_or_else(gone)?;
    let mut files = artifacts::files(&site.store, id, query.after.as_deref(), FILES_PER_PAGE + 1).await?;
    let more = files.len() > FILES_PER_PAGE as usize;
    files.truncate(FILES_PER_PAGE as usize);
    let next = files.last().filter(|_| more).map(|last| last.path.clone());
    let title = format!("{} · {} #{}", artifact.name, repo.name, build.number);
    let page = artifact.page.as_deref().map(encoded);
    let files = files.into_iter().map(FileRow::from).collect();
    let trouble = site.store.blobs().offload_problem().map(|trouble| trouble.why);
    let (head, artifact) = (head.titled(title), artifact.into());
    Ok(Html(ArtifactPage { head, artifact, page, repo, build, job, files, next, trouble }))
}

/// Redirects to the address under which the page can load what is its own.
pub(crate) async fn open(
    State(site): State<Site>,
    State(tickets): State<Arc<Tickets>>,
    visitor: Visitor,
    PathPair(id, path): PathPair<ArtifactId, String>,
) -> Result<Response, ApiError> {
    let artifact = find_artifact(&site.store, &visitor.caller, id).await?;
    find_page(&site, id, &path).await?;
    let ticket = tickets.issue(artifact.id, Timestamp::now());
    Ok(see_other(&format!("/artifacts/{id}/view/{ticket}/{}", encoded(&path))))
}

/// Answers with a file, in the sandbox, to the holder of a ticket.
pub(crate) async fn view(
    State(site): State<Site>,
    State(tickets): State<Arc<Tickets>>,
    PathTriple(id, ticket, path): PathTriple<ArtifactId, String, String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !tickets.opens(&ticket, id, Timestamp::now()) {
        return Err(ApiError::not_found_message("this link has expired: open the page again"));
    }
    let mut response = send_file(&site.store, &find_page(&site, id, &path).await?, &headers).await?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX_POLICY);
    // The sandbox has no origin, and fonts and modules are asked for across origins. The ticket is the right to read.
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
    Ok(response)
}

/// Returns the file of this path, or the `index.html` of the folder.
async fn find_page(site: &Site, id: ArtifactId, path: &str) -> Result<ArtifactFile, ApiError> {
    if let Some(file) = artifacts::file(&site.store, id, path).await? {
        return Ok(file);
    }
    let index = format!("{}/index.html", path.trim_end_matches('/'));
    artifacts::file(&site.store, id, &index).await?.ok_or_else(|| ApiError::not_found("file"))
}
