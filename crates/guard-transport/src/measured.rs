//! Measures the images that a job has built, also those that a failed build has left: their layers carry the job's
//! label.

use std::collections::HashMap;

use hyper::StatusCode;

use crate::handle::Failure;
use crate::proxy::Proxy;

/// For each image, by its id: what tells the layers apart that the job has added, and their bytes.
pub(crate) type Measured = HashMap<String, Vec<(String, u64)>>;

impl Proxy {
    /// Refuses more images once those of the job take what they may.
    pub(crate) async fn has_image_bytes_left(&self) -> Result<(), Failure> {
        let built = self.bytes_of_images().await.map_err(Failure::Engine)?;
        Ok(self.guard().judge_image_bytes(built)?)
    }

    /// Notes an image that is there already, before it is pulled.
    pub(crate) async fn look_before_pull(&self, reference: &str) -> Result<(), Failure> {
        let present = self.engine.get(&format!("/images/{reference}/json")).await.map_err(Failure::Engine)?;
        if let Some(image) = present {
            self.change(|guard| guard.note_present(&image));
        }
        Ok(())
    }

    /// Removes names from the engine that no name of the client stands for any more. One of an image in use stays, and
    /// counts.
    pub(crate) async fn remove_left_names(&self) {
        let left = self.guard().left_names();
        for (name, call) in left {
            match self.engine.send(&call, None, false).await.map(|answer| answer.status()) {
                Ok(status) if status.is_success() || status == StatusCode::NOT_FOUND => {
                    self.change(|guard| guard.forget_left_name(&name));
                }
                Ok(status) => tracing::debug!(name, %status, "a former name of an image stays"),
                Err(reason) => tracing::debug!(name, reason, "a former name of an image stays"),
            }
        }
    }

    async fn bytes_of_images(&self) -> Result<u64, String> {
        let Some(label) = self.guard().label() else { return Ok(0) };
        let mut measured = self.measured.lock().await;
        let images = self.list_by_label("/images/json?", &label, "Id").await?;
        measured.retain(|image, _| images.contains(image));
        for image in images {
            if !measured.contains_key(&image)
                && let Some(history) = self.engine.get(&format!("/images/{image}/history")).await?
            {
                let layers = self.guard().own_layers(&history);
                measured.insert(image, layers);
            }
        }
        // Images that were built on each other share layers.
        let layers: HashMap<&str, u64> =
            measured.values().flatten().map(|(layer, bytes)| (layer.as_str(), *bytes)).collect();
        Ok(layers.values().sum())
    }
}
