//! Streams of JSON values, each of which is rewritten for the client.

use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use longshore_guard::{Effect, LineShape};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::body::{self, Body, Sender};
use crate::building::{self, Building};
use crate::proxy::Proxy;

/// The number of values that may wait for the client.
const AHEAD: usize = 16;
/// The longest value, in bytes.
pub(crate) const LONGEST: usize = 4 << 20;

/// Forwards a stream until either side ends it, which is the turn of a build for so long. The objects that were created
/// are recorded before the client sees the end.
pub(crate) fn carry(
    proxy: &Arc<Proxy>,
    shape: LineShape,
    effect: Effect,
    from: Incoming,
    (stop, mut building): (CancellationToken, Option<Building>),
) -> Body {
    let (sender, body) = body::channel(AHEAD);
    let proxy = Arc::clone(proxy);
    proxy.clone().tasks.spawn(async move {
        let carried = tokio::select! {
            carried = building::limited(&mut building, values(&proxy, &shape, from, &sender)) => carried,
            () = stop.cancelled() => Err("the guard ends".to_owned()),
        };
        settle(&proxy, &effect).await;
        match (carried, shape) {
            (Ok(()), _) => {}
            // As the engine says it.
            (Err(reason), LineShape::Progress | LineShape::Import | LineShape::Loaded(_)) => {
                let line = json!({ "errorDetail": { "message": reason }, "error": reason });
                sender.send(format!("{line}\r\n")).await;
            }
            (Err(reason), LineShape::Events(_)) => sender.abort(&reason).await,
        }
    });
    body
}

/// Reads JSON values from a body.
#[derive(Debug)]
pub(crate) struct Values {
    from: Incoming,
    pending: BytesMut,
    longest: usize,
    long: Long,
}

/// What becomes of a value that is too long.
#[derive(Debug, PartialEq, Eq)]
enum Long {
    EndsAll,
    IsLeftOut,
    /// The rest of this line is the rest of one.
    IsBeingLeftOut,
}

impl Values {
    /// Reads values of at most `longest` bytes. A longer one is an error.
    pub(crate) fn new(from: Incoming, longest: usize) -> Self {
        Self { from, pending: BytesMut::new(), longest, long: Long::EndsAll }
    }

    /// Reads values of a line each, and leaves out those that are too long: a value that others make too long does not
    /// end the stream.
    fn without_long(from: Incoming) -> Self {
        Self { long: Long::IsLeftOut, ..Self::new(from, LONGEST) }
    }

    fn too_long(&self) -> String {
        format!("the engine sent a value of more than {} KiB", self.longest >> 10)
    }

    /// Returns the next values, possibly none. `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Value>>, String> {
        let Some(frame) = self.from.frame().await else {
            return if self.pending.is_empty() { Ok(None) } else { Err("the engine's stream is cut off".to_owned()) };
        };
        let frame = frame.map_err(|error| format!("the engine's stream broke: {error}"))?;
        self.pending.extend_from_slice(&frame.into_data().unwrap_or_default());
        let mut values = Vec::new();
        if self.long == Long::IsBeingLeftOut {
            let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') else {
                self.pending.clear();
                return Ok(Some(values));
            };
            self.pending.advance(end);
            self.long = Long::IsLeftOut;
        }
        loop {
            let mut stream = serde_json::Deserializer::from_slice(&self.pending).into_iter::<Value>();
            match stream.next() {
                Some(Ok(value)) => {
                    let read = stream.byte_offset();
                    match read > self.longest {
                        false => values.push(value),
                        true if self.long == Long::EndsAll => return Err(self.too_long()),
                        true => {}
                    }
                    self.pending.advance(read);
                }
                Some(Err(error)) if error.is_eof() => break,
                Some(Err(error)) => return Err(format!("the engine's stream is invalid: {error}")),
                None => {
                    self.pending.clear();
                    break;
                }
            }
        }
        if self.pending.len() > self.longest {
            if self.long == Long::EndsAll {
                return Err(self.too_long());
            }
            self.pending.clear();
            self.long = Long::IsBeingLeftOut;
        }
        Ok(Some(values))
    }
}

async fn values(proxy: &Proxy, shape: &LineShape, from: Incoming, sender: &Sender) -> Result<(), String> {
    let mut from = match shape {
        LineShape::Events(_) => Values::without_long(from),
        LineShape::Progress | LineShape::Import | LineShape::Loaded(_) => Values::new(from, LONGEST),
    };
    // The engine loads an archive to its end, whether the client listens or not.
    let ends_with_client = !matches!(shape, LineShape::Loaded(_));
    let mut listens = true;
    while let Some(values) = from.next().await? {
        let mut out = Vec::new();
        for value in values {
            if *shape == LineShape::Import {
                proxy.change(|guard| guard.settle_import(&value));
            }
            if let Some(value) = proxy.guard().rewrite_line(shape, value) {
                out.extend_from_slice(value.to_string().as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
        listens = listens && (out.is_empty() || sender.send(out).await);
        if !listens && ends_with_client {
            return Err("the client has gone".to_owned());
        }
    }
    Ok(())
}

/// Asks for the ids of the images that were made. A stream that ended with an error has made none.
async fn settle(proxy: &Proxy, effect: &Effect) {
    let Effect::ImagesMade { references, kept } = effect else { return };
    for (reference, on_engine) in references {
        match proxy.engine.get(&format!("/images/{on_engine}/json")).await {
            Ok(Some(image)) => {
                proxy.change(|guard| guard.settle_image(reference, on_engine, *kept, &image));
            }
            Ok(None) => {}
            Err(reason) => tracing::warn!(reason, "the id of a new image could not be determined"),
        }
    }
    proxy.remove_left_names().await;
}
