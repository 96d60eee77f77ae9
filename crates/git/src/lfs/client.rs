//! The HTTP clients for LFS. A store says where its bytes are, and may redirect, so it could lead the server to the
//! server's own host, or to where clouds answer a machine's questions about itself. The addresses that host names
//! resolve to are checked, and only checked addresses are connected to. Private networks are allowed: stores are there.

use std::{
    fmt,
    net::{IpAddr, ToSocketAddrs as _},
    time::Duration,
};

use longshore_core::address::{is_name_of_this_host, is_of_this_host};
use longshore_forge::CloneUrl;
use ureq::{
    Agent, AsSendBody, Body,
    config::Config,
    http::{Request, Response, Uri},
    tls::TlsConfig,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a store may send nothing.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// The clients for LFS. Clones share their connections.
#[derive(Clone)]
pub(crate) struct LfsHttp {
    elsewhere: Agent,
    beside: Agent,
}

/// The client for the store of one repository.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    may: May,
}

/// What may be connected to, besides everything that is not of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Elsewhere,
    /// This host too, for repositories whose git host is there.
    Loopback,
}

/// An address that leads to this host.
#[derive(Debug, thiserror::Error)]
#[error("it leads to the server's own host, or to its cloud's metadata")]
pub(super) struct LeadsHere;

impl May {
    fn reach(self, address: IpAddr) -> bool {
        !is_of_this_host(address) || (self == Self::Loopback && address.to_canonical().is_loopback())
    }
}

impl LfsHttp {
    /// Trusts these authorities and uses the proxies of the environment.
    pub(crate) fn new(tls: TlsConfig) -> Self {
        let agent = |may| {
            let config = Agent::config_builder()
                .tls_config(tls.clone())
                .http_status_as_error(false)
                .max_redirects(0)
                .timeout_connect(Some(CONNECT_TIMEOUT))
                .timeout_recv_response(Some(MAX_SILENCE))
                .timeout_per_read(Some(MAX_SILENCE))
                .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
                .build();
            Agent::with_parts(config, DefaultConnector::default(), Judging { may, inner: DefaultResolver::default() })
        };
        Self { elsewhere: agent(May::Elsewhere), beside: agent(May::Loopback) }
    }

    /// Returns the client for the store of the repository at this address.
    pub(super) async fn of(&self, origin: &CloneUrl) -> Client {
        let host = origin.host();
        let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
        let found = tokio::net::lookup_host(format!("{name}:0")).await;
        match found.is_ok_and(|mut found| found.any(|found| found.ip().to_canonical().is_loopback())) {
            true => Client { agent: self.beside.clone(), may: May::Loopback },
            false => Client { agent: self.elsewhere.clone(), may: May::Elsewhere },
        }
    }
}

impl Client {
    /// Makes a request, unless it would go to this host.
    pub(super) fn run(&self, request: Request<impl AsSendBody>) -> Result<Response<Body>, ureq::Error> {
        self.check(request.uri())?;
        self.agent.run(request)
    }

    /// Refuses host names that a proxy would resolve and connect to on its own.
    fn check(&self, uri: &Uri) -> Result<(), ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let may_reach = match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => self.may.reach(address),
            Err(_) if self.may == May::Elsewhere && is_name_of_this_host(host) => false,
            Err(_) if self.agent.config().proxy().is_some() => {
                (host, 0).to_socket_addrs().map_or(true, |mut found| found.all(|found| self.may.reach(found.ip())))
            }
            Err(_) => true,
        };
        if may_reach { Ok(()) } else { Err(ureq::Error::Other(Box::new(LeadsHere))) }
    }
}

/// Resolves host names, and keeps the addresses that may be connected to.
struct Judging {
    may: May,
    inner: DefaultResolver,
}

impl Resolver for Judging {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        // The operator's proxy may be anywhere.
        if config.proxy().is_some_and(|proxy| proxy.uri().authority() == uri.authority()) {
            return Ok(found);
        }
        let mut kept = self.empty();
        for address in found.iter().filter(|address| self.may.reach(address.ip())) {
            kept.push(*address);
        }
        match kept.is_empty() {
            true => Err(ureq::Error::Other(Box::new(LeadsHere))),
            false => Ok(kept),
        }
    }
}

impl fmt::Debug for LfsHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LfsHttp(..)")
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client(..)")
    }
}

impl fmt::Debug for Judging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judging(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn get(client: &Client, address: &str) -> Result<Response<Body>, ureq::Error> {
        client.run(Request::get(address).body(()).unwrap())
    }

    #[tokio::test]
    async fn a_store_elsewhere_leads_nobody_to_the_servers_own_host() {
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        own.set_nonblocking(true).unwrap();
        let port = own.local_addr().unwrap().port();
        let http = LfsHttp::new(TlsConfig::default());
        // An address that is reserved for documentation.
        let client = http.of(&"https://192.0.2.1:8443/team/app.git".parse().unwrap()).await;
        for host in ["127.0.0.1", "127.1.2.3", "localhost", "x.localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
            let error = get(&client, &format!("http://{host}:{port}/")).unwrap_err();
            assert!(matches!(&error, ureq::Error::Other(cause) if cause.is::<LeadsHere>()), "{host}: {error}");
        }
        assert!(own.accept().is_err(), "nobody has connected");
    }

    #[tokio::test]
    async fn no_store_leads_anybody_to_the_clouds_metadata() {
        let http = LfsHttp::new(TlsConfig::default());
        for origin in ["https://192.0.2.1/app.git", "git@localhost:app.git", "http://[::1]:1/app.git"] {
            let client = http.of(&origin.parse().unwrap()).await;
            for host in ["169.254.169.254", "100.100.100.200", "[fd00:ec2::254]"] {
                let error = get(&client, &format!("http://{host}/latest")).unwrap_err();
                assert!(matches!(&error, ureq::Error::Other(cause) if cause.is::<LeadsHere>()), "{host}: {error}");
            }
        }
    }
}
