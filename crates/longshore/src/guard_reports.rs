//! Writes into the audit log what jobs asked of their Docker API and were refused, as their guards recorded it.

use futures_util::future::{BoxFuture, FutureExt as _};
use longshore_core::Timestamp;
use longshore_executor::{AttemptId, GuardLog, GuardReports, RefusedCall};
use longshore_store::{
    Store, StoreError,
    audit::{self, Decision, Entry},
    jobs,
};

use crate::seen_registries;

/// Keeps the guards' logs, in short, in the store.
#[derive(Debug, Clone)]
pub(crate) struct KeptReports {
    pub(crate) store: Store,
}

impl GuardReports for KeptReports {
    fn report(&self, attempt: AttemptId, log: GuardLog) -> BoxFuture<'_, ()> {
        async move {
            if let Err(error) = self.store_log(attempt, log).await {
                tracing::error!(?attempt, %error, "could not record what a job asked of its Docker API");
            }
        }
        .boxed()
    }

    fn frozen(&self, attempt: AttemptId, reason: String) -> BoxFuture<'_, ()> {
        async move {
            let of = |entry| Entry { decision: Decision::Denied, reason: reason.clone(), ..entry };
            self.record(attempt, "docker.freeze", of).await;
        }
        .boxed()
    }

    fn outlived(&self, attempt: AttemptId, objects: Vec<String>) -> BoxFuture<'_, ()> {
        async move {
            let reason = "it is still on the engine after all attempts to remove it".to_owned();
            let of = |entry| Entry {
                object: objects.join(", "),
                decision: Decision::Failed,
                reason: reason.clone(),
                ..entry
            };
            self.record(attempt, "docker.remove", of).await;
        }
        .boxed()
    }
}

impl KeptReports {
    /// Writes one record about a job.
    async fn record(&self, attempt: AttemptId, action: &str, of: impl Fn(Entry) -> Entry) {
        let written = async {
            let name = jobs::get(&self.store, attempt.job).await?.map(|job| job.name).unwrap_or_default();
            let mut tx = self.store.write().await?;
            audit::record(&mut tx, of(Entry::of_job(attempt.job, &name, action)), Timestamp::now()).await?;
            tx.commit().await
        };
        if let Err(error) = written.await {
            tracing::error!(?attempt, action, %error, "could not record what became of a job's Docker API");
        }
    }

    async fn store_log(&self, attempt: AttemptId, log: GuardLog) -> Result<(), StoreError> {
        let job = jobs::get(&self.store, attempt.job).await?;
        let name = job.as_ref().map(|job| job.name.clone()).unwrap_or_default();
        if let Some(job) = &job {
            seen_registries::note(&self.store, job, &log.registries).await?;
        }
        if let Some(reason) = log.frozen {
            self.frozen(attempt, reason).await;
        }
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
        if !log.probes.is_empty() {
            let record = Entry {
                object: log.probes.join(" "),
                decision: Decision::Denied,
                reason: format!("it asked for {} ids or names that never were its own", log.probes.len()),
                ..Entry::of_job(attempt.job, &name, "docker.probe")
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
