//! The pages: rendered by the server, complete without scripts, and live with them. Every page first answers whether it
//! is green and, if not, which line says why.
//!
//! To add a page:
//! 1. a template in `crates/api/templates/` that extends `base.html` and fills the block `main` (and, if it has a
//!    search of its own, `main_attributes`);
//! 2. a module here with a struct that derives [`askama::Template`], has a field `head: `[`Head`](head::Head), and is
//!    answered as [`Html`](html::Html); values are formatted by [`show`] (`{{ show::status(build.status) }}`,
//!    `show::ago`, `show::elapsed`, `show::quote`), so that they look the same everywhere and outsiders' text stays
//!    text;
//! 3. a line in `pages!`, and one in `tests/api/access.rs`, which says what it takes. Pages are not part of the API's
//!    description.
//!
//! A handler takes the parts of the server that it needs; [`Site`](site::Site) has what every page needs. A write is a
//! form sent by POST, taken by a handler as [`post::Post`] (last among its arguments), which checks the session's
//! token; the form has the hidden field `csrf` for that ([`csrf`](visitor::Visitor::csrf)). The handler asks
//! `visitor.caller` whether the visitor may (`repo_to`, `require`), as the API's handlers do, and answers with
//! [`post::see_other`].
//!
//! [`Head::new`](head::Head::new) comes first: it notes how far the page has seen before it reads anything.
//! [`follows`](head::Head::follows) makes a page live: while the page is visible, the script fetches it again at every
//! such event and changes in place what differs, matched by `id` (so give one to every row that can move); while it is
//! hidden, the script fetches it now and then. It touches nothing inside an element with `data-keep`. `data-key="x"
//! data-key-name="What it does"` gives an element a key; `data-row` on a row's link puts it under `j` and `k`. A form
//! that is refused is shown again with what was typed: [`post::refused`]. A script of a page's own is one more
//! [`assets`] entry and goes into [`more_scripts`](head::Head::more_scripts); it hears `refreshed` on `document` after
//! the page was changed in place, and `changed` (with the event's name and data) before.
//!
//! Addresses are the router's, from `/` on; a template writes each as `{{ head.base }}/builds/…`, since the server may
//! be reached below a path. [`post::see_other`] takes the router's.
//!
//! The content policy allows nothing inline in a page: no `style` attribute, no handler. Lengths that are data go into
//! SVG attributes.

mod access;
mod artifact;
mod artifact_list;
mod assets;
mod audit;
mod bars;
pub(crate) mod build;
mod connections;
mod diagnostic;
pub(crate) mod escape;
pub(crate) mod head;
pub(crate) mod home;
pub(crate) mod html;
pub(crate) mod job;
mod log_row;
mod markdown;
mod notifications;
mod pauses;
mod post;
mod queue;
mod repo;
pub(crate) mod reports;
mod settings;
pub(crate) mod show;
mod sign_in;
pub(crate) mod site;
mod standing;
mod summary;
mod tail;
mod timeline;
pub(crate) mod visitor;
mod waiting;

use axum::{Router, routing::MethodRouter};

use crate::state::AppState;

/// Makes the router and [`ROUTES`], the list of its addresses, so that the two cannot differ.
macro_rules! pages {
    ($($address:literal $($method:ident $handler:path),+;)*) => {
        /// Returns the routes of all pages and their assets.
        pub(crate) fn routes() -> Router<AppState> {
            Router::new()$(.route($address, MethodRouter::new()$(.$method($handler))+))*
        }

        /// The addresses of all pages with their methods.
        pub(crate) const ROUTES: &[(&str, &[&str])] = &[$(($address, &[$(stringify!($method)),+])),*];
    };
}

pages! {
    "/" get home::show;
    "/b/{place}" get home::build_by_place;
    "/repos/new" get repo::new::show, post repo::new::create;
    "/repos/{repo}" get repo::builds::show;
    "/repos/{repo}/run" get repo::run::show, post repo::run::start;
    "/repos/{repo}/deliveries" get repo::deliveries::show;
    "/repos/{repo}/look" post repo::deliveries::look;
    "/repos/{repo}/caches/{cache}/remove" post repo::caches::remove;
    "/deliveries/{delivery}/redeliver" post repo::deliveries::redeliver;
    "/repos/{repo}/settings" get repo::settings::show, post repo::settings::change;
    "/repos/{repo}/connection" post repo::settings::connect;
    "/repos/{repo}/deploy-key" post repo::deploy_key::create;
    "/repos/{repo}/deploy-key/remove" post repo::deploy_key::remove;
    "/repos/{repo}/hook-secret" post repo::settings::renew_hook_secret;
    "/repos/{repo}/hook-secret/former/reject" post repo::settings::reject_former_hook_secret;
    "/repos/{repo}/secrets" post repo::secrets::set;
    "/repos/{repo}/secrets/remove" post repo::secrets::remove;
    "/repos/{repo}/remove" post repo::settings::remove;
    "/builds/{build}" get build::show;
    "/builds/{build}/cancel" post build::cancel;
    "/builds/{build}/rerun" post build::rerun;
    "/builds/{build}/approve" post build::approve;
    "/builds/{build}/tests" get reports::tests::show;
    "/builds/{build}/coverage" get reports::coverage::show;
    "/builds/{build}/annotations" get reports::annotations::show;
    "/tests/{test}" get reports::test_history::show;
    "/queue" get queue::show;
    "/settings" get settings::show;
    "/audit" get audit::show;
    "/audit/guard" get audit::show_guard;
    "/connections" get connections::show, post connections::add;
    "/connections/{connection}" get connections::repos;
    "/connections/{connection}/register" post connections::register;
    "/connections/{connection}/remove" post connections::remove;
    "/notifications" get notifications::show, post notifications::add;
    "/notifications/{notification}/test" post notifications::test;
    "/notifications/{notification}/remove" post notifications::remove;
    "/repos/{repo}/notifications" get notifications::show_of_repo, post notifications::add_to_repo;
    "/repos/{repo}/notifications/{notification}/test" post notifications::test_of_repo;
    "/repos/{repo}/notifications/{notification}/remove" post notifications::remove_of_repo;
    "/jobs/{job}" get job::show;
    "/jobs/{job}/cancel" post job::actions::cancel;
    "/jobs/{job}/rerun" post job::actions::rerun;
    "/jobs/{job}/approve" post job::actions::approve;
    "/jobs/{job}/decline" post job::actions::decline;
    "/artifacts/{artifact}" get artifact::show;
    "/artifacts/{artifact}/open/{*path}" get artifact::open;
    "/artifacts/{artifact}/view/{ticket}/{*path}" get artifact::view;
    "/sign-in" get sign_in::show, post sign_in::sign_in;
    "/sign-out" post sign_in::sign_out;
    "/access" get access::show;
    "/access/sessions/{session}/end" post access::end_session;
    "/access/tokens" post access::create_token;
    "/access/tokens/{token}/revoke" post access::revoke_token;
    "/assets/{file}" get assets::serve;
}
