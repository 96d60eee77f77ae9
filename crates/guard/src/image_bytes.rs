//! What the images take that a job has built, loaded and pulled, and the names that it has left on the engine.

use serde_json::Value;

use crate::decision::EngineCall;
use crate::guard::Guard;
use crate::policy::Policy;
use crate::refusal::{Refusal, refuse};
use crate::table::full_id;

impl Guard {
    /// Returns what tells the layers apart that the job has added to an image, and their bytes, from the image's
    /// history: all since the first label that a build of the job has set.
    #[must_use]
    pub fn own_layers(&self, history: &Value) -> Vec<(String, u64)> {
        let Some(label) = self.label().map(|label| format!("LABEL {label}")) else { return Vec::new() };
        let newest_first: &[Value] = history.as_array().map_or(&[], Vec::as_slice);
        let is_label = |entry: &Value| entry["CreatedBy"].as_str().is_some_and(|made_by| made_by.ends_with(&label));
        let own = newest_first.iter().rposition(is_label).map_or(0, |oldest| oldest + 1);
        let layer = |entry: &Value| {
            let id = entry["Id"].as_str().and_then(full_id).unwrap_or_else(|| entry.to_string());
            (id, entry["Size"].as_u64().unwrap_or_default())
        };
        newest_first.iter().take(own).map(layer).collect()
    }

    /// Refuses more images once those that the job has built, which take `built` bytes, and those that it has pulled
    /// take what they may.
    ///
    /// # Errors
    /// If nothing is left.
    pub fn judge_image_bytes(&self, built: u64) -> Result<(), Refusal> {
        let Policy::Job(policy) = &self.policy else { return Ok(()) };
        let (taken, most) = (built, policy.budget.image_bytes);
        let taken = taken.saturating_add(self.table.pulled_bytes).saturating_add(self.table.loaded_bytes());
        let taken = taken.saturating_add(self.table.described_bytes);
        if taken < most {
            return Ok(());
        }
        refuse!(
            Budget,
            "the images that the job has built, loaded and pulled take {} MiB, and may take {} MiB: remove some that it has built or loaded with `docker rmi`",
            taken >> 20,
            most >> 20
        )
    }

    /// Returns the names that are left on the engine since the client has given theirs to other images, with the calls
    /// that remove them.
    #[must_use]
    pub fn left_names(&self) -> Vec<(String, EngineCall)> {
        let call = |name: &String| EngineCall::new("DELETE", format!("/images/{name}"));
        self.table.left.keys().map(|name| (name.clone(), call(name))).collect()
    }

    /// Notes that a name is no longer on the engine.
    pub fn forget_left_name(&mut self, name: &str) {
        self.table.left.remove(name);
    }

    /// Notes an image that is on the engine before it is pulled: the pull of the same one takes nothing.
    pub fn note_present(&mut self, image: &Value) {
        self.table.present.extend(image["Id"].as_str().and_then(full_id));
    }

    /// Counts an image that was pulled, if it is new.
    pub(crate) fn count_pulled(&mut self, id: &str, image: &Value) {
        if self.table.present.insert(id.to_owned()) {
            let bytes = image["Size"].as_u64().unwrap_or_default();
            self.table.pulled_bytes = self.table.pulled_bytes.saturating_add(bytes);
        }
    }
}
