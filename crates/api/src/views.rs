//! The JSON shapes of answers: which parts of the store's rows are shown, and under which names.

use std::collections::BTreeMap;

use longshore_core::{
    BuildId, DeliveryId, Diagnostic, DueSchedule, EventName, JobId, Record, RepoId, Status, Timestamp, docker::Docker,
    event::PullRequest,
};
use longshore_store::{
    acts::{Act, Done},
    attempts::Attempt,
    builds::Build,
    jobs::{Job, UsedImage},
    repos::Repo,
    steps::Step,
};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use crate::acts::{self, ByView, RerunView};
use crate::late_notices::LateNotificationView;
use crate::late_statuses::LateStatusView;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    /// Pass this as `before` to get the next page; `null` on the last page.
    next: Option<String>,
}

impl<T> Page<T> {
    pub(crate) fn from_page<R>(page: longshore_store::Page<R>, view: impl FnMut(R) -> T) -> Self {
        Self { items: page.items.into_iter().map(view).collect(), next: page.next.map(|place| place.to_string()) }
    }

    /// A page with at most one item.
    pub(crate) fn single(item: Option<T>) -> Self {
        Self { items: item.into_iter().collect(), next: None }
    }

    pub(crate) fn with_next(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next }
    }

    pub(crate) fn complete(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// Pagination parameters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// The `next` of the previous page
    pub(crate) before: Option<String>,
    /// Maximum number of items to return: 50 by default, at most 200
    pub(crate) limit: Option<u32>,
}

/// A reference to a repository.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct RepoRef {
    #[schema(value_type = String, format = "uuid")]
    pub(crate) id: RepoId,
    pub(crate) name: String,
}

impl From<&Repo> for RepoRef {
    fn from(repo: &Repo) -> Self {
        Self { id: repo.id, name: repo.name.clone() }
    }
}

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
    pub(crate) fn new(build: Build, repo: RepoRef, jobs: Vec<Job>, acts: &[Done]) -> Self {
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

/// The release that a build is of.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReleaseView {
    pub(crate) name: String,
    /// What happened to it.
    #[schema(example = "published")]
    pub(crate) action: String,
    pub(crate) prerelease: bool,
}

impl From<longshore_core::event::Release> for ReleaseView {
    fn from(release: longshore_core::event::Release) -> Self {
        let longshore_core::event::Release { action, name, prerelease } = release;
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

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobView {
    #[schema(value_type = String, format = "uuid")]
    pub(crate) id: JobId,
    #[schema(value_type = String, format = "uuid")]
    pub(crate) build: BuildId,
    pub(crate) name: String,
    /// Unique in the build: `pipeline/job (matrix)`.
    pub(crate) key: String,
    pub(crate) pipeline: String,
    #[schema(value_type = String, example = "success")]
    pub(crate) status: Status,
    pub(crate) reason: Option<String>,
    pub(crate) exit_code: Option<i32>,
    /// The job's matrix values.
    #[schema(value_type = HashMap<String, String>)]
    #[serde(serialize_with = "as_map")]
    pub(crate) matrix: Vec<(String, String)>,
    /// Keys of the jobs that this job needs.
    pub(crate) needs: Vec<String>,
    /// The current attempt, starting at 1; 0 until the job first starts.
    pub(crate) attempt: u32,
    /// The finished attempts of a job with `retry`.
    pub(crate) attempts: Vec<AttemptView>,
    /// Whether its failure does not fail the build.
    pub(crate) continue_on_error: bool,
    /// The question to answer with `/approve` or `/decline` before the job can run.
    pub(crate) asks: Option<String>,
    /// Who approved the job.
    pub(crate) approved_by: Option<ByView>,
    /// Who declined the job.
    pub(crate) declined_by: Option<ByView>,
    /// Who canceled the job itself rather than its whole build.
    pub(crate) canceled_by: Option<ByView>,
    /// The Docker access that the job asks for: `false`, `true` (a guarded API) or `"raw"` (the engine's own socket, which is root on its host)
    #[schema(value_type = Value, example = true)]
    pub(crate) docker: Docker,
    /// The job's outputs.
    pub(crate) outputs: BTreeMap<String, String>,
    /// The successful job of an earlier build that stands for this job: in a rerun, or by `reuse`.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub(crate) carried_over: Option<JobId>,
    /// What its container was started from; `null` before that.
    pub(crate) image: Option<ImageView>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) claimed_at: Option<Timestamp>,
    /// When pulling the image started; `null` if the image was already there.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) pulling_at: Option<Timestamp>,
    /// When creating the container started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) starting_at: Option<Timestamp>,
    /// When the agent started; it first checks out the source, then runs the steps.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) steps: Vec<StepView>,
    /// The job's service containers. They are numbered after all steps.
    pub(crate) services: Vec<StepView>,
}

impl JobView {
    /// Returns what a running job does while none of its steps runs, empty if a step has started.
    pub(crate) fn preparing(&self) -> &'static str {
        let begun = self.steps.iter().any(|step| step.started_at.is_some());
        match (self.started_at, self.starting_at, self.pulling_at) {
            (Some(_), ..) if begun => "",
            (Some(_), ..) => "checking out",
            (None, None, Some(_)) => "pulling the image",
            (None, ..) => "starting",
        }
    }
}

