//! Between the scheduler and the executor: orders in, jobs run, reports out. Used by `serve` and by `run`.
//!
//! The executor knows no database and the scheduler no engine; what each needs of the other passes through here.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use longshore_core::{
    ErrorKind, JobId, JobPlan, Outcome, Record, RecordKind, Status, Stream, Timestamp, plan::Resources, stranger,
};
use longshore_executor::{
    AdoptRequest, AttemptId, CheckoutSource, Executor, JobRequest, JobUpdate, Journal as _, Limits, Phase, PullPolicy,
};
use longshore_pipeline::{BuildFacts, build_variables, secret_rules};
use longshore_scheduler::{Order, Report, ReportKind};
use longshore_store::{
    Store,
    builds::{self, Build},
    jobs::Preparing,
    people,
    repos::{self, Repo},
};
use tokio::{
    sync::mpsc,
    task::{self, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    checkouts::Sources,
    contexts::{self, Missing, Refusal},
    journal::StoreJournal,
};

/// Between two tries to take a running job up again.
const PAUSE: Duration = Duration::from_secs(1);

/// What every job gets besides its plan.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extras {
    pub(crate) env: Vec<(String, String)>,
    pub(crate) secrets: Vec<(String, String)>,
    pub(crate) limits: Limits,
    /// The same of strangers' jobs.
    pub(crate) limits_of_strangers: Limits,
    /// How long a full disk is waited for before it ends a job.
    pub(crate) disk_patience: Duration,
    /// The server's address, for links in variables; empty without a server.
    pub(crate) url: String,
    /// Who may share sandboxes, where it is not the repository.
    pub(crate) scope: Option<String>,
}

/// Runs jobs on the engine as it is ordered to.
#[derive(Debug, Clone)]
pub(crate) struct Runner {
    pub(crate) executor: Executor,
    pub(crate) store: Store,
    pub(crate) sources: Sources,
    pub(crate) extras: Arc<Extras>,
    pub(crate) reports: mpsc::Sender<Report>,
}

