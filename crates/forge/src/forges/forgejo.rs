//! Forgejo. Its payloads are Gitea's; it sends the headers of Gitea, Gogs and GitHub too, and its own are read.

use super::gitea;
use crate::{
    Forge,
    hook::{DeliveryContents, PayloadError},
    webhooks::{Sends, Webhooks},
};

pub(crate) struct Forgejo;

impl Webhooks for Forgejo {
    fn signature_header(&self) -> &'static str {
        "x-forgejo-signature"
    }

    fn delivery_headers(&self) -> &'static [&'static str] {
        &["x-forgejo-delivery"]
    }

    fn event_header(&self) -> Option<&'static str> {
        Some("x-forgejo-event")
    }

    fn parse(&self, event: &str, body: &[u8]) -> Result<DeliveryContents, PayloadError> {
        gitea::parse(Forge::Forgejo, event, body)
    }

    fn sends(&self, kind: Sends) -> bool {
        gitea::sends(kind)
    }
}
