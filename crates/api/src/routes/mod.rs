//! The table of the API's routes, each with its description. A route without a description does not compile, nor does a
//! description without a route.

mod app_hooks;
mod artifacts;
pub(crate) mod audit;
mod badge;
mod build_actions;
mod builds;
mod caches;
mod cc_xml;
mod connections;
mod deliveries;
mod deploy_keys;
mod events;
mod health;
mod hook_secrets;
mod hooks;
mod job_actions;
mod logs;
mod metrics;
mod missed_pushes;
mod notifications;
mod registries;
mod repo_connection;
mod reports;
mod repos;
mod schedules;
mod secrets;
mod sign_in_links;
mod tokens;

use utoipa::{
    Modify, OpenApi as _,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{openapi, public_url::BasePath, state::AppState};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Longshore",
        description = "The API of Longshore, a self-hosted CI server. Lists are paginated, newest first: pass the `next` \
                       of one page as `before` to get the next page. Times are RFC 3339 in UTC. Requests without a token \
                       see public repositories only; whatever a token may not see is answered with 404. Errors are \
                       `{\"error\": {\"code\", \"message\", \"details\"}}`.",
    ),
    modifiers(&BearerTokens),
)]
struct Description;

/// Tokens come as `Authorization: Bearer`.
struct BearerTokens;

impl Modify for BearerTokens {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        openapi.components.get_or_insert_default().add_security_scheme("token", bearer);
    }
}

/// Returns all routes with their descriptions.
pub(crate) fn all() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(hooks::receive))
        .routes(routes!(app_hooks::receive))
        .routes(routes!(repos::list, repos::create))
        .routes(routes!(repos::get, repos::patch, repos::delete))
        .routes(routes!(hook_secrets::renew_hook_secret))
        .routes(routes!(hook_secrets::reject_former_hook_secret))
        .routes(routes!(secrets::list))
        .routes(routes!(secrets::put, secrets::delete))
        .routes(routes!(registries::list_of_repo))
        .routes(routes!(registries::put_of_repo, registries::delete_of_repo))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::get))
        .routes(routes!(missed_pushes::look))
        .routes(routes!(schedules::list))
        .routes(routes!(caches::list))
        .routes(routes!(caches::delete))
        .routes(routes!(builds::list_of_repo, build_actions::start))
        .routes(routes!(builds::list))
        .routes(routes!(builds::get))
        .routes(routes!(reports::tests))
        .routes(routes!(reports::coverage))
        .routes(routes!(reports::annotations))
        .routes(routes!(reports::history))
        .routes(routes!(build_actions::cancel))
        .routes(routes!(build_actions::rerun))
        .routes(routes!(build_actions::approve))
        .routes(routes!(builds::get_job))
        .routes(routes!(job_actions::cancel))
        .routes(routes!(job_actions::rerun))
        .routes(routes!(job_actions::approve))
        .routes(routes!(job_actions::decline))
        .routes(routes!(logs::read::read))
        .routes(routes!(logs::live::follow))
        .routes(routes!(logs::lines::window))
        .routes(routes!(logs::lines::outline))
        .routes(routes!(logs::lines::search))
        .routes(routes!(logs::line_stream::follow))
        .routes(routes!(artifacts::of_job))
        .routes(routes!(artifacts::by_name))
        .routes(routes!(artifacts::of_build))
        .routes(routes!(artifacts::zip))
        .routes(routes!(artifacts::files))
        .routes(routes!(artifacts::file))
        .routes(routes!(events::of_build))
        .routes(routes!(events::all))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(connections::list, connections::add))
        .routes(routes!(connections::get, connections::delete))
        .routes(routes!(connections::repos))
        .routes(routes!(repo_connection::attach))
        .routes(routes!(notifications::list, notifications::add))
        .routes(routes!(notifications::delete))
        .routes(routes!(notifications::test))
        .routes(routes!(notifications::list_of_repo, notifications::add_to_repo))
        .routes(routes!(notifications::delete_of_repo))
        .routes(routes!(notifications::test_of_repo))
        .routes(routes!(deploy_keys::get, deploy_keys::create, deploy_keys::delete))
        .routes(routes!(registries::list))
        .routes(routes!(registries::put, registries::delete))
        .routes(routes!(sign_in_links::create))
        .routes(routes!(audit::list))
        .routes(routes!(audit::export))
        .routes(routes!(audit::of_guard))
        .routes(routes!(audit::anomalies))
        .routes(routes!(badge::show))
        .routes(routes!(cc_xml::show))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::show))
        .routes(routes!(openapi::show))
}

/// Returns the description of all routes.
pub(crate) fn description() -> utoipa::openapi::OpenApi {
    let mut described = all().into_openapi();
    // The router's way to write a parameter that has slashes.
    let paths = std::mem::take(&mut described.paths.paths);
    described.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    described
}

/// Returns the description as JSON, as it is committed under `docs/openapi.json`.
///
/// # Errors
/// If it cannot be written as JSON.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    openapi::to_json(description(), &BasePath::default())
}
