//! `longshore build`: the builds of a server.

use std::{
    collections::HashMap,
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use serde_json::{Value, json};

use super::{
    Ended, print_json,
    printer::Printer,
    repo,
    table::{self, text},
};
use crate::{
    args::{Build, Remote},
    client::Client,
};

pub(crate) fn run(args: Remote<Build>) -> super::Result {
    let client = Client::new(&args.url, args.token);
    match args.command {
        Build::Start { repo, git_ref, commit, inputs } => {
            let repo = repo::find(&client, &repo)?;
            let inputs: HashMap<_, _> = inputs.into_iter().collect();
            let body = json!({ "ref": git_ref, "commit": commit, "inputs": inputs });
            let build = client.post(&format!("/api/v1/repos/{}/builds", text(&repo, "id")), &body)?;
            say(&build, args.json, &format!("build #{} is {}", build["number"], text(&build, "status")))
        }
        Build::List { repo, limit } => list(&client, repo.as_deref(), limit, args.json),
        Build::Show { build } => show(&find(&client, &build)?, args.json),
        Build::Logs { build, job, follow } => logs(&client, &find(&client, &build)?, job.as_deref(), follow),
        Build::Cancel { build } => {
            let build = find(&client, &build)?;
            let answer = client.post(&format!("/api/v1/builds/{}/cancel", text(&build, "id")), &json!({}))?;
            say(&answer, args.json, &format!("build #{} is asked to stop", build["number"]))
        }
        Build::Rerun { build, failed_only } => {
            let build = find(&client, &build)?;
            let path = format!("/api/v1/builds/{}/rerun", text(&build, "id"));
            let new = client.post(&path, &json!({ "failed_only": failed_only }))?;
            say(&new, args.json, &format!("build #{} runs it once more", new["number"]))
        }
    }
}

fn say(answer: &Value, json: bool, line: &str) -> super::Result {
    if json {
        print_json(answer)?;
    } else {
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The build of this id, or `repo#number`.
fn find(client: &Client, build: &str) -> anyhow::Result<Value> {
    let Some((repo, number)) = build.rsplit_once('#') else {
        return client.get(&format!("/api/v1/builds/{}", repo::query_value(build)));
    };
    let repo = repo::find(client, repo)?;
    let path = format!("/api/v1/repos/{}/builds?number={}", text(&repo, "id"), repo::query_value(number));
    let found = client.get(&path)?;
    let id = found["items"][0]["id"].as_str().ok_or_else(|| {
        Ended::new(1, format!("no build #{number} of {}; `longshore build list {0}` shows them", text(&repo, "name")))
    })?;
    client.get(&format!("/api/v1/builds/{id}"))
}

fn list(client: &Client, repo: Option<&str>, limit: u32, json: bool) -> super::Result {
    let path = match repo {
        Some(name) => format!("/api/v1/repos/{}/builds", text(&repo::find(client, name)?, "id")),
        None => "/api/v1/builds".to_owned(),
    };
    let found = client.get(&format!("{path}?limit={limit}"))?;
    if json {
        print_json(&found["items"])?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<_> = found["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|b| {
            let commit: String = text(b, "commit").chars().take(10).collect();
            let repo = b["repo"]["name"].as_str().map_or_else(|| text(b, "repo"), str::to_owned);
            [
                format!("{repo}#{}", b["number"]),
                text(b, "status"),
                text(b, "branch"),
                commit,
                text(b, "created_at"),
                text(b, "message"),
            ]
        })
        .collect();
    table::print(["BUILD", "STATUS", "BRANCH", "COMMIT", "CREATED", "MESSAGE"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

fn show(build: &Value, json: bool) -> super::Result {
    if json {
        print_json(build)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "build #{}  {}  {}", build["number"], text(build, "status"), text(build, "reason"))?;
    writeln!(out, "{} {} {}", text(build, "event"), text(build, "branch"), text(build, "commit"))?;
    writeln!(out, "{} ({})", text(build, "message"), text(build, "author"))?;
    for diagnostic in build["diagnostics"].as_array().into_iter().flatten() {
        if let Ok(diagnostic) = serde_json::from_value::<longshore_core::Diagnostic>(diagnostic.clone()) {
            write!(out, "\n{}", diagnostic.render())?;
        }
    }
    for job in build["jobs"].as_array().into_iter().flatten() {
        writeln!(out, "\n{:<10} {}  {}", text(job, "status"), text(job, "name"), text(job, "reason"))?;
        for step in job["steps"].as_array().into_iter().flatten() {
            let code = step["exit_code"].as_i64().map_or_else(String::new, |c| format!("exit {c}"));
            let wall = step["wall_ms"].as_u64().map_or_else(String::new, longshore_core::outcome::human_duration);
            writeln!(out, "  {:<10} {:<40} {code:<8} {wall}", text(step, "status"), text(step, "name"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn logs(client: &Client, build: &Value, only: Option<&str>, follow: bool) -> super::Result {
    let jobs: Vec<&Value> = build["jobs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|job| only.is_none_or(|name| job["name"].as_str() == Some(name)))
        .collect();
    if let (true, Some(name)) = (jobs.is_empty(), only) {
        return Err(Ended::new(1, format!("build #{} has no job `{name}`", build["number"])).into());
    }
    if !follow {
        let printer = Printer::new([], None);
        for job in jobs {
            let path = format!("/api/v1/jobs/{}/log", text(job, "id"));
            // In a file or a pipe it is what it is; on a terminal nothing in it may move the cursor.
            if std::io::stdout().is_terminal() {
                let mut lines = printer.plain();
                client.copy(&path, &mut lines)?;
                lines.finish()?;
            } else {
                client.copy(&path, &mut std::io::stdout().lock())?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let names: Vec<String> = jobs.iter().map(|job| text(job, "name")).collect();
    let printer = Printer::new(names.iter().map(String::as_str), None);
    // A stream of a job that has not begun waits for it; so there is one a job from the start.
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let mut followers = Vec::new();
        for (index, job) in jobs.iter().enumerate() {
            let mut lines = printer.job(index, &names[index]);
            let path = format!("/api/v1/jobs/{}/log/stream", text(job, "id"));
            followers.push(scope.spawn(move || -> anyhow::Result<()> {
                let mut printed = Ok(());
                client.follow(&path, |event| {
                    let data: Value = serde_json::from_str(&event.data).unwrap_or(Value::Null);
                    match event.name.as_str() {
                        "log" => printed = lines.write(data["text"].as_str().unwrap_or_default().as_bytes()),
                        "reset" => {
                            printed = lines
                                .finish()
                                .and_then(|()| lines.write(format!("-- try {}\n", data["attempt"]).as_bytes()));
                        }
                        "end" => {
                            printed = lines
                                .finish()
                                .and_then(|()| lines.write(format!("-- {}\n", text(&data, "status")).as_bytes()));
                            return false;
                        }
                        _ => {}
                    }
                    printed.is_ok()
                })?;
                Ok(printed?)
            }));
        }
        for follower in followers {
            follower.join().map_err(|_| anyhow::anyhow!("a log's follower stopped"))??;
        }
        Ok(())
    })?;
    let build = client.get(&format!("/api/v1/builds/{}", text(build, "id")))?;
    writeln!(std::io::stdout(), "build #{}: {} {}", build["number"], text(&build, "status"), text(&build, "reason"))?;
    let ok = matches!(build["status"].as_str(), Some("success" | "skipped"));
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
