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
    let (answer, unnamed) = match before(proxy, push).await {
        Ok(BeforePush::TheImage) => (sent(proxy, push, stop).await.map_err(Failure::Engine), Ok(())),
        Ok(BeforePush::Other { restore }) => under_name(proxy, push, restore.as_ref(), stop).await,
        Err(failure) => (Err(failure), Ok(())),
    };
    // While the image may have the name, its mark says what for, and both go with the job.
    let cleaned = match unnamed {
        Ok(()) => proxy.engine.done(&push.unmark).await,
        failed => failed,
    };
    if let Err(reason) = cleaned {
        tracing::error!(reason, "the name of a pushed image could not be removed from the engine");
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

async fn before(proxy: &Proxy, push: &Push) -> Result<BeforePush, Failure> {
    let found = found(proxy, push).await.map_err(Failure::Engine)?;
    Ok(push.before(found.as_ref())?)
}

/// Pushes an image that gets the name for it. Returns the answer, and whether the image could lose the name again.
async fn under_name(
    proxy: &Proxy,
    push: &Push,
    restore: Option<&EngineCall>,
    stop: &CancellationToken,
) -> (Result<(StatusCode, Bytes), Failure>, Result<(), String>) {
    let answer = match proxy.engine.done(&push.tag).await {
        Ok(()) => sent(proxy, push, stop).await,
        Err(reason) => Err(format!("the image could not be tagged for the push: {reason}")),
    };
    match (answer, unname(proxy, push, restore).await) {
        // Somebody has pulled the image of that name meanwhile.
        (Ok(_), Ok(false)) => {
            let reason = format!("{} was given to another image during the push: push once more", push.reference);
            (Err(Failure::Engine(reason)), Ok(()))
        }
        (answer, unnamed) => (answer.map_err(Failure::Engine), unnamed.map(drop)),
    }
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

/// Takes the name from the image, if it still has it, and returns whether it had. With it go the digests that the push has
/// given to the image.
async fn unname(proxy: &Proxy, push: &Push, restore: Option<&EngineCall>) -> Result<bool, String> {
    if !push.is_named(found(proxy, push).await?.as_ref()) {
        return Ok(false);
    }
    proxy.engine.done(&push.untag).await?;
    if let Some(restore) = restore {
        proxy.engine.done(restore).await?;
    }
    Ok(true)
}
