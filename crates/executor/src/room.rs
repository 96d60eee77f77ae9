//! Finds out whether there is room on the engine's disk for more jobs.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::EngineError;

/// Why no job starts, if none does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room(Arc<Mutex<Option<String>>>);

impl Room {
    /// Refuses a start while there is no room.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(why) => Err(EngineError::NoRoom(why.clone())),
            None => Ok(()),
        }
    }

    pub(crate) fn set(&self, why: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}
