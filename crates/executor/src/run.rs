//! Runs one attempt of a job, from the request to its outcome.
//!
//! Called by the dispatcher and by `longshore run`. Reports through the updates channel and the journal, and knows no
//! database.

use std::sync::Arc;

use longshore_core::{ErrorKind, Outcome};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::engine::Pod;
use crate::error::EngineError;
use crate::executor::Executor;
use crate::following::artifacts::ArtifactReceiver;
use crate::following::follow::{FollowEnd, Follower, JobLeft, Start};
use crate::following::journal::Journal;
use crate::following::log_recorder::{LogRecorder, journal_failed};
use crate::following::planned::Planned;
use crate::following::session::Followed;
use crate::guarding::guards::GuardWords;
use crate::lasting::caches::Caches;
use crate::lasting::workspaces::AttemptWorkspace;
use crate::members::Members;
use crate::objects::ObjectId;
use crate::placement::{Caller, Placed};
use crate::request::{JobRequest, JobUpdate, Phase, Stored};
use crate::sandboxes::Sandbox;
use crate::wait::Wait;

/// Where an attempt reports to, and what ends it.
pub(crate) struct Reports {
    pub(crate) updates: mpsc::Sender<JobUpdate>,
    pub(crate) cancel: CancellationToken,
    /// How many sandboxes in a row were not fit for it.
    unfit: u32,
}

impl Reports {
    pub(crate) const fn new(updates: mpsc::Sender<JobUpdate>, cancel: CancellationToken) -> Self {
        Self { updates, cancel, unfit: 0 }
    }

    /// Has it stored that the job has not begun, before what was started of it is removed.
    async fn starts_over(&self) {
        let (stored, mut heard) = Stored::new();
        if self.updates.send(JobUpdate::StartsOver(stored)).await.is_ok() {
            // While that cannot be written, nothing is gained by going on. It ends, too, when nobody receives any more.
            tokio::select! {
                _ = heard.recv() => {}
                () = self.cancel.cancelled() => {}
            }
        }
    }
}

/// Limit for sandboxes in a row that are not fit for a job.
const MAX_UNFIT_SANDBOXES: u32 = 4;

impl Executor {
    /// Runs one attempt to its end. Returns when the outcome is known and the journal is closed; what is left on the
    /// engine is removed in the background.
    ///
    /// Dropping the future has the same effect as the death of this process: the job runs on, and can be adopted.
    pub async fn run_job(
        &self,
        request: JobRequest,
        journal: Box<dyn Journal>,
        updates: mpsc::Sender<JobUpdate>,
        cancel: CancellationToken,
    ) -> Outcome {
        match open_recorder(&request, journal).await {
            Ok(recorder) => self.run(Arc::new(request), recorder, Reports::new(updates, cancel)).await,
            Err(outcome) => outcome,
        }
    }

