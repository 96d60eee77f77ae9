//! Checks that a request is for one of this server's names.
//!
//! Another site can point its own name at this server's address. Its pages then read, in a visitor's browser, what only
//! that browser can reach (DNS rebinding). So a request must name this server: by the host of the public address, by a
//! further configured name, or by a name that no outsider can point here, which is an IP address, `localhost` or a name
//! without a dot.
//!
//! Paths that reveal nothing without a signature or a token are served under any name, since forges and probes may know
//! the server by a different name than people do.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{config::ApiConfig, error::ApiError};

/// Middleware that refuses requests for other hosts.
pub(crate) async fn check(State(config): State<Arc<ApiConfig>>, request: Request, next: Next) -> Response {
    if let Some(name) = foreign_name(&config, &request) {
        return ApiError::misdirected(format!(
            "unknown host `{name}`: this server's address is {}. If people use that name, set LONGSHORE_URL to the address that \
             they use, or add the name to LONGSHORE_HOSTS",
            config.public_url
        ))
        .into_response();
    }
    next.run(request).await
}

/// Returns the host that the request names, if it is not one of this server's.
fn foreign_name(config: &ApiConfig, request: &Request) -> Option<String> {
    let path = request.uri().path();
    if matches!(path, "/healthz" | "/readyz" | "/metrics") || path.starts_with("/hooks/") {
        return None;
    }
    let asked = request.headers().get_all(header::HOST).iter().map(|host| String::from_utf8_lossy(host.as_bytes()));
    let asked = asked.chain(request.uri().authority().map(|authority| authority.as_str().into()));
    asked.map(|host| host_name(&host)).find(|name| !answers_to(config, name))
}

fn answers_to(config: &ApiConfig, name: &str) -> bool {
    !name.contains('.')
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok()
        || host_name(config.public_url.authority()) == name
        || config.more_hosts.iter().any(|host| host_name(host) == name)
}

/// Returns a host without its port, in lower case.
fn host_name(host: &str) -> String {
    let name = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use longshore_core::Timestamp;

    use super::*;
    use crate::config::EngineProbe;

    fn config(url: &str, more: &[&str]) -> ApiConfig {
        ApiConfig {
            public_url: url.parse().unwrap(),
            more_hosts: more.iter().map(|host| (*host).to_owned()).collect(),
            admin_token_hash: None,
            capacity: 1,
            version: "1",
            started_at: Timestamp::now(),
            engine: EngineProbe::new(|| None),
            forges: longshore_forge_client::Http::default(),
            guard_log: std::path::PathBuf::new(),
            notifications: longshore_notification::Sender::default(),
        }
    }

    #[test]
    fn a_server_answers_to_its_names_and_to_those_that_nobody_outside_can_point_at_it() {
        let config = config("https://CI.example.org:8443", &["longshore.lan", "other.lan:8080"]);
        let ours = [
            "ci.example.org",
            "ci.example.org:443",
            "CI.EXAMPLE.ORG.",
            "longshore.lan:8080",
            "other.lan",
            "localhost:8080",
            "a.localhost",
            "127.0.0.1:8080",
            "192.168.1.5",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
            "longshore:8080",
        ];
        for host in ours {
            assert!(answers_to(&config, &host_name(host)), "{host}");
        }
        let others = [
            "evil.example",
            "ci.example.org.evil.example",
            "evil.example:8443",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "notci.example.org",
            "evil.example:ci.example.org",
        ];
        for host in others {
            assert!(!answers_to(&config, &host_name(host)), "{host}");
        }
    }
}
