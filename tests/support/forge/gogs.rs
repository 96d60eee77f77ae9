//! Gogs' answers: it knows repositories by their names, and no statuses.

use serde_json::{Value, json};

use super::{
    ACCOUNT, Answer, Hook, Place, Request, State, add_hook, answer, by_name, comment, comments_on, hub_commented, no,
    of_hub, of_hub_comment, remove_hook,
};

pub(super) fn gogs(request: &Request, path: &[&str], body: &Value, state: &mut State) -> Answer {
    let hook = |hook: &Hook| json!({ "id": hook.id, "active": hook.body["active"], "config": hook.body["config"] });
    match (request.method.as_str(), path) {
        ("GET", ["user"]) => answer(200, json!({ "id": 7, "login": ACCOUNT, "username": ACCOUNT })),
        ("GET", ["user", "repos"]) => answer(200, state.repos.iter().map(of_hub).collect()),
        (method, ["repos", owner, name, rest @ ..]) => {
            let Some(repo) = by_name(state, owner, name) else { return no(404, "Not Found") };
            match (method, rest) {
                ("GET", []) => answer(200, of_hub(&repo)),
                ("GET", ["hooks"]) => {
                    answer(200, state.hooks.iter().filter(|one| one.repo == repo.id).map(hook).collect())
                }
                ("POST", ["hooks"]) => {
                    if body["type"] != "gogs" || body["config"]["content_type"] != "json" {
                        return no(422, "Invalid hook type");
                    }
                    let id = add_hook(state, repo.id, body);
                    answer(201, json!({ "id": id, "config": body["config"] }))
                }
                ("DELETE", ["hooks", hook]) => remove_hook(state, repo.id, hook.parse().ok()),
                ("GET", ["issues", number, "comments"]) => {
                    answer(200, comments_on(state, repo.id, number).iter().map(of_hub_comment).collect())
                }
                ("POST", ["issues", number, "comments"]) => match number.parse() {
                    Ok(number) => hub_commented(201, comment(state, repo.id, Place::New(number), body)),
                    Err(_) => no(404, "Not Found"),
                },
                ("PATCH", ["issues", "comments", id]) => match id.parse() {
                    Ok(id) => hub_commented(200, comment(state, repo.id, Place::At(id), body)),
                    Err(_) => no(404, "Not Found"),
                },
                _ => no(404, "Not Found"),
            }
        }
        _ => no(404, "Not Found"),
    }
}
