//! Calls to forges: the connection that a call is made with, the call, and when it is made again.

use std::time::Duration;

use longshore_core::{ConnectionId, Timestamp};
use longshore_forge_client::{CallError, Connection, Http, Kind};
use longshore_store::{Store, StoreError, connections};

use crate::pause;

/// How long a forge may be away before what it is owed is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// The most tries of a call that the forge refuses. It may know the commit a moment later.
const REFUSALS: u32 = 6;

/// Returns a connection, with the name of its account; `None` if it was removed.
pub(crate) async fn open(store: &Store, id: ConnectionId) -> Result<Option<(Connection, String)>, StoreError> {
    let Some((connection, token)) = connections::open(store, id).await? else { return Ok(None) };
    let kind = connection.kind.parse::<Kind>().map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let opened = Connection::new(kind, &connection.url, &token);
    opened.map(|opened| Some((opened, connection.account))).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// Makes a call, on a thread that it may block.
pub(crate) async fn ask<T: Send + 'static>(
    http: &Http,
    call: impl FnOnce(&Http) -> Result<T, CallError> + Send + 'static,
) -> Result<T, CallError> {
    let http = http.clone();
    tokio::task::spawn_blocking(move || call(&http)).await.unwrap_or_else(|error| {
        Err(CallError::Unreachable { host: String::new(), detail: format!("the call broke off: {error}") })
    })
}

/// Returns when to make a call again; `None` if a retry is pointless.
pub(crate) fn next_try(error: &CallError, attempts: u32, owed_since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let waited = Duration::from_millis(now.since(owed_since));
    let is_hopeless = match error {
        CallError::Unreachable { .. }
        | CallError::Unavailable { .. }
        | CallError::Limited { .. }
        // Somebody may give another token.
        | CallError::BadToken { .. }
        | CallError::MissingRight { .. } => false,
        CallError::NotFound { .. } | CallError::Refused { .. } | CallError::NotUnderstood { .. } => attempts + 1 >= REFUSALS,
        CallError::NotSupported(_) => true,
    };
    if is_hopeless || waited > PATIENCE {
        return None;
    }
    let pause = pause::after(attempts).max(error.wait().unwrap_or_default());
    Some(now + pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forge_is_tried_for_two_weeks_and_a_refusal_for_a_minute() {
        let now = Timestamp::from_millis(1_772_323_200_000);
        let down = CallError::Unreachable { host: String::new(), detail: String::new() };
        let refused = CallError::Refused { host: String::new(), status: 422, message: String::new() };
        let days = |days: i64| Timestamp::from_millis(now.as_millis() - days * 24 * 60 * 60 * 1000);
        assert!(next_try(&down, 3000, days(13), now).is_some());
        assert!(next_try(&down, 3000, days(15), now).is_none());
        assert!(next_try(&refused, 0, now, now).is_some());
        assert!(next_try(&refused, REFUSALS, now, now).is_none());
    }
}
