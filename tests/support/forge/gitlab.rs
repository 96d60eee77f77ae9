//! GitLab's answers.

use serde_json::{Value, json};

use super::{
    ACCOUNT, Answer, Comment, Place, Repo, Request, State, add_hook, answer, by_id, comment, comments_on, is_commit,
    no, page, record, remove_hook,
};

pub(super) fn gitlab(request: &Request, path: &[&str], body: &Value, state: &mut State) -> Answer {
    let scope_is_missing = !state.scopes.contains(&"api");
    let view = |repo: &Repo| {
        let level = if repo.admin { 40 } else { 30 };
        json!({
            "id": repo.id, "path_with_namespace": repo.name, "default_branch": "main", "visibility": "private",
            "permissions": { "project_access": { "access_level": level }, "group_access": null },
        })
    };
    let note = |one: &Comment| json!({ "id": one.id, "body": one.body, "author": { "username": one.author } });
    let noted = |status: u16, written: Option<Comment>| match written {
        Some(one) => answer(status, note(&one)),
        None => no(404, "404 Not found"),
    };
    match (request.method.as_str(), path) {
        ("GET", ["user"]) => answer(200, json!({ "id": 7, "username": ACCOUNT })),
        ("GET", ["personal_access_tokens", "self"]) => answer(200, json!({ "scopes": state.scopes })),
        _ if scope_is_missing => answer(
            403,
            json!({ "error": "insufficient_scope", "error_description": "The request requires higher privileges than provided by the access token." }),
        ),
        ("GET", ["projects"]) => answer(200, page(&state.repos, request, "per_page").iter().map(view).collect()),
        (method, ["projects", id, rest @ ..]) => {
            let named = state.repos.iter().find(|repo| repo.name == **id).cloned();
            let Some(repo) = by_id(state, id).or(named) else { return no(404, "404 Project Not Found") };
            match (method, rest) {
                ("GET", []) => answer(200, view(&repo)),
                ("GET", ["hooks"]) => {
                    let hooks: Vec<Value> = state
                        .hooks
                        .iter()
                        .filter(|hook| hook.repo == repo.id)
                        .map(|hook| json!({ "id": hook.id, "url": hook.body["url"] }))
                        .collect();
                    answer(200, page(&hooks, request, "per_page").into())
                }
                ("POST", ["hooks"]) => {
                    if !body["url"].is_string() {
                        return answer(400, json!({ "error": "url is missing" }));
                    }
                    let id = add_hook(state, repo.id, body);
                    answer(201, json!({ "id": id, "url": body["url"] }))
                }
                ("DELETE", ["hooks", hook]) => remove_hook(state, repo.id, hook.parse().ok()),
                ("GET", ["merge_requests", number, "notes"]) => {
                    let all = comments_on(state, repo.id, number);
                    answer(200, page(&all, request, "per_page").iter().map(note).collect())
                }
                ("POST", ["merge_requests", number, "notes"]) => match number.parse() {
                    Ok(number) => noted(201, comment(state, repo.id, Place::New(number), body)),
                    Err(_) => no(404, "404 Not found"),
                },
                ("PUT", ["merge_requests", _, "notes", id]) => match id.parse() {
                    Ok(id) => noted(200, comment(state, repo.id, Place::At(id), body)),
                    Err(_) => no(404, "404 Not found"),
                },
                ("POST", ["statuses", commit]) => gitlab_status(&repo, commit, body, state),
                _ => no(404, "404 Not Found"),
            }
        }
        _ => no(404, "404 Not Found"),
    }
}

/// A context is a job with a state machine: the same state twice, and a way back, are refused.
fn gitlab_status(repo: &Repo, commit: &str, body: &Value, state: &mut State) -> Answer {
    let wanted = body["state"].as_str().unwrap_or_default();
    if !["pending", "running", "success", "failed", "canceled", "skipped"].contains(&wanted) {
        return answer(400, json!({ "error": "state does not have a valid value" }));
    }
    if !is_commit(commit, state) {
        return no(404, "404 Commit Not Found");
    }
    let newest = state.statuses.iter().rev().find(|one| {
        one.repo == repo.id
            && one.commit == commit
            && Some(one.context.as_str()) == body["name"].as_str()
            && one.body["ref"] == body["ref"]
    });
    // A job that is over is not found any more: the next state makes a new one.
    let stands = newest.map(|one| one.state.as_str()).filter(|state| matches!(*state, "pending" | "running"));
    if stands.is_some_and(|stands| stands == wanted || (stands == "running" && wanted == "pending")) {
        return no(400, &format!("Cannot transition status via :{wanted} from :{}", stands.unwrap_or_default()));
    }
    record(state, repo.id, commit, ["name", "target_url"], body);
    answer(201, json!({ "id": 1, "status": wanted }))
}
