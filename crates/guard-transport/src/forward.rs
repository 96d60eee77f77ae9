//! An allowed request on its way to the engine: when it is its turn, with what belongs before it and after it.

use std::sync::Arc;

use hyper::Response;
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use longshore_guard::{Check, Effect, EngineBody, Forward, LineShape, LoadedNames, Reply, Rule};
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::build::{self, Sent};
use crate::building::{self, Building};
use crate::handle::{Failure, Trace, refusal};
use crate::proxy::Proxy;
use crate::still::Reading;
use crate::{host, reply};

/// Forwards an archive of images, and goes on when the client has gone: the engine does, too.
pub(crate) async fn load(
    proxy: &Arc<Proxy>,
    allowed: Forward,
    incoming: Option<Incoming>,
    trace: &mut Trace,
    stop: CancellationToken,
) -> Result<Response<Body>, Failure> {
    let (proxy, mut loaded) = (Arc::clone(proxy), Trace::default());
    let task = proxy.clone().tasks.spawn(async move {
        let answered = forward(&proxy, allowed, incoming, None, &mut loaded, stop).await;
        (answered, loaded.object)
    });
    let (answered, object) = task.await.map_err(|error| Failure::engine(error.to_string()))?;
    trace.object = object;
    answered
}

/// Forwards a request, and returns the answer for the client.
pub(crate) async fn forward(
    proxy: &Arc<Proxy>,
    mut allowed: Forward,
    incoming: Option<Incoming>,
    client: Option<OnUpgrade>,
    trace: &mut Trace,
    stop: CancellationToken,
) -> Result<Response<Body>, Failure> {
    allowed.call.path.split('?').next().unwrap_or_default().clone_into(&mut trace.object);
    if client.is_some() && allowed.reply != Reply::Hijack {
        return Err(refusal(Rule::Syntax, "the connection of this request cannot be upgraded").into());
    }
    let client = match client {
        Some(upgrade) => Some((upgrade, proxy.place_for_stream()?)),
        None => None,
    };
    let mut building = turn(proxy, &allowed).await?;
    begin_images(proxy, &allowed.effect).await?;
    let (tar, sent) = body(proxy, &allowed, incoming).await?;
    proxy.enter(&allowed.effect).await?;
    let _before = proxy.before(&allowed.effect).await;
    let mut copy = None;
    if let Effect::FilesCopied { id } = &allowed.effect {
        copy.insert(proxy.copy_of(id).await).hold().await?;
    }
    let reading = check(proxy, &allowed).await?;
    prepare(proxy, &allowed.effect).await?;
    if let Effect::ImagesMade { references, kept: false } = &allowed.effect {
        trace.object = references.keys().cloned().collect::<Vec<_>>().join(" ");
    }
    let upgrade = client.is_some();
    let answered = match proxy.exec_starts.place(&allowed.call).await? {
        Some(place) => proxy.start_exec(&allowed.call, upgrade, place, stop.clone()).await,
        None => {
            let cut = building.as_ref().map(Building::connection).unwrap_or_default();
            let answered = proxy.engine.send_until(&allowed.call, tar, upgrade, &cut);
            building::limited(&mut building, answered).await
        }
    };
    // A context that is refused while it is sent breaks off the call: the refusal is the reason.
    if let Some(failure) = sent.failure() {
        return Err(failure);
    }
    let answered = answered.map_err(Failure::Engine)?;
    let is_whole = allowed.call.method == "HEAD";
    name_loaded(&mut allowed, sent.images(), trace);
    let response = reply::answer(proxy, allowed, answered, client, (stop, building), &mut trace.object).await?;
    let response = match reading {
        Some(reading) => response.map(|body| reading.until_end(body)),
        None => response,
    };
    match copy {
        Some(copy) if is_whole || response.body().is_end_stream() => copy.end().await,
        Some(copy) => return Ok(response.map(|body| copy.end_with(body))),
        None => {}
    }
    Ok(response)
}

