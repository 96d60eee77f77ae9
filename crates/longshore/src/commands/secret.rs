//! `longshore secret`: the secrets of a server's repositories. Values go there and never come back.

use std::{
    fs,
    io::{IsTerminal as _, Read as _, Write as _},
    path::Path,
    process::ExitCode,
};

use anyhow::Context as _;
use serde_json::json;

use super::{
    Ended, print_json, repo,
    table::{self, text},
};
use crate::{
    args::{Remote, Secret},
    client::Client,
};

pub(crate) fn run(args: Remote<Secret>) -> super::Result {
    let client = Client::new(&args.url, args.token, args.ca_file.as_deref())?;
    match args.command {
        Secret::Set { repo, name, value, file } => {
            let value = match (value, file) {
                (Some(value), _) => value,
                (None, Some(file)) => of_file(&file)?,
                (None, None) => of_stdin(&name)?,
            };
            let path = format!("{}/{}", path_of(&client, &repo)?, repo::query_value(&name));
            let secret = client.put(&path, &json!({ "value": value }))?;
            if args.json {
                print_json(&secret)?;
            } else {
                writeln!(std::io::stdout(), "{name} of {repo} is set. A job gets it that says `secrets: [{name}]`.")?;
            }
        }
        Secret::List { repo } => {
            let secrets = client.get(&path_of(&client, &repo)?)?;
            if args.json {
                print_json(&secrets["items"])?;
            } else {
                let items = secrets["items"].as_array().cloned().unwrap_or_default();
                let rows: Vec<_> = items
                    .iter()
                    .map(|s| [text(s, "name"), text(s, "created_at"), text(s, "updated_at"), text(s, "updated_by")])
                    .collect();
                table::print(["NAME", "CREATED", "UPDATED", "BY"], &rows)?;
            }
        }
        Secret::Remove { repo, name } => {
            let answer = client.delete(&format!("{}/{}", path_of(&client, &repo)?, repo::query_value(&name)))?;
            if args.json {
                print_json(&answer)?;
            } else {
                writeln!(std::io::stdout(), "{name} of {repo} is removed.")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path_of(client: &Client, repo: &str) -> anyhow::Result<String> {
    let repo = repo::find(client, repo)?;
    Ok(format!("/api/v1/repos/{}/secrets", text(&repo, "id")))
}

/// A file as it is: keys and certificates end in a newline for a reason.
fn of_file(path: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    String::from_utf8(bytes)
        .map_err(|_| Ended::new(2, format!("{} is not UTF-8 text: store it as base64", path.display())).into())
}

/// Standard input, without the one newline that `echo` puts at its end.
fn of_stdin(name: &str) -> anyhow::Result<String> {
    let mut input = std::io::stdin().lock();
    if input.is_terminal() {
        writeln!(std::io::stderr(), "Write the value of {name}, then Ctrl-D:")?;
    }
    let mut value = String::new();
    input.read_to_string(&mut value).context("standard input is not UTF-8 text")?;
    let trimmed = value.strip_suffix('\n').map_or(value.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(trimmed.to_owned())
}
