//! `longshore cache`: what the jobs of a server's repositories keep for the next ones.

use std::{io::Write as _, process::ExitCode};

use longshore_core::outcome::human_bytes;
use serde_json::Value;

use super::{
    ExitError, print_json, repo,
    table::{self, text},
};
use crate::{
    args::{Cache, Remote},
    client::Client,
};

pub(crate) fn run(args: Remote<Cache>) -> super::Result {
    let client = args.server.client()?;
    let json = args.server.json;
    match args.command {
        Cache::List { repo } => {
            let caches = client.get(&path_of(&client, &repo)?)?;
            if json {
                print_json(&caches)?;
            } else {
                let rows: Vec<_> = items(&caches).iter().map(row).collect();
                table::print(["ID", "KEY", "BRANCH", "PATHS", "SIZE", "USED", "HITS"], &rows)?;
                let (asked, found) = (caches["asked"].as_u64().unwrap_or(0), caches["found"].as_u64().unwrap_or(0));
                if let Some(rate) = (found * 100).checked_div(asked) {
                    writeln!(std::io::stdout(), "{found} of {asked} lookups found a cache ({rate}%).")?;
                }
            }
        }
        Cache::Remove { repo, cache, all } => {
            let path = path_of(&client, &repo)?;
            let found = client.get(&path)?;
            let named = |entry: &&Value| {
                all || cache.as_deref().is_some_and(|name| entry["id"] == name || entry["key"] == name)
            };
            let chosen: Vec<&Value> = items(&found).iter().filter(named).collect();
            if chosen.is_empty() && !all {
                let name = cache.unwrap_or_default();
                let message = format!("{repo} has no cache `{name}`; see `longshore cache list {repo}`");
                return Err(ExitError::new(1, message).into());
            }
            for entry in &chosen {
                client.delete(&format!("{path}/{}", text(entry, "id")))?;
                if !json {
                    writeln!(std::io::stdout(), "Removed {}.", text(entry, "key"))?;
                }
            }
            if json {
                print_json(&serde_json::json!({ "removed": chosen }))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn items(caches: &Value) -> &[Value] {
    caches["items"].as_array().map_or(&[], Vec::as_slice)
}

fn row(entry: &Value) -> [String; 7] {
    let listed =
        |key: &str| entry[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
    let size = entry["bytes"].as_u64().map(human_bytes).unwrap_or_default();
    let hits = entry["hits"].as_u64().unwrap_or(0).to_string();
    [text(entry, "id"), text(entry, "key"), listed("branches"), listed("paths"), size, text(entry, "used_at"), hits]
}

fn path_of(client: &Client, repo: &str) -> anyhow::Result<String> {
    Ok(format!("/api/v1/repos/{}/caches", text(&repo::find(client, repo)?, "id")))
}
