//! Pushes an image. During the push, the engine has it under the name that it is pushed under, and it has a mark.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use longshore_guard::{BeforePush, EngineCall, Push, Rule};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::body::{self, Body};
use crate::handle::{Failure, Trace, refusal};
use crate::proxy::Proxy;

/// Limit for the wait for another job that pushes under the same name.
const MAX_WAIT: Duration = Duration::from_mins(10);
/// The pause between two tries, in milliseconds. Two that try at once do so at different moments next time.
const PAUSE_MILLIS: Range<u64> = 100..1000;

/// Pushes an image, to the end of the push, also if the client goes meanwhile.
pub(crate) async fn push(
    proxy: &Arc<Proxy>,
    push: Push,
    trace: &mut Trace,
    stop: &CancellationToken,
) -> Result<Response<Body>, Failure> {
    push.push.path.clone_into(&mut trace.object);
    // A push that waits for another one of the job ends with its client.
    let pushing = Arc::clone(&proxy.pushing).lock_owned().await;
    let (of_task, stop) = (Arc::clone(proxy), stop.clone());
    let task = proxy.tasks.spawn(async move {
        let _pushing = pushing;
        named(&of_task, &push, &stop).await
    });
    let (status, bytes) = task.await.map_err(|error| Failure::engine(error.to_string()))??;
    let mut response = Response::new(body::full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Pushes an image, which has the mark and the name for so long.
async fn named(proxy: &Proxy, push: &Push, stop: &CancellationToken) -> Result<(StatusCode, Bytes), Failure> {
    take_turn(proxy, push, stop).await?;
    let answer = marked(proxy, push, stop).await;
    if let Err(reason) = proxy.engine.done(&push.unmark).await {
        tracing::error!(
            reason,
            "the mark of a pushed image could not be removed from the engine; it goes with the job"
        );
    }
    answer
}

/// Gives the image its mark, once no other job's image has one for this name: of two jobs that push under one name, the
/// engine would push what the second one has named to the registry that the first one may push to.
async fn take_turn(proxy: &Proxy, push: &Push, stop: &CancellationToken) -> Result<(), Failure> {
    let give_up = Instant::now() + MAX_WAIT;
    loop {
        proxy.engine.done(&push.mark).await.map_err(Failure::Engine)?;
        let held = match proxy.engine.get(&push.marked).await {
            Ok(marked) => push.is_held(marked.as_ref()),
            Err(reason) => {
                let _ = proxy.engine.done(&push.unmark).await;
                return Err(Failure::Engine(reason));
            }
        };
        if !held {
            return Ok(());
        }
        let _ = proxy.engine.done(&push.unmark).await;
        let pause = Duration::from_millis(rand::random_range(PAUSE_MILLIS));
        if Instant::now() + pause > give_up || stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            let reason =
                format!("another job is pushing an image under the name {}: push when it is done", push.reference);
            return Err(refusal(Rule::Image, &reason).into());
        }
    }
}

async fn marked(proxy: &Proxy, push: &Push, stop: &CancellationToken) -> Result<(StatusCode, Bytes), Failure> {
    let before = found(proxy, push).await.map_err(Failure::Engine)?;
    let BeforePush::Other { restore } = push.before(before.as_ref())? else {
        return sent(proxy, push, stop).await.map_err(Failure::Engine);
    };
    proxy.engine.done(&push.tag).await.map_err(Failure::Engine)?;
    let answer = sent(proxy, push, stop).await;
    // Somebody may have pulled the image of that name meanwhile.
    let is_named = push.is_named(found(proxy, push).await.map_err(Failure::Engine)?.as_ref());
    if is_named && let Err(reason) = unname(proxy, push, restore.as_ref()).await {
        // Its mark still says what it is, and both go with the job.
        return Err(Failure::Engine(format!("the name of a pushed image could not be removed: {reason}")));
    }
    if !is_named && answer.is_ok() {
        let reason = format!("{} was given to another image during the push: push once more", push.reference);
        return Err(Failure::Engine(reason));
    }
    answer.map_err(Failure::Engine)
}

async fn found(proxy: &Proxy, push: &Push) -> Result<Option<Value>, String> {
    proxy.engine.get(&format!("/images/{}/json", push.reference)).await
}

/// Returns the engine's output, a line a layer, when the push is over: the name has to stay for so long.
async fn sent(proxy: &Proxy, push: &Push, stop: &CancellationToken) -> Result<(StatusCode, Bytes), String> {
    let answered = proxy.engine.send_until(&push.push, None, false, stop).await?;
    let status = answered.status();
    Ok((status, body::read_answer(answered.into_body()).await?))
}

/// Takes the name from the image. With it go the digests that the push has given to the image.
async fn unname(proxy: &Proxy, push: &Push, restore: Option<&EngineCall>) -> Result<(), String> {
    proxy.engine.done(&push.untag).await?;
    match restore {
        Some(restore) => proxy.engine.done(restore).await,
        None => Ok(()),
    }
}
