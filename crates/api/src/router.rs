//! The whole router: the routes of the API, the pages, and the layers around them. The only file that knows them all.

use axum::{
    Router,
    extract::{Request, State},
    middleware,
};
use longshore_scheduler::Scheduler;
use longshore_store::Store;
use tokio_util::sync::CancellationToken;

use crate::{
    audited, config::ApiConfig, error::ApiError, host, layers, openapi::Describe, pages, public_url::BasePath,
    request_slots, routes, state::AppState,
};

/// What the binary gives to [`serve`](crate::serve).
#[derive(Debug, Clone)]
pub struct Api {
    pub store: Store,
    pub scheduler: Scheduler,
    pub config: ApiConfig,
}

/// Makes the router for tests that serve it in their own way. Its streams end when it is dropped with its connections.
pub fn router(api: Api) -> Router {
    router_until(api, CancellationToken::new())
}

/// Makes the router. `shutdown` ends its open streams.
pub(crate) fn router_until(api: Api, shutdown: CancellationToken) -> Router {
    let Api { store, scheduler, config } = api;
    let state = AppState::new(store, scheduler, config, shutdown, Describe(routes::description));
    let (router, _) = routes::all().split_for_parts();
    let router = router
        .merge(pages::routes())
        .fallback(async |State(base): State<BasePath>| ApiError::route_not_found(&base))
        .method_not_allowed_fallback(async |State(base): State<BasePath>| ApiError::method_not_allowed(&base))
        .layer(middleware::from_fn_with_state(state.clone(), audited::record))
        .layer(middleware::from_fn_with_state(state.clone(), request_slots::for_costly_reads))
        .layer(middleware::from_fn_with_state(state.clone(), host::check))
        .layer(middleware::from_fn_with_state(state.clone(), pages::html::errors_as_pages))
        .layer(middleware::from_fn_with_state(state.clone(), layers::wrap))
        .with_state(state.clone());
    // Taken off before the router sees the address: a proxy may have left the base path on, or not.
    let without_base =
        middleware::map_request_with_state(state, async |State(base): State<BasePath>, request: Request| {
            base.take_off(request)
        });
    Router::new().fallback_service(router).layer(without_base)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::{pages, public_url::OWN_NAMES, request_slots::COSTLY_READS, routes};

    #[test]
    fn every_costly_read_is_an_address_of_the_server() {
        let description = routes::description();
        for address in COSTLY_READS {
            let is_page = pages::ROUTES.iter().any(|(page, methods)| *page == address && methods.contains(&"get"));
            assert!(is_page || description.paths.paths.contains_key(address), "{address}");
        }
    }

    #[test]
    fn a_base_path_cannot_begin_like_any_of_the_servers_own_addresses() {
        let description = routes::description();
        let all = description.paths.paths.keys().map(String::as_str).chain(pages::ROUTES.iter().map(|(page, _)| *page));
        let names: BTreeSet<&str> =
            all.filter_map(|address| address.split('/').nth(1)).filter(|name| !name.is_empty()).collect();
        assert_eq!(names, BTreeSet::from(OWN_NAMES));
    }
}
