//! The answers of Gitea and Forgejo.

use serde_json::{Value, json};

use super::{
    ACCOUNT, Answer, Hook, Kind, Place, Request, State, add_hook, answer, by_id, by_name, comment, comments_on,
    hub_commented, is_commit, no, of_hub, of_hub_comment, page, record, remove_hook,
};

pub(super) fn gitea(kind: Kind, request: &Request, path: &[&str], body: &Value, state: &mut State) -> Answer {
    let category = match path.first() {
        Some(&"user") if path.len() == 1 => "user",
        Some(&"user") => "repository",
        _ if path.get(3) == Some(&"issues") => "issue",
        _ => "repository",
    };
    let needed = format!("{}:{category}", if request.method == "GET" { "read" } else { "write" });
    let has = state.scopes.iter().any(|scope| *scope == needed || *scope == format!("write:{category}"));
    if !has {
        return no(403, &format!("token does not have at least one of required scope(s): [{needed}]"));
    }
    let hook = |hook: &Hook| json!({ "id": hook.id, "type": hook.body["type"], "config": { "url": hook.body["config"]["url"], "content_type": "json" } });
    match (request.method.as_str(), path) {
        ("GET", ["user"]) => answer(200, json!({ "id": 7, "login": ACCOUNT })),
        ("GET", ["user", "repos"]) => answer(200, page(&state.repos, request, "limit").iter().map(of_hub).collect()),
        ("GET", ["repositories", id]) => match by_id(state, id) {
            Some(repo) => answer(200, of_hub(&repo)),
            None => no(404, "not found"),
        },
        (method, ["repos", owner, name, rest @ ..]) => {
            let Some(repo) = by_name(state, owner, name) else {
                let old = format!("{owner}/{name}");
                return match state.moved.iter().any(|(moved, _)| *moved == old) {
                    true => (301, "Location: /somewhere/else\r\n".to_owned(), Value::Null),
                    false => no(404, "The target couldn't be found."),
                };
            };
            match (method, rest) {
                ("GET", []) => answer(200, of_hub(&repo)),
                ("GET", ["hooks"]) => {
                    let hooks: Vec<Hook> = state.hooks.iter().filter(|hook| hook.repo == repo.id).cloned().collect();
                    answer(200, page(&hooks, request, "limit").iter().map(hook).collect())
                }
                ("POST", ["hooks"]) => {
                    if body["type"] != kind.word() {
                        return no(422, &format!("Invalid hook type: {}", body["type"]));
                    }
                    if !body["config"]["url"].is_string() || body["config"]["content_type"] != "json" {
                        return no(422, "Missing config option: content_type");
                    }
                    let id = add_hook(state, repo.id, body);
                    answer(201, json!({ "id": id, "active": body["active"] == true, "config": body["config"] }))
                }
                ("DELETE", ["hooks", hook]) => remove_hook(state, repo.id, hook.parse().ok()),
                ("GET", ["issues", number, "comments"]) => {
                    let all = comments_on(state, repo.id, number);
                    answer(200, all.iter().map(of_hub_comment).collect())
                }
                ("POST", ["issues", number, "comments"]) => match number.parse() {
                    Ok(number) => hub_commented(201, comment(state, repo.id, Place::New(number), body)),
                    Err(_) => no(404, "Not Found"),
                },
                ("PATCH", ["issues", "comments", id]) => match id.parse() {
                    Ok(id) => hub_commented(200, comment(state, repo.id, Place::At(id), body)),
                    Err(_) => no(404, "Not Found"),
                },
                ("POST", ["statuses", commit]) => {
                    let known = ["pending", "success", "error", "failure", "warning"];
                    if !known.contains(&body["state"].as_str().unwrap_or_default()) {
                        return no(422, "Invalid state");
                    }
                    if !is_commit(commit, state) {
                        return no(500, "GetCommit: object does not exist");
                    }
                    record(state, repo.id, commit, ["context", "target_url"], body);
                    answer(201, json!({ "id": 1, "status": body["state"] }))
                }
                _ => no(404, "The target couldn't be found."),
            }
        }
        _ => no(404, "The target couldn't be found."),
    }
}
