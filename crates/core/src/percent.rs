//! Percent-encoding of texts for addresses.

use std::fmt::Write as _;

/// Encodes everything but ASCII letters, digits and `-_.~`.
#[must_use]
pub fn encode(text: &str) -> String {
    encode_except(text, b"-_.~")
}

/// Like [`encode`], for a path: keeps its slashes too.
#[must_use]
pub fn encode_path(path: &str) -> String {
    encode_except(path, b"-_.~/")
}

fn encode_except(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_address_may_have_anywhere_is_kept() {
        assert_eq!(encode("a-Z_0.~/ä b%"), "a-Z_0.~%2F%C3%A4%20b%25");
        assert_eq!(encode_path("dir/a b"), "dir/a%20b");
    }
}
