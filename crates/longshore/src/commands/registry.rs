//! `longshore registry`: the credentials that a server pulls images with. Passwords are sent there and never returned.

use std::{io::Write as _, process::ExitCode};

use longshore_core::percent;
use serde_json::{Value, json};

use super::{
    print_json, print_note, repo, stdin,
    table::{self, text},
};
use crate::{
    args::{Registry, Remote},
    client::Client,
};

pub(crate) fn run(args: Remote<Registry>) -> super::Result {
    let client = args.server.client()?;
    let json = args.server.json;
    match args.command {
        Registry::Add { host, username, repo } => {
            let path = format!("{}/{}", path_of(&client, repo.as_deref())?, percent::encode(&host));
            let password = stdin::read(&format!("the password or token of {username} at {host}"))?;
            let registry = client.put(&path, &json!({ "username": username, "password": password }))?;
            if json {
                print_json(&registry)?;
            } else {
                let whose = repo.map_or_else(|| "all repositories".to_owned(), |repo| repo.clone());
                let host = text(&registry, "host");
                writeln!(std::io::stdout(), "Jobs of {whose} now pull images from {host} as {username}.")?;
                for note in registry["notes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    print_note(&format!("note: {note}"))?;
                }
            }
        }
        Registry::List { repo } => {
            let registries = client.get(&path_of(&client, repo.as_deref())?)?;
            if json {
                print_json(&registries["items"])?;
            } else {
                let items = registries["items"].as_array().cloned().unwrap_or_default();
                let rows: Vec<_> = items
                    .iter()
                    .map(|r| ["host", "username", "created_at", "updated_at", "updated_by"].map(|key| text(r, key)))
                    .collect();
                table::print(["HOST", "USER", "CREATED", "UPDATED", "BY"], &rows)?;
            }
        }
        Registry::Remove { host, repo } => {
            let path = format!("{}/{}", path_of(&client, repo.as_deref())?, percent::encode(&host));
            let answer = client.delete(&path)?;
            if json {
                print_json(&answer)?;
            } else {
                writeln!(std::io::stdout(), "Deleted the credentials for {host}.")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path_of(client: &Client, repo: Option<&str>) -> anyhow::Result<String> {
    Ok(match repo {
        Some(repo) => format!("/api/v1/repos/{}/registries", text(&repo::find(client, repo)?, "id")),
        None => "/api/v1/registries".to_owned(),
    })
}
