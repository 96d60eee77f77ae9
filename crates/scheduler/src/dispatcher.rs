//! The only writer of a job's status: claims jobs as capacity allows, stores what they report, asks them to stop.
//!
//! One task owns all of this. It is woken by commits, reports and requests, and never polls. It knows the runner only
//! as two channels: [`Order`]s go out, [`Report`]s come in. Both are bounded. The receiver of orders must never wait
//! for the sender of reports, or the two would wait for each other.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use longshore_core::{
    BuildId, ErrorKind, JobId, Outcome, Status, StepResult, Timestamp, access::Actor, rules::state::JobEvent,
};
use longshore_store::{
    Conflict, Store, StoreError, WriteTx,
    acts::{self, ActKind, ActTarget},
    artifacts::{self, NewArtifact},
    audit::Pending,
    builds,
    jobs::{self, Applied, ClaimedJob, Preparing, RunningJob, UsedImage},
    reports::{self, ReportRun},
    reuse::{self, Candidate, Inputs},
    steps,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// A command to the runner.
#[derive(Debug)]
pub enum Order {
    Start(Box<ClaimedJob>),
    /// The job is the next of its lane and waits for a slot: its images may be pulled meanwhile.
    PullAhead(Box<ClaimedJob>),
    /// The job was running when the server went down: find it again, or report how it ended. It may be `canceling`
    /// already.
    Adopt(Box<RunningJob>),
    Cancel(JobId),
}

/// A report of the runner about one attempt.
#[derive(Debug)]
pub struct Report {
    pub job: JobId,
    pub attempt: u32,
    pub what: ReportKind,
}

/// What happened to an attempt.
#[derive(Debug)]
pub enum ReportKind {
    /// A session with this number was opened with the attempt's agent.
    Session(u32),
    /// A phase before the agent starts has begun.
    Preparing {
        phase: Preparing,
        at: Timestamp,
    },
    /// The agent in the job's container has started.
    Started {
        at: Timestamp,
    },
    /// Nothing of the job has run in what was started, which is removed once this is stored and the value dropped.
    StartsOver(Box<dyn std::fmt::Debug + Send + Sync>),
    StepStarted {
        step: u16,
        at: Timestamp,
    },
    StepFinished {
        step: u16,
        result: StepResult,
        at: Timestamp,
    },
    ServiceReady {
        step: u16,
        at: Timestamp,
    },
    /// The image that a container is started from: a step's or a service's, or with `None` the job's own.
    Image {
        step: Option<u16>,
        image: UsedImage,
    },
    /// The job's outputs, for the jobs that need it.
    Outputs(BTreeMap<String, String>),
    /// The last report of an attempt that need not run: this success of an earlier job is used instead.
    Reused(Box<Reused>),
    /// The last report. The log is complete and readable, and the files that the attempt has left are whole.
    Ended(Box<Ended>),
}

/// How an attempt ended, and what it has left.
#[derive(Debug)]
pub struct Ended {
    pub outcome: Outcome,
    pub artifacts: Vec<NewArtifact>,
    /// Its reports: stored already, and visible from its end on.
    pub reports: Option<ReportRun>,
    /// Its inputs, if it succeeded and may be used for later jobs.
    pub inputs: Option<Inputs>,
}

/// A success that is used in place of an attempt, and the inputs of both.
#[derive(Debug)]
pub struct Reused {
    pub from: Candidate,
    pub inputs: Inputs,
}

impl From<Outcome> for ReportKind {
    /// Returns the end of an attempt that has left nothing.
    fn from(outcome: Outcome) -> Self {
        Self::Ended(Box::new(Ended { outcome, artifacts: Vec::new(), reports: None, inputs: None }))
    }
}

/// A request with its record for the audit log.
#[derive(Debug)]
pub(crate) struct AuditedRequest {
    pub(crate) request: Request,
    pub(crate) audited: Option<Pending>,
}

/// A request of the [`Scheduler`](crate::Scheduler) handle.
#[derive(Debug)]
pub(crate) enum Request {
    CancelBuild { build: BuildId, by: Actor, done: oneshot::Sender<Result<(), StoreError>> },
    CancelJob { job: JobId, by: Actor, done: oneshot::Sender<Result<(), StoreError>> },
    Approve { job: JobId, by: Actor, done: oneshot::Sender<Result<(), StoreError>> },
    ApproveBuild { build: BuildId, by: Actor, done: oneshot::Sender<Result<(), StoreError>> },
    Decline { job: JobId, by: Actor, done: oneshot::Sender<Result<(), StoreError>> },
}

/// The most reports that one transaction stores: a job with many quick steps costs a commit per batch, not a commit per
/// step.
const REPORTS_PER_BATCH: usize = 256;

/// The most waiting jobs whose images are pulled ahead.
const PULLED_AHEAD: usize = 8;

const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// The dispatcher's task. It runs until `shutdown`; running jobs go on without it, and the next start adopts them.
pub(crate) struct Dispatcher {
    pub(crate) store: Store,
    pub(crate) capacity: usize,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) requests: mpsc::Receiver<AuditedRequest>,
    /// Attempts that were sent to the runner and have not ended.
    pub(crate) running: HashMap<JobId, u32>,
    /// Running jobs that were asked to stop.
    pub(crate) asked_to_stop: HashSet<JobId>,
    /// Waiting jobs whose images the runner was told to pull.
    pub(crate) pulled_ahead: HashSet<JobId>,
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher")
            .field("capacity", &self.capacity)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

impl Dispatcher {
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        // Work may be dropped at any point, as a kill would drop it: everything that counts is in the database.
        shutdown.run_until_cancelled(self.serve()).await;
    }

    async fn serve(mut self) {
        let mut changed = self.store.watch();
        let mut patience = Patience::new();
        while let Err(error) = self.adopt().await {
            patience.wait("adopt the jobs that were running", &error).await;
        }
        while let Err(error) = self.recheck_waiting().await {
            patience.wait("look at the jobs that wait", &error).await;
        }
        let mut batch = Vec::with_capacity(REPORTS_PER_BATCH);
        loop {
            changed.borrow_and_update();
            while let Err(error) = self.stop_others().await {
                patience.wait("stop jobs", &error).await;
            }
            while let Err(error) = self.claim().await {
                patience.wait("claim jobs", &error).await;
            }
            tokio::select! {
                biased;
                _ = self.reports.recv_many(&mut batch, REPORTS_PER_BATCH) => {
                    if batch.is_empty() {
                        return;
                    }
                    let reports = std::mem::take(&mut batch);
                    while let Err(error) = self.store_reports(&reports).await {
                        patience.wait("store what jobs report", &error).await;
                    }
                }
                Some(AuditedRequest { request, audited }) = self.requests.recv() => {
                    Pending::carry(audited, self.answer(request)).await;
                }
                woken = changed.changed() => if woken.is_err() { return },
            }
        }
    }

    /// Orders the adoption of the jobs that ran when the server went down. They still run or have ended; the runner
    /// finds out.
    async fn adopt(&mut self) -> Result<(), StoreError> {
        for running in jobs::running(&self.store).await? {
            if self.running.insert(running.job.id, running.job.attempt).is_none() {
                self.order(Order::Adopt(Box::new(running))).await;
            }
        }
        Ok(())
    }

    /// Decides again about waiting jobs, because this start may have other labels than the last one.
    async fn recheck_waiting(&self) -> Result<(), StoreError> {
        let mut tx = self.store.write().await?;
        jobs::recheck_waiting(&mut tx, Timestamp::now()).await?;
        tx.commit().await.map(drop)
    }

    /// Claims jobs while there is capacity, and orders their start.
    async fn claim(&mut self) -> Result<(), StoreError> {
        while self.running.len() < self.capacity {
            if !jobs::any_to_claim(&self.store).await? {
                break;
            }
            let mut tx = self.store.write().await?;
            let Some(claimed) = jobs::claim_next(&mut tx, Timestamp::now()).await? else { break };
            tx.commit().await?;
            tracing::info!(job = %claimed.job.id, name = claimed.job.name, build = claimed.build.number, "starts");
            self.running.insert(claimed.job.id, claimed.attempt);
            self.order(Order::Start(Box::new(claimed))).await;
        }
        self.pull_ahead().await
    }

    /// Orders the pulls of the jobs that are next, each once.
    async fn pull_ahead(&mut self) -> Result<(), StoreError> {
        let next = jobs::next_in_lanes(&self.store).await?;
        self.pulled_ahead.retain(|job| next.contains(job));
        for id in next.into_iter().take(PULLED_AHEAD) {
            // It must not take the place of a start or a cancel.
            if self.orders.capacity() <= 1 {
                break;
            }
            if self.pulled_ahead.insert(id)
                && let Some(job) = jobs::waiting(&self.store, id).await?
            {
                self.order(Order::PullAhead(Box::new(job))).await;
            }
        }
        Ok(())
    }

    /// Stores reports in one transaction. After a failure it is called again with the same reports.
    async fn store_reports(&mut self, reports: &[Report]) -> Result<(), StoreError> {
        let mut tx = self.store.write().await?;
        let mut ended = Vec::new();
        for report in reports {
            match store_report(&mut tx, report).await {
                Ok(()) => {}
                // Its repository was removed, or another attempt took over: nobody needs the report.
                Err(StoreError::NotFound(_) | StoreError::Conflict(_)) => {
                    tracing::warn!(job = %report.job, "a report of a job that is not here any more");
                }
                Err(error) => return Err(error),
            }
            if matches!(report.what, ReportKind::Ended(_) | ReportKind::Reused(_)) {
                ended.push((report.job, report.attempt));
            }
        }
        tx.commit().await?;
        for (job, attempt) in ended {
            if self.running.get(&job) == Some(&attempt) {
                self.running.remove(&job);
            }
        }
        Ok(())
    }

    async fn answer(&mut self, request: Request) {
        // The request is carried out even if the caller is gone.
        match request {
            Request::CancelBuild { build, by, done } => {
                let _ = done.send(self.cancel_build(build, &by).await);
            }
            Request::Approve { job, by, done } => {
                let _ = done.send(self.approve(job, &by).await);
            }
            Request::ApproveBuild { build, by, done } => {
                let _ = done.send(self.approve_build(build, &by).await);
            }
            Request::Decline { job, by, done } => {
                let _ = done.send(self.decline(job, &by).await);
            }
            Request::CancelJob { job, by, done } => {
                let _ = done.send(self.cancel_job(job, &by).await);
            }
        }
    }

    async fn cancel_build(&mut self, build: BuildId, by: &Actor) -> Result<(), StoreError> {
        let (mut tx, now) = (self.store.write().await?, Timestamp::now());
        let applied = builds::cancel(&mut tx, build, now).await?;
        // A cancel of a build that is over or was asked to stop before is not an act.
        if !applied.is_empty() {
            acts::record(&mut tx, ActKind::Canceled, ActTarget::build(build), by, now).await?;
        }
        tx.commit().await?;
        for applied in applied {
            self.pass_on_cancel(applied).await;
        }
        Ok(())
    }

    async fn cancel_job(&mut self, job: JobId, by: &Actor) -> Result<(), StoreError> {
        let (mut tx, now) = (self.store.write().await?, Timestamp::now());
        let applied = jobs::apply(&mut tx, job, &JobEvent::CancelRequested, now).await?;
        if let Applied::Changed { build, .. } = applied {
            acts::record(&mut tx, ActKind::Canceled, ActTarget::job(build, job), by, now).await?;
        }
        tx.commit().await?;
        self.pass_on_cancel(applied).await;
        Ok(())
    }

    async fn approve(&mut self, job: JobId, by: &Actor) -> Result<(), StoreError> {
        let mut tx = self.store.write().await?;
        jobs::approve(&mut tx, job, by, Timestamp::now()).await?;
        tx.commit().await.map(drop)
    }

    async fn approve_build(&mut self, build: BuildId, by: &Actor) -> Result<(), StoreError> {
        let mut tx = self.store.write().await?;
        jobs::approve_build(&mut tx, build, by, Timestamp::now()).await?;
        tx.commit().await.map(drop)
    }

    async fn decline(&mut self, job: JobId, by: &Actor) -> Result<(), StoreError> {
        let mut tx = self.store.write().await?;
        jobs::decline(&mut tx, job, by, Timestamp::now()).await?;
        tx.commit().await.map(drop)
    }

    /// Orders the cancel of running jobs that were asked to stop because of other jobs: by their matrix or their group.
    async fn stop_others(&mut self) -> Result<(), StoreError> {
        let canceling = jobs::canceling(&self.store).await?;
        self.asked_to_stop.retain(|job| canceling.contains(job));
        for job in canceling {
            if self.running.contains_key(&job) && self.asked_to_stop.insert(job) {
                self.order(Order::Cancel(job)).await;
            }
        }
        Ok(())
    }

    async fn pass_on_cancel(&mut self, applied: Applied) {
        if let Applied::Changed { job, to: Status::Canceling, .. } = applied
            && self.asked_to_stop.insert(job)
        {
            self.order(Order::Cancel(job)).await;
        }
    }

    async fn order(&self, order: Order) {
        if self.orders.send(order).await.is_err() {
            tracing::warn!("nobody runs jobs any more: the next start takes this one up");
        }
    }
}

