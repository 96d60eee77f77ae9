//! Removes images of jobs with Docker that the engine finished after the job's cleanup: it completes a build or a load
//! that it has begun, even if no client waits for it.

use std::collections::HashSet;

use crate::attempt::AttemptId;
use crate::error::EngineError;
use crate::executor::Executor;
use crate::objects::{MadeImage, ObjectId};

impl Executor {
    /// Lists the images that jobs have made through their guards, those of other instances too.
    ///
    /// # Errors The engine's.
    pub async fn made_images(&self) -> Result<Vec<MadeImage>, EngineError> {
        self.engine.list_made_images().await
    }

    /// Removes those of the images that these attempts of this instance have made, which are over. Returns what is gone.
    pub async fn remove_made_images(
        &self,
        images: Vec<MadeImage>,
        over: impl IntoIterator<Item = AttemptId>,
    ) -> Vec<String> {
        let made: HashSet<String> = images.iter().map(|image| image.scope.clone()).collect();
        let scopes = over.into_iter().map(|attempt| self.engine.scope_of(attempt));
        let over: HashSet<String> = scopes.filter(|scope| made.contains(scope)).collect();
        let mut removed = Vec::new();
        for MadeImage { id, .. } in images.into_iter().filter(|image| over.contains(&image.scope)) {
            let name = id.to_string();
            if self.removals.now(&ObjectId::Image(id), self.options.patience).await {
                removed.push(name);
            }
        }
        removed
    }
}
