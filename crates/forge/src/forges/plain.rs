//! A plain git remote: its owner's hook script sends each push, signed.

use crate::{
    Forge,
    github_bodies::{self, ignored},
    hook::{DeliveryContents, PayloadError},
    webhooks::{Sends, Webhooks},
};

pub(crate) struct Plain;

impl Webhooks for Plain {
    fn signature_header(&self) -> &'static str {
        "x-longshore-signature-256"
    }

    fn signature_prefix(&self) -> &'static str {
        "sha256="
    }

    fn delivery_headers(&self) -> &'static [&'static str] {
        &["x-longshore-delivery"]
    }

    fn tells_time(&self, _event: &str) -> bool {
        false
    }

    fn event_header(&self) -> Option<&'static str> {
        None
    }

    fn parse(&self, event: &str, body: &[u8]) -> Result<DeliveryContents, PayloadError> {
        let hook = match event {
            "push" => github_bodies::push(Forge::Git, body)?,
            "ping" => github_bodies::ping(Forge::Git, body)?,
            "pull_request" => ignored(event, "a plain git remote has no pull requests"),
            _ => ignored(event, "a plain git remote only sends pushes"),
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
            | Sends::MergeGroups => false,
        }
    }
}
