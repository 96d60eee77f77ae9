//! `longshore build tests`: the results of a build's tests; and the summary of failed tests after `longshore run`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use longshore_core::{BuildId, outcome::human_duration};
use longshore_reports::TestStatus;
use longshore_store::{Store, StoreError, tests};
use serde_json::{Value, json};

use super::{
    print_json,
    table::{one_line, text},
};
use crate::client::Client;

/// Tests of one answer of the API.
const TESTS_PER_PAGE: u32 = 200;
/// Failed tests in the summary after a run.
const IN_SUMMARY: u32 = 20;

pub(super) fn show(
    client: &Client,
    build: &Value,
    status: Option<&str>,
    limit: u32,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut path = format!("/api/v1/builds/{}/tests?limit={}", text(build, "id"), limit.clamp(1, TESTS_PER_PAGE));
    if let Some(status) = status {
        path = format!("{path}&status={status}");
    }
    let mut all = client.get(&path)?;
    let mut items = take_items(&mut all);
    while items.len() < limit as usize
        && let Some(next) = all["next"].as_str()
    {
        let mut more = client.get(&format!("{path}&before={next}"))?;
        items.append(&mut take_items(&mut more));
        all["next"] = more["next"].take();
    }
    items.truncate(limit as usize);
    if json {
        all["items"] = json!(items);
        print_json(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = io::stdout().lock();
    let count = |key: &str| all[key].as_u64().unwrap_or(0);
    if count("total") == 0 {
        writeln!(out, "build #{} reported no tests", build["number"])?;
    } else {
        writeln!(
            out,
            "build #{}: {} tests, {} failed ({} new), {} passed, {} skipped, {} flaky",
            build["number"],
            count("total"),
            count("failed"),
            count("new_failures"),
            count("passed"),
            count("skipped"),
            count("flaky")
        )?;
    }
    for test in &items {
        let mut marks = Vec::new();
        if test["new"] == true {
            marks.push("new".to_owned());
        } else if let Some(number) = test["first_failed"].as_u64() {
            marks.push(format!("since #{number}"));
        }
        if test["flaky"] == true {
            marks.push("flaky".to_owned());
        }
        let marks = if marks.is_empty() { String::new() } else { format!(" ({})", marks.join(", ")) };
        let took = test["duration_ms"].as_u64().map_or_else(String::new, |ms| format!(" {}", human_duration(ms)));
        let suite = text(test, "suite");
        let name = if suite.is_empty() { text(test, "name") } else { format!("{suite} {}", text(test, "name")) };
        writeln!(out, "{:<8} {}: {name}{marks}{took}", text(test, "status"), text(test, "job_name"))?;
        if !test["message"].is_null() {
            writeln!(out, "         {}", text(test, "message"))?;
        }
    }
    for remark in all["remarks"].as_array().into_iter().flatten() {
        writeln!(out, "note: {}: {} {}", text(remark, "job_name"), text(remark, "file"), text(remark, "message"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn take_items(answer: &mut Value) -> Vec<Value> {
    match answer["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// Returns the lines that say which tests of a build failed; none if it reported no tests.
pub(super) async fn summary(store: &Store, build: BuildId) -> Result<Vec<String>, StoreError> {
    let runs = tests::of_build(store, build).await?;
    let mut lines = Vec::new();
    let counts = tests::sum(&runs);
    if counts.total() > 0 {
        lines.push(format!("tests: {} failed, {} passed, {} skipped", counts.failed, counts.passed, counts.skipped));
        let failed = tests::list(store, &runs, Some(TestStatus::Failed), None, IN_SUMMARY).await?;
        for test in &failed.items {
            let job = if runs.len() > 1 { format!("{}: ", one_line(&test.job_name)) } else { String::new() };
            let message = test.message.as_deref().map_or_else(String::new, |text| format!(": {}", one_line(text)));
            lines.push(format!("  failed {job}{} {}{message}", one_line(&test.suite), one_line(&test.name)));
        }
        if counts.failed > failed.items.len() as u64 {
            lines.push(format!("  and {} more", counts.failed - failed.items.len() as u64));
        }
    }
    for remark in runs.iter().flat_map(|run| &run.remarks) {
        lines.push(format!("reports: {} {}", one_line(&remark.file), one_line(&remark.text)));
    }
    Ok(lines)
}
