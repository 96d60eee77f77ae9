//! Certificates whose authority is not known here.

/// Returns what to do if `error`, the message of one of Longshore's TLS clients, is about such a certificate.
#[must_use]
pub fn untrusted(error: &str) -> Option<&'static str> {
    error.contains("UnknownIssuer").then_some(
        "its certificate is not trusted: if its authority is your own, name the file with the authority's certificate in LONGSHORE_CA_FILE",
    )
}
