//! `longshore notification`: who is notified of builds. Addresses of webhooks and tokens are sent to the server and
//! never returned.

use std::{io::Write as _, process::ExitCode};

use serde_json::{Value, json};

use super::{
    ExitError, print_json, repo, stdin,
    table::{self, text},
};
use crate::{
    args::{NewNotification, Notification, Remote},
    client::Client,
};

pub(crate) fn run(args: Remote<Notification>) -> super::Result {
    let client = args.server.client()?;
    let json = args.server.json;
    match args.command {
        Notification::Add(new) => add(&client, new, json)?,
        Notification::List { repo } => {
            let all = client.get(&path_of(&client, repo.as_deref())?)?;
            if json {
                print_json(&all["items"])?;
            } else {
                let row = |one: &Value| {
                    let words = |key: &str| {
                        let words = one[key].as_array().into_iter().flatten().filter_map(Value::as_str);
                        words.collect::<Vec<_>>().join(" ")
                    };
                    let [id, name, kind, address] = ["id", "name", "kind", "address"].map(|key| text(one, key));
                    [
                        id,
                        name,
                        kind,
                        address,
                        words("on"),
                        words("branches"),
                        text(one, "last_told_at"),
                        text(one, "problem"),
                    ]
                };
                let rows: Vec<_> = items(&all).map(row).collect();
                table::print(["ID", "NAME", "KIND", "ADDRESS", "ON", "BRANCHES", "LAST MESSAGE", "PROBLEM"], &rows)?;
            }
        }
        Notification::Test { notification, repo } => {
            let path = path_of(&client, repo.as_deref())?;
            let answer = client.post(&format!("{path}/{}/test", find(&client, &path, &notification)?), &json!({}))?;
            if json {
                print_json(&answer)?;
            } else {
                writeln!(std::io::stdout(), "The test message to {notification} has arrived.")?;
            }
        }
        Notification::Remove { notification, repo } => {
            let path = path_of(&client, repo.as_deref())?;
            let answer = client.delete(&format!("{path}/{}", find(&client, &path, &notification)?))?;
            if json {
                print_json(&answer)?;
            } else {
                writeln!(std::io::stdout(), "The notification {notification} is removed.")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn add(client: &Client, new: NewNotification, json: bool) -> anyhow::Result<()> {
    let NewNotification { kind, address, name, on, branches, repo } = new;
    let address = match address {
        Some(address) => address,
        None => stdin::read(&format!("the address of the {kind} notification"))?,
    };
    let secret = match kind.as_str() {
        "matrix" => Some(stdin::read("the access token of an account in that room")?),
        _ => None,
    };
    let body = json!({
        "kind": kind, "address": address, "secret": secret, "name": name, "branches": branches,
        "on": Some(on).filter(|on| !on.is_empty()),
    });
    let added = client.post(&path_of(client, repo.as_deref())?, &body)?;
    if json {
        return print_json(&added);
    }
    let whose = repo.unwrap_or_else(|| "all repositories".to_owned());
    let [name, address] = ["name", "address"].map(|key| text(&added, key));
    let mut out = std::io::stdout();
    writeln!(out, "{name} ({address}) is notified of builds of {whose}.")?;
    if let Some(key) = added["signing_key"].as_str() {
        writeln!(out, "Requests are signed with this key, which is not shown again: {key}")?;
    }
    Ok(())
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn path_of(client: &Client, repo: Option<&str>) -> anyhow::Result<String> {
    Ok(match repo {
        Some(repo) => format!("/api/v1/repos/{}/notifications", text(&repo::find(client, repo)?, "id")),
        None => "/api/v1/notifications".to_owned(),
    })
}

/// Returns the id of the notification that is called so.
fn find(client: &Client, path: &str, word: &str) -> anyhow::Result<String> {
    let all = client.get(path)?;
    for key in ["id", "name"] {
        let found: Vec<&Value> = items(&all).filter(|one| one[key] == word).collect();
        if let [one] = found[..] {
            return Ok(text(one, "id"));
        }
    }
    let message = format!(
        "no notification `{word}` here, or more than one; `longshore notification list` shows them with their ids"
    );
    Err(ExitError::new(1, message).into())
}
