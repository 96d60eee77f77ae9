//! A reader who follows a job's log live, loses the server again and again, and resumes where it was.

use std::io::{BufRead as _, BufReader};

use crate::{
    deliveries::{Client, insist},
    support::server::ADMIN_TOKEN,
};

/// What a reader saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub text: String,
    /// How often it had to come back.
    pub resumed: u32,
}

/// Follows until the stream says that the job is over.
pub fn follow(client: &Client, job: &str) -> Seen {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut seen = Seen::default();
    let mut last_id: Option<String> = None;
    let mut first = true;
    insist(&format!("the end of the live log of {job}"), || {
        if !std::mem::take(&mut first) {
            seen.resumed += 1;
        }
        let mut request = agent
            .get(format!("{}/api/v1/jobs/{job}/log/stream", client.url))
            .header("Authorization", format!("Bearer {ADMIN_TOKEN}"));
        if let Some(id) = &last_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.call().ok()?;
        let (mut name, mut id, mut data) = (String::new(), None, String::new());
        for line in BufReader::new(response.into_body().into_reader()).lines() {
            let line = line.ok()?;
            if let Some(rest) = line.strip_prefix("event: ") {
                rest.clone_into(&mut name);
            } else if let Some(rest) = line.strip_prefix("id: ") {
                id = Some(rest.to_owned());
            } else if let Some(rest) = line.strip_prefix("data: ") {
                data.push_str(rest);
            } else if line.is_empty() {
                // Only a whole event counts: half a one comes again.
                if name == "end" {
                    return Some(());
                }
                if name == "log" {
                    let event: serde_json::Value = serde_json::from_str(&data).expect("JSON");
                    if event["stream"] != "system" {
                        seen.text.push_str(event["text"].as_str().expect("text"));
                    }
                }
                if id.is_some() {
                    last_id = id.take();
                }
                name.clear();
                data.clear();
            }
        }
        None
    });
    seen
}
