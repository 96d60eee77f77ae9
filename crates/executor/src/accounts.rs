//! Finds out who the user of an image is: number and home. An image never changes, so it is asked once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use longshore_agent_protocol::Account;

use crate::engine::{Engine, Image};
use crate::error::EngineError;
use crate::names::ImageId;

/// The most images that are remembered.
const MAX_REMEMBERED: usize = 1000;

/// The user of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) home: String,
}

/// Remembers the users of images.
pub(crate) struct Accounts {
    engine: Arc<dyn Engine>,
    known: Mutex<HashMap<ImageId, User>>,
}

impl Accounts {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine, known: Mutex::default() }
    }

    /// Returns the image's user.
    pub(crate) async fn find(&self, image: &Image) -> Result<User, EngineError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&image.id).cloned();
        if let Some(user) = known {
            return Ok(user);
        }
        // Root's account is known without reading the image.
        let is_root = ["", "0", "root"].contains(&image.config.user.split(':').next().unwrap_or_default());
        let passwd = match is_root {
            true => String::new(),
            false => self.engine.read_image_file(image, "/etc/passwd").await?.unwrap_or_default(),
        };
        let name = if is_root { "0" } else { &image.config.user };
        // The group does not matter here, and may be named in a file that is not read.
        let name = name.split(':').next().unwrap_or_default();
        let account = Account::find(name, &passwd, "")
            .map_err(|reason| EngineError::Local { what: "the image's user cannot be found", reason })?;
        let user = User { uid: account.uid, home: account.home_with(image.home.as_deref()) };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(image.id.clone(), user.clone());
        Ok(user)
    }
}
