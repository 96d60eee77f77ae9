//! A persistent forge: sends each delivery until it is answered 202, and remembers those answers.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use longshore_forge::{Forge, signature::sign};
use serde_json::Value;

use crate::support::server::ADMIN_TOKEN;

/// How long the server may be down or refuse before a scenario gives up.
const PATIENCE: Duration = Duration::from_secs(600);

/// A client of a server that may be down.
#[derive(Debug, Clone)]
pub struct Client {
    pub url: String,
    agent: ureq::Agent,
}

impl Client {
    pub fn new(url: &str) -> Self {
        let agent =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(30)));
        Self { url: url.to_owned(), agent: agent.build().into() }
    }

    /// Returns the body of a 200; `None` while the server is down.
    pub fn try_bytes(&self, path: &str) -> Option<Vec<u8>> {
        let request =
            self.agent.get(format!("{}{path}", self.url)).header("Authorization", format!("Bearer {ADMIN_TOKEN}"));
        let mut response = request.call().ok()?;
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec().ok()?;
        (response.status().as_u16() == 200).then_some(body)
    }

    /// Waits for a 200 and returns its body.
    pub fn bytes(&self, path: &str) -> Vec<u8> {
        insist(path, || self.try_bytes(path))
    }

    pub fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.bytes(path)).expect("JSON")
    }

    /// Sends a signed push of `branch` until it is accepted. Returns the delivery's id.
    pub fn push(&self, repo: &str, secret: &str, branch: &str, commit: &str, key: &str) -> String {
        let zero = "0".repeat(40);
        let body =
            serde_json::json!({ "ref": format!("refs/heads/{branch}"), "before": zero, "after": commit }).to_string();
        let signature = sign(Forge::Git, body.as_bytes(), secret.as_bytes());
        insist(key, || {
            let request = self
                .agent
                .post(format!("{}/hooks/{repo}", self.url))
                .header("X-Longshore-Signature-256", &signature)
                .header("X-Longshore-Delivery", key);
            let mut response = request.send(body.as_bytes()).ok()?;
            let taken = response.status().as_u16() == 202;
            let answer: Value = serde_json::from_str(&response.body_mut().read_to_string().ok()?).ok()?;
            taken.then(|| answer["delivery"].as_str().map(str::to_owned))?
        })
    }
}

/// Polls until there is an answer.
pub fn insist<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    insist_after(&AtomicBool::new(true), what, ask)
}

/// Polls until there is an answer, for as long as faults go on and `PATIENCE` after them: under a kill each second,
/// starts of jobs are cut short again and again, and a job may take any time.
pub fn insist_after<T>(faults_over: &AtomicBool, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let mut begun = None;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        if faults_over.load(Ordering::SeqCst) {
            let begun = *begun.get_or_insert_with(Instant::now);
            assert!(begun.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Polls until what is removed in the background is as it should be. Returns how it was last.
pub fn settled<T>(mut ask: impl FnMut() -> T, is_settled: impl Fn(&T) -> bool) -> T {
    let begun = Instant::now();
    loop {
        let answer = ask();
        if is_settled(&answer) || begun.elapsed() > PATIENCE {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
