//! `longshore connection`: the forges that a server may call. Tokens are sent there and never returned.

use std::{io::Write as _, process::ExitCode};

use serde_json::{Value, json};

use super::{
    ExitError, print_json, stdin,
    table::{self, text},
};
use crate::{
    args::{Connection, Remote},
    client::Client,
};

const PATH: &str = "/api/v1/connections";

pub(crate) fn run(args: Remote<Connection>) -> super::Result {
    let client = args.server.client()?;
    let json = args.server.json;
    match args.command {
        Connection::Add { kind, address, name, app_id } => {
            let what = if app_id.is_some() { "the private key of the App" } else { "the token of an account" };
            let token = stdin::read(&format!("{what} at {address}"))?;
            let body = json!({ "kind": kind, "url": address, "token": token, "name": name, "app_id": app_id });
            let connection = client.post(PATH, &body)?;
            if json {
                print_json(&connection)?;
            } else {
                let [name, url, account] = ["name", "url", "account"].map(|key| text(&connection, key));
                writeln!(std::io::stdout(), "Connected {url} as {name} with the account {account}.")?;
            }
        }
        Connection::List => {
            let connections = client.get(PATH)?;
            if json {
                print_json(&connections["items"])?;
            } else {
                let keys = ["name", "kind", "url", "account", "updated_at", "updated_by"];
                let rows: Vec<_> = items(&connections).map(|one| keys.map(|key| text(one, key))).collect();
                table::print(["NAME", "KIND", "ADDRESS", "ACCOUNT", "UPDATED", "BY"], &rows)?;
            }
        }
        Connection::Repos { connection } => {
            let repos = client.get(&format!("{PATH}/{}/repos", find(&client, &connection)?))?;
            if json {
                print_json(&repos["items"])?;
            } else {
                let row = |repo: &Value| {
                    let what = match (repo["repo"].is_string(), repo["admin"] == true) {
                        (true, _) => "registered",
                        (false, true) => "",
                        (false, false) => "not an admin",
                    };
                    [text(repo, "name"), text(repo, "default_branch"), what.to_owned()]
                };
                let rows: Vec<_> = items(&repos).map(row).collect();
                table::print(["NAME", "DEFAULT BRANCH", ""], &rows)?;
            }
        }
        Connection::Remove { connection } => {
            let answer = client.delete(&format!("{PATH}/{}", find(&client, &connection)?))?;
            if json {
                print_json(&answer)?;
            } else {
                writeln!(std::io::stdout(), "Removed the connection {connection}.")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

/// Returns the id of the connection that is called so.
fn find(client: &Client, word: &str) -> anyhow::Result<String> {
    let all = client.get(PATH)?;
    let address = word.trim_end_matches('/');
    for (key, value) in [("id", word), ("name", word), ("url", address), ("kind", word)] {
        let found: Vec<&Value> = items(&all).filter(|one| one[key] == value).collect();
        if let [one] = found[..] {
            return Ok(text(one, "id"));
        }
    }
    let message = format!("no connection `{word}`, or more than one; see `longshore connection list`");
    Err(ExitError::new(1, message).into())
}
