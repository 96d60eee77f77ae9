//! Keeps a container still while files are copied into it or out of it: it does not start meanwhile, and one that runs
//! is paused.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use longshore_guard::{Effect, EngineBody, EngineCall, Rule};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::body::Body;
use crate::handle::{Failure, refusal};
use crate::proxy::Proxy;

/// The first and the longest pause before the engine is asked again to resume a container.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// For each container that is started or joined, or that files are copied into or out of, and for each volume that is
/// filled or entered: who holds it.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Arc<Turn>>>);

#[derive(Debug, Default)]
struct Turn {
    /// Copies share it, starts and those who join do not.
    lock: Arc<RwLock<()>>,
    /// How many copies need the container paused.
    pauses: Arc<tokio::sync::Mutex<usize>>,
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
    /// Waits until no files are copied into or out of the containers that a call starts or joins, and keeps others from
    /// copying some; the same for volumes that it removes.
    pub(crate) async fn before(&self, effect: &Effect) -> Vec<OwnedRwLockWriteGuard<()>> {
        let containers = match effect {
            Effect::ContainerStarted { id } | Effect::ContainerUnpaused { id } => BTreeSet::from([id.clone()]),
            Effect::ContainerCreated { joined, .. } => joined.clone(),
            _ => BTreeSet::new(),
        };
        let volumes = self.guard().held_by(effect);
        let mut held = self.hold_volumes(&volumes).await;
        for container in &containers {
            held.push(Arc::clone(&self.turns.of(container).lock).write_owned().await);
        }
        held
    }

    /// Waits until nobody else makes, fills or enters volumes, and keeps others from that.
    pub(crate) async fn hold_volumes(&self, volumes: &BTreeSet<String>) -> Vec<OwnedRwLockWriteGuard<()>> {
        let mut held = Vec::new();
        for volume in volumes {
            held.push(Arc::clone(&self.turns.of(&format!("volume {volume}")).lock).write_owned().await);
        }
        held
    }

    /// Notes that a call gives a container access to volumes, once nothing fills them.
    pub(crate) async fn enter(&self, effect: &Effect) -> Result<(), Failure> {
        let volumes = self.guard().entered(effect);
        if volumes.is_empty() {
            return Ok(());
        }
        let _held = self.hold_volumes(&volumes).await;
        self.change(|guard| guard.enter(&volumes))?;
        self.saved()
    }

    /// Waits until nobody starts a server's container, and keeps others from that while its files are read.
    pub(crate) async fn reading_of(self: &Arc<Self>, container: &str) -> Reading {
        let held = Some(Arc::clone(&self.turns.of(container).lock).write_owned().await);
        Reading { proxy: Arc::clone(self), container: container.to_owned(), held }
    }

    /// Waits until nobody starts or joins the container, and keeps others from that.
    pub(crate) async fn copy_of(self: &Arc<Self>, container: &str) -> Copy {
        let turn = self.turns.of(container);
        let held = Some(Arc::clone(&turn.lock).read_owned().await);
        Copy { proxy: Arc::clone(self), container: container.to_owned(), turn, held, is_paused: false }
    }
}

impl Copy {
    /// Judges the container as it is now, and pauses it if it has to be. The engine is asked while no other copy ends:
    /// one that ends lets the container go on.
    pub(crate) async fn hold(&mut self) -> Result<(), Failure> {
        let mut pauses = Arc::clone(&self.turn.pauses).lock_owned().await;
        let found = self.proxy.engine.get(&format!("/containers/{}/json", self.container)).await;
        let Some(found) = found.map_err(Failure::Engine)? else { return Ok(()) };
        let has_to_pause = self.proxy.guard().judge_copy(&self.container, &found)?;
        let is_first = *pauses == 0;
        if is_first && !has_to_pause {
            return Ok(());
        }
        *pauses += 1;
        self.is_paused = true;
        if !is_first {
            return Ok(());
        }
        let (proxy, container) = (Arc::clone(&self.proxy), self.container.clone());
        // If the client disconnects meanwhile, the container is resumed once it is paused.
        let pausing = self.proxy.tasks.spawn(async move {
            let _pauses = pauses;
            call(&proxy, &container, "pause").await
        });
        match pausing.await.map_err(|error| Failure::engine(error.to_string()))? {
            Ok(()) => Ok(()),
            Err(reason) => {
                let reason =
                    format!("a container is paused while files are copied, and the engine cannot do that: {reason}");
                Err(refusal(Rule::Archive, &reason).into())
            }
        }
    }

