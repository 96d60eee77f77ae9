use std::io;

/// Settings that name no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotUsable(pub(crate) String);

/// Why a request has not done what it was to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// It cannot be reached now, is busy, or has a fault. The same request may work later.
    #[error("the object store {store} cannot be used now: {why}")]
    Away { store: String, why: String },
    /// It will answer the same until somebody changes its settings or Longshore's.
    #[error("the object store {store} refuses: {why}")]
    Refused { store: String, why: String },
    #[error("the object store {store} has no object {key}")]
    Missing { store: String, key: String },
    /// The file to send cannot be read.
    #[error("{0}")]
    Local(String),
}

impl ObjectError {
    /// Returns the error that an input or output was given as, if it is one of these.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<ObjectError> for io::Error {
    fn from(error: ObjectError) -> Self {
        let kind = match &error {
            ObjectError::Away { .. } => io::ErrorKind::HostUnreachable,
            ObjectError::Refused { .. } => io::ErrorKind::PermissionDenied,
            ObjectError::Missing { .. } => io::ErrorKind::NotFound,
            ObjectError::Local(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
