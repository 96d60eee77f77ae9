//! `longshore repo`: the repositories of a server.

use std::{io::Write as _, process::ExitCode};

use longshore_core::percent;
use serde_json::{Value, json};

use super::{
    ExitError, print_json, stdin,
    table::{self, text},
};
use crate::{
    args::{Remote, Repo},
    client::Client,
};

/// The path of the list of repositories.
const PATH: &str = "/api/v1/repos";

pub(crate) fn run(args: Remote<Repo>) -> super::Result {
    let client = args.server.client()?;
    let json = args.server.json;
    match args.command {
        Repo::Add { name, connection: Some(connection), public, .. } => {
            let repo = client.post(PATH, &json!({ "name": name, "connection": connection, "public": public }))?;
            show(&repo, json, print_added_with_connection)?;
        }
        Repo::Add { name, clone_url, connection: None, forge, public } => {
            let body = json!({ "name": name, "clone_url": clone_url, "forge": forge, "public": public });
            show(&client.post(PATH, &body)?, json, print_added)?;
        }
        Repo::List => show(&Value::Array(list_all(&client, PATH)?), json, print_list)?,
        Repo::Show { repo } => show(&find(&client, &repo)?, json, print_fields)?,
        Repo::Connect { repo, connection, name } => {
            let path = format!("{}/connection", find_path(&client, &repo)?);
            let body = json!({ "connection": connection, "name": name });
            show(&client.post(&path, &body)?, json, print_connected)?;
        }
        Repo::Key { repo, remove: true, .. } => {
            let repo = find(&client, &repo)?;
            client.delete(&format!("{}/deploy-key", path_of(&repo)))?;
            if !json {
                writeln!(std::io::stdout(), "Deleted the deploy key of {}.", text(&repo, "name"))?;
            }
        }
        Repo::Key { repo, new, remove: false } => {
            let repo = find(&client, &repo)?;
            let path = format!("{}/deploy-key", path_of(&repo));
            let has_one = repo["deploy_key"].is_string();
            let key = if new || !has_one { client.post(&path, &json!({}))? } else { client.get(&path)? };
            show(&key, json, print_key)?;
        }
        Repo::Change { repo, name, forge, clone_url, default_branch, public } => {
            let body = json!({
                "name": name, "forge": forge, "clone_url": clone_url, "default_branch": default_branch, "public": public,
            });
            show(&client.patch(&find_path(&client, &repo)?, &body)?, json, print_changed)?;
        }
        Repo::Look { repo } => {
            let path = format!("{}/look", find_path(&client, &repo)?);
            show(&client.post(&path, &json!({}))?, json, print_found)?;
        }
        Repo::Docker { repo, branches, buildkit, raw, none: _ } => {
            let (grant, message) = docker_grant(&branches, buildkit, raw);
            let changed = client.patch(&find_path(&client, &repo)?, &json!({ "docker": grant }))?;
            show(&changed, json, |repo| Ok(writeln!(std::io::stdout(), "{}: {message}.", text(repo, "name"))?))?;
        }
        Repo::Remove { repo, yes } => {
            let repo = find(&client, &repo)?;
            let name = text(&repo, "name");
            if !yes {
                stdin::confirm(&format!("Delete {name} with its builds and logs?"))?;
            }
            let answer = client.delete(&path_of(&repo))?;
            show(&answer, json, |_| Ok(writeln!(std::io::stdout(), "Deleted {name} with its builds and logs.")?))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the server's answer: as JSON, or as `print` does for people.
fn show(answer: &Value, json: bool, print: impl FnOnce(&Value) -> anyhow::Result<()>) -> anyhow::Result<()> {
    if json { Ok(print_json(answer)?) } else { print(answer) }
}

fn print_added_with_connection(repo: &Value) -> anyhow::Result<()> {
    let [name, id, clone_url, hook_url] = ["name", "id", "clone_url", "hook_url"].map(|key| text(repo, key));
    let mut out = std::io::stdout().lock();
    writeln!(out, "Registered {name} ({id}).")?;
    writeln!(out, "It is cloned from {clone_url}, and its webhook calls {hook_url}.")?;
    Ok(())
}

fn print_added(repo: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Registered {} ({}).", text(repo, "name"), text(repo, "id"))?;
    writeln!(out, "Webhook URL     {}", text(repo, "hook_url"))?;
    writeln!(out, "Webhook secret  {}   (shown only once)", text(repo, "hook_secret"))?;
    writeln!(out, "{}", next_step(&text(repo, "forge")))?;
    drop(out);
    Ok(warn_if_unreachable(repo)?)
}

/// Returns what remains to be done at the forge, with the names that its own page uses.
fn next_step(forge: &str) -> String {
    let events = match forge {
        "git" => {
            return "Call it from the bare repository's `post-receive` hook; the README has the script, under Webhooks."
                .to_owned();
        }
        "gitea" => "the events Push, Create, Pull Request and Pull Request Synchronized",
        "forgejo" => "the events Push and Create, and of pull requests Modification and Synchronized",
        _ => "push and pull request events",
    };
    let mut next = format!("Add a webhook with them in the forge: content type application/json, {events}.");
    if matches!(forge, "gitea" | "forgejo") {
        next.push_str(
            "\nThe forge calls a private address only if `ALLOWED_HOST_LIST`, under `[webhook]` in its app.ini, names it.",
        );
    }
    next
}

fn print_list(repos: &Value) -> anyhow::Result<()> {
    let rows: Vec<_> = repos
        .as_array()
        .into_iter()
        .flatten()
        .map(|repo| ["name", "forge", "clone_url", "id"].map(|key| text(repo, key)))
        .collect();
    Ok(table::print(["NAME", "FORGE", "CLONE URL", "ID"], &rows)?)
}

fn print_fields(repo: &Value) -> anyhow::Result<()> {
    let keys = repo.as_object().into_iter().flat_map(|fields| fields.keys());
    let rows: Vec<_> = keys.map(|key| [key.clone(), text(repo, key)]).collect();
    Ok(table::print(["FIELD", "VALUE"], &rows)?)
}

fn print_connected(repo: &Value) -> anyhow::Result<()> {
    let [name, url] = ["name", "clone_url"].map(|key| text(repo, key));
    Ok(writeln!(std::io::stdout(), "Connected {name}. It is cloned from {url}, and its webhook is set up.")?)
}

fn print_changed(repo: &Value) -> anyhow::Result<()> {
    let [name, forge, url] = ["name", "forge", "clone_url"].map(|key| text(repo, key));
    writeln!(std::io::stdout(), "{name} ({forge}) is cloned from {url}.")?;
    Ok(warn_if_unreachable(repo)?)
}

/// Returns the Docker access that an administrator grants, as the API takes it, and the sentence that says so.
fn docker_grant(branches: &[String], buildkit: bool, raw: bool) -> (Value, String) {
    if raw {
        let message = "jobs get the Docker access that they ask for, including the host's socket";
        (json!("raw"), message.to_owned())
    } else if branches.is_empty() {
        (json!(false), "jobs get no Docker".to_owned())
    } else {
        let builder = if buildkit { " and a BuildKit builder of their own" } else { "" };
        let message = format!("jobs of {} that ask for it get a guarded Docker API{builder}", branches.join(", "));
        (json!({ "branches": branches, "buildkit": buildkit }), message)
    }
}

/// Warns if the repository cannot be fetched.
fn warn_if_unreachable(repo: &Value) -> std::io::Result<()> {
    match repo["look_error"].as_str() {
        Some(why) => writeln!(
            std::io::stderr(),
            "\nlongshore: it cannot be fetched yet: {}\n`longshore repo change` changes the clone address.",
            table::one_line(why)
        ),
        None => Ok(()),
    }
}

/// Prints a public key, and below it the pinned keys of its host.
fn print_key(key: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\n", text(key, "public_key"))?;
    writeln!(
        out,
        "Add it on the forge as a read-only deploy key. Only these host keys are trusted; compare them with those that the host publishes:"
    )?;
    let shown = |one: &Value| ["host", "kind", "fingerprint"].map(|field| text(one, field));
    let rows: Vec<_> = key["host_keys"].as_array().into_iter().flatten().map(shown).collect();
    drop(out);
    table::print(["HOST", "TYPE", "FINGERPRINT"], &rows)?;
    Ok(())
}

/// Prints the pushes that a check found.
fn print_found(looked: &Value) -> anyhow::Result<()> {
    let found = looked["found"].as_array().map(Vec::as_slice).unwrap_or_default();
    if found.is_empty() {
        writeln!(std::io::stdout(), "No missed pushes. Branches and tags: {}", text(looked, "refs"))?;
    } else {
        let cut = |push: &Value, key| text(push, key).chars().take(10).collect::<String>();
        let rows: Vec<_> = found
            .iter()
            .map(|push| [text(push, "ref"), cut(push, "before"), cut(push, "after"), text(push, "delivery")])
            .collect();
        table::print(["REF", "BEFORE", "AFTER", "DELIVERY"], &rows)?;
    }
    match looked["left_out"].as_u64() {
        Some(left_out) if left_out > 0 => {
            writeln!(std::io::stdout(), "{left_out} more are not built: that many at once look like an import.")?;
        }
        _ => {}
    }
    Ok(())
}

/// Returns the API's path of a repository that was found.
fn path_of(repo: &Value) -> String {
    format!("{PATH}/{}", text(repo, "id"))
}

/// Finds a repository by its id or name, and returns its path.
fn find_path(client: &Client, repo: &str) -> anyhow::Result<String> {
    find(client, repo).map(|repo| path_of(&repo))
}

/// Finds a repository by its id or name.
pub(crate) fn find(client: &Client, repo: &str) -> anyhow::Result<Value> {
    if looks_like_an_id(repo) {
        return client.get(&format!("{PATH}/{repo}"));
    }
    let found = client.get(&format!("{PATH}?name={}", percent::encode(repo)))?;
    found["items"]
        .get(0)
        .cloned()
        .ok_or_else(|| ExitError::new(1, format!("repository `{repo}` not found; see `longshore repo list`")).into())
}

pub(crate) fn looks_like_an_id(text: &str) -> bool {
    text.len() == 36 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// Returns all items of a list, page by page.
pub(super) fn list_all(client: &Client, path: &str) -> anyhow::Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut before = String::new();
    loop {
        let page = client.get(&format!("{path}?limit=100{before}"))?;
        items.extend(page["items"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => before = format!("&before={}", percent::encode(next)),
            None => return Ok(items),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::next_step;

    #[test]
    fn the_events_of_a_webhook_have_the_names_that_the_forge_gives_them() {
        assert!(next_step("gitea").contains("Pull Request and Pull Request Synchronized"));
        assert!(next_step("forgejo").contains("of pull requests Modification and Synchronized"));
        assert!(next_step("git").contains("post-receive"));
    }
}
