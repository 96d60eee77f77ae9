//! Removes, once the engine answers, what it answers nothing about while it answers other calls. Nothing waits for that.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::objects::ObjectId;

/// Pause between two tries. Each try that is not answered occupies a little of the engine.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);
/// After so many tries, the next sweep removes the object.
const TRIES: usize = 12;

/// The objects about which the engine answers nothing.
pub(crate) struct Unanswered {
    engine: Arc<dyn Engine>,
    /// Ends the removals before they are done.
    stop: CancellationToken,
    objects: Arc<Mutex<HashSet<String>>>,
}

impl Unanswered {
    pub(crate) fn new(engine: Arc<dyn Engine>, stop: CancellationToken) -> Self {
        Self { engine, stop, objects: Arc::default() }
    }

    /// Returns whether this is one of them.
    pub(crate) fn contains(&self, object: &ObjectId) -> bool {
        lock(&self.objects).contains(&object.to_string())
    }

    /// Removes one of them in the background, and in nobody's turn.
    pub(crate) fn remove_later(&self, object: ObjectId) {
        if !lock(&self.objects).insert(object.to_string()) {
            return;
        }
        let (engine, objects) = (Arc::clone(&self.engine), Arc::clone(&self.objects));
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(async move {
            let pauses = ExponentialBuilder::new().with_min_delay(FIRST_PAUSE).with_max_delay(MAX_PAUSE);
            for pause in pauses.with_max_times(TRIES).build() {
                tokio::time::sleep(pause).await;
                match engine.remove(&object).await {
                    Err(error) if !error.is_not_found() => tracing::debug!(%object, %error, "not removed yet"),
                    Ok(()) | Err(_) => break,
                }
            }
            lock(&objects).remove(&object.to_string());
        }));
    }
}

fn lock(objects: &Mutex<HashSet<String>>) -> MutexGuard<'_, HashSet<String>> {
    objects.lock().unwrap_or_else(PoisonError::into_inner)
}
