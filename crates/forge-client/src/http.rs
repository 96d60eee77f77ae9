//! The HTTP client for forges: one for all of them, with limits for time and size. Redirects are not followed, since
//! the host that they lead to would receive the token.

use std::{fmt, sync::Arc, time::Duration};

use longshore_core::authority;
use serde_json::Value;
use ureq::{
    Agent,
    http::{HeaderValue, Method, Request, header},
    tls::TlsConfig,
};

use crate::{
    answer::{Answer, interpret},
    error::CallError,
    github_app::Installations,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the lookup of the name to the last byte of the answer.
const WHOLE_CALL: Duration = Duration::from_secs(30);
/// The longest answer. A page of a hundred repositories has less than one MiB.
const MAX_ANSWER: u64 = 8 << 20;

/// The HTTP client for all forges. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Http(Agent, Arc<Installations>);

impl Http {
    /// Creates a client that trusts these authorities and uses the proxies of the environment.
    #[must_use]
    pub fn new(tls: TlsConfig) -> Self {
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(WHOLE_CALL))
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .build();
        Self(config.into(), Arc::default())
    }

    /// Returns what is known of the installations of GitHub Apps.
    pub(crate) fn installations(&self) -> &Installations {
        &self.1
    }

    /// Asks for an address, and returns where its answer redirects to, which is not followed. `None` if it does not, or
    /// the host does not answer. `login` is the value of `Authorization`.
    #[must_use]
    pub fn redirect_of(&self, address: &str, login: Option<&str>) -> Option<String> {
        let mut request = self.0.get(address);
        if let Some(login) = login {
            request = request.header(header::AUTHORIZATION, login);
        }
        let answer = request.call().ok().filter(|answer| answer.status().is_redirection())?;
        Some(answer.headers().get(header::LOCATION)?.to_str().ok()?.to_owned())
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::new(TlsConfig::default())
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http(..)")
    }
}

/// One forge's API.
pub(crate) struct Endpoint {
    http: Http,
    /// Every path is appended to it; without a slash at the end.
    root: String,
    /// For messages.
    host: String,
    authorization: (header::HeaderName, HeaderValue),
    accept: &'static str,
    /// The name of the server there, for messages.
    expected: &'static str,
    /// Does not get into a message, even if the forge repeats it.
    secret: String,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// `value` is the header's value, which contains `secret`.
    pub(crate) fn new(
        http: Http,
        root: String,
        header: &'static str,
        value: &str,
        secret: &str,
        expected: &'static str,
    ) -> Self {
        // A token with characters that no header takes has been refused before.
        let mut value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        let host = root.split('/').nth(2).unwrap_or_default().to_owned();
        let authorization = (header::HeaderName::from_static(header), value);
        Self { http, root, host, authorization, accept: "application/json", expected, secret: secret.to_owned() }
    }

    pub(crate) fn accepting(self, accept: &'static str) -> Self {
        Self { accept, ..self }
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer, CallError> {
        self.call(&Method::GET, path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Answer, CallError> {
        self.call(&Method::POST, path, Some(body))
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Result<Answer, CallError> {
        self.call(&Method::PATCH, path, Some(body))
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Result<Answer, CallError> {
        self.call(&Method::PUT, path, Some(body))
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Answer, CallError> {
        self.call(&Method::DELETE, path, None)
    }

    /// Returns the error for an answer without what every such forge says.
    pub(crate) fn not_understood(&self) -> CallError {
        CallError::NotUnderstood { host: self.host.clone(), expected: self.expected }
    }

    pub(crate) fn missing_right(&self, needs: impl Into<String>) -> CallError {
        CallError::MissingRight { host: self.host.clone(), needs: needs.into() }
    }

    /// Returns the error for something that the forge does not have.
    pub(crate) fn not_found(&self, what: impl Into<String>) -> CallError {
        CallError::NotFound { host: self.host.clone(), what: what.into() }
    }

    fn call(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Answer, CallError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.root))
            .header(&self.authorization.0, &self.authorization.1)
            .header(header::ACCEPT, self.accept);
        let sent = match body {
            Some(body) => request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body.to_string())
                .map_err(ureq::Error::from)
                .and_then(|request| self.http.0.run(request)),
            None => request.body(()).map_err(ureq::Error::from).and_then(|request| self.http.0.run(request)),
        };
        let mut response = sent.map_err(|error| self.unreachable(&error))?;
        let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        let body = body.map_err(|error| self.unreachable(&error))?;
        interpret(response.status().as_u16(), response.headers(), &body, &self.host, &self.secret)
    }

    fn unreachable(&self, error: &ureq::Error) -> CallError {
        let error = error.to_string();
        let detail = authority::untrusted(&error).map_or(error, str::to_owned);
        CallError::Unreachable { host: self.host.clone(), detail }
    }
}
