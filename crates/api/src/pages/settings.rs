//! `/settings`: how this server is set up. What stands here is changed where the server is started, and says how.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use longshore_core::{
    Timestamp,
    access::{Action, Object},
};

use super::{Head, Html, Place, Visitor, post::see, show};
use crate::{ApiError, server::Server};

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    head: Head,
    url: String,
    capacity: usize,
    started_at: Timestamp,
    data: String,
    instance: String,
    trouble: Option<String>,
    disk: Option<(u64, u64)>,
}

pub(crate) async fn show(State(server): State<Arc<Server>>, visitor: Visitor) -> Result<Response, ApiError> {
    if visitor.caller.is_anonymous() {
        return Ok(see("/sign-in?next=/settings"));
    }
    visitor.caller.require(Action::SeeSettings, Object::Server)?;
    let head = Head::new(&server, &visitor, Place::Settings, "Settings");
    let page = SettingsPage {
        head,
        url: server.config.public_url.to_string(),
        capacity: server.config.capacity,
        started_at: server.config.started_at,
        data: server.store.data_dir().display().to_string(),
        instance: server.store.instance().to_owned(),
        trouble: server.config.engine.trouble(),
        disk: server.store.disk(),
    };
    Ok(Html(page).into_response())
}
