//! Waits for changes in the store.

use longshore_store::{Change, ChangeKind};
use tokio::sync::broadcast::{self, error::RecvError};

/// Waits until something of this kind has changed. Returns too where changes were missed.
pub(crate) async fn changed(changes: &mut broadcast::Receiver<Change>, kind: ChangeKind) {
    loop {
        match changes.recv().await {
            Ok(change) if change.kind == kind => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
