//! `/queue`: which jobs run, which wait and for what, whether the engine answers, and how much room there is.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use longshore_core::{
    Status,
    access::{Action, Object, Visible},
};
use longshore_files::artifacts::OffloadProblem;
use longshore_store::{
    counts::{self, Counts},
    engine_room::{self, EngineDisk, Eviction},
    overview::{self, QueuedJob},
};

use super::{
    head::{Head, Place},
    html::Html,
    show,
    site::Site,
    visitor::Visitor,
    waiting::{self, Room},
};
use crate::{config::ApiConfig, error::ApiError};

/// How many jobs each list shows.
const MAX_LISTED: u32 = 60;
/// How many removals are shown.
const MAX_REMOVALS: u32 = 20;

#[derive(Template)]
#[template(path = "queue.html")]
pub(crate) struct Queue {
    head: Head,
    running: Jobs,
    waiting: Jobs,
    capacity: usize,
    /// Why no job could run now.
    trouble: Option<String>,
    /// Free and total bytes of the data folder's disk.
    disk: Option<(u64, u64)>,
    engine_disk: Option<EngineDisk>,
    /// Where artifacts are, if not in the data folder, and what is wrong with it.
    object_store: Option<(String, Option<OffloadProblem>)>,
    /// The objects that were removed to make room on the engine's disk, the newest first.
    removed: Vec<Eviction>,
    /// Whether the visitor sees figures of the whole server.
    sees_figures: bool,
}

/// The jobs that run, or those that wait.
struct Jobs {
    listed: Vec<QueuedJob>,
    /// Whether the visitor may see more than are listed.
    more: bool,
    /// How many there are, or how many are listed if the visitor may not know.
    all: u64,
}

/// Lists the jobs that the visitor may see. Without `counts`, it does not reveal how many others there are.
async fn list_jobs(
    site: &Site,
    visible: &Visible,
    statuses: &[Status],
    counts: Option<&Counts>,
) -> Result<Jobs, ApiError> {
    let mut listed = overview::queue(&site.store, statuses, visible, MAX_LISTED + 1).await?;
    let more = listed.len() > MAX_LISTED as usize;
    listed.truncate(MAX_LISTED as usize);
    let all = match counts {
        Some(counts) => counts.jobs.iter().filter(|(of, _)| statuses.contains(of)).map(|(_, n)| n).sum(),
        None => listed.len() as u64,
    };
    Ok(Jobs { listed, more, all })
}

pub(crate) async fn show(
    State(site): State<Site>,
    State(config): State<Arc<ApiConfig>>,
    visitor: Visitor,
) -> Result<Html<Queue>, ApiError> {
    let head = Head::new(&site, &visitor, Place::Queue, "Queue").follows("build job", None);
    let sees_figures = visitor.caller.may(Action::SeeFigures, Object::Server);
    let counts = if sees_figures { Some(counts::get(&site.store).await?) } else { None };
    let visible = visitor.caller.visible();
    let mut running = list_jobs(&site, &visible, &[Status::Running, Status::Canceling], counts.as_ref()).await?;
    // By their start, so that a job that starts is added at the end and moves no other.
    running.listed.sort_by_key(|job| job.claimed_at);
    let waiting = list_jobs(&site, &visible, &[Status::Queued, Status::Blocked], counts.as_ref()).await?;
    let head = head.titled(format!("Queue: {} running, {} waiting", running.all, waiting.all));
    Ok(Html(Queue {
        head,
        running,
        waiting,
        capacity: config.capacity,
        trouble: config.engine.trouble().filter(|_| sees_figures),
        disk: site.store.disk().filter(|_| sees_figures),
        engine_disk: if sees_figures { engine_room::disk(&site.store).await? } else { None },
        object_store: site
            .store
            .blobs()
            .object_store()
            .map(|store| (store.place().to_owned(), site.store.blobs().offload_problem()))
            .filter(|_| sees_figures),
        removed: if sees_figures { engine_room::removals(&site.store, MAX_REMOVALS).await? } else { Vec::new() },
        sees_figures,
    }))
}

impl Queue {
    /// Returns why a job waits, in words.
    fn why(&self, job: &QueuedJob) -> String {
        let room = Room { engine_is_away: self.trouble.is_some(), capacity: self.capacity };
        waiting::why(job.status, job.reason.as_deref(), job.waits_for.iter().map(String::as_str), room)
    }
}