    pub(crate) async fn run(&self, request: Arc<JobRequest>, mut recorder: LogRecorder, reports: Reports) -> Outcome {
        let checkout = request.checkout.clone().map(|source| {
            // Opening may include packing, which continues while the container starts.
            tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move { source.open().await }))
        });
        let mut wait = Wait::new(self.options.patience);
        let placed = loop {
            match self.place(&request, &mut recorder, &reports).await {
                Ok(Some(placed)) => break placed,
                Ok(None) => return recorder.end(Outcome::Canceled).await,
                Err(error) if error.holds_starts() => {
                    let waited = tokio::select! {
                        waited = wait.pause(&mut recorder, error) => waited,
                        () = reports.cancel.cancelled() => {
                            self.let_go(&request, None).await;
                            return recorder.end(Outcome::Canceled).await;
                        }
                    };
                    if let Err(error) = waited {
                        self.let_go(&request, None).await;
                        return recorder.end(error.outcome()).await;
                    }
                }
                Err(error) => return recorder.end(error.outcome()).await,
            }
        };
        let Placed { pod, sandbox, reader, writer, guard } = placed;
        let _ = reports.updates.send(JobUpdate::Phase(Phase::Running)).await;
        let link = Some((reader, writer));
        let start = Start { session: 0, fresh: true, may_start_over: false, link, guard, checkout };
        self.follow(&request, pod, sandbox, recorder, reports, start).await
    }

    /// Follows a started container to the job's outcome, and cleans up.
    pub(crate) async fn follow(
        &self,
        request: &Arc<JobRequest>,
        pod: Pod,
        sandbox: Sandbox,
        mut recorder: LogRecorder,
        reports: Reports,
        mut start: Start,
    ) -> Outcome {
        let (requested, updates) = (recorder.take_requested(), reports.updates.downgrade());
        let members = Members::start(&self.placement, request, &pod, !start.fresh, requested, updates);
        let _starting = members.as_ref().map(|members| members.guard());
        let attempt = request.attempt_id();
        let has_guard = request.docker.guarded().is_some();
        let guard = has_guard.then(|| GuardWords::listen(&self.engine, &self.removals, attempt, start.guard.take()));
        let store = request.artifacts.clone().filter(|_| request.leaves_files());
        let receiver = store.map(ArtifactReceiver::new);
        let follower = Follower {
            engine: &*self.engine,
            job: Followed {
                request,
                pod: &pod,
                updates: &reports.updates,
                cancel: &reports.cancel,
                agent: &self.agent,
                members: members.as_ref(),
                guard: guard.as_ref(),
                artifacts: receiver.as_ref(),
                agent_patience: self.options.agent_patience,
            },
            patience: self.options.patience,
        };
        match follower.run(recorder, start).await {
            FollowEnd::Over(outcome, left) => {
                self.cleanup.job(request, &outcome, (pod, sandbox), left, members).wait(self.options.patience).await;
                outcome
            }
            FollowEnd::TakenOver(outcome) => outcome,
            FollowEnd::Untouched(recorder) => {
                reports.starts_over().await;
                self.remove_members(request, members).await;
                self.start_over(Arc::clone(request), pod, recorder, reports).await
            }
            FollowEnd::Unfit(recorder) => {
                tracing::warn!(sandbox = %pod.sandbox, "an earlier job has left something in a sandbox");
                reports.starts_over().await;
                self.remove_members(request, members).await;
                if reports.unfit < MAX_UNFIT_SANDBOXES {
                    let reports = Reports { unfit: reports.unfit + 1, ..reports };
                    return self.start_over(Arc::clone(request), pod, recorder, reports).await;
                }
                let message =
                    format!("{MAX_UNFIT_SANDBOXES} sandboxes in a row were not restored after their last job");
                let outcome = recorder.end(Outcome::Error { kind: ErrorKind::AgentFailed, message }).await;
                self.sandboxes.discard(sandbox);
                self.let_go(request, None).await;
                outcome
            }
            FollowEnd::Crashed(recorder, outcome) => {
                reports.starts_over().await;
                // This container uses the agent's volume.
                let container = ObjectId::Container(pod.container.clone());
                self.removals.now(&container, self.options.patience).await;
                self.remove_members(request, members).await;
                if self.agent.renew().await {
                    return self.start_over(Arc::clone(request), pod, recorder, reports).await;
                }
                let outcome = recorder.end(outcome).await;
                self.cleanup
                    .job(request, &outcome, (pod, sandbox), JobLeft::default(), None)
                    .wait(self.options.patience)
                    .await;
                outcome
            }
        }
    }

    /// Removes the containers beside the job's own, because others with the same names are about to be created.
    async fn remove_members(&self, request: &JobRequest, members: Option<Arc<Members>>) {
        let Some(members) = members else { return };
        members.end().await;
        self.removals.members(request.attempt_id(), self.options.patience).await;
    }

    /// Removes a container in which nothing of the job has run, together with what was unpacked in it, and starts the
    /// job.
    pub(crate) async fn start_over(
        &self,
        request: Arc<JobRequest>,
        pod: Pod,
        recorder: LogRecorder,
        reports: Reports,
    ) -> Outcome {
        // Its name is needed again. The sandbox goes too, because a start of the container may still be in progress in
        // it.
        self.removals.make_way(&pod, self.options.patience).await;
        AttemptWorkspace::new(&*self.engine, &request).discard(&self.removals, self.options.patience).await;
        Caches::of(&*self.engine, &request).discard(&self.removals, self.options.patience).await;
        self.removals.later(ObjectId::Container(pod.sandbox));
        Box::pin(self.run(request, recorder, reports)).await
    }

    /// Starts a container; `None` if the job was canceled first.
    async fn place(
        &self,
        request: &Arc<JobRequest>,
        recorder: &mut LogRecorder,
        reports: &Reports,
    ) -> Result<Option<Placed>, EngineError> {
        let (notes, mut noted) = mpsc::channel(16);
        let caller = Caller { notes, updates: reports.updates.downgrade(), cancel: reports.cancel.clone() };
        let mut placement = self.tasks.spawn(self.placement.clone().place(Arc::clone(request), caller));
        let placed = loop {
            tokio::select! {
                biased;
                () = reports.cancel.cancelled() => {
                    self.cleanup.abandoned(placement, request);
                    return Ok(None);
                }
                Some(note) = noted.recv() => {
                    recorder.note(&note);
                    recorder.start();
                }
                written = recorder.written(), if recorder.is_writing() => {
                    if let Err(error) = written {
                        self.cleanup.abandoned(placement, request);
                        return Err(journal_failed(error));
                    }
                }
                placed = &mut placement => break placed,
            }
        };
        while let Ok(note) = noted.try_recv() {
            recorder.note(&note);
        }
        let placed = match placed {
            Ok(placed) => placed,
            Err(error) => Err(EngineError::Local { what: "starting the job failed", reason: error.to_string() }),
        };
        match (placed, recorder.flush().await) {
            (Ok(placed), Ok(())) => Ok(Some(placed)),
            (Ok(placed), Err(error)) => {
                self.cleanup.placed(request, placed);
                Err(journal_failed(error))
            }
            // Objects that were created already stay; the next try finds them.
            (Err(error), Ok(())) if error.holds_starts() => Err(error),
            (Err(error), _) => {
                self.let_go(request, None).await;
                Err(error)
            }
        }
    }
}

/// Opens the journal with the job's masks in front of it. If the masks cannot be compiled, closes it with an outcome.
pub(crate) async fn open_recorder(request: &JobRequest, journal: Box<dyn Journal>) -> Result<LogRecorder, Outcome> {
    let recorder = |patterns| LogRecorder::new(journal, patterns, request.limits.log, Planned::new(&request.plan));
    match request.patterns() {
        Ok(patterns) => Ok(recorder(patterns)),
        Err(error) => Err(recorder(None).end(error.outcome()).await),
    }
}
