//! `/jobs/{job}`: one job with its steps.

use std::sync::Arc;

use axum::extract::State;
use longshore_core::JobId;

use super::{Html, build::show_job};
use crate::{ApiError, auth::Caller, builds::find_job, error::ErrorBody, params::Path, server::Server, views::JobView};

/// A page: one job
#[utoipa::path(
    get, path = "/jobs/{job}", tag = "pages", security((), ("token" = ["read"])),
    params(("job" = String, Path, description = "The job's id")),
    responses((status = 200, body = String, content_type = "text/html"), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn show(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<JobId>,
) -> Result<Html, ApiError> {
    let job = JobView::from(find_job(&server, &caller, id).await?);
    let mut page = Html::new(&format!("{}: {}", job.status, job.name));
    page.raw("<h1>").text(&job.key).raw(" ").status(job.status).raw("</h1><p><a href=\"/builds/").show(job.build);
    page.raw("\">Its build</a> <span class=\"quiet\">").duration(job.started_at, job.finished_at).raw("</span></p>");
    show_job(&mut page, &job);
    Ok(page)
}
