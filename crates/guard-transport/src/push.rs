//! Pushes an image. During the push, the engine has it under the name that it is pushed under, and it has a mark.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use longshore_guard::{BeforePush, EngineCall, Push};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::body::{self, Body};
use crate::handle::{Failure, Trace};
use crate::proxy::Proxy;

/// Pushes an image, to the end of the push, also if the client goes meanwhile.
pub(crate) async fn push(
    proxy: &Arc<Proxy>,
    push: Push,
    trace: &mut Trace,
    stop: &CancellationToken,
) -> Result<Response<Body>, Failure> {
    push.push.path.clone_into(&mut trace.object);
    let (of_task, stop) = (Arc::clone(proxy), stop.clone());
    let task = proxy.tasks.spawn(async move { named(&of_task, &push, &stop).await });
    let (status, bytes) = task.await.map_err(|error| Failure::engine(error.to_string()))??;
    let mut response = Response::new(body::full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Pushes an image, which has the name for so long.
async fn named(proxy: &Proxy, push: &Push, stop: &CancellationToken) -> Result<(StatusCode, Bytes), Failure> {
    // Two pushes could use one name.
    let _pushing = proxy.pushing.lock().await;
    let found = found(proxy, push).await.map_err(Failure::Engine)?;
    let BeforePush::Other { restore } = push.before(found.as_ref())? else {
        return sent(proxy, push, stop).await.map_err(Failure::Engine);
    };
    let answer = match name(proxy, push).await {
        Ok(()) => sent(proxy, push, stop).await,
        Err(reason) => Err(format!("the image could not be tagged for the push: {reason}")),
    };
    if let Err(reason) = unname(proxy, push, restore.as_ref()).await {
        // Its mark still says what it is, and both go with the job.
        tracing::error!(reason, "the name of a pushed image could not be removed from the engine");
    }
    answer.map_err(Failure::Engine)
}

async fn found(proxy: &Proxy, push: &Push) -> Result<Option<Value>, String> {
    proxy.engine.get(&format!("/images/{}/json", push.reference)).await
}

async fn name(proxy: &Proxy, push: &Push) -> Result<(), String> {
    proxy.engine.done(&push.mark).await?;
    proxy.engine.done(&push.tag).await
}

/// Returns the engine's output, a line a layer, when the push is over: the name has to stay for so long.
async fn sent(proxy: &Proxy, push: &Push, stop: &CancellationToken) -> Result<(StatusCode, Bytes), String> {
    let answered = proxy.engine.send_until(&push.push, None, false, stop).await?;
    let status = answered.status();
    Ok((status, body::read_answer(answered.into_body()).await?))
}

/// Takes the name from the image, and then its mark.
async fn unname(proxy: &Proxy, push: &Push, restore: Option<&EngineCall>) -> Result<(), String> {
    // Somebody may have pulled the image of that name meanwhile.
    if push.is_named(found(proxy, push).await?.as_ref()) {
        // With the name go the digests that the push has given to the image.
        proxy.engine.done(&push.untag).await?;
        if let Some(restore) = restore {
            proxy.engine.done(restore).await?;
        }
    }
    proxy.engine.done(&push.unmark).await
}
