//! Keeps a container still while files are copied into it or out of it: it does not start meanwhile, and one that runs is paused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use longshore_guard::{Check, EngineBody, EngineCall, Rule, has_to_pause};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::body::Body;
use crate::handle::{Failure, refusal};
use crate::proxy::Proxy;

/// For each container that is started, or that files are copied into or out of: who holds it.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Arc<Turn>>>);

#[derive(Debug, Default)]
struct Turn {
    /// Copies share it, starts do not.
    lock: Arc<RwLock<()>>,
    /// How many copies need the container paused.
    pauses: tokio::sync::Mutex<usize>,
}

impl Turns {
    fn of(&self, container: &str) -> Arc<Turn> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, turn| Arc::strong_count(turn) > 1 || Arc::strong_count(&turn.lock) > 1);
        Arc::clone(all.entry(container.to_owned()).or_default())
    }
}

/// A copy that is under way. The container goes on when this is dropped.
#[derive(Debug)]
pub(crate) struct Copy {
    proxy: Arc<Proxy>,
    container: String,
    turn: Arc<Turn>,
    held: Option<OwnedRwLockReadGuard<()>>,
    is_paused: bool,
}

impl Proxy {
    /// Waits until no files are copied, and keeps others from copying some.
    pub(crate) async fn start_of(&self, container: &str) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.turns.of(container).lock).write_owned().await
    }

    /// Waits until nobody starts the container, and keeps others from that.
    pub(crate) async fn copy_of(self: &Arc<Self>, container: &str) -> Copy {
        let turn = self.turns.of(container);
        let held = Some(Arc::clone(&turn.lock).read_owned().await);
        Copy { proxy: Arc::clone(self), container: container.to_owned(), turn, held, is_paused: false }
    }
}

impl Copy {
    /// Judges the container as it is now, and pauses it if it has to be. The engine is asked while no other copy ends: one that ends
    /// lets the container go on.
    pub(crate) async fn hold(&mut self, check: &Check) -> Result<(), Failure> {
        let turn = Arc::clone(&self.turn);
        let mut pauses = turn.pauses.lock().await;
        let found = self.proxy.engine.get(&check.path()).await.map_err(Failure::Engine)?;
        check.judge(found.as_ref())?;
        let is_first = *pauses == 0;
        if is_first && !found.as_ref().is_some_and(has_to_pause) {
            return Ok(());
        }
        *pauses += 1;
        self.is_paused = true;
        if is_first && let Err(reason) = call(&self.proxy, &self.container, "pause").await {
            let reason = format!(
                "a container that has volumes is paused while files are copied, and the engine cannot do that: {reason}"
            );
            return Err(refusal(Rule::Archive, &reason).into());
        }
        Ok(())
    }

    /// Lets the container go on.
    pub(crate) async fn end(mut self) {
        if std::mem::take(&mut self.is_paused) {
            go_on(&self.proxy, &self.turn, &self.container).await;
        }
    }

    /// Lets the container go on when all of a body has been read.
    pub(crate) fn end_with(self, body: Body) -> Body {
        let frames = stream::unfold((body, self), |(mut body, copy)| async move {
            match body.frame().await {
                Some(frame) => Some((frame, (body, copy))),
                None => {
                    copy.end().await;
                    None
                }
            }
        });
        StreamBody::new(frames).boxed_unsync()
    }
}

/// A client that goes away ends its copy.
impl Drop for Copy {
    fn drop(&mut self) {
        if !self.is_paused {
            return;
        }
        let (proxy, turn, held) = (Arc::clone(&self.proxy), Arc::clone(&self.turn), self.held.take());
        let container = std::mem::take(&mut self.container);
        self.proxy.tasks.spawn(async move {
            go_on(&proxy, &turn, &container).await;
            drop(held);
        });
    }
}

async fn go_on(proxy: &Proxy, turn: &Turn, container: &str) {
    let mut pauses = turn.pauses.lock().await;
    *pauses -= 1;
    if *pauses == 0
        && let Err(reason) = call(proxy, container, "unpause").await
    {
        tracing::warn!(container, reason, "a container stays paused");
    }
}

async fn call(proxy: &Proxy, container: &str, verb: &str) -> Result<(), String> {
    let path = format!("/containers/{container}/{verb}");
    let call = EngineCall { method: "POST", path, body: EngineBody::Empty, credentials: None };
    let answer = proxy.engine.send(&call, None, false).await?;
    let status = answer.status();
    let text = crate::body::read_answer(answer.into_body()).await?;
    match status.is_success() {
        true => Ok(()),
        false => Err(format!("{status} {}", String::from_utf8_lossy(&text))),
    }
}
