//! Reports the statuses of commits to their forges.
//!
//! A GitHub App shows a context as a check run where it may, and as a status otherwise: as one of them, never both.
//!
//! A context has one report under way at a time, and each report carries the newest state: none arrives out of order,
//! and states that nobody has been told of are passed over. A forge that is down or limits requests holds up only its
//! own connection, which is asked less and less often.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use longshore_core::{ConnectionId, Timestamp};
use longshore_forge_client::{CallError, CheckRun, Connection, Http, Kind, Report};
use longshore_store::{
    Store, StoreError,
    commit_statuses::{self, Due, Key, Owed, Shown},
    connections,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{check_content, pause};

/// Reports that are under way at once, in all and of one connection.
const AT_ONCE: usize = 16;
const AT_ONCE_OF_ONE: usize = 4;
/// Rows that are looked at before somebody has to wait.
const LOOKED_AT: u32 = 256;
/// How long a forge may be away before what it was to be told is given up.
const PATIENCE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Tries of a report that the forge refuses. It may know the commit a moment later.
const REFUSALS: u32 = 6;

/// The reporter of statuses.
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

/// What became of a report.
#[derive(Debug)]
struct Ended {
    due: Due,
    /// Why the connection has to rest.
    trouble: Option<CallError>,
}

impl Statuses {
    /// Runs until `shutdown`. A report that is under way then is made once more at the next start.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut reports: JoinSet<Ended> = JoinSet::new();
        let mut under_way: HashMap<Key, ConnectionId> = HashMap::new();
        let mut rests: HashMap<ConnectionId, Rest> = HashMap::new();
        let began = Timestamp::now();
        loop {
            // Taken before the rows are read, so that no change between is missed.
            let changed = self.store.owed_changed();
            let wake_at = match self.start_due(&mut reports, &mut under_way, &rests, began).await {
                Ok(wake_at) => wake_at,
                Err(error) => {
                    tracing::error!(%error, "cannot read which statuses forges are owed");
                    Some(pause::end(Timestamp::now(), Duration::from_secs(1)))
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(ended) = reports.join_next() => match ended {
                    Ok(Ended { due, trouble }) => {
                        under_way.remove(&due.key);
                        rest(&mut rests, due.connection, trouble);
                    }
                    Err(error) => {
                        // Which one it was is not known: all others end before anything starts again.
                        tracing::error!(%error, "a report broke off");
                        reports.shutdown().await;
                        under_way.clear();
                    }
                },
                () = changed => {}
                () = pause::sleep_until(wake_at) => {}
            }
        }
    }

    /// Starts what is due. Returns when something else will be.
    async fn start_due(
        &self,
        reports: &mut JoinSet<Ended>,
        under_way: &mut HashMap<Key, ConnectionId>,
        rests: &HashMap<ConnectionId, Rest>,
        began: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let now = Timestamp::now();
        let is_busy = |under_way: &HashMap<Key, ConnectionId>, id: ConnectionId| {
            under_way.values().filter(|other| **other == id).count() >= AT_ONCE_OF_ONE
        };
        let resting = rests.iter().filter(|(_, rest)| rest.until > now);
        let mut wake_at = resting.clone().map(|(_, rest)| rest.until).min();
        let mut passed_over: Vec<ConnectionId> = resting.map(|(id, _)| *id).collect();
        let busy: HashSet<ConnectionId> = under_way.values().copied().filter(|id| is_busy(under_way, *id)).collect();
        passed_over.extend(busy);
        for due in commit_statuses::due(&self.store, &passed_over, LOOKED_AT).await? {
            if pause::is_to_come(due.try_at, now, PATIENCE) {
                wake_at = Some(wake_at.map_or(due.try_at, |at| at.min(due.try_at)));
                break;
            }
            if under_way.len() >= AT_ONCE {
                break;
            }
            if under_way.contains_key(&due.key) || is_busy(under_way, due.connection) {
                continue;
            }
            under_way.insert(due.key.clone(), due.connection);
            let this = self.clone();
            reports.spawn(async move {
                let trouble = this.tell(&due, began).await.unwrap_or_else(|error| {
                    tracing::error!(%error, context = due.key.context, "a status could not be reported");
                    let detail = "the server has trouble of its own".to_owned();
                    Some(CallError::Unreachable { host: String::new(), detail })
                });
                Ended { due, trouble }
            });
        }
        Ok(wake_at)
    }

    /// Tells the forge the newest state of a context. Returns the error if the connection has to rest.
    async fn tell(&self, due: &Due, began: Timestamp) -> Result<Option<CallError>, StoreError> {
        let key = &due.key;
        let Some(owed) = commit_statuses::owed(&self.store, key).await? else { return Ok(None) };
        let result = match self.connection(owed.connection).await {
            Ok(Some(connection)) => self.call(connection, key, &owed, began).await?,
            Ok(None) => return Ok(None),
            // The key of secrets is not there, or the token is damaged: giving it again mends both.
            Err(StoreError::SecretKey(why) | StoreError::Corrupt(why)) => {
                Err(CallError::MissingRight { host: String::new(), needs: why })
            }
            Err(error) => return Err(error),
        };
        let now = Timestamp::now();
        let mut tx = self.store.write().await?;
        match &result {
            Ok(shown) => commit_statuses::told(&mut tx, key, owed.wanted, shown, now).await?,
            Err(error) => {
                let try_at = next_try(error, &owed, now);
                let (commit, context) = (&key.commit, &key.context);
                tracing::warn!(repo = %key.repo, commit, context, %error, ?try_at, "a status was not taken by the forge");
                commit_statuses::failed(&mut tx, key, owed.wanted, &error.to_string(), try_at).await?;
            }
        }
        tx.commit().await?;
        let is_of_connection = |error: &CallError| error.may_pass() || matches!(error, CallError::BadToken { .. });
        Ok(result.err().filter(is_of_connection))
    }

    async fn connection(&self, id: ConnectionId) -> Result<Option<Connection>, StoreError> {
        let Some((connection, token)) = connections::open(&self.store, id).await? else { return Ok(None) };
        let kind = connection.kind.parse::<Kind>().map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let opened = Connection::new(kind, &connection.url, &token);
        opened.map(Some).map_err(|error| StoreError::Corrupt(error.to_string()))
    }

    async fn call(
        &self,
        connection: Connection,
        key: &Key,
        owed: &Owed,
        began: Timestamp,
    ) -> Result<Result<Shown, CallError>, StoreError> {
        let target_url = match owed.build {
            Some(build) => format!("{}/builds/{build}", self.url),
            None => format!("{}/repos/{}/deliveries", self.url, key.repo),
        };
        let check = match connection.is_app() && owed.shown != Some(Shown::Status) {
            true => {
                let check = check_content::of(&self.store, &self.url, key, owed, &target_url).await?;
                // A call that GitHub took may have had no answer: one that failed, or one before a kill.
                let may_be_there = check.id.is_none() && (owed.attempts > 0 || owed.owed_since <= began);
                Some(CheckRun { may_be_there, ..check })
            }
            false => None,
        };
        let report = Report {
            commit: key.commit.clone(),
            context: key.context.clone(),
            state: owed.state,
            description: owed.description.clone(),
            target_url,
            ref_name: owed.ref_name.clone(),
        };
        let (http, forge_id, build) = (self.http.clone(), owed.forge_id.clone(), owed.build);
        let asked = tokio::task::spawn_blocking(move || {
            let api = connection.api(&http);
            if let Some(check) = check
                && let Some(id) = api.show_check_run(&forge_id, &check)?
            {
                return Ok(Shown::CheckRun { id, build });
            }
            api.report(&forge_id, &report).map(|()| Shown::Status)
        });
        Ok(asked.await.unwrap_or_else(|error| {
            Err(CallError::Unreachable { host: String::new(), detail: format!("the call broke off: {error}") })
        }))
    }
}

/// Returns when to try again; `None` if that is of no use.
fn next_try(error: &CallError, owed: &Owed, now: Timestamp) -> Option<Timestamp> {
    let waited = Duration::from_millis(now.since(owed.owed_since));
    let is_hopeless = match error {
        CallError::Unreachable { .. }
        | CallError::Unavailable { .. }
        | CallError::Limited { .. }
        // Somebody may give another token.
        | CallError::BadToken { .. }
        | CallError::MissingRight { .. } => false,
        CallError::NotFound { .. } | CallError::Refused { .. } | CallError::NotUnderstood { .. } => owed.attempts + 1 >= REFUSALS,
        CallError::NotSupported(_) => true,
    };
    if is_hopeless || waited > PATIENCE {
        return None;
    }
    let pause = pause::after(owed.attempts).max(error.wait().unwrap_or_default());
    Some(pause::end(now, pause))
}

/// Lets a connection rest after a failure, the longer the more came before it.
fn rest(rests: &mut HashMap<ConnectionId, Rest>, connection: ConnectionId, trouble: Option<CallError>) {
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
    rests.insert(connection, Rest { until: pause::end(now, pause), failures: failures + 1 });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed(attempts: u32, owed_since: Timestamp) -> Owed {
        Owed {
            build: None,
            state: longshore_core::commit_status::CommitState::Success,
            description: String::new(),
            ref_name: None,
            forge_id: "1".to_owned(),
            connection: ConnectionId::new(),
            wanted: 1,
            owed_since,
            attempts,
            shown: None,
        }
    }

    #[test]
    fn a_forge_is_tried_for_two_weeks_and_a_refusal_for_a_minute() {
        let now = Timestamp::from_millis(1_772_323_200_000);
        let down = CallError::Unreachable { host: String::new(), detail: String::new() };
        let refused = CallError::Refused { host: String::new(), status: 422, message: String::new() };
        let days = |days: i64| Timestamp::from_millis(now.as_millis() - days * 24 * 60 * 60 * 1000);
        assert!(next_try(&down, &owed(3000, days(13)), now).is_some());
        assert!(next_try(&down, &owed(3000, days(15)), now).is_none());
        assert!(next_try(&refused, &owed(0, now), now).is_some());
        assert!(next_try(&refused, &owed(REFUSALS, now), now).is_none());
    }

    #[test]
    fn what_the_forge_wants_to_wait_is_waited_and_failures_together_count_once() {
        let (mut rests, id) = (HashMap::new(), ConnectionId::new());
        let limited =
            CallError::Limited { host: String::new(), message: String::new(), wait: Some(Duration::from_secs(300)) };
        rest(&mut rests, id, Some(limited.clone()));
        rest(&mut rests, id, Some(limited));
        assert_eq!(rests[&id].failures, 1);
        let seconds = rests[&id].until.since(Timestamp::now()) / 1000;
        assert!((290..=300).contains(&seconds), "{seconds}");
        rest(&mut rests, id, None);
        assert!(rests.is_empty());
    }
}
