//! Live changes of builds, jobs and steps. A change in the store only says where to look; the event sent has the state
//! at the time it is read. A reader that applies events in order shows the truth.
//!
//! The ids are the store's cursors, which outlive a restart. If changes were missed, `event: reset` tells the reader to
//! read everything again.

use std::{collections::HashMap, sync::Arc};

use axum::{extract::State, http::HeaderMap, response::Response};
use futures_util::stream;
use longshore_core::{BuildId, JobId, RepoId, Status, Timestamp};
use longshore_store::{
    Change, ChangeKind, Feed, FeedItem,
    builds::{self, Build},
    jobs::{self, Job},
};
use serde::Serialize;

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    live::{Live, Reader},
    lookup::find_build,
    params::{Path, Query},
    request_slots::{Costly, RequestSlot, RequestSlots},
    sse::{self, ResumeQuery},
    views::StepView,
};

/// For how many jobs the statuses of steps are remembered, so that only steps that changed are sent. Past this limit
/// everything is forgotten and sent once more.
const REMEMBERED_JOBS: usize = 1000;

/// Streams the changes of everything that the token may see
///
/// Sends `event: build`, `job` and `step` with the current state of each; `event: repo` and `delivery` with the repository's ID when
/// the repository or one of its deliveries is new or has changed; and `event: reset` if changes were missed: then reload
/// what you display. The stream starts now, or after `Last-Event-ID`.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "events", security((), ("token" = ["read"])),
    params(ResumeQuery, ("Last-Event-ID" = Option<String>, Header, description = "Resume after the event with this ID")),
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 400, body = ErrorBody)),
)]
pub(crate) async fn all(
    State(live): State<Live>,
    State(slots): State<Arc<RequestSlots>>,
    caller: Caller,
    Query(query): Query<ResumeQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let after = parse_cursor(query.last_id(&headers))?;
    let slot = slots.take(&caller, Costly::Stream).await?;
    Ok(Watcher::new(live, Reader::new(caller, &headers), None, after).into_response(slot))
}

/// Streams the changes of a build
///
/// Like `/api/v1/events`. Without `Last-Event-ID` the stream starts with the current state of the build and its jobs, so that nothing is
/// missed between reading and following.
#[utoipa::path(
    get, path = "/api/v1/builds/{build}/events", tag = "events", security((), ("token" = ["read"])),
    params(
        ("build" = String, Path, description = "The build's ID"), ResumeQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Resume after the event with this ID"),
    ),
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
    ),
)]
pub(crate) async fn of_build(
    State(live): State<Live>,
    State(slots): State<Arc<RequestSlots>>,
    caller: Caller,
    Path(id): Path<BuildId>,
    Query(query): Query<ResumeQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (build, _) = find_build(&live.store, &caller, id).await?;
    let after = parse_cursor(query.last_id(&headers))?;
    let slot = slots.take(&caller, Costly::Stream).await?;
    let snapshot = after.is_none();
    // The cursor is taken before the build is read: a change in between is sent twice rather than never.
    let mut watcher = Watcher::new(live, Reader::new(caller, &headers), Some(id), after);
    if snapshot {
        watcher.write_jobs(id).await?;
        watcher.write_build(&build)?;
    }
    Ok(watcher.into_response(slot))
}

fn parse_cursor(id: Option<String>) -> Result<Option<u64>, ApiError> {
    let parse =
        |id: String| id.parse().map_err(|_| ApiError::bad_request("`Last-Event-ID` is not an event ID of this stream"));
    id.map(parse).transpose()
}

#[derive(Serialize)]
struct BuildEvent<'a> {
    id: BuildId,
    repo: RepoId,
    number: u64,
    status: Status,
    reason: Option<&'a str>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct RepoEvent {
    repo: RepoId,
}

#[derive(Serialize)]
struct JobEvent<'a> {
    id: JobId,
    build: BuildId,
    name: &'a str,
    status: Status,
    reason: Option<&'a str>,
    exit_code: Option<i32>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct StepEvent {
    build: BuildId,
    job: JobId,
    step: StepView,
}

#[derive(Serialize)]
struct Reset {}

/// One reader of changes.
#[derive(Debug)]
struct Watcher {
    live: Live,
    reader: Reader,
    /// Sends only changes of this build.
    build: Option<BuildId>,
    feed: Feed,
    /// The id of the event being written.
    cursor: u64,
    /// The statuses of steps, as last sent.
    sent: HashMap<JobId, Vec<Status>>,
    out: String,
}

impl Watcher {
    fn new(live: Live, reader: Reader, build: Option<BuildId>, after: Option<u64>) -> Self {
        let cursor = after.unwrap_or_else(|| *live.store.watch().borrow());
        let feed = live.store.feed(Some(cursor));
        // An id without data is not an event, but a client that is cut off at once can resume from it.
        let out = format!("retry: 1000\nid: {cursor}\n\n");
        Self { live, reader, build, feed, cursor, sent: HashMap::new(), out }
    }

