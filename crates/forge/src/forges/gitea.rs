//! Gitea and its fork Forgejo, whose payloads are the same under other headers. Drafts are told by their titles, and of
//! labels only that they changed.

use crate::{
    Forge, PullRequestHook,
    common::{self, ignored},
    hook::{DeliveryContents, PayloadError},
    webhooks::{Sends, Webhooks},
};

pub(crate) struct Gitea;

/// Their words for what happens to a pull request, and ours.
const ACTIONS: [(&str, &str); 3] = [
    ("synchronized", "synchronize"),
    ("label_updated", PullRequestHook::LABELS_CHANGED),
    ("label_cleared", "unlabeled"),
];

/// The titles of drafts, as both are set up at first.
const DRAFT_TITLES: [&str; 2] = ["WIP:", "[WIP]"];

impl Webhooks for Gitea {
    fn signature_header(&self) -> &'static str {
        "x-gitea-signature"
    }

    fn delivery_headers(&self) -> &'static [&'static str] {
        &["x-gitea-delivery"]
    }

    fn event_header(&self) -> Option<&'static str> {
        Some("x-gitea-event")
    }

    fn parse(&self, event: &str, body: &[u8]) -> Result<DeliveryContents, PayloadError> {
        parse(Forge::Gitea, event, body)
    }

    fn sends(&self, kind: Sends) -> bool {
        sends(kind)
    }
}

pub(super) fn parse(forge: Forge, event: &str, body: &[u8]) -> Result<DeliveryContents, PayloadError> {
    let hook = match event {
        "push" => common::push(forge, body)?,
        "ping" => common::ping(forge, body)?,
        "create" => common::create(forge, body)?,
        "delete" => ignored(event, "a branch or tag was deleted: nothing to build"),
        // The event's header has more words for a pull request since other events of it exist.
        "pull_request" | "pull_request_sync" | "pull_request_label" => {
            common::pull_request(forge, body, &ACTIONS, &DRAFT_TITLES)?
        }
        "release" => common::release(forge, body, &[("updated", "edited")])?,
        _ => ignored(event, "only `push`, `create`, `pull_request` and `release` events start builds"),
    };
    Ok(common::about(body, hook))
}

pub(super) fn sends(kind: Sends) -> bool {
    match kind {
        Sends::PullRequests | Sends::Labels | Sends::Drafts | Sends::Reopened | Sends::Releases => true,
        Sends::MergeGroups => false,
    }
}
