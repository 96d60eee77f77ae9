//! Writes into the audit log what jobs asked of their Docker API and were refused, as their guards recorded it.

use futures_util::future::{BoxFuture, FutureExt as _};
use longshore_core::Timestamp;
use longshore_executor::{AttemptId, GuardLog, GuardReports, RefusedCall};
use longshore_store::{
    Store, StoreError,
    audit::{self, Decision, Entry},
    jobs,
};

/// Keeps the guards' logs, in short, in the store.
#[derive(Debug, Clone)]
pub(crate) struct KeptReports {
    pub(crate) store: Store,
}

impl GuardReports for KeptReports {
    fn report(&self, attempt: AttemptId, log: GuardLog) -> BoxFuture<'_, ()> {
        async move {
            if let Err(error) = self.keep(attempt, log).await {
                tracing::error!(?attempt, %error, "the audit log does not say what a job asked of its Docker API");
            }
        }
        .boxed()
    }
}

impl KeptReports {
    async fn keep(&self, attempt: AttemptId, log: GuardLog) -> Result<(), StoreError> {
        let name = jobs::get(&self.store, attempt.job).await?.map(|job| job.name).unwrap_or_default();
        let (mut tx, now) = (self.store.write().await?, Timestamp::now());
        for RefusedCall { call, rule, reason } in log.refused {
            let record = Entry {
                object: call,
                decision: Decision::Denied,
                reason: format!("{rule}: {reason}"),
                ..Entry::of_job(attempt.job, &name, "docker.request")
            };
            audit::record(&mut tx, record, now).await?;
        }
        let GuardLog { requests, refusals, not_there, hash, .. } = log;
        let record = Entry {
            object: format!("attempt {}", attempt.attempt),
            reason: format!(
                "{requests} requests, {refusals} refused, {not_there} for what is not there; the guard's log ends with {hash}"
            ),
            ..Entry::of_job(attempt.job, &name, "docker.end")
        };
        audit::record(&mut tx, record, now).await?;
        tx.commit().await.map(drop)
    }
}
