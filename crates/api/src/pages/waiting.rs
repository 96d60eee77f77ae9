//! Why a job waits, in the same words on every page.

use longshore_core::Status;

/// The server's room for jobs, as pages show it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// No job can start now, because the engine does not respond.
    pub(super) engine_is_away: bool,
    pub(super) capacity: usize,
}

/// Returns why a job waits: the reason that the rules gave, else what follows from its status. `needs` are the names of
/// the jobs that it needs and that have not finished. Empty for a job that does not wait.
pub(super) fn why<'a>(
    status: Status,
    reason: Option<&str>,
    needs: impl IntoIterator<Item = &'a str>,
    room: Room,
) -> String {
    match (reason, status) {
        (Some(reason), _) => reason.to_owned(),
        (None, Status::Blocked) => {
            let names: Vec<String> = needs.into_iter().map(|name| format!("`{name}`")).collect();
            if names.is_empty() { String::new() } else { format!("waiting for {}", names.join(", ")) }
        }
        (None, Status::Queued) if room.engine_is_away => {
            "waiting for the Docker engine, which does not respond".to_owned()
        }
        (None, Status::Queued) => match room.capacity {
            1 => "waiting for capacity (1 concurrent job)".to_owned(),
            several => format!("waiting for capacity ({several} concurrent jobs)"),
        },
        (
            None,
            Status::Running
            | Status::Canceling
            | Status::Success
            | Status::Failure
            | Status::Error
            | Status::Canceled
            | Status::Skipped
            | Status::TimedOut,
        ) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capacity_is_counted_in_words() {
        let queued = |capacity| why(Status::Queued, None, [], Room { engine_is_away: false, capacity });
        assert_eq!(queued(1), "waiting for capacity (1 concurrent job)");
        assert_eq!(queued(2), "waiting for capacity (2 concurrent jobs)");
    }
}
