//! The parts of the server that every page needs.

use longshore_store::Store;

use crate::public_url::{BasePath, PublicUrl};

#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) store: Store,
    pub(crate) public_url: PublicUrl,
    pub(crate) version: &'static str,
}

impl Site {
    /// Returns the path before every address of the server, as browsers see it.
    pub(crate) fn base(&self) -> &BasePath {
        self.public_url.base()
    }
}