impl Runner {
    /// Takes orders until `shutdown`. Jobs that run then are left running: the next start adopts them.
    pub(crate) async fn run(self, mut orders: mpsc::Receiver<Order>, shutdown: CancellationToken) {
        let mut jobs = JoinSet::new();
        // With the attempt: the next one may be ordered before the end of this one is seen here.
        let mut cancels: HashMap<JobId, (u32, CancellationToken)> = HashMap::new();
        // Whose task it is, should it break off and give nothing back.
        let mut of_task: HashMap<task::Id, (JobId, u32)> = HashMap::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => {
                    // Dropped in the middle, as a kill would: the agents go on by themselves.
                    jobs.abort_all();
                    return;
                }
                Some(ended) = jobs.join_next_with_id() => {
                    let (id, broken) = match ended {
                        Ok((id, ())) => (id, None),
                        Err(error) => (error.id(), Some(error)),
                    };
                    let Some((job, over)) = of_task.remove(&id) else { continue };
                    if cancels.get(&job).is_some_and(|(attempt, _)| *attempt == over) {
                        cancels.remove(&job);
                    }
                    if let Some(error) = broken {
                        tracing::error!(%job, %error, "a job's task broke off");
                        self.executor.abandon(AttemptId { job, attempt: over });
                        let outcome = internal("Longshore's own task for this job broke off; its log says why");
                        let runner = self.clone();
                        // Of its own: the dispatcher may be waiting for this loop.
                        jobs.spawn(async move { runner.report(job, over, ReportKind::Ended(outcome)).await });
                    }
                }
                order = orders.recv() => {
                    let (job, attempt, asked_to_end) = match &order {
                        None => return,
                        Some(Order::Start(claimed)) => (claimed.job.id, claimed.attempt, false),
                        Some(Order::Adopt(running)) => {
                            (running.job.id, running.job.attempt, running.job.status == Status::Canceling)
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
                        let outcome = match order {
                            Some(Order::Start(claimed)) => {
                                let approved = claimed.job.approved_by.is_some();
                                let origin = Origin { build: &claimed.build, repo: &claimed.repo, approved };
                                runner.start(&origin, claimed.plan, job, attempt, cancel).await
                            }
                            Some(Order::Adopt(running)) => runner.adopt(*running, cancel).await,
                            Some(Order::Cancel(_)) | None => return,
                        };
                        runner.report(job, attempt, ReportKind::Ended(outcome)).await;
                    });
                    of_task.insert(task.id(), (job, attempt));
                }
            }
        }
    }

    async fn start(
        &self,
        origin: &Origin<'_>,
        plan: JobPlan,
        job: JobId,
        attempt: u32,
        cancel: CancellationToken,
    ) -> Outcome {
        if let Err(outcome) = self.check_approval(origin, &plan).await {
            return outcome;
        }
        let request = match self.request(origin, plan, job, attempt, Missing::Refuse).await {
            Ok(request) => request,
            Err(refusal) => {
                self.say_withheld(origin, job, attempt, &refusal.withheld).await;
                return refusal.outcome;
            }
        };
        let journal = match self.journal(job, attempt).await {
            Ok(journal) => journal,
            Err(outcome) => return outcome,
        };
        let (updates, heard) = mpsc::channel(256);
        let (outcome, ()) = tokio::join!(
            self.executor.run_job(request, Box::new(journal), updates, cancel),
            self.pass_on(job, attempt, heard),
        );
        outcome
    }

    /// A job that ran when an earlier process went down.
    async fn adopt(&self, running: longshore_store::jobs::RunningJob, cancel: CancellationToken) -> Outcome {
        let (job, attempt) = (running.job.id, running.job.attempt);
        let (request, journal) = match self.adopted(running).await {
            Ok(adopted) => adopted,
            Err(outcome) => {
                // It is over for everyone else: its steps must not go on.
                self.executor.abandon(AttemptId { job, attempt });
                return outcome;
            }
        };
        let (updates, heard) = mpsc::channel(256);
        let (outcome, ()) = tokio::join!(
            self.executor.adopt(request, Box::new(journal), updates, cancel),
            self.pass_on(job, attempt, heard),
        );
        outcome
    }

    /// What it takes to go on with it.
    async fn adopted(
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
                // What passes is no reason to end a job that runs.
                Err(error) if error.is_passing() && Instant::now() < give_up => {
                    tracing::warn!(%job, %error, "a running job cannot be taken up again yet");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(internal(&error.to_string())),
            }
        };
        let origin = Origin { build: &build, repo: &repo, approved: running.job.approved_by.is_some() };
        if running.job.started_at.is_none() {
            // It may not have begun anywhere, and would now.
            self.check_approval(&origin, &running.plan).await?;
        }
        let began = running.job.started_at.is_some();
        // One that has not begun may have been cut short before anybody asked what it may have.
        let missing = if began { Missing::PassOver } else { Missing::Refuse };
        let request = match self.request(&origin, running.plan, job, attempt, missing).await {
            Ok(request) => request,
            Err(refusal) => {
                self.say_withheld(&origin, job, attempt, &refusal.withheld).await;
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
        let mut unsupported: Vec<String> = plan.unsupported(&plan.steps).iter().map(ToString::to_string).collect();
        unsupported.dedup();
        if !unsupported.is_empty() {
            let message = format!(
                "this version plans and cannot run: {}; take it out of the job `{}`",
                unsupported.join(", "),
                plan.job
            );
            return Err(Outcome::Error { kind: ErrorKind::NotSupported, message }.into());
        }
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
            // One that the plan names goes where the plan says; all others are variables of every step.
            if !plan.secrets.iter().any(|wanted| wanted.name == *name) {
                secrets.variables.insert(name.clone(), value.clone());
            }
        }
        let checkout: Option<Arc<dyn CheckoutSource>> = match &plan.checkout {
            Some(how) => Some(
                self.sources
                    .of(origin.repo, &origin.build.event, how)
                    .map_err(|message| Outcome::Error { kind: ErrorKind::CheckoutFailed, message })?,
            ),
            None => None,
        };
        let granted = if stranger { &extras.limits_of_strangers } else { &extras.limits };
        let limits = limits(granted, &plan.resources);
        let mut env = origin.variables(&plan, &extras.url);
        env.extend(self.extras.env.iter().cloned());
        Ok(JobRequest {
            build: origin.build.id,
            job,
            attempt,
            // Strangers' jobs never follow ours into a network, nor ours theirs, nor one stranger's another's.
            scope: match &self.extras.scope {
                Some(scope) => scope.clone(),
                None if stranger => format!("{} fork {}", origin.repo.id, origin.build.id),
                None => origin.repo.id.to_string(),
            },
            plan,
            env,
            secrets: secrets.variables,
            secret_files: secrets.files,
            known,
            masks: Vec::new(),
            checkout,
            limits,
            pull: PullPolicy::Missing,
        })
    }

    /// The scheduler makes such a job wait; this is the last door before anything of a stranger's runs or a secret leaves. It asks what
    /// the repository wants now, which may be more than it was when the job was queued.
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
                let message = format!("nobody has approved {question}: rerun the build, and approve it");
                Err(Outcome::Error { kind: ErrorKind::NotApproved, message })
            }
        }
    }

    /// Says on the build and in the job's log which secrets rules withheld. The job's end says so as well, so that what cannot be written
    /// here is not lost.
    async fn say_withheld(&self, origin: &Origin<'_>, job: JobId, attempt: u32, withheld: &[String]) {
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

    /// Turns what the executor tells into reports. Ends with the job.
    async fn pass_on(&self, job: JobId, attempt: u32, mut heard: mpsc::Receiver<JobUpdate>) {
        while let Some(update) = heard.recv().await {
            let what = match update {
                JobUpdate::Phase(Phase::Running) => ReportKind::Started { at: Timestamp::now() },
                JobUpdate::Phase(Phase::Pulling) => preparing(Preparing::Pulling),
                JobUpdate::Phase(Phase::Starting) => preparing(Preparing::Starting),
                JobUpdate::Session(number) => ReportKind::Session(number),
                JobUpdate::StepStarted { step, time } => ReportKind::StepStarted { step, at: time },
                JobUpdate::Outputs(outputs) => ReportKind::Outputs(outputs),
                JobUpdate::StepFinished { step, time, result } => ReportKind::StepFinished { step, result, at: time },
            };
            self.report(job, attempt, what).await;
        }
    }

    async fn report(&self, job: JobId, attempt: u32, what: ReportKind) {
        if self.reports.send(Report { job, attempt, what }).await.is_err() {
            tracing::debug!(%job, "nobody hears reports any more: the next start finds out by itself");
        }
    }
}

