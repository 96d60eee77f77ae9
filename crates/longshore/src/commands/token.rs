//! `longshore token`: who may talk to a server.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use serde_json::json;

use super::{
    print_json,
    table::{self, text},
};
use crate::{
    args::{Remote, Token},
    client::Client,
};

/// Beside the server, as in `docker exec`: the administrator's token of its data folder, for whoever may read it.
fn own_admin_token() -> Option<String> {
    let data = std::env::var_os("LONGSHORE_DATA").map_or_else(|| PathBuf::from("/var/lib/longshore"), PathBuf::from);
    let given = std::env::var("LONGSHORE_ADMIN_TOKEN").ok().filter(|token| !token.is_empty());
    given.or_else(|| Some(std::fs::read_to_string(data.join("admin-token")).ok()?.trim().to_owned()))
}

pub(crate) fn run(args: Remote<Token>) -> super::Result {
    let client = Client::new(&args.url, args.token.or_else(own_admin_token), args.ca_file.as_deref())?;
    match args.command {
        Token::Create { name, scopes } => {
            let token = client.post("/api/v1/tokens", &json!({ "name": name, "scopes": scopes }))?;
            if args.json {
                print_json(&token)?;
            } else {
                writeln!(std::io::stdout(), "{}", text(&token, "token"))?;
                writeln!(std::io::stderr(), "The token is shown this once; the server keeps only its hash.")?;
            }
        }
        Token::SignIn => {
            let link = client.post("/api/v1/sign-in-links", &json!({}))?;
            if args.json {
                print_json(&link)?;
            } else {
                writeln!(std::io::stdout(), "{}", text(&link, "url"))?;
                writeln!(std::io::stderr(), "It works once, within ten minutes.")?;
            }
        }
        Token::List => {
            let tokens = client.get("/api/v1/tokens")?;
            if args.json {
                print_json(&tokens["items"])?;
            } else {
                let items = tokens["items"].as_array().cloned().unwrap_or_default();
                let rows: Vec<_> = items
                    .iter()
                    .map(|t| {
                        let scopes = t["scopes"].as_array().map_or_else(String::new, |s| {
                            s.iter().filter_map(|w| w.as_str()).collect::<Vec<_>>().join(",")
                        });
                        [text(t, "id"), text(t, "name"), scopes, text(t, "created_at"), text(t, "last_used_at")]
                    })
                    .collect();
                table::print(["ID", "NAME", "SCOPES", "CREATED", "LAST USED"], &rows)?;
            }
        }
        Token::Revoke { id } => {
            let answer = client.delete(&format!("/api/v1/tokens/{id}"))?;
            if args.json {
                print_json(&answer)?;
            } else {
                writeln!(std::io::stdout(), "revoked")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
