//! Reports the statuses of commits to their forges.
//!
//! A GitHub App shows a context as a check run where it may, and as a status otherwise: as one of them, never both.
//!
//! A context has one report under way at a time, and each report carries the newest state: none arrives out of order,
//! and states that were replaced before they were sent are skipped. A forge that is down or limits requests holds up
//! only its own connection, which is asked less and less often.

use std::collections::HashMap;

use longshore_core::{ConnectionId, Timestamp};
use longshore_forge_client::{CallError, CheckRun, Connection, Http, NewStatus};
use longshore_store::{
    Store, StoreError,
    commit_statuses::{self, Due, Key, Shown, UnsentStatus},
};
use tokio_util::sync::CancellationToken;

use crate::{
    check_content,
    forge_calls::{self, PATIENCE},
    pause,
    turns::Turns,
};

/// Reports that are under way at once, in all and of one connection.
const CONCURRENT_REPORTS: usize = 16;
const AT_ONCE_OF_ONE: usize = 4;
/// How many contexts of each connection are read: some may be under way.
const LOOKED_AT: u32 = 8;

/// Reports the statuses.
#[derive(Debug, Clone)]
pub struct Statuses {
    pub store: Store,
    pub http: Http,
    /// The server's address, without a slash at the end.
    pub url: String,
}

/// A connection that is not asked for a while.
#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Timestamp,
    failures: u32,
}

/// The connection that a report went to, and why it has to rest, if it has to.
type Reported = (ConnectionId, Option<CallError>);

