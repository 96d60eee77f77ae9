//! Takes over a job that an earlier process started.
//!
//! The database says only that the attempt was claimed, and the journal only what has arrived. The earlier process may
//! have died between any two calls, so this module handles every state of the container: absent, created, running,
//! ended, removed.

use std::sync::Arc;

use longshore_core::{ErrorKind, Outcome};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::attempt::AttemptId;
use crate::executor::Executor;
use crate::following::follow::Start;
use crate::following::journal::Journal;
use crate::following::session::next_number;
use crate::objects::ObjectId;
use crate::request::{AdoptRequest, JobRequest, JobUpdate};
use crate::run::{Reports, open_recorder};
use crate::sandboxes::Sandbox;
use crate::wait::ask_until_answered;

/// Added to the last known session number: an earlier process may have opened sessions that it could not report.
const UNKNOWN_SESSIONS: u32 = 16;

impl Executor {
    /// Continues a job as [`Executor::run_job`] would:
    ///
    /// 1. A job whose end is in the journal is over, no matter which process wrote it there.
    /// 2. A job whose container was started is followed: its agent sends everything that the journal does not have, or
    ///    its spool is read if it has ended.
    /// 3. A job whose container was never started is started, unless it is known to have begun: then it is lost.
    ///
    /// If the job's end was requested before, `cancel` is already canceled.
    pub async fn adopt(
        &self,
        request: AdoptRequest,
        journal: Box<dyn Journal>,
        updates: mpsc::Sender<JobUpdate>,
        cancel: CancellationToken,
    ) -> Outcome {
        let AdoptRequest { job, session, began } = request;
        let attempt = job.attempt_id();
        let mut recorder = match open_recorder(&job, journal).await {
            Ok(recorder) => recorder,
            Err(outcome) => {
                self.abandon(attempt);
                return outcome;
            }
        };
        let job = Arc::new(job);
        // The earlier process may have died after writing the job's last record and before sending its updates.
        recorder.restore_updates();
        let began = began || recorder.last_seq() > 0;
        recorder.send_updates(&updates).await;
        let reported = recorder.finished().map(|result| job.outcome_of(result.clone(), cancel.is_cancelled()));
        if let Some(outcome) = recorder.ended().cloned().or(reported) {
            self.let_go(&job, Some(&outcome)).await;
            return recorder.end(outcome).await;
        }
        let reports = Reports::new(updates, cancel);
        let patience = self.options.patience;
        let found = tokio::select! {
            found = ask_until_answered(patience, &mut recorder, || self.engine.find(attempt)) => found,
            () = reports.cancel.cancelled(), if !began => {
                self.let_go(&job, None).await;
                return recorder.end(Outcome::Canceled).await;
            }
        };
        match found {
            Ok(Some(found)) if found.started => {
                let owner = job.docker.guarded().map(|_| attempt);
                let sandbox = Sandbox::adopted(found.pod.sandbox.clone(), &job.scope, job.plan.network, owner);
                let session = next_number(session).saturating_add(UNKNOWN_SESSIONS);
                let start =
                    Start { session, fresh: false, may_start_over: !began, link: None, guard: None, checkout: None };
                self.follow(&job, found.pod, sandbox, recorder, reports, start).await
            }
            Ok(_) if began => {
                let message = "the job's container was removed from outside".to_owned();
                self.let_go(&job, None).await;
                recorder.end(Outcome::Error { kind: ErrorKind::Lost, message }).await
            }
            Ok(Some(found)) => self.start_over(job, found.pod, recorder, reports).await,
            Ok(None) => {
                // It remains from a container that the earlier process had removed to start over.
                self.removals.now(&ObjectId::Volume(attempt.volume_name()), patience).await;
                self.run(job, recorder, reports).await
            }
            Err(error) => {
                self.let_go(&job, None).await;
                recorder.end(error.outcome()).await
            }
        }
    }

    /// Abandons an attempt. For a job with Docker, waits until the objects that it made are gone: then its slot is
    /// given to another. `outcome` is set if its job ended.
    pub(crate) async fn let_go(&self, job: &Arc<JobRequest>, outcome: Option<&Outcome>) {
        let gone = self.cleanup.request(job, outcome);
        match job.docker.guarded() {
            Some(_) => gone.wait(self.options.patience).await,
            None => gone.in_background(),
        }
    }

    /// Removes everything that an abandoned attempt has on the engine, including its running steps. Works in the
    /// background, and waits for an engine that is away.
    pub fn abandon(&self, attempt: AttemptId) {
        self.cleanup.attempt(attempt).in_background();
    }
}
