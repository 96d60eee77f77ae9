//! GitHub. Its payloads are documented at <https://docs.github.com/en/webhooks/webhook-events-and-payloads>.

use crate::{
    Forge,
    github_bodies::{self, ignored},
    hook::{DeliveryContents, PayloadError},
    webhooks::{Sends, Webhooks},
};

pub(crate) struct Github;

impl Webhooks for Github {
    fn signature_header(&self) -> &'static str {
        "x-hub-signature-256"
    }

    fn signature_prefix(&self) -> &'static str {
        "sha256="
    }

    fn delivery_headers(&self) -> &'static [&'static str] {
        &["x-github-delivery"]
    }

    fn event_header(&self) -> Option<&'static str> {
        Some("x-github-event")
    }

    fn parse(&self, event: &str, body: &[u8]) -> Result<DeliveryContents, PayloadError> {
        let forge = Forge::Github;
        let hook = match event {
            "push" => github_bodies::push(forge, body)?,
            "ping" => github_bodies::ping(forge, body)?,
            "pull_request" => github_bodies::pull_request(forge, body, &[], &[])?,
            "release" => github_bodies::release(forge, body, &[])?,
            "merge_group" => github_bodies::merge_group(forge, body)?,
            "create" => ignored(event, "new branches and tags also arrive as `push`, which starts the build"),
            "delete" => ignored(event, "a branch or tag was deleted: nothing to build"),
            _ => ignored(event, "only `push`, `pull_request`, `release` and `merge_group` events start builds"),
        };
        Ok(github_bodies::about(body, hook))
    }

    fn sends(&self, kind: Sends) -> bool {
        match kind {
            Sends::PullRequests
            | Sends::Labels
            | Sends::Drafts
            | Sends::Reopened
            | Sends::Releases
            | Sends::MergeGroups => true,
        }
    }
}
