//! `GET /api/v1/jobs/{job}/log`: sends what a log holds now, in windows, so that a log of any size takes the same
//! memory.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{Stream, stream};
use longshore_core::JobId;
use longshore_files::logs::{LogReader, Renderer, StepHead};
use longshore_store::{
    Store, StoreError,
    jobs::{self, Job},
    logs,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    lookup::find_job,
    params::{Path, Query},
    range::ByteRange,
    request_slots::{Costly, RequestSlots},
};

/// How a log is shown.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// As people read it: each step's name and script, what was printed, what Longshore itself has to say.
    #[default]
    Text,
    /// Only what the processes wrote, byte for byte.
    Raw,
    /// A JSON object a line: `{"step", "number", "stream", "time", "text"}`.
    Jsonl,
}

impl Format {
    const fn content_type(self) -> HeaderValue {
        match self {
            Self::Text | Self::Raw => HeaderValue::from_static("text/plain; charset=utf-8"),
            Self::Jsonl => HeaderValue::from_static("application/x-ndjson"),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogQuery {
    /// `text` by default
    #[serde(default)]
    #[param(inline)]
    format: Format,
    /// Only this step: its number, starting at 1, or its name (the first with that name)
    step: Option<String>,
    /// The attempt, starting at 1; the latest by default
    attempt: Option<u32>,
    /// Number of bytes to skip at the start of the response
    offset: Option<u64>,
}

/// Returns a job's log as it is now
///
/// Supports `Range` requests, also while the job is running.
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}/log", tag = "logs", security((), ("token" = ["read"])),
    params(("job" = String, Path, description = "The job's ID"), LogQuery),
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = 206, body = String, content_type = "text/plain"),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 416, description = "The range starts after the last byte", body = ErrorBody),
    ),
)]
pub(crate) async fn read(
    State(store): State<Store>,
    State(slots): State<Arc<RequestSlots>>,
    caller: Caller,
    Path(id): Path<JobId>,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = find_job(&store, &caller, id).await?;
    let step = query.step.as_deref().map(|wanted| step_position(&job, wanted)).transpose()?;
    let plan = jobs::plan(&store, id).await?.ok_or_else(|| ApiError::not_found("job"))?;
    let source = Source {
        store,
        job: id,
        attempt: query.attempt,
        format: query.format,
        step,
        heads: StepHead::from_plan(&plan),
    };

    let offset = query.offset.unwrap_or(0);
    let range = ByteRange::parse(&headers);
    // Everything before the first byte asked for is read too, which may be the whole log.
    let slot = match offset > 0 || range.is_some() {
        true => Some(slots.take(&caller, Costly::Range).await?),
        false => None,
    };
    let response = match range {
        None => Body::from_stream(source.bytes(offset, None).await?).into_response(),
        Some(range) => {
            let length = source.length().await?.saturating_sub(offset);
            ranged(&source, offset, length, range).await?
        }
    };
    let mut response = match slot {
        Some(slot) => response.map(|body| Body::from_stream(slot.held_while(body.into_data_stream()))),
        None => response,
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if response.status().is_success() {
        response.headers_mut().insert(header::CONTENT_TYPE, query.format.content_type());
    }
    Ok(response)
}

async fn ranged(source: &Source, offset: u64, length: u64, range: ByteRange) -> Result<Response, ApiError> {
    let Some((from, to)) = range.within(length) else {
        let mut response = ApiError::range_not_satisfiable(length).into_response();
        response.headers_mut().insert(header::CONTENT_RANGE, content_range(&format!("bytes */{length}"))?);
        return Ok(response);
    };
    let body = Body::from_stream(source.bytes(offset + from, Some(to - from)).await?);
    let mut response = (StatusCode::PARTIAL_CONTENT, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_RANGE, content_range(&format!("bytes {from}-{}/{length}", to - 1))?);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(to - from));
    Ok(response)
}

fn content_range(text: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(text).map_err(ApiError::internal)
}

/// Returns the step's position from 0, found by its number from 1 or by its name.
fn step_position(job: &Job, wanted: &str) -> Result<u16, ApiError> {
    let by_number = || {
        let position = wanted.parse::<u16>().ok()?.checked_sub(1)?;
        job.steps.iter().find(|step| step.position == position)
    };
    let by_name = || job.steps.iter().find(|step| step.name == wanted);
    by_number().or_else(by_name).map(|step| step.position).ok_or_else(|| ApiError::not_found("step"))
}

/// A log in one format.
#[derive(Debug)]
struct Source {
    store: Store,
    job: JobId,
    attempt: Option<u32>,
    format: Format,
    step: Option<u16>,
    heads: Vec<StepHead>,
}

impl Source {
    async fn pieces(&self) -> Result<Pieces, StoreError> {
        let renderer = match self.format {
            Format::Text => Renderer::text(self.heads.clone(), self.step),
            Format::Raw => Renderer::raw(self.step),
            Format::Jsonl => Renderer::jsonl(self.heads.clone(), self.step),
        };
        let reader = match self.attempt {
            Some(attempt) => logs::read_attempt(&self.store, self.job, attempt).await?,
            None => logs::read(&self.store, self.job, 0).await?,
        };
        Ok(Pieces { reader, renderer })
    }

    /// Returns how many bytes the log has now.
    async fn length(&self) -> Result<u64, StoreError> {
        let mut pieces = self.pieces().await?;
        let mut length = 0;
        while let Some(piece) = pieces.next().await? {
            length += piece.len() as u64;
        }
        Ok(length)
    }

    /// Returns the bytes without the first `skip`, at most `take` of them.
    async fn bytes(
        &self,
        skip: u64,
        take: Option<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + use<>, StoreError> {
        let state = (self.pieces().await?, skip, take.unwrap_or(u64::MAX));
        Ok(stream::try_unfold(state, |(mut pieces, mut skip, mut take)| async move {
            while take > 0 {
                let Some(piece) = pieces.next().await? else { break };
                let mut piece = Bytes::from(piece);
                let skipped = skip.min(piece.len() as u64);
                skip -= skipped;
                // At most the length of the piece, so it fits.
                piece = piece.split_off(skipped as usize);
                piece.truncate(usize::try_from(take).unwrap_or(usize::MAX));
                take -= piece.len() as u64;
                if !piece.is_empty() {
                    return Ok(Some((piece, (pieces, skip, take))));
                }
            }
            Ok(None)
        }))
    }
}

/// A log's bytes, one window of its journal after another.
#[derive(Debug)]
struct Pieces {
    reader: LogReader,
    renderer: Renderer,
}

impl Pieces {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(batch) = self.reader.next().await? else { return Ok(None) };
        let mut piece = Vec::with_capacity((batch.end() - batch.start()) as usize);
        for (_, record) in batch.records() {
            self.renderer.render(&record, &mut piece);
        }
        Ok(Some(piece))
    }
}
