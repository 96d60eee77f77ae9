//! `/settings`: how this server is set up. The settings are changed where the server is started, and the page says how.

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

use super::{
    head::{Head, Place},
    html::Html,
    post::see_other,
    show,
    site::Site,
    visitor::Visitor,
};
use crate::{config::ApiConfig, error::ApiError};

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

pub(crate) async fn show(
    State(site): State<Site>,
    State(config): State<Arc<ApiConfig>>,
    visitor: Visitor,
) -> Result<Response, ApiError> {
    if visitor.caller.is_anonymous() {
        return Ok(see_other("/sign-in?next=/settings"));
    }
    visitor.caller.require(Action::SeeSettings, Object::Server)?;
    let head = Head::new(&site, &visitor, Place::Settings, "Settings");
    let page = SettingsPage {
        head,
        url: config.public_url.to_string(),
        capacity: config.capacity,
        started_at: config.started_at,
        data: site.store.data_dir().display().to_string(),
        instance: site.store.instance().to_owned(),
        trouble: config.engine.trouble(),
        disk: site.store.disk(),
    };
    Ok(Html(page).into_response())
}
