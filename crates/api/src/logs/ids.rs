//! Ids of the events of a log's streams. An id is a place in the log; from the second attempt of a job on, the
//! attempt's number comes before it.

use serde::Serialize;

use crate::{error::ApiError, sse};

/// Returns the id of a place in an attempt's log: `4096`, or `2:4096`.
pub(crate) fn event_id(attempt: u32, place: &str) -> String {
    if attempt <= 1 { place.to_owned() } else { format!("{attempt}:{place}") }
}

#[derive(Serialize)]
struct Reset {
    attempt: u32,
}

/// Where a reader resumes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resumed<'a> {
    /// `0` is the beginning.
    pub(crate) place: &'a str,
    /// An event to send first: it tells the reader that it saw the log of another attempt.
    pub(crate) first: String,
}

/// Resumes behind the last event's id in an attempt's log. `None` if the id is not valid.
pub(crate) fn resume(last_id: Option<&str>, attempt: u32) -> Result<Option<Resumed<'_>>, ApiError> {
    let Some(last_id) = last_id else { return Ok(Some(Resumed { place: "0", first: String::new() })) };
    let (seen, place) = match last_id.split_once(':') {
        Some((seen, place)) => (seen.parse().ok(), place),
        None => (Some(1), last_id),
    };
    Ok(match seen {
        Some(seen) if seen == attempt => Some(Resumed { place, first: String::new() }),
        Some(_) => {
            let mut first = String::new();
            sse::write_event(&mut first, "reset", &event_id(attempt, "0"), &Reset { attempt })?;
            Some(Resumed { place: "0", first })
        }
        None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_saw_another_attempts_log_begins_with_the_present_one() {
        let place = |last_id, attempt| resume(last_id, attempt).unwrap().map(|resumed| (resumed.place, resumed.first));
        assert_eq!(place(None, 2), Some(("0", String::new())));
        assert_eq!(place(Some("77,1.stdout.e2"), 1), Some(("77,1.stdout.e2", String::new())));
        assert_eq!(event_id(2, "77"), "2:77");
        assert_eq!(place(Some("2:77"), 2), Some(("77", String::new())));
        let reset = "event: reset\nid: 2:0\ndata: {\"attempt\":2}\n\n".to_owned();
        assert_eq!(place(Some("77"), 2), Some(("0", reset.clone())));
        assert_eq!(place(Some("3:77"), 2), Some(("0", reset)));
        assert_eq!(place(Some("x:77"), 2), None);
    }
}
