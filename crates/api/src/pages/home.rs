//! `/`: what runs and waits, and the newest builds.

use std::sync::Arc;

use axum::extract::State;
use longshore_core::Status;
use longshore_store::builds::{self, Build, BuildFilter};

use super::Html;
use crate::{ApiError, auth::Caller, server::Server, views::repo_refs_of};

/// Builds in one list.
const LISTED: u32 = 25;

/// A page: what runs and waits, the newest builds, the way to a first one
#[utoipa::path(
    get, path = "/", tag = "pages", security((), ("token" = ["read"])),
    responses((status = 200, body = String, content_type = "text/html")),
)]
pub(crate) async fn show(State(server): State<Arc<Server>>, caller: Caller) -> Result<Html, ApiError> {
    let list = async |status: Option<Status>| {
        let filter = BuildFilter { status, only_public: caller.only_public(), ..BuildFilter::default() };
        Ok::<_, ApiError>(builds::list(&server.store, &filter, None, LISTED).await?.items)
    };
    let mut busy = Vec::new();
    for status in [Status::Running, Status::Canceling, Status::Queued, Status::Blocked] {
        busy.extend(list(Some(status)).await?);
    }
    busy.truncate(LISTED as usize);
    let newest = list(None).await?;

    let mut page = Html::new("Longshore");
    page.raw("<h1>What runs and waits</h1>");
    match busy.is_empty() {
        true => page.raw("<p class=\"quiet\">Nothing runs, and nothing waits.</p>"),
        false => table(&server, &mut page, busy).await?,
    };
    page.raw("<h2>The newest builds</h2>");
    match newest.is_empty() {
        true => page.raw("<p class=\"quiet\">None yet.</p>"),
        false => table(&server, &mut page, newest).await?,
    };
    if caller.only_public() {
        page.raw("<p class=\"quiet\">Only builds of public repositories are shown here; a token shows the others.</p>");
    }
    page.raw(
        "<h2>To build a repository</h2><ol>\
         <li>Register it, with the administrator's token:<pre>longshore repo add owner/name https://forge.example/owner/name.git \
         --forge forgejo</pre></li>\
         <li>Give the address and the secret that it prints to the forge as a webhook: JSON, push events.</li>\
         <li>Push a commit with a <code>.longshore.yml</code>.</li></ol>\
         <p><a href=\"/openapi.json\">The API</a> · version ",
    );
    page.text(server.config.version).raw("</p>");
    Ok(page)
}

/// Builds, a row each.
async fn table<'a>(server: &Server, page: &'a mut Html, builds: Vec<Build>) -> Result<&'a mut Html, ApiError> {
    let repos = repo_refs_of(server, &builds).await?;
    page.raw(
        "<div class=\"wide\"><table><thead><tr><th>Build<th>Status<th>Branch<th>Change<th>Took<th>Created</tr></thead><tbody>\n",
    );
    for build in builds {
        let Some(repo) = repos.get(&build.repo) else { continue };
        page.raw("<tr><td><a href=\"/builds/").show(build.id).raw("\">").text(&repo.name).raw("#").show(build.number);
        page.raw("</a><td>").status(build.status).raw("<td>");
        page.text(build.event.branch().or(build.event.tag()).unwrap_or(&build.event.git_ref)).raw("<td>");
        page.text(subject(&build.event.message)).raw(" <span class=\"quiet\">").text(&build.event.author);
        page.raw("</span><td>").duration(build.started_at, build.finished_at).raw("<td>").time(build.created_at);
        page.raw("</tr>\n");
    }
    Ok(page.raw("</tbody></table></div>"))
}

/// A message's first line, no longer than a page can take.
pub(super) fn subject(message: &str) -> &str {
    let line = message.lines().next().unwrap_or_default();
    line.char_indices().nth(120).map_or(line, |(end, _)| &line[..end])
}
