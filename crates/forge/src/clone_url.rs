//! Clone addresses: which ones are accepted, and how their credentials stay hidden.

use std::{fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_STANDARD};

const MAX_LEN: usize = 2048;
const NOT_LITERAL: &str =
    "contains `.` or `..` as a part of its path, a backslash, or one of `.`, `/`, `\\` and `%` in percent-encoded form";

/// Why a clone address is refused. Never contains the address itself, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCloneUrl {
    #[error("clone addresses with `{0}` are not allowed: use http, https or ssh")]
    Scheme(String),
    #[error("the clone address {0}")]
    Malformed(&'static str),
}

/// A clone address. `Display` and `Debug` omit its credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct CloneUrl {
    address: String,
    credentials: Option<Credentials>,
    ssh: Option<SshLogin>,
}

/// The key that ssh logs in with at an address, and the host keys that it accepts.
#[derive(Clone, PartialEq, Eq)]
pub struct SshLogin {
    private_key: String,
    /// Lines of known_hosts.
    host_keys: String,
}

impl SshLogin {
    #[must_use]
    pub const fn new(private_key: String, host_keys: String) -> Self {
        Self { private_key, host_keys }
    }

    /// For ssh alone.
    #[must_use]
    pub fn private_key(&self) -> &str {
        &self.private_key
    }

    #[must_use]
    pub fn host_keys(&self) -> &str {
        &self.host_keys
    }
}

impl fmt::Debug for SshLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SshLogin(..)")
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Credentials {
    /// `http://host:port/`, the only place where the credentials are used.
    scope: String,
    user: String,
    password: String,
}

impl CloneUrl {
    /// Returns the address without credentials. An ssh address keeps its user, which is not secret.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the host, with its port if one is given.
    #[must_use]
    pub fn host(&self) -> &str {
        let rest = match self.address.split_once("://") {
            Some((_, rest)) => rest.split('/').next().unwrap_or_default(),
            // The short form of an ssh address.
            None => {
                let rest = self.address.split_once('@').map_or(self.address.as_str(), |(_, rest)| rest);
                let end = if rest.starts_with('[') { rest.find(']').map(|end| end + 1) } else { rest.find(':') };
                return &rest[..end.unwrap_or(rest.len())];
            }
        };
        rest.rsplit_once('@').map_or(rest, |(_, host)| host)
    }

    #[must_use]
    pub fn is_ssh(&self) -> bool {
        !self.address.starts_with("http://") && !self.address.starts_with("https://")
    }

    #[must_use]
    pub const fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// Adds the credentials of `other` if they apply to this address and it has none of its own.
    #[must_use]
    pub fn with_credentials_of(mut self, other: &Self) -> Self {
        if self.credentials.is_none() {
            self.credentials = other.credentials.clone().filter(|theirs| self.address.starts_with(&theirs.scope));
        }
        if self.ssh.is_none() {
            self.ssh = other.ssh.clone().filter(|_| self.is_ssh() && self.host() == other.host());
        }
        self
    }

    /// Adds a key to an ssh address. Other addresses stay as they are.
    #[must_use]
    pub fn with_ssh_login(mut self, login: SshLogin) -> Self {
        self.ssh = Some(login).filter(|_| self.is_ssh());
        self
    }

    /// Returns the ssh login, if there is one.
    #[must_use]
    pub const fn ssh_login(&self) -> Option<&SshLogin> {
        self.ssh.as_ref()
    }

    /// Returns the git configuration for logging in. It is passed in the environment, which only Longshore's own user
    /// can read; everyone can read arguments.
    #[must_use]
    pub fn git_config(&self) -> Option<(String, String)> {
        self.credentials.as_ref().map(|credentials| {
            let key = format!("http.{}.extraHeader", credentials.scope);
            (key, format!("Authorization: Basic {}", credentials.basic()))
        })
    }

    /// Returns the value of the header `Authorization` for a request to `address`, if the credentials are for that
    /// host.
    #[must_use]
    pub fn authorization(&self, address: &str) -> Option<String> {
        let credentials = self.credentials.as_ref().filter(|ours| address.starts_with(&ours.scope))?;
        Some(format!("Basic {}", credentials.basic()))
    }

