//! The time at which a token ends, for the API and the pages.

use longshore_core::Timestamp;

use crate::error::ApiError;

/// The longest lifetime of a token that does not live for ever.
const MAX_DAYS: u32 = 36_500;

/// Returns when a token ends that lives for this many days.
pub(crate) fn end_after(days: u32, now: Timestamp) -> Result<Timestamp, ApiError> {
    match days {
        1..=MAX_DAYS => Ok(Timestamp::from_millis(now.as_millis() + i64::from(days) * 86_400_000)),
        _ => Err(ApiError::bad_request(format!("a token's lifetime must be 1 to {MAX_DAYS} days, or unlimited"))),
    }
}
