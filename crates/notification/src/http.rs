//! The client for webhooks, with limits for time and size. Redirects are not followed. Unless an administrator of the
//! server set an address, it reaches the public internet alone: the addresses that a name leads to are judged, and
//! those that were judged are connected to.

use std::{
    fmt, io,
    net::{IpAddr, ToSocketAddrs as _},
    time::Duration,
};

use longshore_core::{
    address::{is_internal, is_name_of_this_host},
    authority,
};
use ureq::{
    Agent,
    config::Config,
    http::{Request, Response, Uri, header},
    tls::TlsConfig,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};
use url::{Host, Url};

use crate::{SendError, text::one_line};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the lookup of the name to the last byte of the answer.
const WHOLE_CALL: Duration = Duration::from_secs(30);
/// The bytes of an answer that are read.
const MAX_ANSWER: u64 = 64 << 10;
/// Characters of an answer that are kept.
const MAX_MESSAGE_CHARS: usize = 200;
/// Nobody makes us wait longer before the next message.
const MAX_WAIT: Duration = Duration::from_secs(60 * 60);

/// A request with a JSON body.
pub(crate) struct Call<'a> {
    pub(crate) method: &'static str,
    pub(crate) url: &'a Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    /// Texts that no error message may contain.
    pub(crate) secrets: Vec<&'a str>,
}

/// Both clients.
#[derive(Clone)]
pub(crate) struct Http {
    anywhere: Agent,
    public: Agent,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http(..)")
    }
}

impl Http {
    /// Creates clients that trust these authorities and use the proxies of the environment.
    pub(crate) fn new(tls: TlsConfig) -> Self {
        let config = || {
            Agent::config_builder()
                .tls_config(tls.clone())
                .http_status_as_error(false)
                .max_redirects(0)
                .timeout_connect(Some(CONNECT_TIMEOUT))
                .timeout_global(Some(WHOLE_CALL))
                .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
                .build()
        };
        let public =
            Agent::with_parts(config(), DefaultConnector::default(), PublicAddresses(DefaultResolver::default()));
        Self { anywhere: config().into(), public }
    }

    /// Makes a request. `internal` says whether it may go to the server's own network.
    pub(crate) fn call(&self, call: &Call<'_>, internal: bool) -> Result<(), SendError> {
        let host = call.url.host_str().unwrap_or_default().to_owned();
        if !internal {
            self.check(call.url, &host)?;
        }
        let agent = if internal { &self.anywhere } else { &self.public };
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.url.as_str())
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let sent = request.body(call.body.as_str()).map_err(ureq::Error::from).and_then(|request| agent.run(request));
        let mut response = sent.map_err(|error| unreachable(&error, &host, &call.secrets))?;
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(());
        }
        let text = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec().unwrap_or_default();
        let message = clean(&String::from_utf8_lossy(&text), &call.secrets);
        Err(match status {
            429 => SendError::Limited { host, wait: wait_of(&response) },
            410 => SendError::Gone { host, status },
            408 | 425 | 500..=599 => SendError::Unavailable { host, status, message },
            300..=399 => SendError::Refused {
                host,
                status,
                message: "it answers from another address, which is not followed".to_owned(),
            },
            _ => SendError::Refused { host, status, message },
        })
    }

    /// Refuses addresses that need no lookup to be judged. Behind a proxy, which looks names up by itself, they
    /// have to lead to an address here that can be judged.
    fn check(&self, url: &Url, host: &str) -> Result<(), SendError> {
        let refused = || Err(SendError::Internal { host: host.to_owned() });
        match url.host() {
            Some(Host::Ipv4(ip)) if is_internal(IpAddr::V4(ip)) => refused(),
            Some(Host::Ipv6(ip)) if is_internal(IpAddr::V6(ip)) => refused(),
            Some(Host::Domain(name)) if is_name_of_this_host(name) => refused(),
            Some(Host::Domain(name)) if self.public.config().proxy().is_some() => {
                let port = url.port_or_known_default().unwrap_or(443);
                let found = (name, port).to_socket_addrs().map(|found| found.collect::<Vec<_>>()).unwrap_or_default();
                if found.is_empty() {
                    let detail = "its name is not found here, and what a proxy finds cannot be judged: only an administrator of the server may add it";
                    return Err(SendError::Unreachable { host: host.to_owned(), detail: detail.to_owned() });
                }
                if found.iter().any(|found| is_internal(found.ip())) { refused() } else { Ok(()) }
            }
            Some(_) => Ok(()),
            None => refused(),
        }
    }
}

/// A lookup that found only addresses of the server's own network.
#[derive(Debug, thiserror::Error)]
#[error("the name leads into the server's own network")]
struct LeadsInside;

/// Looks names up, and keeps the public addresses.
struct PublicAddresses(DefaultResolver);

impl fmt::Debug for PublicAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicAddresses(..)")
    }
}

impl Resolver for PublicAddresses {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.0.resolve(uri, config, timeout)?;
        // The operator's proxy may be anywhere.
        if config.proxy().is_some_and(|proxy| proxy.uri().authority() == uri.authority()) {
            return Ok(found);
        }
        let mut public = self.empty();
        for address in found.iter().filter(|address| !is_internal(address.ip())) {
            public.push(*address);
        }
        match public.is_empty() {
            true => Err(ureq::Error::Other(Box::new(LeadsInside))),
            false => Ok(public),
        }
    }
}

fn unreachable(error: &ureq::Error, host: &str, secrets: &[&str]) -> SendError {
    let host = host.to_owned();
    match error {
        ureq::Error::Other(cause) if cause.is::<LeadsInside>() => SendError::Internal { host },
        ureq::Error::Io(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
            SendError::Unreachable { host, detail: "the connection is refused".to_owned() }
        }
        // As the resolver of the C library says it, whose errors have no kind of their own.
        ureq::Error::Io(cause) if cause.to_string().contains("failed to lookup address") => {
            SendError::Unreachable { host, detail: "its name is not found".to_owned() }
        }
        ureq::Error::HostNotFound => SendError::Unreachable { host, detail: "its name is not found".to_owned() },
        error => {
            let error = error.to_string();
            let detail = authority::untrusted(&error).map_or_else(|| clean(&error, secrets), str::to_owned);
            SendError::Unreachable { host, detail }
        }
    }
}

/// Returns one line of a text, without what is secret.
fn clean(text: &str, secrets: &[&str]) -> String {
    let hidden = secrets
        .iter()
        .filter(|secret| secret.len() >= 4)
        .fold(text.to_owned(), |text, secret| text.replace(secret, "***"));
    let line = one_line(&hidden, MAX_MESSAGE_CHARS);
    if line.is_empty() { "no reason given".to_owned() } else { line }
}

/// Returns how long not to call: `Retry-After`, in seconds.
fn wait_of<T>(response: &Response<T>) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds: f64 = value.trim().parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)?;
    Some(Duration::from_secs_f64(seconds.min(MAX_WAIT.as_secs_f64())))
}
