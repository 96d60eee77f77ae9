//! Signs webhooks as <https://www.standardwebhooks.com> says: HMAC-SHA256 over id, time and body.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use longshore_core::Timestamp;
use sha2::Sha256;

/// The prefix of a key.
const PREFIX: &str = "whsec_";

/// Returns a new key.
pub(crate) fn new_key() -> String {
    format!("{PREFIX}{}", BASE64_STANDARD.encode(rand::random::<[u8; 32]>()))
}

/// Returns the bytes of a key of 24 to 64 bytes; `None` if the text is no such key.
pub(crate) fn key_bytes(key: &str) -> Option<Vec<u8>> {
    let bytes = BASE64_STANDARD.decode(key.strip_prefix(PREFIX)?).ok()?;
    (24..=64).contains(&bytes.len()).then_some(bytes)
}

/// Returns the headers `webhook-timestamp` and `webhook-signature`.
pub(crate) fn sign(key: &[u8], id: &str, now: Timestamp, body: &[u8]) -> (String, String) {
    let seconds = (now.as_millis() / 1000).to_string();
    let digest = Hmac::<Sha256>::new_from_slice(key).map(|mut mac| {
        for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac.finalize().into_bytes()
    });
    // HMAC takes keys of any length, so there is always a digest.
    let signature = digest.map(|digest| BASE64_STANDARD.encode(digest)).unwrap_or_default();
    (seconds, format!("v1,{signature}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_the_standards_example() {
        // From the specification's reference implementations.
        let key = key_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let now = Timestamp::from_millis(1_614_265_330_000);
        let (seconds, signature) = sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", now, br#"{"test": 2432232314}"#);
        assert_eq!(seconds, "1614265330");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(key_bytes(&new_key()).is_some_and(|key| key.len() == 32));
        for none in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(key_bytes(none).is_none(), "{none}");
        }
    }
}
