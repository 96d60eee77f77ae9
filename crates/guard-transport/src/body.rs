//! Bodies of requests and of answers.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use longshore_guard::{Refusal, Rule};
use tokio::sync::mpsc;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The largest JSON body of a request, in bytes. Lists of what a job has made stay far below [`LARGEST_ANSWER`].
const LARGEST_JSON: usize = 1 << 20;
/// The largest archive that is put into a container, in bytes.
pub(crate) const LARGEST_ARCHIVE: u64 = 16 << 30;
/// The largest JSON answer, in bytes.
const LARGEST_ANSWER: usize = 64 << 20;

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Reads a client's JSON body, which may be absent.
pub(crate) async fn read_request(body: Incoming) -> Result<Bytes, Refusal> {
    match Limited::new(body, LARGEST_JSON).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Refusal { rule: Rule::Limit, reason: format!("the body is larger than {} MiB", LARGEST_JSON >> 20) })
        }
        Err(_) => Err(Refusal { rule: Rule::Syntax, reason: "the body is cut off, or its length is wrong".to_owned() }),
    }
}

/// Reads an answer of the engine.
pub(crate) async fn read_answer(body: Incoming) -> Result<Bytes, String> {
    match Limited::new(body, LARGEST_ANSWER).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => Err(format!("the engine's answer broke off: {error}")),
    }
}

/// The writing end of a body that is sent in pieces.
#[derive(Debug)]
pub(crate) struct Sender(mpsc::Sender<Result<Frame<Bytes>, BoxError>>);

impl Sender {
    /// Sends a piece. Returns `false` if nobody reads any more.
    pub(crate) async fn send(&self, bytes: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(bytes.into()))).await.is_ok()
    }

    /// Ends the body with an error, as if it were cut off.
    pub(crate) async fn abort(&self, reason: &str) {
        let _ = self.0.send(Err(reason.into())).await;
    }
}

/// Makes a body that is sent in pieces. Up to `ahead` pieces may wait to be read.
pub(crate) fn channel(ahead: usize) -> (Sender, Body) {
    let (sender, mut pieces) = mpsc::channel(ahead);
    let body = StreamBody::new(stream::poll_fn(move |cx| pieces.poll_recv(cx)));
    (Sender(sender), body.boxed_unsync())
}