impl JobView {
    /// `acts` may be those of the whole build.
    pub(crate) fn new(job: Job, acts: &[Done]) -> Self {
        let is_service = |step: &Step| step.position >= Record::FIRST_SERVICE;
        let (services, steps): (Vec<_>, Vec<_>) = job.steps.into_iter().partition(is_service);
        let [services, steps] = [services, steps].map(|steps| steps.into_iter().map(StepView::from).collect());
        Self {
            approved_by: acts::job_act(job.id, Act::Approved, acts),
            declined_by: acts::job_act(job.id, Act::Declined, acts),
            canceled_by: acts::job_act(job.id, Act::Canceled, acts),
            id: job.id,
            build: job.build,
            name: job.name,
            key: job.key,
            pipeline: job.pipeline,
            status: job.status,
            reason: job.reason,
            exit_code: job.exit_code,
            matrix: job.matrix,
            needs: job.needs,
            attempt: job.attempt,
            attempts: job.attempts.into_iter().map(AttemptView::from).collect(),
            continue_on_error: job.continue_on_error,
            asks: job.asks,
            outputs: job.outputs,
            docker: job.docker,
            carried_over: job.carried_over,
            image: job.image.map(ImageView::from),
            claimed_at: job.claimed_at,
            pulling_at: job.pulling_at,
            starting_at: job.starting_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            steps,
            services,
        }
    }
}

/// An attempt to run a job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptView {
    /// Starting at 1.
    pub(crate) attempt: u32,
    #[schema(value_type = String, example = "failure")]
    pub(crate) status: Status,
    pub(crate) reason: Option<String>,
    pub(crate) exit_code: Option<i32>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) claimed_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) started_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) finished_at: Timestamp,
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        let Attempt { attempt, status, reason, exit_code, claimed_at, started_at, finished_at, log_bytes: _ } = attempt;
        Self { attempt, status, reason, exit_code, claimed_at, started_at, finished_at }
    }
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct StepView {
    /// Starting at 1.
    pub(crate) number: u32,
    pub(crate) name: String,
    #[schema(value_type = String, example = "success")]
    pub(crate) status: Status,
    /// The exit code; 128 + n if signal n ended the step.
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) wall_ms: Option<u64>,
    /// CPU time of all its processes, user and system.
    pub(crate) cpu_ms: Option<u64>,
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) out_of_memory: bool,
    /// Of a service: when it was ready.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) ready_at: Option<Timestamp>,
    /// Of a service, or of a step with its own image.
    pub(crate) image: Option<ImageView>,
    /// Markdown that the step wrote to `LONGSHORE_SUMMARY`.
    pub(crate) summary: Option<String>,
}

impl From<Step> for StepView {
    fn from(step: Step) -> Self {
        Self {
            number: u32::from(step.position) + 1,
            name: step.name,
            status: step.status,
            exit_code: step.exit_code,
            signal: step.signal,
            started_at: step.started_at,
            finished_at: step.finished_at,
            wall_ms: step.wall_ms,
            cpu_ms: step.cpu_ms,
            peak_memory_bytes: step.peak_memory_bytes,
            out_of_memory: step.out_of_memory,
            ready_at: step.ready_at,
            image: step.image.map(ImageView::from),
            summary: step.summary,
        }
    }
}

/// An image that a container was started from.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ImageView {
    /// As the pipeline names it.
    pub(crate) name: String,
    /// What its registry calls it; `null` for an image that was built or loaded on the engine.
    #[schema(example = "sha256:9b7a1f0c4f1d2e3a5b6c7d8e9f00112233445566778899aabbccddeeff001122")]
    pub(crate) digest: Option<String>,
}

impl From<UsedImage> for ImageView {
    fn from(image: UsedImage) -> Self {
        Self { name: image.name, digest: image.digest }
    }
}

impl ImageView {
    /// The first digits of the digest, for people.
    pub(crate) fn short_digest(&self) -> Option<&str> {
        let digest = self.digest.as_deref()?;
        digest.get(..digest.find(':')? + 13)
    }
}

/// Serializes pairs as a JSON object, in their order.
fn as_map<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}
