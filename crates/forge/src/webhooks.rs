//! The shape of each forge's webhooks: how a delivery is authenticated, named and understood. One implementation a
//! forge, each in a file of `forges/`; nothing outside of that file knows the forge's headers and bodies.

use http::HeaderMap;

use crate::{
    hook::{DeliveryContents, PayloadError},
    signature::{self, SignatureError},
};

/// A kind of event that some forge has no webhook for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sends {
    PullRequests,
    /// Labels of a pull request that are added or removed.
    Labels,
    /// Drafts of pull requests, and that they become ready.
    Drafts,
    /// A pull request that is opened again after it was closed.
    Reopened,
    Releases,
    MergeGroups,
}

/// A forge's webhooks.
pub(crate) trait Webhooks: Sync {
    /// Returns the header with the proof of who sent the delivery.
    fn signature_header(&self) -> &'static str;

    /// Returns what precedes the hexadecimal digits in that header.
    fn signature_prefix(&self) -> &'static str {
        ""
    }

    /// Checks that the proof is present and well-formed, before the body is read.
    fn check_headers(&self, headers: &HeaderMap) -> Result<(), SignatureError> {
        signature::digest_in(headers, self.signature_header(), self.signature_prefix()).map(drop)
    }

    /// Verifies the proof, in constant time. Forges sign the raw body with HMAC-SHA256 unless they say otherwise here.
    fn verify(&self, headers: &HeaderMap, raw_body: &[u8], secret: &[u8]) -> Result<(), SignatureError> {
        let header = self.signature_header();
        let given = signature::digest_in(headers, header, self.signature_prefix())?;
        signature::verify_hmac(secret, &[raw_body], &given, header)
    }

    /// Returns the headers that name the delivery, the best one first; a repeated delivery repeats it.
    fn delivery_headers(&self) -> &'static [&'static str];

    /// Returns whether that id is the delivery's own. Without it, deliveries of different bodies may have one id.
    fn has_own_ids(&self) -> bool {
        true
    }

    /// Returns whether two events of this kind never have the same body, because it contains their time.
    fn tells_time(&self, _event: &str) -> bool {
        true
    }

    /// Returns the header that names the event; `None` if all deliveries are pushes.
    fn event_header(&self) -> Option<&'static str>;

    /// Parses a delivery's body.
    fn parse(&self, event: &str, body: &[u8]) -> Result<DeliveryContents, PayloadError>;

    /// Returns whether the forge has webhooks for these events.
    fn sends(&self, kind: Sends) -> bool;
}
