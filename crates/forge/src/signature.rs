//! Verifies that a delivery was signed with the repository's secret. Called with the raw bytes, before anything is
//! parsed.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;

use crate::Forge;

/// Why a delivery is refused. The text is safe to send as a reply: it reveals nothing about the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the header `{header}` is missing: set the webhook's secret to the repository's hook secret")]
    Missing { header: &'static str },
    #[error("the header `{header}` is not an HMAC-SHA256 in hexadecimal digits")]
    Malformed { header: &'static str },
    #[error("the signature in `{header}` does not match: the webhook's secret is not the repository's hook secret")]
    Mismatch { header: &'static str },
    #[error("the repository has no hook secret, so deliveries cannot be verified")]
    NoSecret,
}

/// Checks that a delivery has a proof of its sender, before the body is read.
///
/// # Errors
/// If it is missing or malformed.
pub fn check_headers(forge: Forge, headers: &HeaderMap) -> Result<(), SignatureError> {
    forge.webhooks().check_headers(headers)
}

/// Verifies that the sender of a delivery knows the secret, in constant time.
///
/// # Errors
/// If the proof is missing, malformed or does not match.
pub fn verify(forge: Forge, headers: &HeaderMap, raw_body: &[u8], secret: &[u8]) -> Result<(), SignatureError> {
    // An empty key is a valid HMAC key that everyone knows.
    if secret.is_empty() {
        return Err(SignatureError::NoSecret);
    }
    forge.webhooks().verify(headers, raw_body, secret)
}

/// Reads one HMAC-SHA256 in hexadecimal digits from a header.
pub(crate) fn digest_in(headers: &HeaderMap, header: &'static str, prefix: &str) -> Result<[u8; 32], SignatureError> {
    let mut values = headers.get_all(header).iter();
    let value = values.next().ok_or(SignatureError::Missing { header })?;
    let malformed = SignatureError::Malformed { header };
    if values.next().is_some() {
        return Err(malformed);
    }
    let digits = value.as_bytes().strip_prefix(prefix.as_bytes()).ok_or(malformed.clone())?;
    let mut given = [0; 32];
    hex::decode_to_slice(digits, &mut given).map_err(|_| malformed)?;
    Ok(given)
}

/// Verifies an HMAC-SHA256 over parts of a delivery, in constant time.
pub(crate) fn verify_hmac(
    secret: &[u8],
    parts: &[&[u8]],
    given: &[u8; 32],
    header: &'static str,
) -> Result<(), SignatureError> {
    if secret.is_empty() {
        return Err(SignatureError::NoSecret);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| SignatureError::NoSecret)?;
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(given).map_err(|_| SignatureError::Mismatch { header })
}

/// Compares a token that is sent unsigned with the secret, in constant time: by comparing what both sign.
pub(crate) fn verify_token(secret: &[u8], given: &[u8], header: &'static str) -> Result<(), SignatureError> {
    const SIGNED: &[u8] = b"token";
    let mut mac = Hmac::<Sha256>::new_from_slice(given).map_err(|_| SignatureError::Mismatch { header })?;
    mac.update(SIGNED);
    verify_hmac(secret, &[SIGNED], &mac.finalize().into_bytes().into(), header)
}

/// Returns the value of [`Forge::signature_header`] that [`verify`] accepts: for tests, and for senders of hooks of a
/// plain git remote. GitLab sends its token.
#[must_use]
pub fn sign(forge: Forge, raw_body: &[u8], secret: &[u8]) -> String {
    if forge == Forge::Gitlab {
        return String::from_utf8_lossy(secret).into_owned();
    }
    let digest = Hmac::<Sha256>::new_from_slice(secret).map(|mut mac| {
        mac.update(raw_body);
        mac.finalize().into_bytes()
    });
    // HMAC takes keys of any length, so there is always a digest.
    format!("{}{}", forge.webhooks().signature_prefix(), digest.map(hex::encode).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_body_signed_with_the_secret_is_believed_and_any_other_is_not() {
        for forge in Forge::ALL {
            let header = forge.signature_header();
            let good = headers(header, &sign(forge, b"body", b"secret"));
            assert_eq!(verify(forge, &good, b"body", b"secret"), Ok(()));
            let signs = forge != Forge::Gitlab;
            if signs {
                assert_eq!(verify(forge, &good, b"body ", b"secret"), Err(SignatureError::Mismatch { header }));
            }
            assert_eq!(verify(forge, &good, b"body", b"secreT"), Err(SignatureError::Mismatch { header }));
            assert_eq!(verify(forge, &good, b"body", b""), Err(SignatureError::NoSecret));
            assert_eq!(verify(forge, &HeaderMap::new(), b"body", b"secret"), Err(SignatureError::Missing { header }));
            for bad in ["", "sha256=", "sha256=00", "sha1=0011", "zz"] {
                let error = verify(forge, &headers(header, bad), b"body", b"secret").unwrap_err();
                let expected =
                    if signs { SignatureError::Malformed { header } } else { SignatureError::Mismatch { header } };
                assert_eq!(error, expected, "{forge} {bad}");
            }
        }
    }

    #[test]
    fn another_forges_header_proves_nothing() {
        let github = headers("x-hub-signature-256", &sign(Forge::Github, b"body", b"secret"));
        assert!(matches!(verify(Forge::Git, &github, b"body", b"secret"), Err(SignatureError::Missing { .. })));
    }

    #[test]
    fn two_signatures_are_none() {
        let header = Forge::Github.signature_header();
        let mut two = headers(header, &sign(Forge::Github, b"body", b"secret"));
        two.append(header, HeaderValue::from_static("sha256=00"));
        assert_eq!(verify(Forge::Github, &two, b"body", b"secret"), Err(SignatureError::Malformed { header }));
    }

    #[test]
    fn githubs_own_example_is_believed() {
        // From GitHub's "Validating webhook deliveries".
        let value = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let given = headers("x-hub-signature-256", value);
        assert_eq!(verify(Forge::Github, &given, b"Hello, World!", b"It's a Secret to Everybody"), Ok(()));
    }

    #[test]
    fn gitlabs_signature_covers_id_time_and_body_with_the_secret_as_text_or_as_base64() {
        use base64::{Engine as _, engine::general_purpose::STANDARD};

        // The example of the Standard Webhooks reference.
        let secret = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = br#"{"test": 2432232314}"#;
        let signed = |signature: &str| -> HeaderMap {
            [
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", signature),
            ]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect()
        };
        let good = signed("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(verify(Forge::Gitlab, &good, body, secret), Ok(()));
        let several = signed("v0,xx v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(verify(Forge::Gitlab, &several, body, secret), Ok(()));
        let mismatch = Err(SignatureError::Mismatch { header: "webhook-signature" });
        assert_eq!(verify(Forge::Gitlab, &good, b"{}", secret), mismatch);
        // A token beside a wrong signature proves nothing.
        let mut both = signed("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        both.insert("x-gitlab-token", HeaderValue::from_static("hook secret"));
        assert_eq!(verify(Forge::Gitlab, &both, body, b"hook secret"), mismatch);
        let mut mac = Hmac::<Sha256>::new_from_slice(b"hook secret").unwrap();
        mac.update(b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{}");
        let as_text = signed(&format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
        assert_eq!(verify(Forge::Gitlab, &as_text, b"{}", b"hook secret"), Ok(()));
    }
}
