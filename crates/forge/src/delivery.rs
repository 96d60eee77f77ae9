//! The keys that identify repeated deliveries, and repeated reports of the same change.

use http::HeaderMap;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    Forge, Hook, PullRequestHook, PushHook, ReleaseHook,
    hook::{DeliveryContents, PayloadError},
    payload,
};

/// The longest delivery id that is kept unhashed; forges send UUIDs.
const MAX_ID_LEN: usize = 128;

/// Returns the key that makes a delivery unique within its repository: the forge's delivery id or, without one, (ref,
/// before, after, event). A body without those is its own key.
#[must_use]
pub fn delivery_key(forge: Forge, headers: &HeaderMap, body: &[u8]) -> String {
    let webhooks = forge.webhooks();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let ids = webhooks.delivery_headers().iter().filter_map(|name| header(name));
    if let Some(id) = ids.map(str::trim).find(|id| !id.is_empty()) {
        return match webhooks.has_own_ids() {
            true if id.len() <= MAX_ID_LEN => format!("id:{id}"),
            true => hashed("id", &[id.as_bytes()]),
            false => hashed("id and body", &[id.as_bytes(), body]),
        };
    }
    let event = forge.event_header().map_or(Some("push"), header).unwrap_or_default();
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    match (value["ref"].as_str(), value["after"].as_str()) {
        (Some(git_ref), Some(after)) => {
            let before = value["before"].as_str().unwrap_or_default();
            hashed("ref", &[git_ref, before, after, event].map(str::as_bytes))
        }
        _ => hashed("body", &[event.as_bytes(), body]),
    }
}

/// Returns the key of a push's content: it depends on the ref and its commit, and neither on the delivery's id nor on
/// where the ref was before.
#[must_use]
pub fn push_key(push: &PushHook) -> String {
    let parts = [push.event.as_str(), push.git_ref.as_str(), push.after.as_str()];
    hashed("push", &parts.map(str::as_bytes))
}

/// Like [`push_key`], for an event of a pull request at that commit, into that branch.
#[must_use]
pub fn pull_request_key(pull_request: &PullRequestHook, head: &str) -> String {
    let number = pull_request.number.to_le_bytes();
    let (action, target) = (pull_request.action.as_bytes(), pull_request.target.as_str().as_bytes());
    match pull_request.action.as_str() {
        "opened" | "synchronize" | "reopened" | "closed" => {
            hashed("pull-request into", &[&number, action, head.as_bytes(), target])
        }
        // What can happen again at the same commit: a label that is added once more.
        _ => hashed("pull-request", &[&number, action, head.as_bytes(), pull_request.changed_at.as_bytes()]),
    }
}

/// Like [`push_key`], for an event of a release.
#[must_use]
pub fn release_key(release: &ReleaseHook) -> String {
    hashed("release", &[release.tag.as_str(), &release.action, &release.changed_at].map(str::as_bytes))
}

/// The key of a body's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyKey {
    pub key: String,
    /// Whether a forge sends it for one event only: a delivery with the same key is the same one again.
    pub is_unique: bool,
}

/// Returns the key of a body that was delivered as that event. The event's name is in no signature: a body that asks
/// for nothing under that name has another key than under its own.
#[must_use]
pub fn body_key(forge: Forge, event: &str, body: &[u8]) -> BodyKey {
    parse_with_key(forge, event, body).1
}

/// Like [`payload::parse_event`], with the [`body_key`].
pub fn parse_with_key(forge: Forge, event: &str, body: &[u8]) -> (Result<DeliveryContents, PayloadError>, BodyKey) {
    let asks = |hook: &Hook| !matches!(hook, Hook::Ping | Hook::Ignored { .. });
    let told = payload::parse_event(forge, event, body);
    let key = match &told {
        Ok(told) if told.hooks.iter().any(asks) => {
            BodyKey { key: hashed("body", &[body]), is_unique: forge.webhooks().tells_time(event) }
        }
        Ok(_) | Err(_) => BodyKey { key: hashed("body for nothing", &[body]), is_unique: true },
    };
    (told, key)
}

/// Like [`body_key`], for a body that requests a rerun: only Apps receive those.
pub(crate) fn rerun_key(body: &[u8]) -> String {
    hashed("rerun", &[body])
}

fn hashed(kind: &str, parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length distinguishes ("ab", "c") from ("a", "bc").
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    format!("{kind}:{}", hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn the_forges_delivery_id_is_the_key() {
        let both = headers(&[("x-forgejo-delivery", "one"), ("x-github-delivery", "two")]);
        assert_eq!(delivery_key(Forge::Forgejo, &both, b"{}"), "id:one");
        assert_eq!(delivery_key(Forge::Github, &both, b"not json"), "id:two");
        // Those that GitLab sends because of one request have one id.
        let gitlab = headers(&[("x-gitlab-event-uuid", "one")]);
        let key = |body: &[u8]| delivery_key(Forge::Gitlab, &gitlab, body);
        assert_eq!((key(b"{}") == key(b"{}"), key(b"{}") == key(b"[]")), (true, false));
        let long = headers(&[("x-longshore-delivery", &"x".repeat(5000))]);
        assert!(delivery_key(Forge::Git, &long, b"{}").len() < 100);
    }

    #[test]
    fn a_body_is_known_by_its_bytes_where_it_tells_a_time_and_not_by_a_name_that_proves_nothing() {
        let push = br#"{"ref":"refs/heads/main","before":"","after":"1f0c2d3e4a5b6c7d8e9f00112233445566778899"}"#;
        let key = |forge, event: &str| body_key(forge, event, push);
        for (forge, event, is_unique) in [
            (Forge::Git, "push", false),
            (Forge::Github, "push", true),
            (Forge::Gitea, "push", true),
            (Forge::Forgejo, "push", true),
            (Forge::Gogs, "push", true),
            (Forge::Gitlab, "Push Hook", false),
        ] {
            assert_eq!(key(forge, event), BodyKey { key: key(Forge::Git, "push").key, is_unique }, "{forge}");
            // All names that make nothing of it are one.
            let nothing = key(forge, "ping");
            assert_ne!(nothing.key, key(forge, event).key, "{forge}");
            assert!(
                nothing.is_unique && nothing == key(forge, "any") && nothing == key(forge, "pull_request"),
                "{forge}"
            );
        }
    }

    #[test]
    fn without_an_id_the_ref_the_commits_and_the_event_are_the_key() {
        let none = HeaderMap::new();
        let key = |body: &[u8]| delivery_key(Forge::Git, &none, body);
        let reordered = br#"{ "after": "a", "before": "b", "ref": "r", "more": 1 }"#;
        assert_eq!(key(br#"{"ref":"r","before":"b","after":"a"}"#), key(reordered));
        // A branch that returns to a commit comes from another one.
        assert_ne!(key(br#"{"ref":"r","before":"b","after":"a"}"#), key(br#"{"ref":"r","before":"c","after":"a"}"#));
        assert_ne!(key(br#"{"ref":"r","after":"a"}"#), key(br#"{"ref":"ra","after":""}"#));
        assert_ne!(key(br#"{"ref":1}"#), key(br#"{"ref":2}"#));
        assert_eq!(key(b"\xff"), key(b"\xff"));
        let (push, create) = (headers(&[("x-gitea-event", "push")]), headers(&[("x-gitea-event", "create")]));
        let body = br#"{"ref":"r","after":"a"}"#;
        assert_ne!(delivery_key(Forge::Gitea, &push, body), delivery_key(Forge::Gitea, &create, body));
    }
}
