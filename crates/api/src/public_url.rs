//! The public address of the server, which people and forges reach it by, and the path that it may have. The only file
//! that knows this path.
//!
//! All other code names addresses as the router does, from `/` on. The base path is put before them when they leave the
//! server: in templates by `{{ head.base }}`, in redirects by `layers`, in requests of scripts by `data-base`.

use std::{fmt, str::FromStr, sync::Arc};

use axum::{
    extract::Request,
    http::{HeaderValue, Uri},
};

/// An example for error messages.
const EXAMPLE: &str = "such as https://ci.example.org or https://example.org/ci";

/// The first parts of the server's own addresses. A base path cannot begin with one of them: an address could then be
/// read in two ways. A test of the router compares this list with its routes.
pub(crate) const OWN_NAMES: [&str; 24] = [
    "access",
    "api",
    "artifacts",
    "assets",
    "audit",
    "b",
    "badges",
    "builds",
    "cc.xml",
    "connections",
    "deliveries",
    "healthz",
    "hooks",
    "jobs",
    "metrics",
    "notifications",
    "openapi.json",
    "queue",
    "readyz",
    "repos",
    "settings",
    "sign-in",
    "sign-out",
    "tests",
];

/// The public address, without a slash at its end: `https://ci.example.org`, or `https://example.org/ci` behind a proxy
/// that serves other things at that host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    url: String,
    authority: String,
    base: BasePath,
}

impl PublicUrl {
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Returns the host, without a port.
    pub fn host(&self) -> &str {
        let authority = self.authority();
        match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            Some(_) | None => authority,
        }
    }

    /// Returns whether people reach the server over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// Returns the host, and the port if one is given.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn base(&self) -> &BasePath {
        &self.base
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    /// The error says what to write instead.
    fn from_str(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let rest = rest.ok_or_else(|| format!("`{url}`: write it with http:// or https://"))?;
        if rest.contains(['?', '#']) {
            return Err(format!(
                "`{url}`: paths are put behind it, so it cannot have a query or a fragment; write it as people type it, {EXAMPLE}"
            ));
        }
        let rest = rest.trim_end_matches('/');
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() || rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("`{url}`, which names no host: write it as people type it, {EXAMPLE}"));
        }
        let base = path.parse().map_err(|error| format!("`{url}`: {error}"))?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), authority: authority.to_owned(), base })
    }
}

/// The path of the public address, without a slash at its end: `/ci`, or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BasePath(Arc<str>);

impl BasePath {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the path that cookies are sent to.
    pub(crate) fn cookie_path(&self) -> &str {
        if self.is_empty() { "/" } else { &self.0 }
    }

    /// Returns the router's address for an address that begins with this path, `None` for any other.
    pub(crate) fn strip(&self, address: &str) -> Option<String> {
        match address.strip_prefix(&*self.0)? {
            rest if rest.starts_with('/') => Some(rest.to_owned()),
            rest if rest.is_empty() || rest.starts_with('?') => Some(format!("/{rest}")),
            // Another name that starts with the same letters.
            _ => None,
        }
    }

    /// Takes the path off the request's address. Leaves a request unchanged if a proxy has already taken it off.
    pub(crate) fn take_off(&self, mut request: Request) -> Request {
        let stripped = request.uri().path_and_query().filter(|_| !self.is_empty());
        if let Some(stripped) = stripped.and_then(|address| self.strip(address.as_str())?.parse().ok()) {
            let mut parts = request.uri().clone().into_parts();
            parts.path_and_query = Some(stripped);
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
        request
    }

    /// Puts the path before the address that a redirect leads to.
    pub(crate) fn put_before(&self, location: &mut HeaderValue) {
        if location.as_bytes().starts_with(b"/")
            && let Ok(whole) = HeaderValue::from_bytes(&[self.0.as_bytes(), location.as_bytes()].concat())
        {
            *location = whole;
        }
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BasePath {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        let Some(below) = path.strip_prefix('/') else { return Ok(Self::default()) };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        let is_name = |name: &str| !matches!(name, "" | "." | "..") && name.chars().all(plain);
        if !below.split('/').all(is_name) {
            return Err(format!(
                "its path `{path}` has to be of names of letters, digits, `-`, `.`, `_` and `~`, with one slash between them, {EXAMPLE}"
            ));
        }
        let first = below.split('/').next().unwrap_or_default();
        if OWN_NAMES.contains(&first) {
            return Err(format!(
                "its path cannot begin with `/{first}`, which is an address of the server's own: give it another, such as `/ci`"
            ));
        }
        Ok(Self(path.into()))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn url(text: &str) -> PublicUrl {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_a_host_and_at_most_a_path_that_is_none_of_the_servers_own() {
        assert_eq!(url("https://ci.example.org/").base().to_string(), "");
        let below = url("https://example.org:8443/a/ci.2//");
        assert_eq!((below.as_str(), below.authority()), ("https://example.org:8443/a/ci.2", "example.org:8443"));
        assert_eq!((below.base().to_string(), below.base().cookie_path()), ("/a/ci.2".to_owned(), "/a/ci.2"));
        for (bad, words) in [
            ("ci.example.org", "http:// or https://"),
            ("https://", "no host"),
            ("https:///ci", "no host"),
            ("https://ci example.org", "no host"),
            ("https://ci.example.org/?next=1", "query"),
            ("https://example.org/a//b", "one slash"),
            ("https://example.org/a/../b", "letters"),
            ("https://example.org/%63i", "letters"),
            ("https://example.org/c\"i", "letters"),
            ("https://example.org/api", "`/api`"),
            ("https://example.org/builds/ci", "`/builds`"),
            ("https://example.org/hooks", "`/hooks`"),
            ("https://example.org/sign-in", "`/sign-in`"),
        ] {
            let why = bad.parse::<PublicUrl>().unwrap_err();
            assert!(why.contains(words) && why.contains(bad), "{bad}: {why}");
        }
    }

    #[test]
    fn an_address_is_the_routers_with_and_without_the_base_path() {
        let base = url("https://example.org/ci").base().clone();
        let routed = |address: &str| {
            let request = Request::builder().uri(address).body(Body::empty()).unwrap();
            base.take_off(request).uri().to_string()
        };
        for (asked, taken) in [
            ("/ci", "/"),
            ("/ci/", "/"),
            ("/ci?q=a", "/?q=a"),
            ("/ci/builds/1?a=/ci", "/builds/1?a=/ci"),
            ("/builds/1", "/builds/1"),
            ("/cities", "/cities"),
            ("/", "/"),
            ("http://example.org/ci/queue", "http://example.org/queue"),
        ] {
            assert_eq!(routed(asked), taken, "{asked}");
        }
    }
}
