//! A job as the API shows it, with its attempts, steps and services.

use std::collections::BTreeMap;

use longshore_core::{BuildId, JobId, Record, Status, Timestamp, docker::Docker};
use longshore_store::{
    acts::{Act, ActKind},
    attempts::Attempt,
    jobs::{Job, UsedImage},
    steps::Step,
};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::acts::{self, ByView};

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

    /// `acts` may be those of the whole build.
    pub(crate) fn new(job: Job, acts: &[Act]) -> Self {
        let is_service = |step: &Step| step.position >= Record::FIRST_SERVICE;
        let (services, steps): (Vec<_>, Vec<_>) = job.steps.into_iter().partition(is_service);
        let [services, steps] = [services, steps].map(|steps| steps.into_iter().map(StepView::from).collect());
        Self {
            approved_by: acts::job_act(job.id, ActKind::Approved, acts),
            declined_by: acts::job_act(job.id, ActKind::Declined, acts),
            canceled_by: acts::job_act(job.id, ActKind::Canceled, acts),
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
    /// Returns the first digits of the digest, for people.
    pub(crate) fn short_digest(&self) -> Option<&str> {
        let digest = self.digest.as_deref()?;
        digest.get(..digest.find(':')? + 13)
    }
}

/// Serializes pairs as a JSON object, in their order.
fn as_map<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}
