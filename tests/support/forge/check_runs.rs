//! GitHub's answers about check runs: to Apps that may make them, and to nobody else.

use serde_json::{Value, json};

use super::{Answer, CheckRun, Request, State, answer as said, is_commit, no};

/// Conclusions that an App may give.
const CONCLUSIONS: [&str; 7] =
    ["action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out"];

pub(super) fn answer(request: &Request, repo: u64, path: &[&str], body: &Value, state: &mut State) -> Answer {
    if !state.app.as_ref().is_some_and(|app| app.checks) {
        return no(403, "You must authenticate via a GitHub App.");
    }
    let method = request.method.as_str();
    if matches!(method, "POST" | "PATCH")
        && let Err(why) = check(body)
    {
        return no(422, &format!("Invalid request. {why}"));
    }
    match (method, path) {
        ("POST", ["check-runs"]) => {
            let commit = body["head_sha"].as_str().unwrap_or_default();
            if body["name"].as_str().is_none_or(str::is_empty) || !is_commit(commit, state) {
                return no(422, "No commit found for SHA");
            }
            state.next += 1;
            let id = state.next;
            let run = CheckRun { id, repo, body: json!({}), annotations: Vec::new(), told: Vec::new() };
            state.check_runs.push(run);
            change(state, repo, id, body).map_or_else(|| no(404, "Not Found"), |run| said(201, run))
        }
        ("PATCH", ["check-runs", id]) => {
            let changed = id.parse().ok().and_then(|id| change(state, repo, id, body));
            changed.map_or_else(|| no(404, "Not Found"), |run| said(200, run))
        }
        ("GET", ["check-runs", id]) => {
            let found = state.check_runs.iter().find(|run| run.repo == repo && run.id.to_string() == *id);
            found.map_or_else(|| no(404, "Not Found"), |run| said(200, shown(run)))
        }
        ("GET", ["commits", commit, "check-runs"]) => {
            let of_commit = |run: &&CheckRun| run.repo == repo && run.body["head_sha"] == *commit;
            let runs: Vec<Value> = state.check_runs.iter().filter(of_commit).map(shown).collect();
            said(200, json!({ "total_count": runs.len(), "check_runs": runs }))
        }
        _ => no(404, "Not Found"),
    }
}

/// Returns why GitHub refuses a body.
fn check(body: &Value) -> Result<(), String> {
    let output = &body["output"];
    let annotations = output["annotations"].as_array().map(Vec::as_slice).unwrap_or_default();
    if annotations.len() > 50 {
        return Err("No more than 50 annotations".to_owned());
    }
    for one in annotations {
        let (start, end) = (one["start_line"].as_u64(), one["end_line"].as_u64());
        let level = one["annotation_level"].as_str().unwrap_or_default();
        let is_placed = one["path"].as_str().is_some_and(|path| !path.is_empty()) && start.is_some() && start <= end;
        if !is_placed || !["notice", "warning", "failure"].contains(&level) || !one["message"].is_string() {
            return Err(format!("an annotation: {one}"));
        }
        if one.get("start_column").is_some() && start != end {
            return Err("columns on several lines".to_owned());
        }
        if one["title"].as_str().is_some_and(|title| title.chars().count() > 255) {
            return Err("a title that is too long".to_owned());
        }
    }
    if output["title"].as_str().is_none_or(str::is_empty) || !output["summary"].is_string() {
        return Err("an output needs title and summary".to_owned());
    }
    let status = body["status"].as_str().unwrap_or_default();
    match body["conclusion"].as_str() {
        Some(conclusion) if !CONCLUSIONS.contains(&conclusion) => Err(format!("conclusion {conclusion}")),
        None if status == "completed" => Err("conclusion is missing".to_owned()),
        None if !["queued", "in_progress"].contains(&status) => Err(format!("status {status}")),
        Some(_) | None => Ok(()),
    }
}

fn change(state: &mut State, repo: u64, id: u64, body: &Value) -> Option<Value> {
    let run = state.check_runs.iter_mut().find(|run| run.repo == repo && run.id == id)?;
    run.told.push(body["conclusion"].as_str().or(body["status"].as_str()).unwrap_or_default().to_owned());
    for (key, value) in body.as_object()? {
        run.body[key] = value.clone();
    }
    if let Some(new) = run.body["output"]["annotations"].as_array().cloned() {
        run.annotations.extend(new);
    }
    run.body["output"].as_object_mut()?.remove("annotations");
    Some(shown(run))
}

fn shown(run: &CheckRun) -> Value {
    let mut shown = run.body.clone();
    shown["id"] = run.id.into();
    shown["output"]["annotations_count"] = run.annotations.len().into();
    shown
}
