//! Reports to the scheduler, the build and the job's log.

use longshore_core::{ErrorKind, JobId, Outcome, Record, RecordKind, Stream, Timestamp};
use longshore_executor::{JobUpdate, Journal as _, Phase};
use longshore_pipeline::secret_rules;
use longshore_scheduler::{Ended, Report, ReportKind};
use longshore_store::{
    builds,
    jobs::{Preparing, UsedImage},
    reuse::Inputs,
};
use tokio::{sync::mpsc, task};

use super::{Runner, request::Origin};
use crate::{
    attempt_files::{AttemptArtifacts, ExpectedArtifacts},
    journal::StoreJournal,
    reports,
};

impl Runner {
    /// Notes the withheld secrets on the build and in the job's log. The job's outcome names them too, so nothing is
    /// lost if this fails.
    pub(super) async fn report_withheld(&self, origin: &Origin<'_>, job: JobId, attempt: u32, withheld: &[String]) {
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

    pub(super) async fn journal(&self, job: JobId, attempt: u32) -> Result<StoreJournal, Outcome> {
        StoreJournal::open(&self.store, job, attempt, self.job_defaults.disk_patience).await
    }

    /// Turns the executor's updates into reports, until the job ends.
    pub(super) async fn forward_updates(&self, job: JobId, attempt: u32, mut received: mpsc::Receiver<JobUpdate>) {
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
    pub(super) async fn report_end(
        &self,
        job: JobId,
        attempt: u32,
        expected: &ExpectedArtifacts,
        outcome: Outcome,
        inputs: Option<Inputs>,
    ) {
        let ended = match AttemptArtifacts::of(&self.store, job, attempt, expected).await {
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

    pub(super) async fn report(&self, job: JobId, attempt: u32, what: ReportKind) {
        if self.reports.send(Report { job, attempt, what }).await.is_err() {
            tracing::debug!(%job, "nobody hears reports any more: the next start finds out by itself");
        }
    }
}

fn preparing(phase: Preparing) -> ReportKind {
    ReportKind::Preparing { phase, at: Timestamp::now() }
}

pub(super) fn internal(message: &str) -> Outcome {
    Outcome::Error { kind: ErrorKind::Internal, message: message.to_owned() }
}
