//! Lists the audit log, and exports it. Only an administrator of all repositories may.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use futures_util::{StreamExt as _, stream};
use longshore_core::{
    BuildId, JobId, RepoId, Timestamp, TokenId,
    access::{Action, Object},
};
use longshore_store::{
    Store, StoreError,
    anomalies::{self, Anomaly},
    audit::{self, Decision, Entry, Filter, Record},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    auth::Caller,
    config::ApiConfig,
    error::{ApiError, ErrorBody},
    guard_log::{self, GuardFilter, GuardRecordView},
    params::{Query, page_limit, parse_before, parse_word},
    views::{Page, PageQuery, RepoRef},
};

/// Records that the export reads at once.
const RECORDS_PER_BATCH: u32 = 500;

/// A record of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditView {
    /// Its place in the log, without gaps.
    number: i64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    actor: AuditActorView,
    /// The kind of object and what was done to it: `secret.set`, `job.approve`, …
    #[schema(example = "secret.set")]
    action: String,
    /// The object by its name or ID; empty if it is the repository, the build or the job.
    object: String,
    repo: Option<RepoRef>,
    #[schema(value_type = Option<String>, format = "uuid")]
    build: Option<BuildId>,
    #[schema(value_type = Option<String>, format = "uuid")]
    job: Option<JobId>,
    /// `allowed`, `denied`, or `failed` (allowed, and not carried out)
    decision: &'static str,
    /// Why it was denied or failed.
    reason: Option<String>,
    /// The names of the fields that were given, never their values.
    fields: Vec<String>,
}

/// Who acted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditActorView {
    /// The token's name, or `job` and the job's; empty for somebody unknown.
    name: String,
    /// `token`, `session` (a browser), `job`, `server` or `anonymous`
    via: String,
    /// The token's ID, since names are not unique.
    #[schema(value_type = Option<String>, format = "uuid")]
    token: Option<TokenId>,
}

impl From<Record> for AuditView {
    fn from(Record { number, entry, .. }: Record) -> Self {
        let Entry { at, who, via, token, action, object, repo, repo_name, build, job, decision, reason, fields } =
            entry;
        Self {
            number,
            at: Timestamp::from_millis(at),
            actor: AuditActorView { name: who, via, token },
            action,
            object,
            repo: repo.map(|id| RepoRef { id, name: repo_name }),
            build,
            job,
            decision: decision.as_str(),
            reason: Some(reason).filter(|reason| !reason.is_empty()),
            fields,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// Only records about this repository, given by its ID
    #[serde(default, deserialize_with = "parse_word")]
    #[param(value_type = Option<String>)]
    repo: Option<RepoId>,
    /// Only what somebody of this name did
    actor: Option<String>,
    /// Only this action (`secret.set`), or all of a kind (`secret`)
    action: Option<String>,
    /// Only `allowed`, `denied` or `failed`
    #[serde(default, deserialize_with = "parse_word")]
    #[param(value_type = Option<String>)]
    decision: Option<Decision>,
    /// Words that all stand in a record
    q: Option<String>,
    /// The `next` of the previous page
    before: Option<String>,
    /// Maximum number of items to return: 50 by default, at most 200
    limit: Option<u32>,
}

/// Lists the audit log
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "audit", security(("token" = ["admin"])), params(AuditQuery),
    responses((status = 200, body = Page<AuditView>), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
)]
pub(crate) async fn list(
    State(store): State<Store>,
    caller: Caller,
    query: Result<Query<AuditQuery>, ApiError>,
) -> Result<Json<Page<AuditView>>, ApiError> {
    caller.require(Action::SeeAudit, Object::Server)?;
    let Query(AuditQuery { repo, actor, action, decision, q, before, limit }) = query?;
    let words = q.as_deref().map_or_else(Vec::new, words);
    let filter = Filter { repo, who: actor, action, decision, words };
    let before = parse_before(before.as_deref())?;
    let page = audit::list(&store, &filter, before, page_limit(limit)?).await?;
    Ok(Json(Page::from_page(page, AuditView::from)))
}

/// Returns the words of a search.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_ascii_lowercase).collect()
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct GuardQuery {
    /// Only `allowed`, `denied` or `failed`
    #[serde(default, deserialize_with = "parse_word")]
    #[param(value_type = Option<String>)]
    decision: Option<Decision>,
    /// Words that all stand in a record
    q: Option<String>,
    /// The `next` of the previous page
    before: Option<String>,
    /// Maximum number of items to return: 50 by default, at most 200
    limit: Option<u32>,
}

/// Lists what the server's guard let through to the engine, and what it refused
///
/// A page may have fewer items than `limit` although more follow: a request reads a limited part of the log.
#[utoipa::path(
    get, path = "/api/v1/audit/guard", tag = "audit", security(("token" = ["admin"])), params(GuardQuery),
    responses((status = 200, body = Page<GuardRecordView>), (status = 403, body = ErrorBody), (status = 404, description = "This server sees no log of a guard", body = ErrorBody)),
)]
pub(crate) async fn of_guard(
    State(config): State<Arc<ApiConfig>>,
    caller: Caller,
    query: Result<Query<GuardQuery>, ApiError>,
) -> Result<Json<Page<GuardRecordView>>, ApiError> {
    caller.require(Action::SeeAudit, Object::Server)?;
    let Query(GuardQuery { decision, q, before, limit }) = query?;
    let filter = GuardFilter {
        decision: decision.map(|decision| decision.as_str().to_owned()),
        words: q.as_deref().map_or_else(Vec::new, words),
        before: parse_before(before.as_deref())?.and_then(|before| before.try_into().ok()),
    };
    let (items, next) = guard_records(&config, filter, page_limit(limit)?).await?;
    Ok(Json(Page::with_next(items, next.map(|next| next.to_string()))))
}