    /// Replaces this address's secrets in `text`.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if let Some(credentials) = &self.credentials {
            // A user may be a token, but not one that is also in the path: that is public.
            let user = Some(credentials.user.clone()).filter(|user| !self.address.contains(user));
            for secret in [credentials.basic(), credentials.password.clone()].into_iter().chain(user) {
                // Replacing every "a" for a one-letter user name would garble the message and hide no secret.
                if secret.len() >= 4 {
                    text = text.replace(secret.as_str(), "***");
                }
            }
        }
        text
    }
}

impl Credentials {
    fn basic(&self) -> String {
        BASE64_STANDARD.encode(format!("{}:{}", self.user, self.password))
    }
}

impl fmt::Display for CloneUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.address)
    }
}

impl fmt::Debug for CloneUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = if self.credentials.is_some() { " (with credentials)" } else { "" };
        write!(f, "CloneUrl({}{credentials})", self.address)
    }
}

impl FromStr for CloneUrl {
    type Err = InvalidCloneUrl;

    fn from_str(text: &str) -> Result<Self, InvalidCloneUrl> {
        let malformed = |why| Err(InvalidCloneUrl::Malformed(why));
        if text.len() > MAX_LEN {
            return malformed("is longer than 2048 bytes");
        }
        if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return malformed("contains spaces or control characters");
        }
        if text.starts_with('-') {
            return malformed("starts with a dash");
        }
        let Some((scheme, rest)) = text.split_once("://") else { return short_ssh(text) };
        if !matches!(scheme, "http" | "https" | "ssh") {
            return Err(InvalidCloneUrl::Scheme(scheme.chars().take(20).collect()));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (userinfo, host) = match authority.rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo), host),
            None => (None, authority),
        };
        if !is_host(host) {
            return malformed("has no host, or an invalid one");
        }
        if path.len() < 2 || !path.starts_with('/') {
            return malformed("names no repository");
        }
        if !is_literal(path) {
            return malformed(NOT_LITERAL);
        }
        let Some(userinfo) = userinfo else {
            return Ok(Self { address: text.to_owned(), credentials: None, ssh: None });
        };
        if scheme == "ssh" {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            return if userinfo.contains(':') {
                malformed("contains a password, which ssh does not accept: use a key")
            } else if userinfo.is_empty() || userinfo.starts_with('-') || !userinfo.chars().all(plain) {
                malformed("has an invalid ssh user")
            } else {
                Ok(Self { address: text.to_owned(), credentials: None, ssh: None })
            };
        }
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let (Some(user), Some(password)) = (percent_decoded(user), percent_decoded(password)) else {
            return malformed("has credentials that are not percent-encoded");
        };
        let credentials = Credentials { scope: format!("{scheme}://{host}/"), user, password };
        Ok(Self { address: format!("{scheme}://{host}{path}"), credentials: Some(credentials), ssh: None })
    }
}

/// Parses `git@host:path`, the short form of an ssh address.
fn short_ssh(text: &str) -> Result<CloneUrl, InvalidCloneUrl> {
    if let Some((helper, _)) = text.split_once("::").filter(|(helper, _)| !helper.contains('[')) {
        return Err(InvalidCloneUrl::Scheme(helper.chars().take(20).collect()));
    }
    let parts = text.split_once('@').and_then(|(user, rest)| {
        // The colons of an IPv6 address stand in brackets.
        let end = if rest.starts_with('[') { rest.find("]:")? + 1 } else { rest.find(':')? };
        Some(((user, &rest[..end]), &rest[end + 1..]))
    });
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if parts.is_some_and(|(_, path)| !is_literal(path)) {
        return Err(InvalidCloneUrl::Malformed(NOT_LITERAL));
    }
    match parts {
        Some(((user, host), path))
            if !user.is_empty()
                && user.chars().all(plain)
                && is_host(host)
                && (is_ipv6(host) || !host.contains([':', '[', ']']))
                && !path.is_empty()
                && !path.starts_with('-') =>
        {
            Ok(CloneUrl { address: text.to_owned(), credentials: None, ssh: None })
        }
        _ => {
            Err(InvalidCloneUrl::Malformed("is invalid: expected https://host/path, ssh://host/path or user@host:path"))
        }
    }
}

fn is_host(host: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    !host.is_empty() && !host.starts_with(['-', ':']) && host.chars().all(allowed)
}

