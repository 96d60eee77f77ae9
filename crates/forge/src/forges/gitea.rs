//! Gitea and its fork Forgejo, whose payloads are the same under other headers. Drafts are recognized by
//! their titles, and of labels only the fact that they changed is known.

use crate::{
    Forge, PullRequestHook,
    github_bodies::{self, ignored},
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
        "push" => github_bodies::push(forge, body)?,
        "ping" => github_bodies::ping(forge, body)?,
        "create" => github_bodies::create(forge, body)?,
        "delete" => ignored(event, "a branch or tag was deleted: nothing to build"),
        // The event's header has more words for a pull request since other events of it exist.
        "pull_request" | "pull_request_sync" | "pull_request_label" => {
            github_bodies::pull_request(forge, body, &ACTIONS, &DRAFT_TITLES)?
        }
        "release" => github_bodies::release(forge, body, &[("updated", "edited")])?,
        _ => ignored(event, "only `push`, `create`, `pull_request` and `release` events start builds"),
    };
    Ok(github_bodies::about(body, hook))
}

pub(super) fn sends(kind: Sends) -> bool {
    match kind {
        Sends::PullRequests | Sends::Labels | Sends::Drafts | Sends::Reopened | Sends::Releases => true,
        Sends::MergeGroups => false,
    }
}
