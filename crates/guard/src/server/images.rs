//! The server's images: it pulls those of jobs, and imports the agent's.

use super::forward_if;
use crate::check::Check;
use crate::decision::{Decision, Effect, EngineCall, LineShape, Reply, Shape};
use crate::filters::Filters;
use crate::guard::Guard;
use crate::image_ref::{ImageName, ImageRef};
use crate::job::forward;
use crate::policy::{MADE_IN_JOBS, is_reserved};
use crate::refusal::{Judged, refuse};
use crate::registry_auth::RegistryAuth;
use crate::server_own::AGENT;

pub(super) fn list_images(filters: &Filters) -> Judged<Decision> {
    let one = |key: &str| match filters.0.get(key).map(Vec::as_slice) {
        Some([value]) if filters.0.len() == 1 => Some(value.as_str()),
        _ => None,
    };
    let scope = format!("{}=", crate::SCOPE_LABEL);
    let is_known = one("reference").is_some_and(|name| name == AGENT || name.starts_with(MADE_IN_JOBS))
        || one("label").is_some_and(|label| label == crate::SCOPE_LABEL || label.starts_with(&scope));
    if !is_known {
        return refuse!(Server, "the server may list only the agent's images and those that jobs have made");
    }
    let call = EngineCall::new("GET", "/images/json").query("filters", filters.write().to_string());
    forward(call, Reply::Json(Shape::Unlabelled), Effect::None)
}

pub(super) fn look_up_digest(image: &ImageRef, auth: &RegistryAuth) -> Judged<Decision> {
    let mut call = EngineCall::new("GET", format!("/distribution/{}/json", image.familiar()));
    call.credentials = Some(("X-Registry-Auth", auth.to_header()));
    forward(call, Reply::Json(Shape::Same), Effect::None)
}

pub(super) fn pull_image(image: &ImageRef, platform: &str, auth: &RegistryAuth) -> Judged<Decision> {
    if !platform.is_empty() {
        return refuse!(Server, "the server may not choose a platform");
    }
    if is_reserved(image) {
        return refuse!(Server, "{} is reserved for Longshore's own images, which are never pulled", image.familiar());
    }
    let mut call =
        EngineCall::new("POST", "/images/create").query("fromImage", image.name()).query("tag", image.version());
    call.credentials = Some(("X-Registry-Auth", auth.to_header()));
    forward(call, Reply::Lines(LineShape::Progress), Effect::None)
}

pub(super) fn import_agent(guard: &Guard, changes: &[String]) -> Judged<Decision> {
    if let Some(change) = changes.iter().find(|change| !is_change(change)) {
        return refuse!(Server, "the agent's image may not be imported with the change {change:?}");
    }
    check_program(guard, changes.iter().find_map(|change| change.strip_prefix("LABEL longshore.agent=")))?;
    let mut call = EngineCall::new("POST", "/images/create").query("fromSrc", "-").program();
    for change in changes {
        call = call.query("changes", change);
    }
    forward(call, Reply::Lines(LineShape::Import), Effect::None)
}

pub(super) fn tag_agent(guard: &Guard, id: &str, target: &ImageRef) -> Judged<Decision> {
    check_program(guard, target.tag())?;
    if !guard.table.programs.contains(id) {
        return refuse!(
            Server,
            "only an image that this guard has imported may be tagged as the agent's image: try again"
        );
    }
    let call =
        EngineCall::new("POST", format!("/images/sha256:{id}/tag")).query("repo", AGENT).query("tag", target.version());
    forward(call, Reply::Status, Effect::None)
}

pub(super) fn remove_image(guard: &Guard, image: &ImageName) -> Judged<Decision> {
    let is_ours = match image {
        ImageName::Id(id) => guard.table.programs.contains(id),
        ImageName::Ref { reference, .. } => is_agent(reference) || reference.familiar().starts_with(MADE_IN_JOBS),
    };
    let replaceable = || Check::Replaceable { image: image.to_string() };
    let checks = (!is_ours).then(replaceable).into_iter().collect();
    let call = EngineCall::new("DELETE", format!("/images/{image}"));
    forward_if(checks, call, Reply::Json(Shape::Same), Effect::None)
}

/// Checks that the agent's image is made of the guard's own program.
fn check_program(guard: &Guard, hash: Option<&str>) -> Judged<()> {
    if hash == Some(guard.host.program.as_str()) {
        return Ok(());
    }
    refuse!(Server, "the guard and the server are different versions of Longshore: start both from the same image")
}

pub(super) fn is_agent(image: &ImageRef) -> bool {
    image.registry == "docker.io" && image.repository == format!("library/{AGENT}") && image.tag().is_some_and(is_hash)
}

fn is_hash(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a change may be made to the agent's image: Longshore's labels, and the program that it runs.
fn is_change(change: &str) -> bool {
    let label = change
        .strip_prefix("LABEL longshore.")
        .is_some_and(|rest| rest.split_once('=').is_some_and(|(key, value)| is_plain(key) && is_plain(value)));
    label || change == r#"ENTRYPOINT ["/.longshore/longshore"]"#
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}
