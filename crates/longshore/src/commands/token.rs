//! `longshore token`: who may talk to a server.

use std::{io::Write as _, process::ExitCode};

use serde_json::json;

use super::{
    print_json,
    table::{self, text},
};
use crate::{
    args::{Remote, Token},
    client::Client,
};

pub(crate) fn run(args: Remote<Token>) -> super::Result {
    let client = Client::new(&args.url, args.token);
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
        Token::Revoke { token } => {
            let answer = client.delete(&format!("/api/v1/tokens/{token}"))?;
            if args.json {
                print_json(&answer)?;
            } else {
                writeln!(std::io::stdout(), "revoked")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
