//! The body for programs: the texts are as others wrote them, in JSON.

use longshore_core::Timestamp;
use serde_json::{Value, json};

use crate::{AnomalyLine, Message};

pub(crate) fn body(message: &Message, now: Timestamp) -> Value {
    let data = match &message.anomaly {
        Some(anomaly) => about_anomaly(message, anomaly),
        None => about_build(message),
    };
    json!({ "type": message.subject.event_type(), "timestamp": now, "data": data })
}

fn about_anomaly(message: &Message, anomaly: &AnomalyLine) -> Value {
    let repo = (!message.repo.is_empty()).then(|| json!({ "id": message.repo_id, "name": message.repo }));
    json!({
        "repo": repo,
        "anomaly": {
            "kind": anomaly.kind,
            "message": anomaly.message,
            "record": anomaly.record,
            "url": message.url,
            "job": anomaly.job.as_ref().map(|url| json!({ "url": url })),
        },
    })
}

fn about_build(message: &Message) -> Value {
    let jobs: Vec<Value> = message
        .jobs
        .iter()
        .map(|job| {
            json!({
                "name": job.name, "pipeline": job.pipeline, "status": job.status, "reason": job.reason, "url": job.url
            })
        })
        .collect();
    json!({
        "repo": { "id": message.repo_id, "name": message.repo },
        "build": {
            "id": message.build,
            "number": message.number,
            "url": message.url,
            "status": message.status,
            "reason": message.reason,
            "event": message.event,
            "ref": message.git_ref,
            "branch": message.branch,
            "pull_request": message.pull_request,
            "commit": message.commit,
            "title": message.title,
            "author": message.author,
        },
        "pipelines": message.pipelines,
        "jobs": jobs,
    })
}
