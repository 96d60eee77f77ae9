//! `/queue`: what runs, what waits and for what, whether the engine answers, and how much room there is.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use longshore_core::Status;
use longshore_store::overview::{self, QueuedJob};

use super::{Head, Html, Place, Visitor, show};
use crate::{ApiError, server::Server};

/// Jobs in each list.
const LISTED: u32 = 60;

#[derive(Template)]
#[template(path = "queue.html")]
pub(crate) struct Queue {
    head: Head,
    running: Vec<QueuedJob>,
    waiting: Vec<QueuedJob>,
    more_waiting: bool,
    capacity: usize,
    /// Why no job could run now.
    trouble: Option<String>,
    /// Bytes free and in all, of the data folder's disk.
    disk: Option<(u64, u64)>,
    only_public: bool,
}

pub(crate) async fn show(State(server): State<Arc<Server>>, visitor: Visitor) -> Result<Html<Queue>, ApiError> {
    let head = Head::new(&server, &visitor, Place::Queue, "Queue").follows("build job", None);
    let only_public = visitor.caller.only_public();
    let list = async |statuses: &[Status], limit| overview::queue(&server.store, statuses, only_public, limit).await;
    let running = list(&[Status::Running, Status::Canceling], LISTED).await?;
    let mut waiting = list(&[Status::Queued, Status::Blocked], LISTED + 1).await?;
    let more_waiting = waiting.len() > LISTED as usize;
    waiting.truncate(LISTED as usize);
    let head = head.titled(format!("Queue: {} running, {} waiting", running.len(), waiting.len()));
    Ok(Html(Queue {
        head,
        running,
        waiting,
        more_waiting,
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
