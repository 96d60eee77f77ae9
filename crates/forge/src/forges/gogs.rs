//! Gogs, whose payloads are the ones that Gitea's came from. A pull request's event names no commit: its newest one is
//! fetched.

use crate::{
    Forge, PullRequestHook,
    github_bodies::{self, ignored},
    hook::{DeliveryContents, PayloadError},
    webhooks::{Sends, Webhooks},
};

pub(crate) struct Gogs;

/// Its words for what happens to a pull request, and ours.
const ACTIONS: [(&str, &str); 3] = [
    ("synchronized", "synchronize"),
    ("label_updated", PullRequestHook::LABELS_CHANGED),
    ("label_cleared", "unlabeled"),
];

impl Webhooks for Gogs {
    fn signature_header(&self) -> &'static str {
        "x-gogs-signature"
    }

    fn delivery_headers(&self) -> &'static [&'static str] {
        &["x-gogs-delivery"]
    }

    fn event_header(&self) -> Option<&'static str> {
        Some("x-gogs-event")
    }

    fn parse(&self, event: &str, body: &[u8]) -> Result<DeliveryContents, PayloadError> {
        let forge = Forge::Gogs;
        let hook = match event {
            "push" => github_bodies::push(forge, body)?,
            "ping" => github_bodies::ping(forge, body)?,
            "pull_request" => github_bodies::pull_request(forge, body, &ACTIONS, &[])?,
            "release" => github_bodies::release(forge, body, &[])?,
            "create" => ignored(event, "new branches and tags also arrive as `push`, which starts the build"),
            "delete" => ignored(event, "a branch or tag was deleted: nothing to build"),
            _ => ignored(event, "only `push`, `pull_request` and `release` events start builds"),
        };
        Ok(github_bodies::about(body, hook))
    }

    fn sends(&self, kind: Sends) -> bool {
        match kind {
            Sends::PullRequests | Sends::Labels | Sends::Reopened | Sends::Releases => true,
            Sends::Drafts | Sends::MergeGroups => false,
        }
    }
}
