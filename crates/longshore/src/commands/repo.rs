//! `longshore repo`: the repositories of a server.

use std::{io::Write as _, process::ExitCode};

use serde_json::{Value, json};

use super::{
    Ended, print_json, stdin,
    table::{self, text},
};
use crate::{
    args::{Remote, Repo},
    client::Client,
};

pub(crate) fn run(args: Remote<Repo>) -> super::Result {
    let client = args.server.client()?;
    match args.command {
        Repo::Add { name, connection: Some(connection), public, .. } => {
            let body = json!({ "name": name, "connection": connection, "public": public });
            let repo = client.post("/api/v1/repos", &body)?;
            if args.server.json {
                print_json(&repo)?;
            } else {
                let mut out = std::io::stdout().lock();
                writeln!(out, "Registered {} ({}).", text(&repo, "name"), text(&repo, "id"))?;
                writeln!(
                    out,
                    "It is cloned from {}, and its webhook calls {}.",
                    text(&repo, "clone_url"),
                    text(&repo, "hook_url")
                )?;
            }
        }
        Repo::Add { name, clone_url, connection: None, forge, public } => {
            let body = json!({ "name": name, "clone_url": clone_url, "forge": forge, "public": public });
            let repo = client.post("/api/v1/repos", &body)?;
            if args.server.json {
                print_json(&repo)?;
            } else {
                let mut out = std::io::stdout().lock();
                writeln!(out, "Registered {} ({}).", text(&repo, "name"), text(&repo, "id"))?;
                writeln!(out, "Webhook URL     {}", text(&repo, "hook_url"))?;
                writeln!(out, "Webhook secret  {}   (shown only once)", text(&repo, "hook_secret"))?;
                let next = match text(&repo, "forge").as_str() {
                    "git" => {
                        "Call it from the bare repository's `post-receive` hook; the README has the script, under Webhooks."
                    }
                    "gitea" | "forgejo" => {
                        "Add a webhook with them in the forge: content type application/json; the events Push, Create, and \
                         of pull requests Modification and Synchronized.\nThe forge calls a private address only if \
                         `ALLOWED_HOST_LIST`, under `[webhook]` in its app.ini, names it."
                    }
                    _ => {
                        "Add a webhook with them in the forge: content type application/json, push and pull request events."
                    }
                };
                writeln!(out, "{next}")?;
                drop(out);
                warn_of_unreachable(&repo)?;
            }
        }
        Repo::List => {
            let items = list_all(&client, "/api/v1/repos")?;
            if args.server.json {
                print_json(&Value::Array(items))?;
            } else {
                let rows: Vec<_> = items
                    .iter()
                    .map(|r| [text(r, "name"), text(r, "forge"), text(r, "clone_url"), text(r, "id")])
                    .collect();
                table::print(["NAME", "FORGE", "CLONE URL", "ID"], &rows)?;
            }
        }
        Repo::Show { repo } => {
            let repo = find(&client, &repo)?;
            if args.server.json {
                print_json(&repo)?;
            } else if let Some(fields) = repo.as_object() {
                let rows: Vec<_> = fields.keys().map(|key| [key.clone(), text(&repo, key)]).collect();
                table::print(["FIELD", "VALUE"], &rows)?;
            }
        }
        Repo::Connect { repo, connection, name } => {
            let repo = find(&client, &repo)?;
            let body = json!({ "connection": connection, "name": name });
            let connected = client.post(&format!("/api/v1/repos/{}/connection", text(&repo, "id")), &body)?;
            if args.server.json {
                print_json(&connected)?;
            } else {
                let [name, url] = ["name", "clone_url"].map(|key| text(&connected, key));
                writeln!(std::io::stdout(), "Connected {name}. It is cloned from {url}, and its webhook is set up.")?;
            }
        }
        Repo::Key { repo, new, remove } => {
            let repo = find(&client, &repo)?;
            let path = format!("/api/v1/repos/{}/deploy-key", text(&repo, "id"));
            if remove {
                client.delete(&path)?;
                if !args.server.json {
                    writeln!(std::io::stdout(), "Deleted the deploy key of {}.", text(&repo, "name"))?;
                }
                return Ok(ExitCode::SUCCESS);
            }
            let has_one = repo["deploy_key"].is_string();
            let key = if new || !has_one { client.post(&path, &json!({}))? } else { client.get(&path)? };
            if args.server.json {
                print_json(&key)?;
            } else {
                print_key(&key)?;
            }
        }
        Repo::Change { repo, name, forge, clone_url, default_branch, public } => {
            let repo = find(&client, &repo)?;
            let given = json!({
                "name": name, "forge": forge, "clone_url": clone_url, "default_branch": default_branch, "public": public,
            });
            let changed = client.patch(&format!("/api/v1/repos/{}", text(&repo, "id")), &given)?;
            if args.server.json {
                print_json(&changed)?;
            } else {
                let [name, forge, url] = ["name", "forge", "clone_url"].map(|key| text(&changed, key));
                writeln!(std::io::stdout(), "{name} ({forge}) is cloned from {url}.")?;
                warn_of_unreachable(&changed)?;
            }
        }
        Repo::Look { repo } => {
            let repo = find(&client, &repo)?;
            let looked = client.post(&format!("/api/v1/repos/{}/look", text(&repo, "id")), &json!({}))?;
            if args.server.json {
                print_json(&looked)?;
            } else {
                print_found(&looked)?;
            }
        }
        Repo::Docker { repo, branches, buildkit, raw, none: _ } => {
            let repo = find(&client, &repo)?;
            let grant = match (raw, branches.is_empty()) {
                (true, _) => json!("raw"),
                (false, false) => json!({ "branches": branches, "buildkit": buildkit }),
                (false, true) => json!(false),
            };
            let changed = client.patch(&format!("/api/v1/repos/{}", text(&repo, "id")), &json!({ "docker": grant }))?;
            let message = match (raw, branches.is_empty()) {
                (true, _) => "jobs get the Docker access that they ask for, including the host's socket".to_owned(),
                (false, false) => {
                    let builder = if buildkit { " and a BuildKit builder of their own" } else { "" };
                    format!("jobs of {} that ask for it get a guarded Docker API{builder}", branches.join(", "))
                }
                (false, true) => "jobs get no Docker".to_owned(),
            };
            if args.server.json {
                print_json(&changed)?;
            } else {
                writeln!(std::io::stdout(), "{}: {message}.", text(&changed, "name"))?;
            }
        }
        Repo::Remove { repo, yes } => {
            let repo = find(&client, &repo)?;
            if !yes {
                stdin::confirm(&format!("Delete {} with its builds and logs?", text(&repo, "name")))?;
            }
            let answer = client.delete(&format!("/api/v1/repos/{}", text(&repo, "id")))?;
            if args.server.json {
                print_json(&answer)?;
            } else {
                writeln!(std::io::stdout(), "Deleted {} with its builds and logs.", text(&repo, "name"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns why a repository cannot be fetched; `None` if it can.
fn warn_of_unreachable(repo: &Value) -> std::io::Result<()> {
    match repo["look_error"].as_str() {
        Some(why) => writeln!(
            std::io::stderr(),
            "\nlongshore: it cannot be fetched yet: {}\n`longshore repo change` changes the clone address.",
            table::one_line(why)
        ),
        None => Ok(()),
    }
}

/// Prints a public key, and below it the pinned keys of its host.
fn print_key(key: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\n", text(key, "public_key"))?;
    writeln!(
        out,
        "Add it on the forge as a read-only deploy key. Only these host keys are trusted; compare them with those that the host publishes:"
    )?;
    let shown = |one: &Value| ["host", "kind", "fingerprint"].map(|field| text(one, field));
    let rows: Vec<_> = key["host_keys"].as_array().into_iter().flatten().map(shown).collect();
    drop(out);
    table::print(["HOST", "TYPE", "FINGERPRINT"], &rows)?;
    Ok(())
}

/// Prints the pushes that a look found.
fn print_found(looked: &Value) -> anyhow::Result<()> {
    let found = looked["found"].as_array().map(Vec::as_slice).unwrap_or_default();
    if found.is_empty() {
        writeln!(std::io::stdout(), "No missed pushes. Branches and tags: {}", text(looked, "refs"))?;
    } else {
        let cut = |push: &Value, key| text(push, key).chars().take(10).collect::<String>();
        let rows: Vec<_> = found
            .iter()
            .map(|push| [text(push, "ref"), cut(push, "before"), cut(push, "after"), text(push, "delivery")])
            .collect();
        table::print(["REF", "BEFORE", "AFTER", "DELIVERY"], &rows)?;
    }
    match looked["left_out"].as_u64() {
        Some(left_out) if left_out > 0 => {
            writeln!(std::io::stdout(), "{left_out} more are not built: that many at once look like an import.")?;
        }
        _ => {}
    }
    Ok(())
}

/// Finds a repository by its id or name.
pub(crate) fn find(client: &Client, repo: &str) -> anyhow::Result<Value> {
    if looks_like_an_id(repo) {
        return client.get(&format!("/api/v1/repos/{repo}"));
    }
    let found = client.get(&format!("/api/v1/repos?name={}", query_value(repo)))?;
    found["items"]
        .get(0)
        .cloned()
        .ok_or_else(|| Ended::new(1, format!("repository `{repo}` not found; see `longshore repo list`")).into())
}

pub(crate) fn looks_like_an_id(text: &str) -> bool {
    text.len() == 36 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// Returns all items of a list, page by page.
pub(super) fn list_all(client: &Client, path: &str) -> anyhow::Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut before = String::new();
    loop {
        let page = client.get(&format!("{path}?limit=100{before}"))?;
        items.extend(page["items"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => before = format!("&before={}", query_value(next)),
            None => return Ok(items),
        }
    }
}

/// Percent-encodes a value for a query.
pub(crate) fn query_value(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}