/// Waits for the turn of a request that has to wait for others. The context of a build is read when it is the build's
/// turn; so is an archive of images.
async fn turn(proxy: &Arc<Proxy>, allowed: &Forward) -> Result<Option<Building>, Failure> {
    let is_pull = matches!(allowed.effect, Effect::ImagesMade { kept: false, .. });
    Ok(match (&allowed.build, &allowed.call.body) {
        (Some(_), _) => Some(proxy.begin_build().await?),
        (None, EngineBody::Images) => Some(proxy.begin_load().await),
        (None, _) if is_pull && proxy.guard().label().is_some() => Some(proxy.begin_pull().await),
        (None, _) => None,
    })
}

/// Begins what makes images. Once it is its turn, since those before it have taken something of the budget.
async fn begin_images(proxy: &Proxy, effect: &Effect) -> Result<(), Failure> {
    let Effect::ImagesMade { references, kept } = effect else { return Ok(()) };
    proxy.has_image_bytes_left().await?;
    for reference in references.keys().filter(|_| !kept) {
        proxy.look_before_pull(reference).await?;
    }
    Ok(proxy.change(|guard| guard.begin_images(effect))?)
}

/// Returns the body that the engine gets in place of the client's, if it is a tar, and what will become of it.
async fn body(
    proxy: &Arc<Proxy>,
    allowed: &Forward,
    incoming: Option<Incoming>,
) -> Result<(Option<Body>, Sent), Failure> {
    Ok(match (incoming, &allowed.build) {
        (Some(incoming), None) if allowed.call.body == EngineBody::Program => {
            (Some(host::program(&proxy.program, incoming).await?), Sent::nothing())
        }
        (Some(incoming), None) if allowed.call.body == EngineBody::Images => build::images(proxy, incoming).await?,
        (Some(incoming), Some(context)) => build::context(proxy, context, incoming),
        (Some(incoming), None) => build::archive(incoming).await?,
        (None, _) => (None, Sent::nothing()),
    })
}

/// Asks the engine whether what has to hold before the request holds. Returns the reading of a container that has to
/// stay as it is until the answer is through.
async fn check(proxy: &Arc<Proxy>, allowed: &Forward) -> Result<Option<Reading>, Failure> {
    let mut reading = None;
    for check in &allowed.checks {
        if let Check::Still { container } = check {
            reading = Some(proxy.reading_of(container).await);
        }
        let found = proxy.engine.get(&check.path()).await.map_err(Failure::Engine)?;
        check.judge(found.as_ref())?;
        if found.is_none() && matches!(check, Check::Volume { place: None, .. }) {
            proxy.change(|guard| guard.note_new_volume(&allowed.effect));
        }
    }
    Ok(reading)
}

/// Does what belongs before the engine's call.
async fn prepare(proxy: &Arc<Proxy>, effect: &Effect) -> Result<(), Failure> {
    if matches!(effect, Effect::ContainerCreated { .. } | Effect::VolumeCreated { .. }) {
        proxy.change(|guard| guard.begin_volumes(effect));
        if let Err(failure) = proxy.saved() {
            proxy.change(|guard| guard.settle(effect, false, None));
            return Err(failure);
        }
    }
    match effect {
        Effect::ContainerStarted { id } => proxy.publish(id).await?,
        // An endpoint of the sandbox would keep the network in use.
        Effect::NetworkRemoved { id } => {
            if let Err(reason) = proxy.leave(id).await {
                tracing::debug!(reason, "the job's sandbox does not leave a network");
            }
        }
        _ => {}
    }
    Ok(())
}

/// Notes what the images of an archive are called, which nobody knew before it was read.
fn name_loaded(allowed: &mut Forward, loaded: LoadedNames, trace: &mut Trace) {
    if let (Effect::ImagesMade { references, .. }, Reply::Lines(LineShape::Loaded(names))) =
        (&mut allowed.effect, &mut allowed.reply)
    {
        let swapped = loaded.references.iter().map(|(reference, on_engine)| (on_engine.clone(), reference.clone()));
        *names = swapped.collect();
        trace.object = loaded.references.keys().chain(&loaded.ids).cloned().collect::<Vec<_>>().join(" ");
        *references = loaded.references;
    }
}
