//! `longshore token`: the tokens of a server.

use std::{collections::HashMap, io::Write as _, process::ExitCode};

use serde_json::json;

use super::{
    print_json, repo,
    table::{self, text},
};
use crate::args::{Remote, Token};

pub(crate) fn run(args: Remote<Token>) -> super::Result {
    let client = args.server.client()?;
    match args.command {
        Token::Create { name, scopes, repos, expires_in_days } => {
            let ids = repos.iter().map(|repo| Ok(text(&repo::find(&client, repo)?, "id")));
            let ids = ids.collect::<anyhow::Result<Vec<String>>>()?;
            let ids = Some(ids).filter(|ids| !ids.is_empty());
            let new = json!({ "name": name, "scopes": scopes, "repos": ids, "expires_in_days": expires_in_days });
            let token = client.post("/api/v1/tokens", &new)?;
            if args.server.json {
                print_json(&token)?;
            } else {
                writeln!(std::io::stdout(), "{}", text(&token, "token"))?;
                writeln!(std::io::stderr(), "The token is shown only once; the server stores only its hash.")?;
            }
        }
        Token::SignIn => {
            let link = client.post("/api/v1/sign-in-links", &json!({}))?;
            if args.server.json {
                print_json(&link)?;
            } else {
                writeln!(std::io::stdout(), "{}", text(&link, "url"))?;
                writeln!(std::io::stderr(), "It works once, within ten minutes.")?;
            }
        }
        Token::List => {
            let tokens = client.get("/api/v1/tokens")?;
            if args.server.json {
                print_json(&tokens["items"])?;
            } else {
                let items = tokens["items"].as_array().cloned().unwrap_or_default();
                let names: HashMap<String, String> = repo::list_all(&client, "/api/v1/repos")?
                    .iter()
                    .map(|repo| (text(repo, "id"), text(repo, "name")))
                    .collect();
                let rows: Vec<_> = items
                    .iter()
                    .map(|t| {
                        let words =
                            |key: &str| t[key].as_array().map(|list| list.iter().filter_map(|w| w.as_str()).collect());
                        let scopes: Vec<&str> = words("scopes").unwrap_or_default();
                        let repos = words("repos").map_or_else(
                            || "all".to_owned(),
                            |ids: Vec<&str>| {
                                let name = |id: &str| names.get(id).cloned().unwrap_or_else(|| id.to_owned());
                                ids.into_iter().map(name).collect::<Vec<_>>().join(",")
                            },
                        );
                        [
                            text(t, "id"),
                            text(t, "name"),
                            scopes.join(","),
                            repos,
                            text(t, "created_at"),
                            text(t, "last_used_at"),
                            text(t, "expires_at"),
                        ]
                    })
                    .collect();
                table::print(["ID", "NAME", "SCOPES", "REPOSITORIES", "CREATED", "LAST USED", "ENDS"], &rows)?;
            }
        }
        Token::Revoke { id } => {
            let answer = client.delete(&format!("/api/v1/tokens/{id}"))?;
            if args.server.json {
                print_json(&answer)?;
            } else {
                writeln!(std::io::stdout(), "revoked")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
