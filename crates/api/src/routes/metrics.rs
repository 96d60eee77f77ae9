//! `/metrics`: figures in Prometheus' text format, collected when asked for. Nothing runs in the background.

use std::{
    fmt::{Display, Write as _},
    sync::Arc,
};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use longshore_core::{
    Status, Timestamp,
    access::{Action, Object},
};
use longshore_store::{Store, anomalies, counts};

use crate::{
    auth::Caller,
    config::ApiConfig,
    error::{ApiError, ErrorBody},
    request_counts::RequestCounts,
};

/// Returns metrics for Prometheus
///
/// They cover all repositories, so a token limited to some repositories cannot read them.
#[utoipa::path(
    get, path = "/metrics", tag = "server", security(("token" = ["read"])),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
)]
pub(crate) async fn show(
    State(store): State<Store>,
    State(config): State<Arc<ApiConfig>>,
    State(requests): State<Arc<RequestCounts>>,
    caller: Caller,
) -> Result<Response, ApiError> {
    caller.require(Action::SeeFigures, Object::Server)?;
    let counts = counts::get(&store).await?;
    let mut text = Text::default();

    text.head("longshore_info", "gauge", "Version of the server.");
    text.line("longshore_info", Some(("version", config.version)), 1);
    text.head("longshore_uptime_seconds", "gauge", "Seconds since the server started.");
    text.line("longshore_uptime_seconds", None, Timestamp::now().since(config.started_at) / 1000);
    text.head("longshore_capacity", "gauge", "Maximum number of concurrent jobs.");
    text.line("longshore_capacity", None, config.capacity);
    text.head("longshore_engine_up", "gauge", "Whether the Docker engine responds.");
    text.line("longshore_engine_up", None, u8::from(config.engine.trouble().is_none()));

    text.head("longshore_jobs", "gauge", "Unfinished jobs by status; `queued` is the length of the queue.");
    for status in Status::ALL.into_iter().filter(|status| !status.is_final()) {
        let jobs = counts.jobs.iter().find(|(of, _)| *of == status).map_or(0, |(_, jobs)| *jobs);
        text.line("longshore_jobs", Some(("status", status.as_str())), jobs);
    }
    text.head("longshore_deliveries_pending", "gauge", "Webhook deliveries that are not processed yet.");
    text.line("longshore_deliveries_pending", None, counts.pending_deliveries);

    text.head("longshore_anomalies_total", "counter", "What stood out in the audit log, by kind.");
    for (kind, count) in anomalies::counts(&store).await? {
        text.line("longshore_anomalies_total", Some(("kind", kind.as_str())), count);
    }
    text.head("longshore_http_requests_total", "counter", "HTTP responses since the start, by status class.");
    for (class, count) in requests.by_class() {
        text.line("longshore_http_requests_total", Some(("status", &class)), count);
    }
    if let Some(bytes) = resident_bytes() {
        text.head("process_resident_memory_bytes", "gauge", "Resident memory of the server.");
        text.line("process_resident_memory_bytes", None, bytes);
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.0).into_response())
}

/// The answer, written line by line.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, label: Option<(&str, &str)>, value: impl Display) {
        let _ = match label {
            Some((key, word)) => writeln!(self.0, "{name}{{{key}=\"{word}\"}} {value}"),
            None => writeln!(self.0, "{name} {value}"),
        };
    }
}

/// Reads the resident memory from `/proc/self/status`, which gives it in KiB whatever the page size is.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