/// Reads the log of the guard. An error says why there is none.
pub(crate) async fn guard_records(
    config: &ApiConfig,
    filter: GuardFilter,
    limit: u32,
) -> Result<(Vec<GuardRecordView>, Option<u64>), ApiError> {
    let log = config.guard_log.clone();
    let shown = log.display().to_string();
    let read = tokio::task::spawn_blocking(move || guard_log::list(&log, &filter, limit as usize));
    read.await.map_err(ApiError::internal)?.map_err(|error| {
        ApiError::not_found_message(format!(
            "The guard log `{shown}` cannot be read: {error}. There is one only where a guard runs beside the server, in the same container or with that folder shared"
        ))
    })
}

/// Something in the audit log that somebody should look at.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AnomalyView {
    /// `first-refusal` (a job was refused something, in a repository where that never happened), `many-refusals` (somebody was
    /// refused many times within minutes), `frozen` (a job's Docker API refuses it everything), `probing` (a job tried ids of others
    /// there), `outlived` (something that a job made is still there after its end) or `new-registry` (a job had an image of a registry
    /// that its repository never had images of)
    kind: &'static str,
    message: String,
    #[schema(value_type = Option<String>, format = "uuid")]
    repo: Option<RepoId>,
    #[schema(value_type = Option<String>, format = "uuid")]
    job: Option<JobId>,
    /// The number of the newest record that showed it.
    record: i64,
    /// How many records showed it; the same within an hour is counted here.
    times: u64,
    #[schema(value_type = String, format = DateTime)]
    first_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
}

/// Lists what stands out in the audit log
#[utoipa::path(
    get, path = "/api/v1/audit/anomalies", tag = "audit", security(("token" = ["admin"])), params(PageQuery),
    responses((status = 200, body = Page<AnomalyView>), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
)]
pub(crate) async fn anomalies(
    State(store): State<Store>,
    caller: Caller,
    query: Result<Query<PageQuery>, ApiError>,
) -> Result<Json<Page<AnomalyView>>, ApiError> {
    caller.require(Action::SeeAudit, Object::Server)?;
    let Query(query) = query?;
    let before = parse_before(query.before.as_deref())?;
    let page = anomalies::list(&store, before, page_limit(query.limit)?).await?;
    Ok(Json(Page::from_page(page, |found: Anomaly| {
        let Anomaly { kind, message, repo, job, record, times, first_at, last_at, seq: _ } = found;
        AnomalyView { kind: kind.as_str(), message, repo, job, record, times, first_at, last_at }
    })))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// Only records after this number
    #[param(minimum = 0)]
    after: Option<u32>,
}

/// Exports the audit log
///
/// A record in a line of JSON, oldest first, as it is chained to the one before: `longshore audit verify FILE` verifies what was
/// exported, and the last line's `hash`, kept elsewhere, proves later that nothing was cut off.
#[utoipa::path(
    get, path = "/api/v1/audit/export", tag = "audit", security(("token" = ["admin"])), params(ExportQuery),
    responses((status = 200, description = "JSON Lines", body = String, content_type = "application/jsonl"), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
)]
pub(crate) async fn export(
    State(store): State<Store>,
    caller: Caller,
    query: Result<Query<ExportQuery>, ApiError>,
) -> Result<Response, ApiError> {
    caller.require(Action::SeeAudit, Object::Server)?;
    let Query(ExportQuery { after }) = query?;
    let lines = stream::try_unfold((store, i64::from(after.unwrap_or(0))), |(store, after)| async move {
        let records = audit::after(&store, after, RECORDS_PER_BATCH).await?;
        let Some(last) = records.last().map(|record| record.number) else { return Ok(None) };
        let text: String = records.into_iter().map(|record| record.line + "\n").collect();
        Ok::<_, StoreError>(Some((text, (store, last))))
    });
    let lines = lines.inspect(|part| {
        if let Err(error) = part {
            tracing::error!(%error, "an export of the audit log failed");
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"audit.jsonl\""),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}
