//! Removes all objects of a client from the engine.

use longshore_guard::{EngineBody, EngineCall, is_push_mark, push_mark};
use serde_json::Value;

use crate::{Error, Proxy};

/// The number of rounds. A request that was under way in the first round may have created something.
const ROUNDS: usize = 5;

impl Proxy {
    /// Removes all objects in the table, and all others with the client's label.
    ///
    /// # Errors
    /// If something is left.
    pub async fn remove_all(&self) -> Result<(), Error> {
        let client = self.guard().policy().client();
        let mut reason = String::new();
        for _ in 0..ROUNDS {
            let calls = self.guard().removals();
            let left = match self.carries_label().await {
                Ok(left) => left,
                Err(error) => {
                    reason = error;
                    continue;
                }
            };
            if calls.is_empty() && left.is_empty() {
                return Ok(());
            }
            reason.clear();
            for call in calls.iter().chain(&left) {
                if let Err(error) = self.remove(call).await {
                    reason = error;
                }
            }
            if reason.is_empty() {
                self.change(|guard| guard.table = longshore_guard::Table::default());
            }
        }
        match reason.is_empty() {
            true => Ok(()),
            false => Err(Error::Left { client, reason }),
        }
    }

    async fn carries_label(&self) -> Result<Vec<EngineCall>, String> {
        let Some(label) = self.guard().label() else { return Ok(Vec::new()) };
        let mut calls = Vec::new();
        for id in self.list_by_label("/containers/json?all=1&", &label, "Id").await? {
            calls.push(delete(format!("/containers/{id}?force=1&v=1")));
        }
        for id in self.list_by_label("/networks?", &label, "Id").await? {
            calls.push(delete(format!("/networks/{id}")));
        }
        for name in self.list_by_label("/volumes?", &label, "Name").await? {
            calls.push(delete(format!("/volumes/{name}")));
        }
        let Some(repository) = self.guard().image_repository() else { return Ok(calls) };
        let start = format!("{repository}:");
        let repository = repository.replace('/', "%2F");
        let path = format!("/images/json?filters=%7B%22reference%22%3A%5B%22{repository}%22%5D%7D");
        let images = self.engine.get(&path).await?.unwrap_or_default();
        // An image keeps its other names, but for one that it has for a push.
        for name in images.as_array().into_iter().flatten().flat_map(names).filter(|name| name.starts_with(&start)) {
            if is_push_mark(name) {
                let marked = self.engine.get(&format!("/images/{name}/json")).await?.unwrap_or_default();
                let pushed = names(&marked).filter(|pushed| push_mark(pushed, [name]).is_some());
                calls.extend(pushed.map(|pushed| delete(format!("/images/{pushed}"))));
            }
            calls.push(delete(format!("/images/{name}")));
        }
        for id in self.list_by_label("/images/json?", &label, "Id").await? {
            calls.push(delete(format!("/images/{id}")));
        }
        Ok(calls)
    }

    async fn remove(&self, call: &EngineCall) -> Result<(), String> {
        if let Some(network) = call.path.strip_prefix("/networks/") {
            // A sandbox that is gone is connected to no network.
            let _ = self.leave(network).await;
        }
        self.engine.done(call).await
    }
}

fn names(image: &Value) -> impl Iterator<Item = &str> {
    image["RepoTags"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn delete(path: String) -> EngineCall {
    EngineCall { method: "DELETE", path, body: EngineBody::Empty, credentials: None }
}