impl Statuses {
    /// Runs until `shutdown`. A report that is under way then is made once more at the next start.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut turns = Turns::new(CONCURRENT_REPORTS, AT_ONCE_OF_ONE);
        let mut rests: HashMap<ConnectionId, Rest> = HashMap::new();
        let began = Timestamp::now();
        loop {
            // Taken before the rows are read, so that no change between is missed.
            let changed = self.store.commit_statuses_added();
            let wake_at = pause::or_soon(self.start_due(&mut turns, &rests, began).await, "statuses");
            tokio::select! {
                () = shutdown.cancelled() => return,
                ended = turns.next_ended() => {
                    if let Some((connection, trouble)) = ended {
                        pause_connection(&mut rests, connection, trouble);
                    }
                }
                () = changed => {}
                () = pause::sleep_until(wake_at) => {}
            }
        }
    }

    /// Starts what is due. Returns when something else will be.
    async fn start_due(
        &self,
        turns: &mut Turns<Key, ConnectionId, Reported>,
        rests: &HashMap<ConnectionId, Rest>,
        began: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let now = Timestamp::now();
        let resting = rests.iter().filter(|(_, rest)| rest.until > now);
        let rested = resting.clone().map(|(_, rest)| rest.until).min();
        let mut passed_over = turns.busy();
        passed_over.extend(resting.map(|(id, _)| *id));
        let mut waiting = commit_statuses::due(&self.store, &passed_over, LOOKED_AT).await?;
        let next = pause::keep_due(&mut waiting, |due| due.try_at, now, PATIENCE);
        turns.start(
            waiting,
            |due| (due.key.clone(), due.connection),
            |due| {
                let this = self.clone();
                async move {
                    let trouble = this.send(&due, began).await.unwrap_or_else(|error| {
                        tracing::error!(%error, context = due.key.context, "could not send a status");
                        let detail = "internal error of the server".to_owned();
                        Some(CallError::Unreachable { host: String::new(), detail })
                    });
                    (due.connection, trouble)
                }
            },
        );
        Ok(rested.into_iter().chain(next).min())
    }

    /// Reports the newest state of a context to the forge. Returns the error if the connection has to rest.
    async fn send(&self, due: &Due, began: Timestamp) -> Result<Option<CallError>, StoreError> {
        let key = &due.key;
        let Some(unsent) = commit_statuses::unsent(&self.store, key).await? else { return Ok(None) };
        let result = match forge_calls::open(&self.store, unsent.connection).await {
            Ok(Some((connection, _))) => self.call(connection, key, &unsent, began).await?,
            Ok(None) => return Ok(None),
            // The key of secrets is missing, or the token is damaged: setting it again repairs both.
            Err(error) => Err(CallError::MissingRight { host: String::new(), needs: error.into_unusable()? }),
        };
        let now = Timestamp::now();
        let mut tx = self.store.write().await?;
        match &result {
            Ok(shown) => commit_statuses::mark_reported(&mut tx, key, unsent.wanted, shown, now).await?,
            Err(error) => {
                let try_at = forge_calls::next_try(error, unsent.attempts, unsent.owed_since, now);
                let (commit, context) = (&key.commit, &key.context);
                tracing::warn!(repo = %key.repo, commit, context, %error, ?try_at, "the forge did not accept a status");
                commit_statuses::failed(&mut tx, key, unsent.wanted, &error.to_string(), try_at).await?;
            }
        }
        tx.commit().await?;
        let is_of_connection = |error: &CallError| error.may_pass() || matches!(error, CallError::BadToken { .. });
        Ok(result.err().filter(is_of_connection))
    }

    async fn call(
        &self,
        connection: Connection,
        key: &Key,
        unsent: &UnsentStatus,
        began: Timestamp,
    ) -> Result<Result<Shown, CallError>, StoreError> {
        let target_url = match unsent.build {
            Some(build) => format!("{}/builds/{build}", self.url),
            None => format!("{}/repos/{}/deliveries", self.url, key.repo),
        };
        let check = match connection.is_app() && unsent.shown != Some(Shown::Status) {
            true => {
                let check = check_content::read(&self.store, &self.url, key, unsent, &target_url).await?;
                // A call that GitHub took may have had no answer: one that failed, or one before a kill.
                let may_be_there = check.id.is_none() && (unsent.attempts > 0 || unsent.owed_since <= began);
                Some(CheckRun { may_be_there, ..check })
            }
            false => None,
        };
        let status = NewStatus {
            commit: key.commit.clone(),
            context: key.context.clone(),
            state: unsent.state,
            description: unsent.description.clone(),
            target_url,
            ref_name: unsent.ref_name.clone(),
        };
        let (forge_id, build) = (unsent.forge_id.clone(), unsent.build);
        let asked = forge_calls::ask(&self.http, move |http| {
            let api = connection.api(http);
            if let Some(check) = check
                && let Some(id) = api.show_check_run(&forge_id, &check)?
            {
                return Ok(Shown::CheckRun { id, build });
            }
            api.set_status(&forge_id, &status).map(|()| Shown::Status)
        });
        Ok(asked.await)
    }
}

/// Lets a connection rest after a failure, the longer the more came before it.
fn pause_connection(rests: &mut HashMap<ConnectionId, Rest>, connection: ConnectionId, trouble: Option<CallError>) {
    let now = Timestamp::now();
    let Some(error) = trouble else {
        // Others of the connection may be under way still, and end in a failure.
        rests.remove(&connection);
        return;
    };
    let before = rests.get(&connection).copied();
    // Reports that were under way together are one failure.
    if before.is_some_and(|rest| rest.until > now) {
        return;
    }
    let failures = before.map_or(0, |rest| rest.failures);
    let pause = pause::after(failures).max(error.wait().unwrap_or_default());
    rests.insert(connection, Rest { until: now + pause, failures: failures + 1 });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_the_forge_wants_to_wait_is_waited_and_failures_together_count_once() {
        let (mut rests, id) = (HashMap::new(), ConnectionId::new());
        let limited =
            CallError::Limited { host: String::new(), message: String::new(), wait: Some(Duration::from_secs(300)) };
        pause_connection(&mut rests, id, Some(limited.clone()));
        pause_connection(&mut rests, id, Some(limited));
        assert_eq!(rests[&id].failures, 1);
        let seconds = rests[&id].until.since(Timestamp::now()) / 1000;
        assert!((290..=300).contains(&seconds), "{seconds}");
        pause_connection(&mut rests, id, None);
        assert!(rests.is_empty());
    }
}
