//! The start of an exec, which counts until the engine has begun it.
//!
//! An engine looks up an exec's user in files of the container, and waits for ever if one of them is a pipe: also after
//! the client and the container are gone.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use longshore_guard::{EngineCall, Policy, Refusal, Rule};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::handle::refusal;
use crate::proxy::Proxy;

/// How long a start waits for a place.
const WAIT: Duration = Duration::from_secs(5);
/// Pauses between two looks whether the engine has begun an exec.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The starts of a job's execs that the engine has not begun yet.
#[derive(Debug)]
pub(crate) struct ExecStarts {
    most: usize,
    places: Arc<Semaphore>,
}

impl ExecStarts {
    /// A job may have as many as it may have execs.
    pub(crate) fn of(policy: &Policy) -> Self {
        let most = match policy {
            Policy::Job(policy) => policy.budget.execs.min(Semaphore::MAX_PERMITS),
            Policy::Server(_) => 0,
        };
        Self { most, places: Arc::new(Semaphore::new(most)) }
    }

    /// Takes a place for this call, if it starts an exec.
    pub(crate) async fn place(&self, call: &EngineCall) -> Result<Option<(String, OwnedSemaphorePermit)>, Refusal> {
        let exec = call.path.strip_prefix("/exec/").and_then(|rest| rest.strip_suffix("/start"));
        let Some(exec) = exec.filter(|_| self.most > 0) else { return Ok(None) };
        match tokio::time::timeout(WAIT, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(Some((exec.to_owned(), place))),
            Ok(Err(_)) | Err(_) => {
                Err(refusal(Rule::Budget, &format!("{} execs of the job have not begun, its most", self.most)))
            }
        }
    }
}

impl Proxy {
    /// Starts an exec. Its place is free once the engine has begun it, whether the client is there or not.
    pub(crate) async fn start_exec(
        self: &Arc<Self>,
        call: &EngineCall,
        upgrade: bool,
        (exec, place): (String, OwnedSemaphorePermit),
        stop: CancellationToken,
    ) -> Result<Response<Incoming>, String> {
        let (proxy, call) = (Arc::clone(self), call.clone());
        let (told, answer) = oneshot::channel();
        self.tasks.spawn(stop.run_until_cancelled_owned(async move {
            let answered = proxy.engine.send(&call, None, upgrade).await;
            // The engine opens a stream before it begins the exec, and gives any other answer afterwards.
            let is_stream = matches!(&answered, Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS);
            let _ = told.send(answered);
            if is_stream && !proxy.has_begun(&exec).await {
                place.forget();
            }
        }));
        answer.await.map_err(|_| "the guard ends".to_owned())?
    }

    /// Waits until the engine has begun an exec. Returns `false` if the exec is gone, of which nobody knows whether the
    /// engine still waits.
    async fn has_begun(&self, exec: &str) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            match self.engine.get(&format!("/exec/{exec}/json")).await {
                Ok(None) => return false,
                Ok(Some(exec)) if exec["Pid"].as_u64() > Some(0) || exec["ExitCode"].is_number() => return true,
                Ok(Some(_)) | Err(_) => pause = (pause * 2).min(MAX_PAUSE),
            }
        }
    }
}
