//! `longshore audit`: who did what. Lists and exports a server's log, and verifies that nobody has changed it, or that
//! of a guard.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use longshore_audit::Chain;
use longshore_guard_transport::audit_files;
use serde_json::Value;

use super::{
    ExitError, print_json, repo,
    table::{self, text},
};
use crate::{
    args::{Audit, AuditList},
    client::Client,
    guard_files,
};

pub(crate) fn run(args: Audit) -> super::Result {
    match args {
        Audit::List(args) => list(&args)?,
        Audit::Export { after, server } => {
            let path = format!("/api/v1/audit/export?after={after}");
            server.client()?.copy(&path, &mut io::stdout().lock())?;
        }
        Audit::Verify { files, data } => match files.is_empty() {
            true => verify_server(&data.dir)?,
            false => verify_files("ok", &files)?,
        },
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &AuditList) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let all = client.get(&address(&client, args)?)?;
    if args.server.json {
        return print_json(&all["items"]);
    }
    let row = |one: &Value| {
        let who = match text(&one["actor"], "via").as_str() {
            via @ ("anonymous" | "server") => via.to_owned(),
            _ => text(&one["actor"], "name"),
        };
        let on = [text(&one["repo"], "name"), text(one, "object")];
        let [at, action, decision, reason] = ["at", "action", "decision", "reason"].map(|key| text(one, key));
        [at, who, action, on.join(" ").trim().to_owned(), decision, reason]
    };
    let rows: Vec<_> = all["items"].as_array().into_iter().flatten().map(row).collect();
    table::print(["AT", "WHO", "ACTION", "ON", "DECISION", "REASON"], &rows)?;
    Ok(())
}

fn address(client: &Client, args: &AuditList) -> anyhow::Result<String> {
    let AuditList { words, repo, actor, action, decision, limit, server: _ } = args;
    let repo = repo.as_deref().map(|word| repo::find(client, word)).transpose()?.map(|repo| text(&repo, "id"));
    let given = [
        ("q", Some(words.join(" "))),
        ("repo", repo),
        ("actor", actor.clone()),
        ("action", action.clone()),
        ("decision", decision.clone()),
        ("limit", Some(limit.to_string())),
    ];
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (key, value) in given {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            query.append_pair(key, &value);
        }
    }
    Ok(format!("/api/v1/audit?{}", query.finish()))
}

/// Verifies the log in a data folder, and the one of the guard beside the server.
fn verify_server(data: &Path) -> anyhow::Result<()> {
    let verified = super::runtime()?.block_on(longshore_store::audit::verify(data));
    let verified = verified.map_err(|error| ExitError::new(1, error.to_string()))?;
    print_result("server: ok", &verified.from, &verified.to)?;
    let files: Vec<PathBuf> = audit_files(Path::new(guard_files::AUDIT_LOG));
    if files.is_empty() {
        writeln!(io::stdout(), "guard: no log at {}", guard_files::AUDIT_LOG)?;
        return Ok(());
    }
    verify_files("guard: ok", &files)
}

/// Verifies files of which each continues the one before.
fn verify_files(ok: &str, files: &[PathBuf]) -> anyhow::Result<()> {
    let mut whole: Option<(Chain, Chain)> = None;
    for file in files {
        let read = |error: io::Error| ExitError::new(2, format!("{} cannot be read: {error}", file.display()));
        let log = fs::read_to_string(file).map_err(read)?;
        let broken = |broken: longshore_audit::Broken| ExitError::new(1, format!("{}: {broken}", file.display()));
        let (from, to) = match (whole, log.lines().next()) {
            (Some(whole), _) => whole,
            (None, Some(first)) => {
                let from = Chain::before(first).map_err(broken)?;
                (from.clone(), from)
            }
            (None, None) => (Chain::default(), Chain::default()),
        };
        whole = Some((from, to.follow_all(&log).map_err(broken)?));
    }
    let (from, to) = whole.unwrap_or_default();
    print_result(ok, &from, &to)?;
    Ok(())
}

fn print_result(ok: &str, from: &Chain, to: &Chain) -> io::Result<()> {
    let mut out = io::stdout();
    let (count, hash) = (to.number - from.number, &to.hash);
    match from.number {
        0 => writeln!(out, "{ok}: {count} entries; hash of the last entry: {hash}"),
        before => writeln!(
            out,
            "{ok}: {count} entries after number {before}, whose hash is {}; hash of the last entry: {hash}",
            from.hash
        ),
    }
}
