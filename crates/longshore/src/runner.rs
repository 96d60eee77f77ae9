//! Connects the scheduler with the executor: takes orders, runs jobs, sends reports. Used by `serve` and `run`.
//!
//! The executor does not know the database, and the scheduler does not know the engine. Everything that one needs from
//! the other passes through here.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use longshore_core::{
    ErrorKind, JobId, JobPlan, Outcome, Record, RecordKind, RegistryCredentials, RegistryHost, Status, Stream,
    Timestamp, capability, stranger,
};
use longshore_executor::{
    AdoptRequest, AttemptId, CheckoutSource, Executor, ImageAccess, ImageRule, JobRequest, JobUpdate, Journal as _,
    Limits, Phase, PullPolicy,
};
use longshore_pipeline::{BuildFacts, build_variables, secret_rules};
use longshore_scheduler::{Ended, Order, Report, ReportKind, Reused};
use longshore_store::{
    Store,
    builds::{self, Build},
    jobs::{ClaimedJob, Preparing, UsedImage},
    people,
    repos::{self, Repo},
    reuse::Inputs,
};
use tokio::{
    sync::mpsc,
    task::{self, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    caches::{Caches, OfJob},
    checkouts::Sources,
    contexts::{self, Missing, Refusal},
    docker_access::DockerSettings,
    handing_on,
    job_env::JobEnv,
    journal::StoreJournal,
    kept::{self, Kept, Leaves},
    needed_files,
    privileges::Privileges,
    registries, reports,
    reuse::{self, Found, Made},
    workspaces::Workspaces,
};

/// The pause between two attempts to adopt a running job.
const PAUSE: Duration = Duration::from_secs(1);

/// What every job gets beyond its plan.
#[derive(Clone, Default)]
pub(crate) struct Extras {
    /// For every container, below what the pipeline says.
    pub(crate) job_env: JobEnv,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) secrets: Vec<(String, String)>,
    pub(crate) limits: Limits,
    /// The limits of strangers' jobs.
    pub(crate) limits_of_strangers: Limits,
    /// When registries are asked for images, where a plan does not say so.
    pub(crate) pull: PullPolicy,
    /// Which images jobs may use; all of them without it.
    pub(crate) images: Option<ImageRule>,
    /// The credentials for registries that the user of an engine of their own has.
    pub(crate) registries: Option<BTreeMap<RegistryHost, RegistryCredentials>>,
    /// What the operator says about Docker in jobs.
    pub(crate) docker: DockerSettings,
    /// How long artifacts are kept whose plan does not say so; with their builds without it.
    pub(crate) artifact_age: Option<Duration>,
    /// How long a job waits for space on a full disk before it ends.
    pub(crate) disk_patience: Duration,
    /// The server's address, for links in variables; empty without a server.
    pub(crate) url: String,
    /// Jobs with the same scope share sandboxes. `None` means the repository.
    pub(crate) scope: Option<String>,
}

/// Runs jobs on the engine, on the orders of the scheduler.
#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) executor: Executor,
    pub(crate) store: Store,
    pub(crate) sources: Sources,
    pub(crate) extras: Arc<Extras>,
    pub(crate) caches: Caches,
    pub(crate) workspaces: Workspaces,
    pub(crate) reports: mpsc::Sender<Report>,
}

