//! `/builds/{build}`: one build, its jobs and their steps.

use std::sync::Arc;

use axum::extract::State;
use longshore_core::BuildId;

use super::{Html, home::subject};
use crate::{
    ApiError,
    auth::Caller,
    builds::{find, view},
    error::ErrorBody,
    params::Path,
    server::Server,
    views::JobView,
};

/// A page: one build
#[utoipa::path(
    get, path = "/builds/{build}", tag = "pages", security((), ("token" = ["read"])),
    params(("build" = String, Path, description = "The build's id")),
    responses((status = 200, body = String, content_type = "text/html"), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn show(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<BuildId>,
) -> Result<Html, ApiError> {
    let (build, repo) = find(&server, &caller, id).await?;
    let build = view(&server, build, repo).await?;
    let mut page = Html::new(&format!("{}: {}#{}", build.status, build.repo.name, build.number));
    page.raw("<h1>").text(&build.repo.name).raw("#").show(build.number).raw(" ").status(build.status).raw("</h1><p>");
    page.text(subject(&build.message)).raw(" <span class=\"quiet\">").text(&build.author).raw(" · ").show(build.event);
    page.raw(" · ").text(&build.git_ref).raw(" · ").text(build.commit.get(..10).unwrap_or(&build.commit));
    page.raw(" · ").time(build.created_at).raw(" · ").duration(build.started_at, build.finished_at).raw("</span></p>");
    if let Some(reason) = &build.reason {
        page.raw("<p>").text(reason).raw("</p>");
    }
    for diagnostic in &build.diagnostics {
        page.raw("<pre>").text(&diagnostic.render()).raw("</pre>");
    }
    for job in &build.jobs {
        page.raw("<h2><a href=\"/jobs/").show(job.id).raw("\">").text(&job.name).raw("</a> ").status(job.status);
        page.raw(" <span class=\"quiet\">").duration(job.started_at, job.finished_at).raw("</span></h2>");
        show_job(&mut page, job);
    }
    Ok(page)
}

/// A job's reason, its steps, the way to its log.
pub(super) fn show_job(page: &mut Html, job: &JobView) {
    if let Some(reason) = &job.reason {
        page.raw("<p>").text(reason).raw("</p>");
    }
    page.raw("<div class=\"wide\"><table><thead><tr><th>Step<th>Status<th>Exit code<th>Took</tr></thead><tbody>\n");
    for step in &job.steps {
        page.raw("<tr><td>").text(&step.name).raw("<td>").status(step.status).raw("<td>");
        if let Some(code) = step.exit_code {
            page.show(code);
        }
        page.raw("<td>").duration(step.started_at, step.finished_at).raw("</tr>\n");
    }
    page.raw("</tbody></table></div><p><a href=\"/api/v1/jobs/").show(job.id).raw("/log\">Log</a></p>");
}
