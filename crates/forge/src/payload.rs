//! Parses deliveries. The ingest loop calls this after the signature was checked. It must not fetch, plan or run.

use http::HeaderMap;

use crate::{
    Forge,
    hook::{DeliveryContents, PayloadError},
};

/// Parses a delivery of a repository that is registered as `forge`.
///
/// # Errors
/// If the body is not JSON, does not have the event's shape, or names impossible refs or commits.
pub fn parse(forge: Forge, headers: &HeaderMap, body: &[u8]) -> Result<DeliveryContents, PayloadError> {
    let event = match forge.event_header() {
        None => "push",
        Some(header) => {
            headers.get(header).and_then(|value| value.to_str().ok()).ok_or(PayloadError::NoEvent { header })?
        }
    };
    parse_event(forge, event, body)
}

/// Like [`parse`], with the event's name given.
///
/// # Errors
/// As [`parse`].
pub fn parse_event(forge: Forge, event: &str, body: &[u8]) -> Result<DeliveryContents, PayloadError> {
    if body.starts_with(b"payload=") {
        return Err(PayloadError::Form);
    }
    forge.webhooks().parse(event, body)
}
