//! The place that messages are sent to: its kind, address and secret, checked when it is added.

use std::{fmt, net::IpAddr};

use lettre::Address;
use longshore_core::address;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::{Kind, signature};

const MAX_ADDRESS: usize = 2048;
const MAX_SECRET: usize = 4096;
/// Mailboxes of one notification.
const MAX_MAILBOXES: usize = 20;

/// Why an address or a secret cannot be used. Contains neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTarget(String);

/// A place with what it takes to write there.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    kind: Kind,
    address: String,
    secret: Option<String>,
}

/// What the store seals.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    address: String,
    secret: Option<String>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Target {
    /// Checks an address and a secret. A webhook without a key gets one.
    ///
    /// # Errors
    /// If the address has the wrong form; the error names the right one.
    pub fn new(kind: Kind, address: &str, secret: Option<&str>) -> Result<Self, InvalidTarget> {
        let (address, secret) = (address.trim(), secret.map(str::trim).filter(|secret| !secret.is_empty()));
        let invalid = |why: &str| Err(InvalidTarget(format!("{}: {why}", kind.title())));
        if address.is_empty() || address.len() > MAX_ADDRESS {
            return invalid(&format!("the address is {}", kind.address_form()));
        }
        if secret.is_some_and(|secret| secret.len() > MAX_SECRET || !secret.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return invalid("the secret is one word of at most 4,096 characters");
        }
        let secret = match (kind, secret) {
            (Kind::Webhook, None) => Some(signature::new_key()),
            (Kind::Webhook, Some(key)) if signature::key_bytes(key).is_none() => {
                return invalid("the key is `whsec_` and 24 to 64 bytes in Base64; leave it out to get a new one");
            }
            (Kind::Matrix, None) => return invalid("it takes the access token of an account in the room"),
            (Kind::Webhook | Kind::Matrix, Some(secret)) => Some(secret.to_owned()),
            (Kind::Email | Kind::Slack | Kind::Discord | Kind::Mattermost | Kind::Teams, Some(_)) => {
                return invalid("it takes no secret besides the address");
            }
            (Kind::Email | Kind::Slack | Kind::Discord | Kind::Mattermost | Kind::Teams, None) => None,
        };
        let target = Self { kind, address: address.to_owned(), secret };
        match kind {
            Kind::Email => {
                let mailboxes = target.mailboxes();
                if mailboxes.is_empty() || mailboxes.len() > MAX_MAILBOXES || mailboxes.iter().any(Option::is_none) {
                    return invalid(&format!(
                        "it takes up to {MAX_MAILBOXES} addresses such as team@example.org, separated by commas"
                    ));
                }
            }
            Kind::Slack | Kind::Discord | Kind::Matrix | Kind::Mattermost | Kind::Teams | Kind::Webhook => {
                let Some(url) = target.url() else {
                    return invalid(&format!("the address is {}", kind.address_form()));
                };
                if !url.username().is_empty() || url.password().is_some() {
                    return invalid("the address has a user or a password in it");
                }
                if kind == Kind::Matrix && target.room().is_none() {
                    return invalid(&format!("the address is {}", kind.address_form()));
                }
            }
        }
        Ok(target)
    }

    /// Reads what [`to_sealed`](Self::to_sealed) wrote. `None` if it is damaged.
    #[must_use]
    pub fn from_sealed(kind: Kind, text: &str) -> Option<Self> {
        let Sealed { address, secret } = serde_json::from_str(text).ok()?;
        Self::new(kind, &address, secret.as_deref()).ok()
    }

    /// Returns address and secret, for the store's seal alone.
    #[must_use]
    pub fn to_sealed(&self) -> String {
        let sealed = Sealed { address: self.address.clone(), secret: self.secret.clone() };
        serde_json::to_string(&sealed).unwrap_or_default()
    }

    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the key that webhooks are signed with, to be shown once.
    #[must_use]
    pub fn signing_key(&self) -> Option<&str> {
        self.secret.as_deref().filter(|_| self.kind == Kind::Webhook)
    }

    /// Returns what people may see of the address: paths of webhooks are as good as passwords.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.kind {
            Kind::Email => self.address.clone(),
            Kind::Matrix => match (self.url(), self.room()) {
                (Some(url), Some(room)) => format!("{}/{room}", url.origin().ascii_serialization()),
                _ => String::new(),
            },
            Kind::Slack | Kind::Discord | Kind::Mattermost | Kind::Teams | Kind::Webhook => {
                self.url().map(|url| format!("{}/…", url.origin().ascii_serialization())).unwrap_or_default()
            }
        }
    }

    /// Returns whether the address, as it is written, is one of the server's own network. The addresses of a name are
    /// found out when a message is sent.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        match self.url().as_ref().and_then(Url::host) {
            Some(Host::Ipv4(ip)) => address::is_internal(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => address::is_internal(IpAddr::V6(ip)),
            Some(Host::Domain(name)) => address::is_name_of_this_host(name),
            None => false,
        }
    }

    /// Returns the address of an HTTP request; `None` for mailboxes.
    pub(crate) fn url(&self) -> Option<Url> {
        match self.kind {
            Kind::Email => None,
            Kind::Slack | Kind::Discord | Kind::Matrix | Kind::Mattermost | Kind::Teams | Kind::Webhook => {
                let url = Url::parse(&self.address).ok()?;
                (matches!(url.scheme(), "http" | "https") && url.host().is_some()).then_some(url)
            }
        }
    }

    pub(crate) fn secret(&self) -> Option<&str> {
        self.secret.as_deref()
    }

    /// Returns the room of a Matrix address: its last part, `!id:example.org`.
    pub(crate) fn room(&self) -> Option<String> {
        let url = self.url()?;
        let last = url.path_segments()?.next_back()?.replace("%21", "!").replace("%3A", ":").replace("%3a", ":");
        (last.starts_with('!') && last.len() > 1 && url.query().is_none()).then_some(last)
    }

    /// Returns the mailboxes; `None` if one of them is invalid.
    pub(crate) fn mailboxes(&self) -> Vec<Option<Address>> {
        let parts = self.address.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| part.parse().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_takes_its_address_and_shows_nothing_that_lets_others_write() {
        for (kind, address, secret, shown) in [
            (Kind::Email, "a@example.org, b@example.org", None, "a@example.org, b@example.org"),
            (Kind::Slack, "https://hooks.slack.com/services/T/B/s3cret", None, "https://hooks.slack.com/…"),
            (Kind::Discord, "https://discord.com/api/webhooks/1/s3cret", None, "https://discord.com/…"),
            (
                Kind::Matrix,
                "https://m.example.org/!r:example.org",
                Some("s3cret"),
                "https://m.example.org/!r:example.org",
            ),
            (Kind::Mattermost, "http://chat.lan:8065/hooks/s3cret", None, "http://chat.lan:8065/…"),
            (Kind::Teams, "https://x.logic.azure.com:443/workflows/1?sig=s3cret", None, "https://x.logic.azure.com/…"),
            (Kind::Webhook, "https://example.org/hook", None, "https://example.org/…"),
        ] {
            let target = Target::new(kind, address, secret).unwrap();
            assert_eq!(target.shown(), shown);
            assert!(!format!("{target:?}{}", target.shown()).contains("s3cret"));
            assert_eq!(Target::from_sealed(kind, &target.to_sealed()).as_ref(), Some(&target));
        }
    }

    #[test]
    fn what_a_kind_does_not_take_is_refused_without_quoting_it() {
        for (kind, address, secret) in [
            (Kind::Email, "no address s3cret", None),
            (Kind::Email, "a@example.org", Some("s3cret")),
            (Kind::Email, "a@example.org\nBcc: b@example.org", None),
            (Kind::Slack, "hooks.slack.com/s3cret", None),
            (Kind::Slack, "file:///s3cret", None),
            (Kind::Discord, "https://user:s3cret@discord.com/x", None),
            (Kind::Matrix, "https://m.example.org/!r:example.org", None),
            (Kind::Matrix, "https://m.example.org/#s3cret:example.org", Some("t")),
            (Kind::Webhook, "https://example.org", Some("s3cret")),
            (Kind::Teams, "", None),
        ] {
            let error = Target::new(kind, address, secret).unwrap_err().to_string();
            assert!(!error.contains("s3cret") && error.starts_with(kind.title()), "{error}");
        }
    }

    #[test]
    fn an_address_of_the_servers_own_network_is_known_however_it_is_written() {
        for address in [
            "http://127.1/x",
            "http://0x7f000001",
            "http://[::1]:80",
            "https://localhost",
            "http://192.168.1.1",
            "http://2130706433",
        ] {
            assert!(Target::new(Kind::Webhook, address, None).unwrap().is_internal(), "{address}");
        }
        assert!(!Target::new(Kind::Webhook, "https://example.org", None).unwrap().is_internal());
    }
}
