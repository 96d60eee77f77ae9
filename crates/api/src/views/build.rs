//! A build as the API shows it.

use longshore_core::{
    BuildId, DeliveryId, Diagnostic, DueSchedule, EventName, Status, Timestamp,
    event::{PullRequest, Release},
};
use longshore_store::{acts::Act, builds::Build, jobs::Job};
use serde::Serialize;
use utoipa::ToSchema;

use super::{job::JobView, repo_ref::RepoRef};
use crate::{
    acts::{self, ByView, RerunView},
    late_notices::LateNotificationView,
    late_statuses::LateStatusView,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BuildView {
    #[schema(value_type = String, format = "uuid")]
    pub(crate) id: BuildId,
    /// The build's number within its repository, starting at 1.
    pub(crate) number: u64,
    pub(crate) repo: RepoRef,
    /// `blocked`, `queued`, `running` or `canceling`, finally `success`, `failure`, `error`, `canceled`, `skipped` or `timed-out`.
    #[schema(value_type = String, example = "success")]
    pub(crate) status: Status,
    pub(crate) reason: Option<String>,
    #[schema(value_type = String, example = "push")]
    pub(crate) event: EventName,
    #[serde(rename = "ref")]
    pub(crate) git_ref: String,
    pub(crate) branch: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) commit: String,
    pub(crate) message: String,
    pub(crate) author: String,
    /// The user who pushed or requested the build.
    pub(crate) sender: String,
    /// The forge's page of the change.
    pub(crate) url: Option<String>,
    pub(crate) pull_request: Option<PullRequestView>,
    /// For builds started by a schedule: the schedule and its time.
    pub(crate) schedule: Option<DueScheduleView>,
    /// Of a release's build
    pub(crate) release: Option<ReleaseView>,
    /// No webhook reported its push: it was found by checking the repository.
    pub(crate) found: bool,
    #[schema(value_type = Option<String>, format = "uuid")]
    pub(crate) delivery: Option<DeliveryId>,
    /// Who started the build; for events, who sent the event.
    pub(crate) started_by: ByView,
    /// Who canceled the build.
    pub(crate) canceled_by: Option<ByView>,
    #[schema(value_type = Option<String>, format = "uuid")]
    pub(crate) rerun_of: Option<BuildId>,
    /// Reruns of this build.
    pub(crate) reruns: Vec<RerunView>,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) finished_at: Option<Timestamp>,
    /// Errors and warnings about the pipeline files.
    #[schema(value_type = Vec<Object>)]
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) jobs: Vec<JobView>,
    /// Statuses that the forge does not show yet, for administrators of the repository. Only in the answer for a single build
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) late_statuses: Vec<LateStatusView>,
    /// Messages about the build that have not arrived, for administrators. Only in the answer for a single build
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) late_notifications: Vec<LateNotificationView>,
}

impl BuildView {
    pub(crate) fn new(build: Build, repo: RepoRef, jobs: Vec<Job>, acts: &[Act]) -> Self {
        let (started_by, canceled_by) = (acts::started_by(&build, acts), acts::canceled_by(build.id, acts));
        let event = build.event;
        Self {
            id: build.id,
            number: build.number,
            repo,
            status: build.status,
            reason: build.reason,
            event: event.name,
            branch: event.branch().map(str::to_owned),
            tag: event.tag().map(str::to_owned),
            git_ref: event.git_ref,
            commit: event.commit,
            message: event.message,
            author: event.author,
            sender: event.sender,
            url: event.url,
            pull_request: event.pull_request.map(PullRequestView::from),
            schedule: event.schedule.map(DueScheduleView::from),
            release: event.release.map(ReleaseView::from),
            found: event.found,
            delivery: build.delivery,
            started_by,
            canceled_by,
            rerun_of: build.rerun_of,
            reruns: acts::reruns(build.id, acts),
            created_at: build.created_at,
            started_at: build.started_at,
            finished_at: build.finished_at,
            diagnostics: build.diagnostics,
            jobs: jobs.into_iter().map(|job| JobView::new(job, acts)).collect(),
            late_statuses: Vec::new(),
            late_notifications: Vec::new(),
        }
    }
}

/// A pull request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PullRequestView {
    pub(crate) number: u64,
    pub(crate) title: String,
    /// The action that triggered the event.
    #[schema(example = "opened")]
    pub(crate) action: String,
    pub(crate) source_branch: String,
    pub(crate) target_branch: String,
    /// Whether the pull request comes from a fork. Its jobs get secrets only after approval, and use the target branch's pipeline files.
    pub(crate) fork: bool,
    /// For a closed one: whether it was merged
    pub(crate) merged: bool,
    pub(crate) draft: bool,
    pub(crate) labels: Vec<String>,
    /// The newest commit of the pull request, if the build is of what merging it would give
    pub(crate) head: Option<String>,
}

impl From<PullRequest> for PullRequestView {
    fn from(pull_request: PullRequest) -> Self {
        let PullRequest { number, title, action, source_branch, target_branch, fork, merged, draft, labels, .. } =
            pull_request;
        let head = pull_request.merge.map(|merge| merge.head);
        Self { number, title, action, source_branch, target_branch, fork, merged, draft, labels, head }
    }
}

/// The release of a build.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReleaseView {
    pub(crate) name: String,
    /// What happened to it.
    #[schema(example = "published")]
    pub(crate) action: String,
    pub(crate) prerelease: bool,
}

impl From<Release> for ReleaseView {
    fn from(release: Release) -> Self {
        let Release { action, name, prerelease } = release;
        Self { name, action, prerelease }
    }
}

/// An entry of `schedule` that was due.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DueScheduleView {
    pub(crate) cron: String,
    pub(crate) timezone: String,
    /// The scheduled time; the build may have been created later.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) due_at: Timestamp,
}

impl From<DueSchedule> for DueScheduleView {
    fn from(due: DueSchedule) -> Self {
        let DueSchedule { cron, timezone, due_at } = due;
        Self { cron, timezone, due_at }
    }
}
