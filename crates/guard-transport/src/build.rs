//! Forwards tars to the engine.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use longshore_guard::audit::Entry;
use longshore_guard::{Context, DockerfileError, Gunzip, ImageReader, LoadedNames, Rule, TarReader};

use crate::body::{self, Body, BoxError, LARGEST_ARCHIVE, Sender};
use crate::handle::{Failure, allowed, learn, refusal};
use crate::lines::{self, Values};
use crate::proxy::Proxy;

/// The number of pieces that may wait for the engine.
const AHEAD: usize = 4;
/// The number of unknown base images that a Dockerfile may have.
const MOST_BASES: usize = 64;

/// Keeps what became of a body while it was sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent(Arc<Mutex<Fate>>);

#[derive(Debug, Default)]
struct Fate {
    /// Why it was refused.
    failure: Option<Failure>,
    /// What the images in it are called.
    images: LoadedNames,
}

impl Sent {
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).failure.take()
    }

    /// Returns the images that were in it, once the engine has answered.
    pub(crate) fn images(&self) -> LoadedNames {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).images)
    }

    fn fails(&self, failure: Failure) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).failure = Some(failure);
    }
}

/// Forwards files for a container while they arrive, once they are known to be in a plain tar.
pub(crate) async fn archive(incoming: Incoming) -> Result<(Option<Body>, Sent), Failure> {
    let sent = Sent::default();
    let mut files = Files { incoming: Some(incoming), reader: TarReader::files(LARGEST_ARCHIVE) };
    let mut first = Vec::new();
    while !files.reader.has_started() {
        match files.next().await? {
            Some(bytes) => first.extend(bytes),
            None => break,
        }
    }
    let failed = sent.clone();
    let body = stream::unfold(Some((Some(first), files)), move |state| {
        let failed = failed.clone();
        async move {
            let (first, mut files) = state?;
            let next = match first {
                Some(first) => Ok(Some(first)),
                None => files.next().await,
            };
            match next {
                Ok(Some(bytes)) => Some((Ok::<_, BoxError>(Frame::data(Bytes::from(bytes))), Some((None, files)))),
                Ok(None) => None,
                Err(failure) => {
                    failed.fails(failure);
                    Some((Err("the archive was refused".into()), None))
                }
            }
        }
    });
    Ok((Some(StreamBody::new(body).boxed_unsync()), sent))
}

/// Files for a container, as they arrive.
struct Files {
    /// `None` once all have arrived.
    incoming: Option<Incoming>,
    reader: TarReader,
}

impl Files {
    /// Returns the next bytes that are forwarded. `None` at the end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(incoming) = &mut self.incoming else { return Ok(None) };
        let Some(frame) = incoming.frame().await else {
            self.incoming = None;
            return Ok(Some(self.reader.finish()?));
        };
        let frame = frame.map_err(|_| refusal(Rule::Archive, "the archive is cut off"))?;
        let mut out = Vec::new();
        self.reader.push(&frame.into_data().unwrap_or_default(), &mut out)?;
        Ok(Some(out))
    }
}

/// Forwards an archive of images while it arrives, and at its end the list of them with the engine's names. The engine
/// hears of it once there is a file of an image.
pub(crate) async fn images(proxy: &Arc<Proxy>, mut incoming: Incoming) -> Result<(Option<Body>, Sent), Failure> {
    let mut reader = ImageReader::default();
    let mut first = Vec::new();
    while first.is_empty() {
        match incoming.frame().await {
            Some(frame) => reader.push(&data(frame)?, &mut first)?,
            None => return Err(refusal(Rule::Archive, "the archive has no file of an image").into()),
        }
    }
    let (sender, body) = body::channel(AHEAD);
    let sent = Sent::default();
    let (proxy, fate) = (Arc::clone(proxy), sent.clone());
    proxy.clone().tasks.spawn(async move {
        if let Err(failure) = send_images(&proxy, (reader, first), incoming, &sender, &fate).await {
            fate.fails(failure);
            sender.abort("the archive was refused").await;
        }
    });
    Ok((Some(body), sent))
}

async fn send_images(
    proxy: &Proxy,
    (mut reader, mut out): (ImageReader, Vec<u8>),
    mut incoming: Incoming,
    sender: &Sender,
    fate: &Sent,
) -> Result<(), Failure> {
    let broken = || Failure::engine("the engine stopped reading the archive");
    loop {
        if !out.is_empty() && !sender.send(std::mem::take(&mut out)).await {
            return Err(broken());
        }
        match incoming.frame().await {
            Some(frame) => reader.push(&data(frame)?, &mut out)?,
            None => break,
        }
    }
    let (end, images) = proxy.guard().load(reader.images()?)?;
    fate.0.lock().unwrap_or_else(PoisonError::into_inner).images = images;
    if sender.send(end).await { Ok(()) } else { Err(broken()) }
}