impl Runner {
    /// Takes orders until `shutdown`. Jobs that run then keep running, and the next start adopts them.
    pub(crate) async fn run(self, mut orders: mpsc::Receiver<Order>, shutdown: CancellationToken) {
        let mut jobs = JoinSet::new();
        // Includes the attempt, because the next one may be ordered before the end of this one is seen here.
        let mut cancels: HashMap<JobId, (u32, CancellationToken)> = HashMap::new();
        // Finds the job of a task that panicked.
        let mut jobs_by_task: HashMap<task::Id, (JobId, u32)> = HashMap::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => {
                    // Like a kill: the agents go on by themselves.
                    jobs.abort_all();
                    return;
                }
                Some(ended) = jobs.join_next_with_id() => {
                    let (id, broken) = match ended {
                        Ok((id, ())) => (id, None),
                        Err(error) => (error.id(), Some(error)),
                    };
                    let Some((job, over)) = jobs_by_task.remove(&id) else { continue };
                    if cancels.get(&job).is_some_and(|(attempt, _)| *attempt == over) {
                        cancels.remove(&job);
                    }
                    if let Some(error) = broken {
                        tracing::error!(%job, %error, "a job's task broke off");
                        self.executor.abandon(AttemptId { job, attempt: over });
                        let outcome = internal("internal error; see the server's log");
                        let runner = self.clone();
                        // In a task of its own, because the dispatcher may be waiting for this loop.
                        jobs.spawn(async move { runner.report(job, over, outcome.into()).await });
                    }
                }
                order = orders.recv() => {
                    let (job, attempt, asked_to_end) = match &order {
                        None => return,
                        Some(Order::Start(claimed)) => (claimed.job.id, claimed.attempt, false),
                        Some(Order::Adopt(running)) => {
                            (running.job.id, running.job.attempt, running.job.status == Status::Canceling)
                        }
                        Some(Order::PullAhead(_)) => {
                            let Some(Order::PullAhead(waiting)) = order else { continue };
                            let runner = self.clone();
                            jobs.spawn(async move { runner.pull_ahead(*waiting).await });
                            continue;
                        }
                        Some(Order::Cancel(job)) => {
                            if let Some((_, cancel)) = cancels.get(job) {
                                cancel.cancel();
                            }
                            continue;
                        }
                    };
                    let cancel = CancellationToken::new();
                    if asked_to_end {
                        cancel.cancel();
                    }
                    cancels.insert(job, (attempt, cancel.clone()));
                    let runner = self.clone();
                    let task = jobs.spawn(async move {
                        let leaves = match &order {
                            Some(Order::Start(claimed)) => Leaves::of(&claimed.plan, runner.extras.artifact_age),
                            Some(Order::Adopt(running)) => Leaves::of(&running.plan, runner.extras.artifact_age),
                            Some(Order::PullAhead(_) | Order::Cancel(_)) | None => Leaves::default(),
                        };
                        let (outcome, inputs) = match order {
                            Some(Order::Start(claimed)) => {
                                let approved = claimed.job.approved_by.is_some();
                                let origin = Origin { build: &claimed.build, repo: &claimed.repo, approved };
                                match runner.start(&origin, claimed.plan, job, attempt, cancel).await {
                                    Started::Ran(outcome, inputs) => (outcome, inputs),
                                    Started::Reused(reused) => {
                                        return runner.report(job, attempt, ReportKind::Reused(reused)).await;
                                    }
                                }
                            }
                            Some(Order::Adopt(running)) => (runner.adopt(*running, cancel).await, None),
                            Some(Order::PullAhead(_) | Order::Cancel(_)) | None => return,
                        };
                        runner.report_end(job, attempt, &leaves, outcome, inputs).await;
                    });
                    jobs_by_task.insert(task.id(), (job, attempt));
                }
            }
        }
    }

    /// Pulls the images of a job that waits. Whether it may run is checked as when it starts.
    async fn pull_ahead(&self, waiting: ClaimedJob) {
        let ClaimedJob { job, build, repo, plan, .. } = waiting;
        let origin = Origin { build: &build, repo: &repo, approved: job.approved_by.is_some() };
        if self.check_approval(&origin, &plan).await.is_err() {
            return;
        }
        if let Ok(access) = self.image_access(&origin, &plan, Missing::PassOver).await {
            self.executor.pull_ahead(build.id, &plan, &access, self.extras.pull).await;
        }
    }

    /// Returns which images a job may use, and with which credentials.
    async fn image_access(
        &self,
        origin: &Origin<'_>,
        plan: &JobPlan,
        missing: Missing,
    ) -> Result<ImageAccess, Outcome> {
        let stranger = stranger::brings(&origin.build.event);
        let access = registries::access(&self.store, origin.repo, stranger, plan, missing).await?;
        let mut credentials = access.credentials;
        credentials.extend(self.extras.registries.iter().flatten().map(|(host, given)| (host.clone(), given.clone())));
        let own_engine = self.extras.registries.is_some();
        Ok(ImageAccess { rule: self.extras.images.clone(), credentials, own_engine, ..access })
    }

    async fn start(
        &self,
        origin: &Origin<'_>,
        plan: JobPlan,
        job: JobId,
        attempt: u32,
        cancel: CancellationToken,
    ) -> Started {
        if let Err(outcome) = self.check_approval(origin, &plan).await {
            return outcome.into();
        }
        let frozen = plan.clone();
        let request = match self.request(origin, plan, job, attempt, Missing::Refuse).await {
            Ok(request) => request,
            Err(refusal) => {
                self.report_withheld(origin, job, attempt, &refusal.withheld).await;
                return refusal.outcome.into();
            }
        };
        let of_job = reuse::OfJob {
            store: &self.store,
            sources: &self.sources,
            workspaces: &self.workspaces,
            repo: origin.repo,
            build: origin.build,
            plan: &frozen,
            job,
        };
        let found = tokio::select! {
            found = of_job.find(&self.executor, &request) => found,
            () = cancel.cancelled() => return Outcome::Canceled.into(),
        };
        let made = match found {
            Found::Stands(reused) => return Started::Reused(reused),
            Found::Runs(hash) => {
                let has_workspace = request.workspace.kept;
                Made { build: request.build, plan: request.plan.clone(), hash, has_workspace }
            }
        };
        let journal = match self.journal(job, attempt).await {
            Ok(journal) => journal,
            Err(outcome) => return outcome.into(),
        };
        let (updates, received) = mpsc::channel(256);
        let (outcome, ()) = tokio::join!(
            self.executor.run_job(request, Box::new(journal), updates, cancel),
            self.forward_updates(job, attempt, received),
        );
        let inputs = reuse::inputs(&self.executor, &made, &outcome);
        Started::Ran(outcome, inputs)
    }

    /// Continues a job of an earlier process.
    async fn adopt(&self, running: longshore_store::jobs::RunningJob, cancel: CancellationToken) -> Outcome {
        let (job, attempt) = (running.job.id, running.job.attempt);
        let (request, journal) = match self.prepare_adoption(running).await {
            Ok(adopted) => adopted,
            Err(outcome) => {
                // The job ends with this outcome, so its steps must not go on.
                self.executor.abandon(AttemptId { job, attempt });
                return outcome;
            }
        };
        let (updates, received) = mpsc::channel(256);
        let (outcome, ()) = tokio::join!(
            self.executor.adopt(request, Box::new(journal), updates, cancel),
            self.forward_updates(job, attempt, received),
        );
        outcome
    }

    /// Returns what is needed to continue a job of an earlier process.
    async fn prepare_adoption(
        &self,
        running: longshore_store::jobs::RunningJob,
    ) -> Result<(AdoptRequest, StoreJournal), Outcome> {
        let (job, attempt) = (running.job.id, running.job.attempt);
        let found = async || {
            let build = builds::get(&self.store, running.job.build).await?;
            let repo = repos::get(&self.store, running.job.repo).await?;
            Ok::<_, longshore_store::StoreError>(build.zip(repo))
        };
        let give_up = Instant::now() + self.extras.disk_patience;
        let (build, repo) = loop {
            match found().await {
                Ok(Some(found)) => break found,
                Ok(None) => return Err(internal("the job's build is not in the database any more")),
                // A transient error must not end a running job.
                Err(error) if error.is_passing() && Instant::now() < give_up => {
                    tracing::warn!(%job, %error, "a running job cannot be taken up again yet");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(internal(&error.to_string())),
            }
        };
        let origin = Origin { build: &build, repo: &repo, approved: running.job.approved_by.is_some() };
        if running.job.started_at.is_none() {
            // It may not have started yet, and then starts now.
            self.check_approval(&origin, &running.plan).await?;
        }
        let began = running.job.started_at.is_some();
        // A job that has not started may have been interrupted before its secrets were checked.
        let missing = if began { Missing::PassOver } else { Missing::Refuse };
        let request = match self.request(&origin, running.plan, job, attempt, missing).await {
            Ok(request) => request,
            Err(refusal) => {
                self.report_withheld(&origin, job, attempt, &refusal.withheld).await;
                return Err(refusal.outcome);
            }
        };
        let journal = self.journal(job, attempt).await?;
        Ok((AdoptRequest { job: request, session: running.session, began }, journal))
    }

    async fn request(
        &self,
        origin: &Origin<'_>,
        plan: JobPlan,
        job: JobId,
        attempt: u32,
        missing: Missing,
    ) -> Result<JobRequest, Refusal> {
        let privileges = Privileges::of(job, &plan, &self.extras.secrets);
        let request = self.prepare(origin, plan, job, attempt, missing).await;
        // A job that runs already got them when it started.
        if missing == Missing::Refuse {
            let recorded = privileges.record(&self.store, request.as_ref().err()).await;
            recorded.map_err(|error| internal(&format!("the audit log cannot be written: {error}")))?;
        }
        request
    }

    async fn prepare(
        &self,
        origin: &Origin<'_>,
        plan: JobPlan,
        job: JobId,
        attempt: u32,
        missing: Missing,
    ) -> Result<JobRequest, Refusal> {
        let stranger = stranger::brings(&origin.build.event);
        if missing == Missing::Refuse {
            contexts::judge_scripts(&plan, &origin.build.event)?;
        }
        let extras = &self.extras;
        let mut secrets =
            contexts::secrets(&self.store, (origin.build, origin.repo), &plan, &extras.secrets, missing).await?;
        let known = contexts::contexts(&self.store, origin.build, job, &plan, &secrets, &extras.url)
            .await
            .map_err(|error| internal(&error.to_string()))?;
        let plan = contexts::with_image(plan, &known)?;
        for (name, value) in &extras.secrets {
            // A secret that the plan names goes where the plan says. All others are variables of every step.
            if !plan.secrets.iter().any(|wanted| wanted.name == *name) {
                secrets.variables.insert(name.clone(), value.clone());
            }
        }
        let checkout: Option<Arc<dyn CheckoutSource>> = match &plan.checkout {
            Some(how) => Some(
                self.sources
                    .for_event(origin.repo, &origin.build.event, how, &plan.reuse)
                    .await
                    .map_err(|message| Outcome::Error { kind: ErrorKind::CheckoutFailed, message })?,
            ),
            None => None,
        };
        handing_on::judge(&self.store, origin.build, &plan).await?;
        let checkout = needed_files::with_needed(&self.store, origin.build, &plan, checkout).await?;
        let images = self.image_access(origin, &plan, missing).await?;
        let docker = extras.docker.access(&origin.repo.docker, &origin.build.event, &plan, &images, missing)?;
        let caches =
            OfJob { repo: origin.repo, event: &origin.build.event, plan: &plan, known: &known, job, attempt, missing };
        let caches = self.caches.of_job(&caches, &self.sources).await?;
        let workspace = self.workspaces.of_job(origin.build.id, &plan).await?;
        let granted = if stranger { &extras.limits_of_strangers } else { &extras.limits };
        if missing == Missing::Refuse
            && let Some(why) = capability::refused(&plan.capabilities, &granted.capabilities, stranger)
        {
            let message = format!("the job does not get its capabilities: {why}");
            return Err(Outcome::Error { kind: ErrorKind::CapabilityNotGranted, message }.into());
        }
        let limits = Limits { capabilities: plan.capabilities.clone(), ..granted.within(&plan.resources) };
        let mut env = origin.variables(&plan, &extras.url);
        env.extend(self.extras.env.iter().cloned());
        Ok(JobRequest {
            build: origin.build.id,
            job,
            attempt,
            // A sandbox is never shared between a stranger's jobs and others, nor between two strangers.
            scope: match &self.extras.scope {
                Some(scope) => scope.clone(),
                None if stranger => format!("{} fork {}", origin.repo.id, origin.build.id),
                None => origin.repo.id.to_string(),
            },
            operator: self.extras.job_env.of_job(&plan),
            plan,
            env,
            secrets: secrets.variables,
            secret_files: secrets.files,
            known,
            masks: self.extras.job_env.masks(),
            checkout,
            artifacts: Some(kept::store_of(&self.store, AttemptId { job, attempt }, &limits.artifacts)),
            limits,
            pull: extras.pull,
            images,
            docker,
            caches,
            workspace,
        })
    }

    /// Checks that a stranger's job is approved, before any of it runs and before it gets a secret. The scheduler makes
    /// such jobs wait, so this is the second check. It uses the repository's current setting, which may be stricter
    /// than when the job was queued.
    async fn check_approval(&self, origin: &Origin<'_>, plan: &JobPlan) -> Result<(), Outcome> {
        let event = &origin.build.event;
        if origin.approved || !stranger::brings(event) {
            return Ok(());
        }
        let known = people::knows(&self.store, origin.repo.id, event).await;
        let known = known.map_err(|error| internal(&error.to_string()))?;
        match stranger::question(origin.repo.strangers, known, event, plan) {
            None => Ok(()),
            Some(question) => {
                let message = format!("not approved: {question}; rerun the build and approve it");
                Err(Outcome::Error { kind: ErrorKind::NotApproved, message })
            }
        }
    }

    /// Notes the withheld secrets on the build and in the job's log. The job's outcome names them too, so nothing is
    /// lost if this fails.
    async fn report_withheld(&self, origin: &Origin<'_>, job: JobId, attempt: u32, withheld: &[String]) {
        if withheld.is_empty() {
            return;
        }
        let noted = async {
            let mut tx = self.store.write().await?;
            for message in withheld {
                let diagnostic = secret_rules::diagnostic(message.clone());
                builds::add_diagnostic(&mut tx, origin.build.id, diagnostic).await?;
            }
            tx.commit().await
        };
        if let Err(error) = noted.await {
            tracing::warn!(%job, %error, "the build does not say that a secret was withheld");
        }
        let Ok(mut journal) = self.journal(job, attempt).await else { return };
        let data = withheld.iter().map(|message| format!("{message}\n")).collect::<String>().into_bytes();
        let written = task::spawn_blocking(move || {
            let kind = RecordKind::Output(Stream::System);
            journal.append(&[Record { seq: 0, time: Timestamp::now(), step: Record::NO_STEP, kind, data: data.into() }])
        });
        if let Err(error) = written.await.map_err(std::io::Error::other).flatten() {
            tracing::warn!(%job, %error, "the job's log does not say that a secret was withheld");
        }
    }

    async fn journal(&self, job: JobId, attempt: u32) -> Result<StoreJournal, Outcome> {
        StoreJournal::open(&self.store, job, attempt, self.extras.disk_patience).await
    }

    /// Turns the executor's updates into reports, until the job ends.
    async fn forward_updates(&self, job: JobId, attempt: u32, mut received: mpsc::Receiver<JobUpdate>) {
        while let Some(update) = received.recv().await {
            let what = match update {
                JobUpdate::Phase(Phase::Running) => ReportKind::Started { at: Timestamp::now() },
                JobUpdate::Phase(Phase::Pulling) => preparing(Preparing::Pulling),
                JobUpdate::Phase(Phase::Starting) => preparing(Preparing::Starting),
                JobUpdate::StartsOver(stored) => ReportKind::StartsOver(Box::new(stored)),
                JobUpdate::Session(number) => ReportKind::Session(number),
                JobUpdate::StepStarted { step, time } => ReportKind::StepStarted { step, at: time },
                JobUpdate::ServiceReady { step, time } => ReportKind::ServiceReady { step, at: time },
                JobUpdate::Image { step, image: used } => {
                    let image = UsedImage { name: used.name, digest: used.digest };
                    ReportKind::Image { step, image }
                }
                JobUpdate::Outputs(outputs) => ReportKind::Outputs(outputs),
                JobUpdate::StepFinished { step, time, result } => ReportKind::StepFinished { step, result, at: time },
            };
            self.report(job, attempt, what).await;
        }
    }

    /// Reports the end of an attempt, with what it has left.
    async fn report_end(&self, job: JobId, attempt: u32, leaves: &Leaves, outcome: Outcome, inputs: Option<Inputs>) {
        let ended = match Kept::of(&self.store, job, attempt, leaves).await {
            Ok(kept) => {
                let files = kept.reports().collect();
                let reports = reports::store(&self.store, &self.sources, job, attempt, files).await;
                Ended { outcome, artifacts: kept.artifacts, reports, inputs }
            }
            Err(error) => {
                let outcome = internal(&format!("the job's files cannot be read: {error}"));
                Ended { outcome, artifacts: Vec::new(), reports: None, inputs: None }
            }
        };
        self.report(job, attempt, ReportKind::Ended(Box::new(ended))).await;
    }

    async fn report(&self, job: JobId, attempt: u32, what: ReportKind) {
        if self.reports.send(Report { job, attempt, what }).await.is_err() {
            tracing::debug!(%job, "nobody hears reports any more: the next start finds out by itself");
        }
    }
}

