//! What a GitHub answers.

use serde_json::{Value, json};

use super::{
    ACCOUNT, Answer, Hook, Place, Request, State, Status, add_hook, answer, by_id, by_name, comment, comments_on,
    hub_commented, is_commit, no, of_hub, of_hub_comment, page, record, remove_hook,
};

pub(super) fn github(request: &Request, path: &[&str], body: &Value, state: &mut State) -> Answer {
    let hook = |hook: &Hook| json!({ "id": hook.id, "active": hook.body["active"], "events": hook.body["events"], "config": { "url": hook.body["config"]["url"] } });
    match (request.method.as_str(), path) {
        ("GET", ["user"]) => {
            let scopes = format!("X-OAuth-Scopes: {}\r\n", state.scopes.join(", "));
            (200, scopes, json!({ "login": ACCOUNT, "id": 7 }))
        }
        ("GET", ["user", "repos"]) => answer(200, page(&state.repos, request, "per_page").iter().map(of_hub).collect()),
        ("GET", ["repos", owner, name]) => match by_name(state, owner, name) {
            Some(repo) => answer(200, of_hub(&repo)),
            None => no(404, "Not Found"),
        },
        (method, ["repositories", id, rest @ ..]) => {
            let Some(repo) = by_id(state, id) else { return no(404, "Not Found") };
            match (method, rest) {
                ("GET", []) => answer(200, of_hub(&repo)),
                ("GET", ["hooks"]) => {
                    let hooks: Vec<Hook> = state.hooks.iter().filter(|hook| hook.repo == repo.id).cloned().collect();
                    answer(200, page(&hooks, request, "per_page").iter().map(hook).collect())
                }
                ("POST", ["hooks"]) => {
                    let config = &body["config"];
                    if body["name"] != "web" || !config["url"].is_string() || config["content_type"] != "json" {
                        return no(422, "Validation Failed");
                    }
                    let id = add_hook(state, repo.id, body);
                    answer(201, json!({ "id": id, "config": { "url": config["url"] } }))
                }
                ("DELETE", ["hooks", hook]) => remove_hook(state, repo.id, hook.parse().ok()),
                ("GET", ["issues", number, "comments"]) => {
                    let all = comments_on(state, repo.id, number);
                    answer(200, page(&all, request, "per_page").iter().map(of_hub_comment).collect())
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
                    let known = ["error", "failure", "pending", "success"];
                    if !known.contains(&body["state"].as_str().unwrap_or_default()) {
                        return no(422, "Validation Failed: state is not included in the list");
                    }
                    if body["description"].as_str().is_some_and(|text| text.chars().count() > 140) {
                        return no(422, "Validation Failed: description is too long (maximum is 140 characters)");
                    }
                    if body["target_url"].as_str().is_some_and(|url| !url.starts_with("http")) {
                        return no(422, "Validation Failed: target_url must use http(s) scheme");
                    }
                    if !is_commit(commit, state) {
                        return no(422, "No commit found for SHA");
                    }
                    let of_context =
                        |one: &&Status| one.commit == *commit && Some(one.context.as_str()) == body["context"].as_str();
                    if state.statuses.iter().filter(of_context).count() >= 1000 {
                        return no(422, "This SHA and context has reached the maximum number of statuses.");
                    }
                    record(state, repo.id, commit, ["context", "target_url"], body);
                    answer(201, json!({ "id": 1, "state": body["state"] }))
                }
                _ => no(404, "Not Found"),
            }
        }
        _ => no(404, "Not Found"),
    }
}
