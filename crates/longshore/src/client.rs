//! The client for a server's API, used by the commands. It blocks, because a command does one thing at a time.

use std::{
    io::{BufReader, Read as _},
    path::Path,
    time::Duration,
};

use longshore_core::authority;
use serde_json::Value;
use ureq::tls::TlsConfig;

use crate::{ca_certificates::CaCertificates, commands::ExitError};

/// A client of one server, with one token.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    url: String,
    /// The address that people use, if that is another.
    shown_url: Option<String>,
    token: Option<String>,
}

/// One event of a live stream.
#[derive(Debug, Default)]
pub(crate) struct ServerEvent {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: String,
}

impl Client {
    /// Creates a client. `ca_file` is the option of the command line.
    ///
    /// # Errors
    /// If `ca_file` cannot be used.
    pub(crate) fn new(url: &str, token: Option<String>, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        Self::through(ureq::Proxy::try_from_env(), url, token, ca_file)
    }

    /// Creates a client for a server on this machine. A proxy would get its token, and connect to itself.
    ///
    /// # Errors
    /// If `ca_file` cannot be used.
    pub(crate) fn direct(url: &str, token: Option<String>, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        Self::through(None, url, token, ca_file)
    }

    fn through(
        proxy: Option<ureq::Proxy>,
        url: &str,
        token: Option<String>,
        ca_file: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let in_use = |error: anyhow::Error| ExitError::new(2, format!("{error:#}"));
        let tls = match CaCertificates::read(ca_file).map_err(in_use)? {
            Some(ca_certificates) => ca_certificates.tls().map_err(in_use)?,
            None => TlsConfig::default(),
        };
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy)
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            agent: config.into(),
            url: url.trim_end_matches('/').to_owned(),
            shown_url: None,
            token: token.filter(|token| !token.is_empty()),
        })
    }

    /// Shows addresses below another than the one that is called.
    pub(crate) fn shown_as(mut self, url: &str) -> Self {
        self.shown_url = Some(url.trim_end_matches('/').to_owned());
        self
    }

    /// Returns an address of the server, for people.
    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.shown_url.as_deref().unwrap_or(&self.url))
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.agent.get(format!("{}{path}", self.url));
        self.answer(self.with_token(request).call())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.agent.post(format!("{}{path}", self.url));
        self.answer(self.with_token(request).send_json(body))
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.agent.put(format!("{}{path}", self.url));
        self.answer(self.with_token(request).send_json(body))
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.agent.patch(format!("{}{path}", self.url));
        self.answer(self.with_token(request).send_json(body))
    }

    pub(crate) fn delete(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.agent.delete(format!("{}{path}", self.url));
        self.answer(self.with_token(request).call())
    }

    /// Copies an answer to `out` as it arrives.
    pub(crate) fn copy(&self, path: &str, out: &mut impl std::io::Write) -> anyhow::Result<()> {
        let request = self.with_token(self.agent.get(format!("{}{path}", self.url)));
        let response = request.call().map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            self.answer(Ok(response))?;
            return Ok(());
        }
        std::io::copy(&mut response.into_body().into_reader(), out)?;
        Ok(())
    }

    /// Follows a live stream until `on_event` returns `false`. Resumes a lost connection after the last event's id.
    pub(crate) fn follow(&self, path: &str, mut on_event: impl FnMut(ServerEvent) -> bool) -> anyhow::Result<()> {
        let mut last_id = String::new();
        let mut tries = 0;
        loop {
            let mut request = self.with_token(self.agent.get(format!("{}{path}", self.url)));
            if !last_id.is_empty() {
                request = request.header("Last-Event-ID", &last_id);
            }
            match request.call() {
                Ok(response) if response.status().is_success() => {
                    let mut lines = BufReader::new(response.into_body().into_reader());
                    while let Some(event) = next_event(&mut lines) {
                        tries = 0;
                        if !event.id.is_empty() {
                            last_id.clone_from(&event.id);
                        }
                        if !on_event(event) {
                            return Ok(());
                        }
                    }
                }
                Ok(response) => {
                    self.answer(Ok(response))?;
                }
                Err(error) if tries >= 30 => return Err(self.unreachable(&error)),
                Err(_) => {}
            }
            tries += 1;
            std::thread::sleep(Duration::from_millis(if tries < 5 { 200 } else { 1000 }));
        }
    }

    fn with_token<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> anyhow::Error {
        let error = error.to_string();
        let why = match authority::untrusted(&error) {
            Some(why) => why.to_owned(),
            None => format!("{error}. Is the server running, and is --url (LONGSHORE_URL) correct?"),
        };
        ExitError::new(2, format!("no response from {}: {why}", self.url)).into()
    }

    fn answer(&self, response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<Value> {
        let mut response = response.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let mut text = String::new();
        response.body_mut().as_reader().read_to_string(&mut text)?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(body);
        }
        let message =
            body["error"]["message"].as_str().map_or_else(|| format!("{} responded {status}", self.url), str::to_owned);
        let hint = match (status.as_u16(), &self.token) {
            (401, None) => " Pass a token with --token or LONGSHORE_TOKEN.",
            _ => "",
        };
        Err(ExitError::new(1, format!("{message}{hint}")).into())
    }
}

/// Reads the next event of a stream; `None` at its end.
fn next_event(lines: &mut impl std::io::BufRead) -> Option<ServerEvent> {
    let mut event = ServerEvent::default();
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end_matches(['\n', '\r']);
        if line.is_empty() {
            if event.name.is_empty() && event.data.is_empty() {
                continue;
            }
            return Some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut event.name),
            "id" => value.clone_into(&mut event.id),
            "data" => {
                if !event.data.is_empty() {
                    event.data.push('\n');
                }
                event.data.push_str(value);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_whole_and_keepalives_are_passed_over() {
        let mut text: &[u8] = b": keep\n\nevent: log\nid: 7\ndata: a\ndata: b\n\nevent: end\ndata: {}\n\n";
        let first = next_event(&mut text).unwrap();
        assert_eq!((first.name.as_str(), first.id.as_str(), first.data.as_str()), ("log", "7", "a\nb"));
        assert_eq!(next_event(&mut text).unwrap().name, "end");
        assert!(next_event(&mut text).is_none());
    }
}