async fn store_report(tx: &mut WriteTx, report: &Report) -> Result<(), StoreError> {
    let Report { job, attempt, what } = report;
    match what {
        ReportKind::Session(number) => jobs::set_session(tx, *job, *attempt, *number).await,
        ReportKind::Preparing { phase, at } => jobs::mark_preparing(tx, *job, *attempt, *phase, *at).await,
        ReportKind::Started { at } => jobs::mark_started(tx, *job, *attempt, *at).await.map(drop),
        ReportKind::StartsOver(_) => jobs::mark_not_started(tx, *job, *attempt).await,
        ReportKind::StepStarted { step, at } => steps::started(tx, *job, *attempt, *step, *at).await.map(drop),
        ReportKind::StepFinished { step, result, at } => {
            steps::finished(tx, *job, *attempt, *step, result, *at).await.map(drop)
        }
        ReportKind::ServiceReady { step, at } => steps::ready(tx, *job, *attempt, *step, *at).await.map(drop),
        ReportKind::Image { step, image } => jobs::set_image(tx, *job, *attempt, *step, image).await,
        ReportKind::Outputs(outputs) => jobs::set_outputs(tx, *job, *attempt, outputs).await,
        ReportKind::Ended(ended) => {
            let Ended { outcome, artifacts, reports, inputs } = &**ended;
            tracing::info!(%job, status = %outcome.status(), reason = outcome.reason(), "ended");
            let now = Timestamp::now();
            artifacts::keep(tx, *job, *attempt, artifacts, now).await?;
            if let Some(run) = reports {
                reports::publish(tx, *job, *attempt, *run).await?;
            }
            if let Some(inputs) = inputs.as_ref().filter(|_| *outcome == Outcome::Success) {
                reuse::keep(tx, *job, *attempt, inputs, now).await?;
            }
            jobs::end_attempt(tx, *job, *attempt, outcome.clone(), now).await.map(drop)
        }
        ReportKind::Reused(reused) => {
            let Reused { from, inputs } = &**reused;
            let now = Timestamp::now();
            match reuse::take(tx, *job, *attempt, from, inputs, now).await {
                Err(StoreError::Conflict(Conflict::OriginalGone)) => {
                    // Its build was removed in this moment.
                    let message = "the artifacts of the job that stood for it are gone; rerun the job".to_owned();
                    let outcome = Outcome::Error { kind: ErrorKind::Lost, message };
                    jobs::end_attempt(tx, *job, *attempt, outcome, now).await.map(drop)
                }
                taken => {
                    tracing::info!(%job, build = from.build, "an earlier success stands for it");
                    taken
                }
            }
        }
    }
}

/// Pauses between attempts to use the database, which may be full or locked for a while. Nothing that must be stored is
/// dropped meanwhile.
struct Patience {
    pauses: ExponentialBackoff,
    last: Instant,
}

impl Patience {
    fn new() -> Self {
        let pauses = ExponentialBuilder::new().with_min_delay(MIN_PAUSE).with_max_delay(MAX_PAUSE);
        Self { pauses: pauses.without_max_times().build(), last: Instant::now() }
    }

    /// Waits before the next attempt, longer each time in a row.
    async fn wait(&mut self, what: &str, error: &StoreError) {
        if self.last.elapsed() > MAX_PAUSE * 2 {
            *self = Self::new();
        }
        let pause = self.pauses.next().unwrap_or(MAX_PAUSE);
        tracing::error!(%error, "cannot {what}; trying again in {} ms", pause.as_millis());
        tokio::time::sleep(pause).await;
        self.last = Instant::now();
    }
}