    fn into_response(self, slot: RequestSlot) -> Response {
        sse::response(slot.held_while(stream::unfold(self, |mut watcher| async {
            // A failed read has been logged. The reader reconnects and resumes where it was.
            let going_on = watcher.fill().await.unwrap_or(false);
            going_on.then(|| (std::mem::take(&mut watcher.out), watcher))
        })))
    }

    /// Waits until there is something to send. Returns whether the stream goes on.
    async fn fill(&mut self) -> Result<bool, ApiError> {
        while self.out.is_empty() {
            let item = tokio::select! {
                item = self.feed.next() => item?,
                () = self.reader.check_is_due() => {
                    self.out.push_str(sse::COMMENT);
                    return Ok(self.reader.still_has_rights(&self.live.authenticator).await);
                }
                () = self.live.shutdown.cancelled() => return Ok(false),
            };
            match item {
                Some(FeedItem::Change(change)) => self.write(change).await?,
                Some(FeedItem::Missed { resumed_at }) => {
                    self.cursor = resumed_at;
                    self.sent.clear();
                    self.event("reset", &Reset {})?;
                }
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn write(&mut self, change: Change) -> Result<(), ApiError> {
        self.cursor = change.cursor;
        if let (ChangeKind::Repo | ChangeKind::Delivery, Some(repo), None) = (change.kind, change.repo, self.build) {
            return self.write_repo(change.kind, repo).await;
        }
        let (Some(repo), Some(build)) = (change.repo, change.build) else { return Ok(()) };
        if self.build.is_some_and(|only| only != build) || !self.reader.caller().may_see(&self.live.store, repo).await?
        {
            return Ok(());
        }
        match (change.kind, change.job) {
            (ChangeKind::Build, _) => match builds::get(&self.live.store, build).await? {
                Some(build) => {
                    // A slow reader learns of a build's end early, so the ends of its jobs are sent before it.
                    if build.status.is_final() {
                        self.write_jobs(build.id).await?;
                    }
                    self.write_build(&build)
                }
                None => Ok(()),
            },
            (ChangeKind::Job, Some(job)) => match jobs::get(&self.live.store, job).await? {
                Some(job) => {
                    self.write_job(&job)?;
                    // Steps that never ran end with their job, without a change of their own.
                    if job.status.is_final() { self.write_steps(job) } else { Ok(()) }
                }
                None => Ok(()),
            },
            (ChangeKind::Step, Some(job)) => match jobs::get(&self.live.store, job).await? {
                Some(job) => self.write_steps(job),
                None => Ok(()),
            },
            (ChangeKind::Job | ChangeKind::Step, None) | (ChangeKind::Repo | ChangeKind::Delivery, _) => Ok(()),
        }
    }

    /// Writes that a repository was registered, changed or removed, or that one of its deliveries arrived or changed.
    async fn write_repo(&mut self, kind: ChangeKind, repo: RepoId) -> Result<(), ApiError> {
        match self.reader.caller().may_see(&self.live.store, repo).await? {
            true => self.event(kind.as_str(), &RepoEvent { repo }),
            false => Ok(()),
        }
    }

    async fn write_jobs(&mut self, build: BuildId) -> Result<(), ApiError> {
        for job in jobs::of_build(&self.live.store, build).await? {
            self.write_job(&job)?;
            self.write_steps(job)?;
        }
        Ok(())
    }

    fn write_build(&mut self, build: &Build) -> Result<(), ApiError> {
        let event = BuildEvent {
            id: build.id,
            repo: build.repo,
            number: build.number,
            status: build.status,
            reason: build.reason.as_deref(),
            started_at: build.started_at,
            finished_at: build.finished_at,
        };
        self.event("build", &event)
    }

    fn write_job(&mut self, job: &Job) -> Result<(), ApiError> {
        let event = JobEvent {
            id: job.id,
            build: job.build,
            name: &job.name,
            status: job.status,
            reason: job.reason.as_deref(),
            exit_code: job.exit_code,
            started_at: job.started_at,
            finished_at: job.finished_at,
        };
        self.event("job", &event)
    }

    /// Writes the steps whose status differs from the one last sent. A step that was never sent counts as `queued`.
    fn write_steps(&mut self, job: Job) -> Result<(), ApiError> {
        if self.sent.len() >= REMEMBERED_JOBS {
            self.sent.clear();
        }
        let now: Vec<Status> = job.steps.iter().map(|step| step.status).collect();
        let before = if job.status.is_final() { self.sent.remove(&job.id) } else { self.sent.insert(job.id, now) };
        let before = before.unwrap_or_default();
        for (index, step) in job.steps.into_iter().enumerate() {
            if before.get(index).copied().unwrap_or(Status::Queued) != step.status {
                let event = StepEvent { build: job.build, job: job.id, step: step.into() };
                self.event("step", &event)?;
            }
        }
        Ok(())
    }

    fn event(&mut self, name: &str, data: &impl Serialize) -> Result<(), ApiError> {
        sse::write_event(&mut self.out, name, &self.cursor.to_string(), data)
    }
}
