//! The state that handlers share, in parts. A handler or an extractor names the parts it takes
//! (`State<Store>`, `State<Site>`), so that its signature says what it can reach. Only the router makes an
//! [`AppState`]; nothing here knows a route.

use std::sync::Arc;

use axum::extract::FromRef;
use longshore_scheduler::Scheduler;
use longshore_store::Store;
use tokio_util::sync::CancellationToken;

use crate::{
    artifact_tickets::Tickets,
    audited::Auditor,
    auth::Authenticator,
    body::LargeBodies,
    check_reruns::CheckReruns,
    config::ApiConfig,
    forges::Forges,
    live::Live,
    logs::{line_events::LineEvents, tail::Tails, text_events::TextEvents},
    notifier::Notifier,
    openapi::Describe,
    pages::site::Site,
    public_url::{BasePath, PublicUrl},
    refused_hooks::RefusedHooks,
    request_counts::RequestCounts,
    request_slots::RequestSlots,
};

/// All parts. A clone shares them.
#[derive(Debug, Clone)]
pub(crate) struct AppState(Arc<Parts>);

/// Declares the parts, each of which handlers and extractors get by its type.
macro_rules! parts {
    ($($field:ident: $part:ty,)*) => {
        #[derive(Debug)]
        struct Parts {
            $($field: $part,)*
        }

        $(impl FromRef<AppState> for $part {
            fn from_ref(state: &AppState) -> Self {
                state.0.$field.clone()
            }
        })*
    };
}

parts! {
    store: Store,
    scheduler: Scheduler,
    config: Arc<ApiConfig>,
    public_url: PublicUrl,
    base: BasePath,
    authenticator: Authenticator,
    auditor: Auditor,
    shutdown: CancellationToken,
    live: Live,
    site: Site,
    forges: Forges,
    check_reruns: CheckReruns,
    notifier: Notifier,
    describe: Describe,
    large_bodies: Arc<LargeBodies>,
    refused_hooks: Arc<RefusedHooks>,
    requests: Arc<RequestCounts>,
    slots: Arc<RequestSlots>,
    tickets: Arc<Tickets>,
    event_tails: Arc<Tails<TextEvents>>,
    line_tails: Arc<Tails<LineEvents>>,
}

impl AppState {
    /// `shutdown` ends the open streams, `describe` makes the API's description.
    pub(crate) fn new(
        store: Store,
        scheduler: Scheduler,
        config: ApiConfig,
        shutdown: CancellationToken,
        describe: Describe,
    ) -> Self {
        let public_url = config.public_url.clone();
        let base = public_url.base().clone();
        let authenticator = Authenticator::new(store.clone(), config.admin_token_hash, &public_url);
        let auditor = Auditor { store: store.clone(), authenticator: authenticator.clone(), flood: Arc::default() };
        let live = Live { store: store.clone(), authenticator: authenticator.clone(), shutdown: shutdown.clone() };
        let forges = Forges { store: store.clone(), public_url: public_url.clone(), http: config.forges.clone() };
        let check_reruns = CheckReruns::new(store.clone(), scheduler.clone());
        let notifier = Notifier {
            store: store.clone(),
            public_url: public_url.clone(),
            sender: config.notifications.clone(),
            tests: Arc::default(),
        };
        let site = Site { store: store.clone(), public_url: public_url.clone(), version: config.version };
        Self(Arc::new(Parts {
            store,
            scheduler,
            config: Arc::new(config),
            public_url,
            base,
            authenticator,
            auditor,
            shutdown,
            live,
            site,
            forges,
            check_reruns,
            notifier,
            describe,
            large_bodies: Arc::new(LargeBodies::new()),
            refused_hooks: Arc::default(),
            requests: Arc::default(),
            slots: Arc::default(),
            tickets: Arc::default(),
            event_tails: Arc::default(),
            line_tails: Arc::default(),
        }))
    }
}
