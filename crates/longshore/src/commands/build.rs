//! `longshore build`: the builds of a server.

use std::{
    collections::HashMap,
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use longshore_core::{
    Timestamp,
    outcome::{human_duration, rough_age},
    percent,
};
use serde_json::{Value, json};

use super::{
    ExitError,
    failures::{self, FailedJob},
    job_output::OutputPrinter,
    print_json, repo,
    table::{self, text},
    tests,
};
use crate::{
    args::{Build, Remote},
    client::Client,
};

pub(crate) fn run(args: Remote<Build>) -> super::Result {
    let client = args.server.client()?;
    match args.command {
        Build::Start { repo, git_ref, commit, inputs, follow } => {
            refuse_json_of_following(args.server.json && follow)?;
            let repo = repo::find(&client, &repo)?;
            let inputs: HashMap<_, _> = inputs.into_iter().collect();
            let body = json!({ "ref": git_ref, "commit": commit, "inputs": inputs });
            let build = client.post(&format!("/api/v1/repos/{}/builds", text(&repo, "id")), &body)?;
            print_answer(&build, args.server.json, &describe_new(&client, &build))?;
            if !follow {
                return Ok(ExitCode::SUCCESS);
            }
            let build = client.get(&format!("/api/v1/builds/{}", text(&build, "id")))?;
            logs(&client, &build, None, true, false)
        }
        Build::List { repo, limit } => list(&client, repo.as_deref(), limit, args.server.json),
        Build::Show { build } => {
            let build = find(&client, &build)?;
            show(&build, args.server.json)?;
            if !args.server.json {
                failures::write(&mut std::io::stdout().lock(), &failed_jobs(&client, &build)?)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Build::Logs { build, job, follow } => {
            refuse_json_of_following(args.server.json && follow)?;
            logs(&client, &find(&client, &build)?, job.as_deref(), follow, args.server.json)
        }
        Build::Tests { build, status, limit } => {
            tests::show(&client, &find(&client, &build)?, status.as_deref(), limit, args.server.json)
        }
        Build::Cancel { build } => {
            let build = find(&client, &build)?;
            let answer = client.post(&format!("/api/v1/builds/{}/cancel", text(&build, "id")), &json!({}))?;
            let message = if build["finished_at"].is_null() {
                format!("canceling build #{}", build["number"])
            } else {
                format!("build #{} has already finished: {}", build["number"], table::build_status(&build))
            };
            print_answer(&answer, args.server.json, &message)
        }
        Build::Rerun { build, failed_only, job, follow } => {
            refuse_json_of_following(args.server.json && follow)?;
            let build = find(&client, &build)?;
            let new = match job {
                Some(name) => {
                    let job = super::approve::job_of(&build, &name)?;
                    client.post(&format!("/api/v1/jobs/{}/rerun", text(job, "id")), &json!({}))?
                }
                None => {
                    let path = format!("/api/v1/builds/{}/rerun", text(&build, "id"));
                    client.post(&path, &json!({ "failed_only": failed_only }))?
                }
            };
            print_answer(&new, args.server.json, &describe_new(&client, &new))?;
            if !follow {
                return Ok(ExitCode::SUCCESS);
            }
            logs(&client, &client.get(&format!("/api/v1/builds/{}", text(&new, "id")))?, None, true, false)
        }
    }
}

fn refuse_json_of_following(both: bool) -> anyhow::Result<()> {
    if both {
        let message = "`--follow` cannot be combined with `--json`: read the build's log after it has finished";
        return Err(ExitError::new(2, message).into());
    }
    Ok(())
}

/// Returns the number of a new build, how it stands, and the address of its page.
fn describe_new(client: &Client, build: &Value) -> String {
    let (number, id) = (&build["number"], text(build, "id"));
    format!("build #{number} {}: {}", table::build_status(build), client.address(&format!("/builds/{id}")))
}

/// Returns the jobs of a build that failed, with the first error of each.
fn failed_jobs(client: &Client, build: &Value) -> anyhow::Result<Vec<FailedJob>> {
    let is_failed = |status: &Value| matches!(status.as_str(), Some("failure" | "error" | "timed-out"));
    let jobs = build["jobs"].as_array().into_iter().flatten();
    let failed = jobs.filter(|job| is_failed(&job["status"]) && job["continue_on_error"] != true);
    let repo = build["repo"]["name"].as_str().unwrap_or_default();
    let error_of = |job: &Value| {
        let outline = client.get(&format!("/api/v1/jobs/{}/log/outline", text(job, "id")))?;
        let steps = || job["steps"].as_array().into_iter().flatten().rev();
        let step =
            steps().find(|step| is_failed(&step["status"]) && step["exit_code"] != 0).map(|step| &step["number"]);
        let border = |begins: bool| {
            let mut borders = outline["steps"].as_array().into_iter().flatten();
            borders.find(|border| Some(&border["number"]) == step && border["begins"] == begins)?["lines"].as_u64()
        };
        let (first, last) = (border(true).map_or(1, |lines| lines + 1), border(false).unwrap_or(u64::MAX));
        let mut marks = outline["marks"].as_array().into_iter().flatten();
        let error = marks.find_map(|mark| {
            let n = mark["n"].as_u64().filter(|n| (first..=last).contains(n))?;
            (mark["kind"] == "error").then(|| (n, text(mark, "text")))
        });
        let name = text(job, "name");
        let build = failures::quoted(&format!("{repo}#{}", build["number"]));
        let rerun = format!("longshore build rerun {build} --job {}", failures::quoted(&text(job, "key")));
        Ok(FailedJob { name, error, rerun })
    };
    failed.map(error_of).collect()
}

fn print_answer(answer: &Value, json: bool, line: &str) -> super::Result {
    if json {
        print_json(answer)?;
    } else {
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Finds a build by its id or by `repo#number`.
pub(super) fn find(client: &Client, build: &str) -> anyhow::Result<Value> {
    let Some((repo, number)) = build.rsplit_once('#') else {
        if !repo::looks_like_an_id(build) {
            let message =
                format!("`{build}` is not a build: write `repo#number` as in `longshore build list`, or a build's ID");
            return Err(ExitError::new(2, message).into());
        }
        return client.get(&format!("/api/v1/builds/{}", percent::encode(build)));
    };
    let repo = repo::find(client, repo)?;
    let path = format!("/api/v1/repos/{}/builds?number={}", text(&repo, "id"), percent::encode(number));
    let found = client.get(&path)?;
    let id = found["items"][0]["id"].as_str().ok_or_else(|| {
        ExitError::new(1, format!("{} has no build #{number}; see `longshore build list {0}`", text(&repo, "name")))
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
                table::build_status(b),
                describe_ref(b),
                commit,
                duration(b),
                table::time(b, "created_at").map_or_else(String::new, |at| rough_age(Timestamp::now().since(at))),
                text(b, "message"),
            ]
        })
        .collect();
    table::print(["BUILD", "STATUS", "REF", "COMMIT", "DURATION", "AGE", "MESSAGE"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns how long a build or a job took, or has taken so far; empty if it has not started.
fn duration(of: &Value) -> String {
    let from = table::time(of, "started_at").or_else(|| table::time(of, "claimed_at"));
    let to = table::time(of, "finished_at").unwrap_or_else(Timestamp::now);
    from.map_or_else(String::new, |from| human_duration(to.since(from)))
}

/// Describes what was built: a branch, a tag, or a pull request's number with its target branch.
fn describe_ref(build: &Value) -> String {
    match (build["pull_request"]["number"].as_u64(), build["tag"].as_str()) {
        (Some(number), _) => format!("#{number} into {}", text(&build["pull_request"], "target_branch")),
        (None, Some(tag)) => tag.to_owned(),
        (None, None) => text(build, "branch"),
    }
}

fn show(build: &Value, json: bool) -> super::Result {
    if json {
        print_json(build)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "build #{}  {}  {}  {}",
        build["number"],
        table::build_status(build),
        duration(build),
        text(build, "reason")
    )?;
    let event = text(build, "event").replace('-', " ");
    writeln!(out, "{event} {} {}", describe_ref(build), text(build, "commit"))?;
    writeln!(out, "{} ({})", text(build, "message"), text(build, "author"))?;
    writeln!(out, "started by {}", describe_act(&build["started_by"]))?;
    if !build["canceled_by"].is_null() {
        writeln!(out, "canceled by {}", describe_act(&build["canceled_by"]))?;
    }
    for again in build["reruns"].as_array().into_iter().flatten() {
        let number = again["number"].as_u64().map_or_else(String::new, |number| format!(" as #{number}"));
        writeln!(out, "rerun{number} by {}", describe_act(&again["by"]))?;
    }
    for diagnostic in build["diagnostics"].as_array().into_iter().flatten() {
        if let Ok(diagnostic) = serde_json::from_value::<longshore_core::Diagnostic>(diagnostic.clone()) {
            write!(out, "\n{}", diagnostic.render())?;
        }
    }
    for job in build["jobs"].as_array().into_iter().flatten() {
        let parts = [text(job, "name"), duration(job), text(job, "reason")];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        writeln!(out, "\n{:<10} {}", table::status(job), parts.join("  "))?;
        for (what, key) in [("approved", "approved_by"), ("declined", "declined_by"), ("canceled", "canceled_by")] {
            if !job[key].is_null() {
                writeln!(out, "  {what} by {}", describe_act(&job[key]))?;
            }
        }
        for step in job["steps"].as_array().into_iter().flatten() {
            let code = step["exit_code"].as_i64().map_or_else(String::new, |c| format!("exit {c}"));
            let wall = step["wall_ms"].as_u64().map_or_else(String::new, human_duration);
            writeln!(out, "  {:<10} {:<40} {code:<8} {wall}", table::status(step), text(step, "name"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Describes who did something, how, and when.
fn describe_act(done: &Value) -> String {
    let (name, via) = (text(done, "name"), text(done, "via"));
    let who = match (name.as_str(), via.as_str()) {
        (_, "schedule") => "its schedule".to_owned(),
        ("", "event") => "a webhook".to_owned(),
        ("", _) => "somebody".to_owned(),
        (name, "event") => format!("{name}, on the forge"),
        (name, "session") => format!("{name}, in a browser"),
        (name, _) => name.to_owned(),
    };
    format!("{who}, {}", text(done, "at"))
}

fn logs(client: &Client, build: &Value, only: Option<&str>, follow: bool, json: bool) -> super::Result {
    let all: Vec<&Value> = build["jobs"].as_array().into_iter().flatten().collect();
    if all.is_empty() {
        // The pipeline files could not be planned, so there are only diagnostics to read.
        show(build, json)?;
        return Ok(ExitCode::FAILURE);
    }
    let wanted = |job: &str| only.is_none_or(|name| super::is_called(job, name));
    let jobs: Vec<&Value> = all.iter().copied().filter(|job| job["name"].as_str().is_some_and(wanted)).collect();
    if let (true, Some(name)) = (jobs.is_empty(), only) {
        let all = all.iter().map(|job| text(job, "name")).collect::<Vec<_>>().join(", ");
        return Err(ExitError::new(1, format!("build #{} has no job `{name}`; it has: {all}", build["number"])).into());
    }
    let names: Vec<String> = jobs.iter().map(|job| text(job, "name")).collect();
    let printer = OutputPrinter::new(names.iter().map(String::as_str), None);
    if !follow {
        for (index, (job, name)) in jobs.iter().zip(&names).enumerate() {
            let path = format!("/api/v1/jobs/{}/log", text(job, "id"));
            if json {
                client.copy(&format!("{path}?format=jsonl"), &mut JobObjects::new(name))?;
            } else if jobs.len() > 1 || std::io::stdout().is_terminal() {
                // On a terminal the log must not move the cursor.
                let mut lines = if jobs.len() > 1 { printer.job(index, name) } else { printer.plain() };
                client.copy(&path, &mut lines)?;
                lines.finish()?;
            } else {
                // In a file or a pipe, one job's log is written unchanged.
                client.copy(&path, &mut std::io::stdout().lock())?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    // The stream of a job that has not started waits, so every job gets one from the start.
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
                                .and_then(|()| lines.write(format!("-- attempt {}\n", data["attempt"]).as_bytes()));
                        }
                        "end" => {
                            printed = lines
                                .finish()
                                .and_then(|()| lines.write(format!("-- {}\n", table::status(&data)).as_bytes()));
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
    let mut out = std::io::stdout().lock();
    writeln!(out, "build #{}: {} {}", build["number"], table::build_status(&build), text(&build, "reason"))?;
    failures::write(&mut out, &failed_jobs(client, &build)?)?;
    let ok = matches!(build["status"].as_str(), Some("success" | "skipped"));
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Adds the job's name to each object of a log of JSON lines, and prints it.
struct JobObjects {
    start: String,
    partial: Vec<u8>,
}

impl JobObjects {
    fn new(name: &str) -> Self {
        Self { start: format!("{{\"job\":{},", Value::from(name)), partial: Vec::new() }
    }
}

impl std::io::Write for JobObjects {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.partial.extend_from_slice(bytes);
        let Some(end) = memchr::memrchr(b'\n', &self.partial) else { return Ok(bytes.len()) };
        let rest = self.partial.split_off(end + 1);
        let whole = std::mem::replace(&mut self.partial, rest);
        let mut out = std::io::stdout().lock();
        for object in whole.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"{")) {
            out.write_all(self.start.as_bytes())?;
            out.write_all(object)?;
            out.write_all(b"\n")?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