/// Returns whether everybody who reads the path takes it for the same one. Clients and hosts resolve `..` before they
/// look at a path, and decode what is escaped; some take `\` for `/`, or leave out what follows a `;`.
fn is_literal(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    !path.split(['/', '?', '#']).any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
        && !["\\", "%2e", "%2f", "%5c", "%25"].iter().any(|read_differently| lower.contains(read_differently))
}

/// Returns whether a host is an IPv6 address in brackets.
fn is_ipv6(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let mut one = [0];
            hex::decode_to_slice(rest.get(..2)?, &mut one).ok()?;
            bytes.push(one[0]);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    // A line break would begin another header.
    String::from_utf8(bytes).ok().filter(|text| !text.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_address() {
        let url: CloneUrl = "https://me:s%40cret@forge.example:8443/a/b.git".parse().unwrap();
        assert_eq!(url.address(), "https://forge.example:8443/a/b.git");
        assert_eq!(format!("{url} {url:?}").matches("cret").count(), 0);
        let (key, value) = url.git_config().unwrap();
        assert_eq!(key, "http.https://forge.example:8443/.extraHeader");
        assert_eq!(value, format!("Authorization: Basic {}", BASE64_STANDARD.encode("me:s@cret")));
        assert_eq!(url.redact("fatal: s@cret is wrong"), "fatal: *** is wrong");
        let token: CloneUrl = "https://t0ken@forge.example/a".parse().unwrap();
        assert_eq!(token.redact("t0ken"), "***");
        let own: CloneUrl = "https://anna:s3cret@h/anna/app.git".parse().unwrap();
        assert_eq!(
            own.redact("no access to https://h/anna/app.git with s3cret"),
            "no access to https://h/anna/app.git with ***"
        );
    }

    #[test]
    fn the_host_of_an_address_is_found_in_every_form() {
        for (url, host) in [
            ("https://me:x@h:8443/a", "h:8443"),
            ("ssh://git@[::1]:22/a", "[::1]:22"),
            ("git@h:a/b:c]:d", "h"),
            ("git@[fd00::2]:a/b.git", "[fd00::2]"),
        ] {
            assert_eq!(url.parse::<CloneUrl>().unwrap().host(), host, "{url}");
        }
    }

    #[test]
    fn only_http_https_and_ssh_are_taken() {
        for good in [
            "http://h/a",
            "https://h:1/a",
            "ssh://git@h:22/a",
            "git@h:a/b.git",
            "http://[::1]:80/a",
            "git@[fd00::2]:a/b.git",
            "git@h:/srv/a..b/.c/%20.git",
        ] {
            assert_eq!(good.parse::<CloneUrl>().unwrap().address(), good);
        }
        for (bad, word) in [
            ("file:///etc", "`file`"),
            ("ext::sh -c id", "spaces"),
            ("ext::sh", "`ext`"),
            ("ext::http://h/a", "`ext::http`"),
            ("git://h/a", "`git`"),
            ("HTTP://h/a", "`HTTP`"),
            ("/srv/git", "is invalid"),
            ("../a", "is invalid"),
            ("-oProxyCommand=x@h:a", "dash"),
            ("ssh://-oProxyCommand=x/a", "host"),
            ("ssh://-x@h/a", "user"),
            ("ssh://a:b@h/a", "password"),
            ("x@-h:a", "is invalid"),
            ("x@[h]:a", "is invalid"),
            ("x@[::1", "is invalid"),
            ("x@h]:a", "is invalid"),
            ("http:///a", "host"),
            ("http://h", "no repository"),
            ("http://a%0ab:c@h/a", "percent"),
            ("http://a%zz@h/a", "percent"),
            ("http://h/a\nb", "control"),
            ("http://h/a/../b", "`..`"),
            ("http://h/a/..;/b", "`..`"),
            ("http://h/..", "`..`"),
            ("http://h/a/..?b", "`..`"),
            ("http://h/a/./b", "`..`"),
            ("http://h/a/%2E./b", "`..`"),
            ("http://h/a/%252e%252e/b", "`..`"),
            ("http://h/a%2f..%2Fb", "`..`"),
            ("http://h/a/..\\b", "`..`"),
            ("http://me:x@h/a/../b", "`..`"),
            ("ssh://git@h/a/../b", "`..`"),
            ("git@h:a/../b", "`..`"),
            ("git@h:..", "`..`"),
        ] {
            let error = bad.parse::<CloneUrl>().unwrap_err().to_string();
            assert!(error.contains(word), "{bad}: {error}");
        }
    }
}
