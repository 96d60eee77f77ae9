//! `/queue`: what runs, what waits and for what, whether the engine answers, and how much room there is.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use longshore_core::Status;
use longshore_store::{
    counts::{self, Counts},
    overview::{self, QueuedJob},
};

use super::{Head, Html, Place, Visitor, show};
use crate::{ApiError, server::Server};

/// Jobs in each list.
const LISTED: u32 = 60;

#[derive(Template)]
#[template(path = "queue.html")]
pub(crate) struct Queue {
    head: Head,
    running: Jobs,
    waiting: Jobs,
    capacity: usize,
    /// Why no job could run now.
    trouble: Option<String>,
    /// Bytes free and in all, of the data folder's disk.
    disk: Option<(u64, u64)>,
    only_public: bool,
}

/// Some of the jobs of a kind, and how many there are.
struct Jobs {
    listed: Vec<QueuedJob>,
    more: bool,
    all: u64,
}

/// Without `counts` they are those that may be seen by everybody, and nobody learns how many others there are.
async fn jobs(server: &Server, statuses: &[Status], counts: Option<&Counts>) -> Result<Jobs, ApiError> {
    let mut listed = overview::queue(&server.store, statuses, counts.is_none(), LISTED + 1).await?;
    let more = listed.len() > LISTED as usize;
    listed.truncate(LISTED as usize);
    let all = match counts {
        Some(counts) => counts.jobs.iter().filter(|(of, _)| statuses.contains(of)).map(|(_, n)| n).sum(),
        None => listed.len() as u64,
    };
    Ok(Jobs { listed, more, all })
}

pub(crate) async fn show(State(server): State<Arc<Server>>, visitor: Visitor) -> Result<Html<Queue>, ApiError> {
    let head = Head::new(&server, &visitor, Place::Queue, "Queue").follows("build job", None);
    let only_public = visitor.caller.only_public();
    let counts = if only_public { None } else { Some(counts::get(&server.store).await?) };
    let running = jobs(&server, &[Status::Running, Status::Canceling], counts.as_ref()).await?;
    let waiting = jobs(&server, &[Status::Queued, Status::Blocked], counts.as_ref()).await?;
    let head = head.titled(format!("Queue: {} running, {} waiting", running.all, waiting.all));
    Ok(Html(Queue {
        head,
        running,
        waiting,
        capacity: server.config.capacity,
        trouble: server.config.engine.trouble().filter(|_| !only_public),
        disk: server.store.disk().filter(|_| !only_public),
        only_public,
    }))
}

impl Queue {
    /// Why a job waits, in words.
    fn why(&self, job: &QueuedJob) -> String {
        match (&job.reason, job.status) {
            (Some(reason), _) => reason.clone(),
            (None, Status::Blocked) if !job.waits_for.is_empty() => format!("needs {}", job.waits_for.join(", ")),
            (None, Status::Queued) if self.trouble.is_some() => "the engine does not answer".to_owned(),
            (None, Status::Queued) => format!("capacity: {} at once", self.capacity),
            (
                None,
                Status::Blocked
                | Status::Running
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
}
