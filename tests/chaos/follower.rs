//! A reader that follows a job's log live, loses the server again and again, and resumes where it was.

use std::{io::BufReader, sync::atomic::AtomicBool};

use crate::{
    deliveries::{Client, insist_after},
    support::{events, server::ADMIN_TOKEN},
};

/// The result of a reader.
#[derive(Debug, Default)]
pub struct Seen {
    pub text: String,
    /// How often it had to reconnect.
    pub resumed: u32,
}

/// Follows until the stream says that the job has ended.
pub fn follow(client: &Client, job: &str, faults_over: &AtomicBool) -> Seen {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut seen = Seen::default();
    let mut last_id: Option<String> = None;
    let mut first = true;
    insist_after(faults_over, &format!("the end of the live log of {job}"), || {
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
        for event in events::read(BufReader::new(response.into_body().into_reader())) {
            if event.name == "end" {
                return Some(());
            }
            if event.name == "log" {
                let said = event.json();
                if said["stream"] != "system" {
                    seen.text.push_str(said["text"].as_str().expect("text"));
                }
            }
            if !event.id.is_empty() {
                last_id = Some(event.id);
            }
        }
        None
    });
    seen
}
