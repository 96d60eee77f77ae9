//! The path and the query of a request, in the one spelling that every parser reads in the same way.

use crate::refusal::{Judged, refuse};

/// The longest target (path and query), in bytes.
const LONGEST: usize = 64 << 10;
/// The oldest minor version of the API that the guard accepts. Clients in use pin it, and the requests have not changed
/// since.
pub const OLDEST_API: u32 = 32;
/// The newest minor version whose requests the guard knows.
pub const NEWEST_API: u32 = 51;
/// The oldest minor version that an engine behind the guard may have: Docker 20.10's.
pub const OLDEST_ENGINE: u32 = 41;

/// A path without the version, and a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) segments: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
}

/// Parses a request's target. `newest` is the newest minor version that the guard offers.
pub(crate) fn parse(target: &str, newest: u32) -> Judged<Target> {
    if target.len() > LONGEST {
        return refuse!(Limit, "the path and the query are longer than {LONGEST} bytes");
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some(path) = path.strip_prefix('/') else {
        return refuse!(Syntax, "the path does not start with one slash");
    };
    let mut segments = path.split('/').map(segment).collect::<Judged<Vec<_>>>()?;
    let versioned = segments[0].strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if versioned {
        check_version(&segments.remove(0), newest)?;
    }
    if segments.is_empty() {
        return refuse!(Route, "there is no such route");
    }
    Ok(Target { segments, query: parse_query(query)? })
}

fn check_version(text: &str, newest: u32) -> Judged<()> {
    let minor = text.strip_prefix("v1.").filter(|minor| minor.len() == 2 && minor.bytes().all(|b| b.is_ascii_digit()));
    match minor.and_then(|minor| minor.parse::<u32>().ok()) {
        Some(minor) if (OLDEST_API..=newest).contains(&minor) => Ok(()),
        _ => refuse!(
            Version,
            "the API version {text} is not supported: use v1.{OLDEST_API} to v1.{newest} (DOCKER_API_VERSION sets the version of a client)"
        ),
    }
}

/// Decodes one part of a path, once. The result contains nothing that could be decoded again or be read as another
/// path. It has slashes if they were encoded, as some clients do in the names of images: no other part of a route does.
fn segment(text: &str) -> Judged<String> {
    let decoded = decode(text, false)?;
    if decoded.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return refuse!(Syntax, "the path has an empty part, `.` or `..`");
    }
    if decoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:@+-/".contains(&b)) {
        return Ok(decoded);
    }
    refuse!(Syntax, "the path contains a character that is not allowed in names")
}

fn parse_query(query: &str) -> Judged<Vec<(String, String)>> {
    if query.is_empty() {
        return Ok(Vec::new());
    }
    query
        .split('&')
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decode(key, true)?, decode(value, true)?);
            if key.is_empty() || key.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_') {
                return refuse!(Syntax, "the query has a parameter with an invalid name");
            }
            Ok((key, value))
        })
        .collect()
}

/// Decodes percent signs once, and in a query also plus signs.
fn decode(text: &str, query: bool) -> Judged<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => match (rest.next().and_then(digit), rest.next().and_then(digit)) {
                (Some(high), Some(low)) => bytes.push(high * 16 + low),
                _ => return refuse!(Syntax, "a percent sign is not followed by two hexadecimal digits"),
            },
            b'+' if query => bytes.push(b' '),
            b';' if query => {
                return refuse!(Syntax, "the query contains a semicolon, which some parsers read as an ampersand");
            }
            b'#' | 0..=b' ' | 0x7f.. => {
                return refuse!(Syntax, "the path or the query contains a character that must be percent-encoded");
            }
            other => bytes.push(other),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains(|c: char| c == '\0' || (c.is_control() && !matches!(c, '\n' | '\t'))) => Ok(text),
        _ => refuse!(Syntax, "the path or the query is not valid text"),
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Percent-encodes text for a query.
pub(crate) fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_be_read_as_another_is_refused() {
        for target in [
            "containers/json",
            "",
            "//v1.41/containers/json",
            "/v1.41//json",
            "/./version",
            "/containers/../version",
            "/%2e%2e/version",
            "/containers/%2Fname/json",
            "/images/..%2fcontainers/json",
            "/containers/a%00b/json",
            "/containers/a%2500/json",
            "/containers/a\\b/json",
            "/containers/a%5Cb/json",
            "/containers/ä/json",
            "/containers/json/",
            "/version#x",
            "/version%",
            "/version%4",
            "http://docker/version",
            "*",
            "/version?a=1;b=2",
            "/version?a=%zz",
            "/version?=1",
            "/version?a&&b",
            "/version?A%00=1",
        ] {
            assert!(parse(target, 41).is_err(), "{target}");
        }
        for version in
            ["v1.12", "v1.18", "v1.31", "v1.42", "v1.99", "v2.0", "v1", "v1.041", "v1.4", "v1.41.1", "v01.41"]
        {
            let refusal = parse(&format!("/{version}/version"), 41).unwrap_err();
            assert_eq!(refusal.rule, crate::Rule::Version, "{version}");
        }
        assert_eq!(parse("/v1.32/version", 41), parse("/v1.41/version", 41));
        let read = parse("/images/a.b%3A5000/c%40sha256%3A0/json?x=a%20b+c&y", 41).unwrap();
        assert_eq!(read.segments, ["images", "a.b:5000", "c@sha256:0", "json"]);
        assert_eq!(read.query, [("x".to_owned(), "a b c".to_owned()), ("y".to_owned(), String::new())]);
    }
}
