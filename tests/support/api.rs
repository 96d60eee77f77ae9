//! A client of the server's API.

use std::io::{BufReader, Read as _};

use serde_json::{Value, json};

use super::events::{self, Event};

/// A client with a token, or without one.
#[derive(Debug, Clone)]
pub struct Api {
    pub url: String,
    pub token: Option<String>,
    agent: ureq::Agent,
}

impl Api {
    pub fn new(url: &str, token: Option<&str>) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Self { url: url.to_owned(), token: token.map(str::to_owned), agent }
    }

    /// Returns the status and the body as text.
    pub fn get_text(&self, path: &str) -> (u16, String) {
        let (status, bytes) = self.get_bytes(path);
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns the status and the body.
    pub fn get_bytes(&self, path: &str) -> (u16, Vec<u8>) {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = request.call().expect("the server answers");
        let mut body = Vec::new();
        response.body_mut().as_reader().read_to_end(&mut body).expect("the whole body comes");
        (response.status().as_u16(), body)
    }

    /// Returns the body of a 200 as JSON.
    pub fn get(&self, path: &str) -> Value {
        let (status, text) = self.get_text(path);
        assert_eq!(status, 200, "GET {path}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Sends a POST. Returns the status and the body.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_bytes(path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    /// Sends a POST with any body. Returns the status and the body.
    pub fn post_bytes(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = request.send(body).expect("the server answers");
        let text = response.body_mut().read_to_string().unwrap_or_default();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Sends a DELETE. Returns the status.
    pub fn delete(&self, path: &str) -> u16 {
        let mut request = self.agent.delete(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().expect("the server answers").status().as_u16()
    }

    /// Sends a PUT. Returns the status and the body.
    pub fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.change(self.agent.put(format!("{}{path}", self.url)), body)
    }

    /// Sends a PATCH. Returns the status and the body.
    pub fn patch(&self, path: &str, body: &Value) -> (u16, Value) {
        self.change(self.agent.patch(format!("{}{path}", self.url)), body)
    }

    fn change(&self, request: ureq::RequestBuilder<ureq::typestate::WithBody>, body: &Value) -> (u16, Value) {
        let mut request = request.header("Content-Type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = request.send(body.to_string().as_bytes()).expect("the server answers");
        let text = response.body_mut().read_to_string().unwrap_or_default();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Registers a repository. Returns its id and its hook secret.
    pub fn add_repo(&self, name: &str, clone_url: &str) -> (String, String) {
        let (status, repo) = self.post("/api/v1/repos", &json!({ "name": name, "clone_url": clone_url }));
        assert_eq!(status, 201, "{repo}");
        (text(&repo, "id"), text(&repo, "hook_secret"))
    }

    /// Reads a live stream until `enough` returns `true` or the stream ends. Returns the events as (name, id, data).
    pub fn stream(
        &self,
        path: &str,
        last_id: Option<&str>,
        mut enough: impl FnMut(&(String, String, String)) -> bool,
    ) -> Vec<(String, String, String)> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Some(id) = last_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.call().expect("the server answers");
        assert_eq!(response.status().as_u16(), 200, "{path}");
        let mut events = Vec::new();
        for Event { name, id, data } in events::read(BufReader::new(response.into_body().into_reader())) {
            let event = (name, id, data);
            let done = enough(&event);
            events.push(event);
            if done {
                break;
            }
        }
        events
    }

    /// Waits for a build's end on its event stream. Returns the build.
    pub fn wait_for_build(&self, build: &str) -> Value {
        super::until("the build's end", || {
            let build = self.get(&format!("/api/v1/builds/{build}"));
            is_final(&build).then_some(build)
        })
    }

    /// Returns a job's log with exactly the bytes that its processes wrote.
    pub fn raw_log(&self, job: &str) -> Vec<u8> {
        let (status, bytes) = self.get_bytes(&format!("/api/v1/jobs/{job}/log?format=raw"));
        assert_eq!(status, 200);
        bytes
    }
}

/// Returns whether a status is final.
pub fn is_final(thing: &Value) -> bool {
    !matches!(thing["status"].as_str(), Some("blocked" | "queued" | "running" | "canceling"))
}

/// Returns a text field.
pub fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no text `{key}` in {value}")).to_owned()
}