fn data(frame: Result<Frame<Bytes>, hyper::Error>) -> Result<Bytes, Failure> {
    let frame = frame.map_err(|_| refusal(Rule::Archive, "the archive is cut off"))?;
    Ok(frame.into_data().unwrap_or_default())
}

/// Forwards a build's context while it arrives, and at its end the rewritten Dockerfile.
pub(crate) fn context(proxy: &Arc<Proxy>, context: &Context, incoming: Incoming) -> (Option<Body>, Sent) {
    let (sender, body) = body::channel(AHEAD);
    let sent = Sent::default();
    let (proxy, context, failed) = (Arc::clone(proxy), context.clone(), sent.clone());
    proxy.clone().tasks.spawn(async move {
        if let Err(failure) = send_context(&proxy, &context, incoming, &sender).await {
            failed.fails(failure);
            sender.abort("the context was refused").await;
        }
    });
    (Some(body), sent)
}

async fn send_context(
    proxy: &Proxy,
    context: &Context,
    mut incoming: Incoming,
    sender: &Sender,
) -> Result<(), Failure> {
    let broken = || Failure::engine("the engine stopped reading the context");
    let (mut reader, mut gunzip) = (TarReader::context(context.build.dockerfile_name()), Gunzip::default());
    while let Some(frame) = incoming.frame().await {
        let bytes = data(frame)?;
        for piece in bytes.chunks(gunzip.piece()) {
            let mut out = Vec::new();
            reader.push(&gunzip.unpack(piece)?, &mut out)?;
            if !out.is_empty() && !sender.send(out).await {
                return Err(broken());
            }
        }
    }
    let mut last = Vec::new();
    reader.push(&gunzip.finish()?, &mut last)?;
    let dockerfile = reader.dockerfile()?;
    let written = write_dockerfile(proxy, context, &dockerfile).await?;
    last.extend(reader.end(&context.written_as, &written));
    if sender.send(last).await { Ok(()) } else { Err(broken()) }
}

/// Pulls a base image of a build, as the builder would.
async fn pull(proxy: &Proxy, context: &Context, reference: &str) -> Result<(), Failure> {
    let refused =
        |why: &str| refusal(Rule::Image, &format!("the engine could not pull the base image {reference}: {why}"));
    let call = proxy.guard().pull(reference, &context.build).map_err(|no| refused(&no.reason))?;
    record_pull(proxy, reference)?;
    proxy.look_before_pull(reference).await?;
    let answered = proxy.engine.send(&call, None, false).await.map_err(Failure::Engine)?;
    if !answered.status().is_success() {
        let text = body::read_answer(answered.into_body()).await.map_err(Failure::Engine)?;
        return Err(refused(&String::from_utf8_lossy(&text)).into());
    }
    let mut progress = Values::new(answered.into_body(), lines::LONGEST);
    while let Some(values) = progress.next().await.map_err(Failure::Engine)? {
        if let Some(error) = values.iter().find_map(|value| value.get("error")?.as_str()) {
            return Err(refused(error).into());
        }
    }
    let image = proxy.engine.get(&format!("/images/{reference}/json")).await.map_err(Failure::Engine)?;
    match image {
        Some(image) => proxy.change(|guard| guard.settle_image(reference, reference, false, &image)),
        None => return Err(refused("it was pulled and is gone again").into()),
    }
    Ok(())
}

/// Records the pull of a base image like one that the client asks for.
fn record_pull(proxy: &Proxy, reference: &str) -> Result<(), Failure> {
    proxy.change(|guard| guard.note_pull(reference));
    let entry = Entry {
        object: reference.to_owned(),
        reason: "a base image of a build".to_owned(),
        ..allowed(proxy, SystemTime::now(), "POST", "images/create")
    };
    proxy.record(entry).map_err(|error| Failure::engine(format!("the audit log cannot be written: {error}")))
}

async fn write_dockerfile(proxy: &Proxy, context: &Context, text: &str) -> Result<String, Failure> {
    for _ in 0..MOST_BASES {
        let written = proxy.change(|guard| guard.dockerfile(&context.build, text));
        match written {
            Ok(written) => return Ok(written),
            Err(DockerfileError::Refused(refusal)) => return Err(refusal.into()),
            Err(DockerfileError::Unknown(reference)) => {
                learn(proxy, &reference).await?;
                if !proxy.guard().knows_image(&reference) {
                    pull(proxy, context, &reference).await?;
                }
            }
        }
    }
    Err(refusal(Rule::Limit, "the Dockerfile has too many base images").into())
}
