//! `/jobs/{job}`: one job with its steps.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use longshore_core::JobId;

use super::{Head, Html, Place, Visitor, show};
use crate::{ApiError, builds::find_job, params::Path, server::Server, views::JobView};

#[derive(Template)]
#[template(path = "job.html")]
pub(crate) struct JobPage {
    head: Head,
    job: JobView,
}

pub(crate) async fn show(
    State(server): State<Arc<Server>>,
    visitor: Visitor,
    Path(id): Path<JobId>,
) -> Result<Html<JobPage>, ApiError> {
    let head = Head::new(&server, &visitor, Place::Elsewhere, "");
    let job = JobView::from(find_job(&server, &visitor.caller, id).await?);
    let title = format!("{}: {}", job.status, job.name);
    let head = head.titled(title).status(job.status).follows_build(job.build, "job step");
    Ok(Html(JobPage { head, job }))
}
