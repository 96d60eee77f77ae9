//! A small HTTP client: one connection per request, whole answers, and event streams.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

pub(crate) use crate::sse::Event;

/// Only a request that hangs takes this long.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks the error's shape and returns its message.
    pub(crate) fn error(&self) -> String {
        let json = self.json();
        let error = &json["error"];
        assert!(error["code"].is_string() && error.get("details").is_some(), "{json}");
        error["message"].as_str().unwrap().to_owned()
    }
}

async fn connect(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Response<Incoming> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "ci.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = timeout(PATIENCE, sender.send_request(request.body(Full::new(body)).unwrap()));
    answer.await.expect("an answer").unwrap()
}

pub(crate) async fn send(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let response = connect(addr, method, path, headers, body.into()).await;
    let (head, body) = response.into_parts();
    let body = timeout(PATIENCE, body.collect()).await.expect("a whole answer").unwrap().to_bytes();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

/// A stream of server-sent events.
pub(crate) struct Events {
    pub(crate) headers: HeaderMap,
    body: Incoming,
    text: Vec<u8>,
}

impl Events {
    pub(crate) async fn open(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let response = connect(addr, "GET", path, headers, Bytes::new()).await;
        assert_eq!(response.status(), 200, "{path}");
        let (head, body) = response.into_parts();
        Self { headers: head.headers, body, text: Vec::new() }
    }

    /// Returns the next event with a name, `None` at the stream's end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        timeout(PATIENCE, self.next_named()).await.expect("an event")
    }

    async fn next_named(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                let event = Event::parse(std::str::from_utf8(&block).expect("events are UTF-8"));
                if !event.name.is_empty() {
                    return Some(event);
                }
            }
            match self.body.frame().await {
                Some(frame) => self.text.extend_from_slice(&frame.unwrap().into_data().unwrap()),
                None => return None,
            }
        }
    }
}

/// An answer whose head has been read. Its body is not read until it is dropped.
pub(crate) async fn opened(addr: SocketAddr, path: &str) -> Incoming {
    let response = connect(addr, "GET", path, &[], Bytes::new()).await;
    assert_eq!(response.status(), 200, "{path}");
    response.into_body()
}