    /// Lets the container go on, once the engine has answered.
    pub(crate) async fn end(mut self) {
        // One that does not go on may be killed.
        self.held = None;
        if std::mem::take(&mut self.is_paused) {
            let (proxy, turn, container) = (Arc::clone(&self.proxy), Arc::clone(&self.turn), self.container.clone());
            // Also if the client goes away meanwhile.
            let _ = self.proxy.tasks.spawn(async move { go_on(&proxy, &turn, &container).await }).await;
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

/// A client that goes away ends its copy. The engine may still be at it, and answers a question about the container
/// when it is not.
impl Drop for Copy {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let (proxy, turn, container) = (Arc::clone(&self.proxy), Arc::clone(&self.turn), self.container.clone());
        let is_paused = self.is_paused;
        self.proxy.tasks.spawn(async move {
            let _ = proxy.engine.get(&format!("/containers/{container}/json")).await;
            drop(held);
            if is_paused {
                go_on(&proxy, &turn, &container).await;
            }
        });
    }
}

/// Files of a server's container that are read. Starts wait until this is dropped.
#[derive(Debug)]
pub(crate) struct Reading {
    proxy: Arc<Proxy>,
    container: String,
    held: Option<OwnedRwLockWriteGuard<()>>,
}

impl Reading {
    /// Goes on until all of a body has been read.
    pub(crate) fn until_end(self, body: Body) -> Body {
        let frames =
            stream::unfold(
                (body, self),
                |(mut body, reading)| async move { Some((body.frame().await?, (body, reading))) },
            );
        StreamBody::new(frames).boxed_unsync()
    }
}

/// The engine may still be at it when a client goes away, and answers a question about the container when it is not.
impl Drop for Reading {
    fn drop(&mut self) {
        let (proxy, container, held) = (Arc::clone(&self.proxy), self.container.clone(), self.held.take());
        self.proxy.tasks.spawn(async move {
            let _ = proxy.engine.get(&format!("/containers/{container}/json")).await;
            drop(held);
        });
    }
}

/// Lets a container go on after its last copy. An engine that fails to resume it is asked again for as long as the
/// container is paused.
async fn go_on(proxy: &Proxy, turn: &Turn, container: &str) {
    let mut pauses = turn.pauses.lock().await;
    *pauses -= 1;
    if *pauses > 0 {
        return;
    }
    let unpause = async || match call(proxy, container, "unpause").await {
        Ok(()) => Ok(()),
        Err(reason) => match proxy.engine.get(&format!("/containers/{container}/json")).await {
            Ok(found) if found.as_ref().is_none_or(|found| found["State"]["Paused"] == false) => Ok(()),
            Ok(_) | Err(_) => Err(reason),
        },
    };
    let again = ExponentialBuilder::default().with_min_delay(PAUSE).with_max_delay(LONGEST_PAUSE).without_max_times();
    let goes_on = unpause
        .retry(again)
        // When the guard ends, all containers are removed.
        .when(|_| !proxy.publisher.stop.is_cancelled())
        .notify(|reason, _| tracing::warn!(container, reason, "a container is still paused after a copy"));
    if let Err(reason) = goes_on.await {
        tracing::warn!(container, reason, "a container stays paused");
    }
}

async fn call(proxy: &Proxy, container: &str, verb: &str) -> Result<(), String> {
    let path = format!("/containers/{container}/{verb}");
    let call = EngineCall { method: "POST", path, body: EngineBody::Empty, credentials: None };
    proxy.engine.done(&call).await
}