/// Where a job comes from.
struct Origin<'a> {
    build: &'a Build,
    repo: &'a Repo,
    /// Whether somebody approved the job.
    approved: bool,
}

impl Origin<'_> {
    /// What was not known when the plan was frozen. What the job itself says wins.
    fn variables(&self, plan: &JobPlan, url: &str) -> BTreeMap<String, String> {
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

/// What the job asks for, within what the server grants.
fn limits(granted: &Limits, asked: &Resources) -> Limits {
    let within = |granted: Option<u64>, asked: Option<u64>| [granted, asked].into_iter().flatten().min();
    Limits {
        memory: within(granted.memory, asked.memory_bytes),
        pids: asked.pids.map_or(granted.pids, |pids| pids.min(granted.pids)),
        cpus: match (granted.cpus, asked.cpu_millis.map(|millis| f64::from(millis) / 1000.0)) {
            (Some(granted), Some(asked)) => Some(granted.min(asked)),
            (granted, asked) => asked.or(granted),
        },
        shm: asked.shm_bytes.or(granted.shm),
        disk: granted.disk,
        time: granted.time,
        log: granted.log,
        grace: granted.grace,
    }
}

fn preparing(phase: Preparing) -> ReportKind {
    ReportKind::Preparing { phase, at: Timestamp::now() }
}

fn internal(message: &str) -> Outcome {
    Outcome::Error { kind: ErrorKind::Internal, message: message.to_owned() }
}
