//! The engine's events of the client's own containers.

use longshore_guard::{EngineBody, EngineCall};

use crate::lines::Values;
use crate::proxy::Proxy;

/// The longest event, in bytes. It contains the labels of the container and of its image.
const LONGEST: usize = 512 << 10;

impl Proxy {
    /// Returns the events of own containers with these actions, from now on.
    pub(crate) async fn events_of_containers(&self, actions: &[&str]) -> Result<Values, String> {
        let label = self.guard().label().unwrap_or_default();
        let filters = serde_json::json!({ "type": ["container"], "event": actions, "label": [label] }).to_string();
        let filters: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/events?filters={filters}");
        let call = EngineCall { method: "GET", path, body: EngineBody::Empty, credentials: None };
        let answer = self.engine.send(&call, None, false).await?;
        match answer.status().is_success() {
            true => Ok(Values::new(answer.into_body(), LONGEST)),
            false => Err(format!("the engine answers {}", answer.status())),
        }
    }
}