/// How an attempt ended that was to start.
enum Started {
    /// With what it was made of, if its success may stand for others.
    Ran(Outcome, Option<Inputs>),
    /// An earlier success stands for it.
    Reused(Box<Reused>),
}

impl From<Outcome> for Started {
    fn from(outcome: Outcome) -> Self {
        Self::Ran(outcome, None)
    }
}

/// The build and the repository of a job.
struct Origin<'a> {
    build: &'a Build,
    repo: &'a Repo,
    /// Whether somebody approved the job.
    approved: bool,
}

impl Origin<'_> {
    /// Returns the variables that were unknown when the plan was frozen. Variables of the job take precedence.
    fn variables(&self, plan: &JobPlan, url: &str) -> BTreeMap<String, String> {
        if !plan.reuse.is_empty() {
            // They differ from build to build.
            return BTreeMap::new();
        }
        let known = (!url.is_empty()).then_some(url);
        let mut variables = build_variables(&BuildFacts {
            number: self.build.number,
            url: known.map(|url| format!("{url}/builds/{}", self.build.id)),
            created_at: Some(self.build.created_at),
            system_url: known.map(str::to_owned),
        });
        variables.retain(|name, _| !plan.env.contains_key(name));
        variables
    }
}

fn preparing(phase: Preparing) -> ReportKind {
    ReportKind::Preparing { phase, at: Timestamp::now() }
}

fn internal(message: &str) -> Outcome {
    Outcome::Error { kind: ErrorKind::Internal, message: message.to_owned() }
}
