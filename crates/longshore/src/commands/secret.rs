//! `longshore secret`: the secrets of a server's repositories. Values are sent to the server and never come back.

use std::{fs, io::Write as _, path::Path, process::ExitCode};

use anyhow::Context as _;
use longshore_core::percent;
use serde_json::{Value, json};

use super::{
    ExitError, print_json, print_note, repo, stdin,
    table::{self, text},
};
use crate::{
    args::{Remote, Rules, Secret},
    client::Client,
};

pub(crate) fn run(args: Remote<Secret>) -> super::Result {
    let client = args.server.client()?;
    match args.command {
        Secret::Set { repo, name, value, file, rules } => {
            let mut body = rules_json(&rules);
            if !rules.rules_only {
                body["value"] = match (value, file) {
                    (Some(value), _) => value,
                    (None, Some(file)) => read_file(&file)?,
                    (None, None) => stdin::read(&format!("the value of {name}"))?,
                }
                .into();
            }
            let path = format!("{}/{}", secrets_path(&client, &repo)?, percent::encode(&name));
            let secret = client.put(&path, &body)?;
            if args.server.json {
                print_json(&secret)?;
            } else {
                let mut out = std::io::stdout().lock();
                writeln!(out, "Set {name} in {repo}. Jobs use it with `secrets: [{name}]`.")?;
                let rules = describe_rules(&secret);
                if !rules.is_empty() {
                    writeln!(out, "Available only to: {rules}")?;
                }
                for note in secret["notes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    print_note(&format!("note: {note}"))?;
                }
            }
        }
        Secret::List { repo } => {
            let secrets = client.get(&secrets_path(&client, &repo)?)?;
            if args.server.json {
                print_json(&secrets["items"])?;
            } else {
                let items = secrets["items"].as_array().cloned().unwrap_or_default();
                let rows: Vec<_> = items
                    .iter()
                    .map(|s| {
                        let rules = Some(describe_rules(s)).filter(|rules| !rules.is_empty());
                        let rules = rules.unwrap_or_else(|| "all jobs".to_owned());
                        [text(s, "name"), text(s, "created_at"), text(s, "updated_at"), text(s, "updated_by"), rules]
                    })
                    .collect();
                table::print(["NAME", "CREATED", "UPDATED", "BY", "GOES TO"], &rows)?;
            }
        }
        Secret::Remove { repo, name } => {
            let answer = client.delete(&format!("{}/{}", secrets_path(&client, &repo)?, percent::encode(&name)))?;
            if args.server.json {
                print_json(&answer)?;
            } else {
                writeln!(std::io::stdout(), "Deleted {name} from {repo}.")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the given rules in the API's format.
fn rules_json(rules: &Rules) -> Value {
    let Rules { branches, tags, events, jobs, .. } = rules;
    let mut body = json!({});
    for (kind, list) in [("branches", branches), ("tags", tags), ("events", events), ("jobs", jobs)] {
        if rules.no_rules || !list.is_empty() {
            body[kind] = json!(list);
        }
    }
    body
}

/// Describes a secret's rules in one line; empty if it has none.
fn describe_rules(secret: &Value) -> String {
    let list = |kind: &str| {
        let words: Vec<&str> = secret[kind].as_array()?.iter().filter_map(Value::as_str).collect();
        (!words.is_empty()).then(|| format!("{kind} {}", words.join(", ")))
    };
    ["branches", "tags", "events", "jobs"].into_iter().filter_map(list).collect::<Vec<_>>().join("; ")
}

fn secrets_path(client: &Client, repo: &str) -> anyhow::Result<String> {
    let repo = repo::find(client, repo)?;
    Ok(format!("/api/v1/repos/{}/secrets", text(&repo, "id")))
}

/// Reads a file unchanged, because keys and certificates need their last newline.
fn read_file(path: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    String::from_utf8(bytes)
        .map_err(|_| ExitError::new(2, format!("{} is not UTF-8 text: store it as base64", path.display())).into())
}
