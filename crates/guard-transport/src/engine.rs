//! Calls to the engine, each on a connection of its own.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use longshore_guard::{EngineBody, EngineCall};
use serde_json::Value;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::body::{self, Body};

/// How long the engine may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(crate) socket: PathBuf,
    /// The minor version of the API. `None` until it is known.
    pub(crate) api: Option<u32>,
}

impl Engine {
    /// Sends a call. `tar` is the body, if it has one. With `upgrade`, the connection may become a stream.
    pub(crate) async fn send(
        &self,
        call: &EngineCall,
        tar: Option<Body>,
        upgrade: bool,
    ) -> Result<Response<Incoming>, String> {
        self.send_until(call, tar, upgrade, &CancellationToken::new()).await
    }

    /// The same. The connection is cut with `cut`, also while nothing is sent on it.
    pub(crate) async fn send_until(
        &self,
        call: &EngineCall,
        tar: Option<Body>,
        upgrade: bool,
        cut: &CancellationToken,
    ) -> Result<Response<Incoming>, String> {
        let request = self.request(call, tar, upgrade)?;
        let stream = match tokio::time::timeout(CONNECT, UnixStream::connect(&self.socket)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(format!("the engine cannot be reached: {error}")),
            Err(_) => return Err("the engine does not accept a connection".to_owned()),
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        // The task ends with the answer, or with the stream that the connection becomes.
        tokio::spawn(cut.clone().run_until_cancelled_owned(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to the engine broke");
            }
        }));
        sender.send_request(request).await.map_err(|error| format!("the engine does not answer: {error}"))
    }

    fn request(&self, call: &EngineCall, tar: Option<Body>, upgrade: bool) -> Result<Request<Body>, String> {
        let version = self.api.map(|minor| format!("/v1.{minor}")).unwrap_or_default();
        let method = Method::from_bytes(call.method.as_bytes()).map_err(|error| error.to_string())?;
        let mut request =
            Request::builder().method(method).uri(format!("{version}{}", call.path)).header(HOST, "docker");
        request = match upgrade {
            true => request.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp"),
            false => request.header(CONNECTION, "close"),
        };
        if let Some((name, value)) = &call.credentials {
            let mut value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
            value.set_sensitive(true);
            request = request.header(*name, value);
        }
        let body = match (&call.body, tar) {
            (EngineBody::Empty, _) => body::empty(),
            (EngineBody::Json(value), _) => {
                request = request.header(CONTENT_TYPE, "application/json");
                body::full(value.to_string())
            }
            (EngineBody::Tar | EngineBody::Images | EngineBody::Program, Some(tar)) => {
                request = request.header(CONTENT_TYPE, "application/x-tar");
                tar
            }
            (EngineBody::Tar | EngineBody::Images | EngineBody::Program, None) => {
                return Err("there is no archive".to_owned());
            }
        };
        request.body(body).map_err(|error| error.to_string())
    }

    /// Sends a call whose answer only says whether it succeeded. What is to be removed may be gone.
    pub(crate) async fn done(&self, call: &EngineCall) -> Result<(), String> {
        let answer = self.send(call, None, false).await?;
        let status = answer.status();
        let text = body::read_answer(answer.into_body()).await?;
        if status.is_success() || (call.method == "DELETE" && status == hyper::StatusCode::NOT_FOUND) {
            return Ok(());
        }
        Err(format!("{}: the engine answers {status}: {}", call.path, String::from_utf8_lossy(&text)))
    }

    /// Requests JSON. `None` if there is no such object.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Value>, String> {
        let call = EngineCall { method: "GET", path: path.to_owned(), body: EngineBody::Empty, credentials: None };
        let answer = self.send(&call, None, false).await?;
        let status = answer.status();
        let bytes: Bytes = body::read_answer(answer.into_body()).await?;
        if status == hyper::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(format!("the engine answers {status}"));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|error| format!("the engine's answer is invalid: {error}"))
    }
}
