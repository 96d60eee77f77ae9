//! Shows what jobs leave: lists of artifacts, their files, and all of them as a zip.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::Response,
};
use longshore_core::{ArtifactId, BuildId, JobId};
use longshore_store::{Store, artifacts};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    artifacts::{
        ArtifactFileView, ArtifactView, attachment, content_type, find_artifact, is_shown, send_file, send_zip,
    },
    auth::Caller,
    error::{ApiError, ErrorBody},
    lookup::{find_build, find_job},
    params::{Path, PathPair, Query, page_limit},
    request_slots::{Costly, RequestSlots},
    views::Page,
};

/// A job's artifacts
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}/artifacts", tag = "artifacts", security((), ("token" = ["read"])),
    params(("job" = String, Path, description = "The job's id")),
    responses((status = 200, body = Page<ArtifactView>), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn of_job(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<JobId>,
) -> Result<Json<Page<ArtifactView>>, ApiError> {
    let job = find_job(&store, &caller, id).await?;
    let all = artifacts::of_job(&store, job.id).await?;
    Ok(Json(Page::complete(all.into_iter().map(ArtifactView::from).collect())))
}

/// The artifacts of all jobs of a build
#[utoipa::path(
    get, path = "/api/v1/builds/{build}/artifacts", tag = "artifacts", security((), ("token" = ["read"])),
    params(("build" = String, Path, description = "The build's id")),
    responses((status = 200, body = Page<ArtifactView>), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn of_build(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<BuildId>,
) -> Result<Json<Page<ArtifactView>>, ApiError> {
    let (build, _) = find_build(&store, &caller, id).await?;
    let all = artifacts::of_build(&store, build.id).await?;
    Ok(Json(Page::complete(all.into_iter().map(ArtifactView::from).collect())))
}

/// All files of a job's artifact, as a zip
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}/artifacts/{name}", tag = "artifacts", security((), ("token" = ["read"])),
    params(
        ("job" = String, Path, description = "The job's id"),
        ("name" = String, Path, description = "The artifact's name"),
    ),
    responses(
        (status = 200, body = [u8], content_type = "application/zip"), (status = 404, body = ErrorBody),
    ),
)]
pub(crate) async fn by_name(
    State(store): State<Store>,
    State(slots): State<Arc<RequestSlots>>,
    caller: Caller,
    PathPair(id, name): PathPair<JobId, String>,
) -> Result<Response, ApiError> {
    let job = find_job(&store, &caller, id).await?;
    let all = artifacts::of_job(&store, job.id).await?;
    let found = all.into_iter().find(|artifact| artifact.name == name);
    zip_of(&store, &slots, &caller, &found.ok_or_else(|| ApiError::not_found("artifact"))?).await
}

/// All files of an artifact, as a zip
///
/// It is made while it is sent.
#[utoipa::path(
    get, path = "/api/v1/artifacts/{artifact}", tag = "artifacts", security((), ("token" = ["read"])),
    params(("artifact" = String, Path, description = "The artifact's id, and `.zip` behind it")),
    responses(
        (status = 200, body = [u8], content_type = "application/zip"), (status = 404, body = ErrorBody),
    ),
)]
pub(crate) async fn zip(
    State(store): State<Store>,
    State(slots): State<Arc<RequestSlots>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let id: Option<ArtifactId> = name.strip_suffix(".zip").and_then(|id| id.parse().ok());
    let id =
        id.ok_or_else(|| ApiError::not_found_message("the address of an artifact is its id with `.zip` behind it"))?;
    let artifact = find_artifact(&store, &caller, id).await?;
    zip_of(&store, &slots, &caller, &artifact).await
}

async fn zip_of(
    store: &Store,
    slots: &RequestSlots,
    caller: &Caller,
    artifact: &artifacts::Artifact,
) -> Result<Response, ApiError> {
    send_zip(store, artifact, slots.take(caller, Costly::Zip).await?).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FilesQuery {
    /// `next` of the page before
    after: Option<String>,
    /// Maximum number of items: 50 by default, at most 200
    limit: Option<u32>,
}

/// One page of an artifact's files, in the order of their paths.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FilesPage {
    items: Vec<ArtifactFileView>,
    /// Give it as `after` for the next page; `null` on the last.
    next: Option<String>,
}

/// An artifact's files
#[utoipa::path(
    get, path = "/api/v1/artifacts/{artifact}/files", tag = "artifacts", security((), ("token" = ["read"])),
    params(("artifact" = String, Path, description = "The artifact's id"), FilesQuery),
    responses((status = 200, body = FilesPage), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn files(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<ArtifactId>,
    Query(query): Query<FilesQuery>,
) -> Result<Json<FilesPage>, ApiError> {
    let artifact = find_artifact(&store, &caller, id).await?;
    let limit = page_limit(query.limit)?;
    let mut found = artifacts::files(&store, artifact.id, query.after.as_deref(), limit + 1).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|last| last.path.clone());
    Ok(Json(FilesPage { items: found.into_iter().map(ArtifactFileView::from).collect(), next }))
}

/// One file of an artifact
///
/// With `Range`. Whatever it is, nothing in it runs in a browser.
#[utoipa::path(
    get, path = "/api/v1/artifacts/{artifact}/files/{*path}", tag = "artifacts", security((), ("token" = ["read"])),
    params(
        ("artifact" = String, Path, description = "The artifact's id"),
        ("path" = String, Path, description = "The file's path, from the workspace on"),
    ),
    responses(
        (status = 200, body = [u8], content_type = "application/octet-stream"),
        (status = 206, body = [u8], content_type = "application/octet-stream"),
        (status = 304, description = "The client has it already (`If-None-Match`)"),
        (status = 404, body = ErrorBody),
        (status = 416, description = "The range begins behind the last byte", body = ErrorBody),
    ),
)]
pub(crate) async fn file(
    State(store): State<Store>,
    caller: Caller,
    PathPair(id, path): PathPair<ArtifactId, String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let artifact = find_artifact(&store, &caller, id).await?;
    let file = artifacts::file(&store, artifact.id, &path).await?.ok_or_else(|| ApiError::not_found("file"))?;
    let mut response = send_file(&store, &file, &headers).await?;
    if response.status().is_success() && !is_shown(content_type(&path)) {
        let name = path.rsplit('/').next().unwrap_or(&path);
        response.headers_mut().insert(header::CONTENT_DISPOSITION, attachment(name)?);
    }
    Ok(response)
}
