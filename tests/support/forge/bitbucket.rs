//! Bitbucket Cloud's answers.

use serde_json::{Value, json};

use super::{
    ACCOUNT, Answer, Comment, Place, Repo, Request, State, add_hook, answer, by_name, comment, comments_on, is_commit,
    page, record, remove_hook,
};

pub(super) fn bitbucket(request: &Request, path: &[&str], body: &Value, state: &mut State) -> Answer {
    let uuid = |id: u64| format!("{{00000000-0000-0000-0000-{id:012}}}");
    let view = |repo: &Repo| json!({ "uuid": uuid(repo.id), "full_name": repo.name, "is_private": true, "mainbranch": { "name": "main" } });
    let refused =
        |status: u16, message: &str| answer(status, json!({ "type": "error", "error": { "message": message } }));
    match (request.method.as_str(), path) {
        ("GET", ["user"]) => answer(200, json!({ "nickname": ACCOUNT })),
        ("GET", ["user", "workspaces"]) => answer(200, json!({ "values": [{ "workspace": { "slug": "team" } }] })),
        ("GET", ["repositories", "team"]) => {
            let items = page(&state.repos, request, "pagelen");
            let mut body = json!({ "values": items.iter().map(view).collect::<Vec<_>>() });
            if items.len() == 50 {
                body["next"] = "https://next.example".into();
            }
            answer(200, body)
        }
        (method, ["repositories", workspace, slug, rest @ ..]) => {
            let named = by_name(state, workspace, slug);
            let found =
                state.repos.iter().find(|repo| *workspace == "{}" && uuid(repo.id) == **slug).cloned().or(named);
            let Some(repo) = found else { return refused(404, "Repository not found") };
            match (method, rest) {
                ("GET", []) => answer(200, view(&repo)),
                ("GET", ["hooks"]) => {
                    let hooks: Vec<Value> = state
                        .hooks
                        .iter()
                        .filter(|hook| hook.repo == repo.id)
                        .map(|hook| json!({ "uuid": uuid(hook.id), "url": hook.body["url"] }))
                        .collect();
                    answer(200, json!({ "values": hooks }))
                }
                ("POST", ["hooks"]) => {
                    let Some(events) = body["events"].as_array() else { return refused(400, "events are required") };
                    let known = [
                        "repo:push",
                        "pullrequest:created",
                        "pullrequest:updated",
                        "pullrequest:fulfilled",
                        "pullrequest:rejected",
                    ];
                    if !body["url"].is_string()
                        || !events.iter().all(|event| known.contains(&event.as_str().unwrap_or_default()))
                    {
                        return refused(400, "Bad request");
                    }
                    let id = add_hook(state, repo.id, body);
                    answer(201, json!({ "uuid": uuid(id), "url": body["url"] }))
                }
                ("DELETE", ["hooks", hook]) => {
                    let id = state.hooks.iter().map(|hook| hook.id).find(|id| uuid(*id) == **hook);
                    remove_hook(state, repo.id, id)
                }
                ("GET", ["pullrequests", number, "comments"]) => {
                    let all = comments_on(state, repo.id, number);
                    let items = page(&all, request, "pagelen");
                    let mut body = json!({ "values": items.iter().map(view_comment).collect::<Vec<_>>() });
                    if items.len() == 50 {
                        body["next"] = "https://next.example".into();
                    }
                    answer(200, body)
                }
                ("POST" | "PUT", ["pullrequests", number, "comments", rest @ ..]) => {
                    let place = match rest {
                        [] => number.parse().ok().map(Place::New),
                        [id] => id.parse().ok().map(Place::At),
                        _ => None,
                    };
                    let body = json!({ "body": body["content"]["raw"] });
                    match place.and_then(|place| comment(state, repo.id, place, &body)) {
                        Some(written) if method == "POST" => answer(201, view_comment(&written)),
                        Some(written) => answer(200, view_comment(&written)),
                        None => refused(404, "Not found"),
                    }
                }
                ("POST", ["commit", commit, "statuses", "build"]) => {
                    let known = ["INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"];
                    if !known.contains(&body["state"].as_str().unwrap_or_default()) {
                        return refused(400, "state: not a valid choice");
                    }
                    if body["key"].as_str().is_none_or(|key| key.is_empty() || key.chars().count() > 40) {
                        return refused(400, "key: ensure this value has at most 40 characters");
                    }
                    if !body["url"].as_str().is_some_and(|url| url.starts_with("http")) {
                        return refused(400, "url: enter a valid URL");
                    }
                    if !is_commit(commit, state) {
                        return refused(404, "Commit not found");
                    }
                    record(state, repo.id, commit, ["name", "url"], body);
                    answer(201, json!({ "state": body["state"] }))
                }
                _ => refused(404, "Not found"),
            }
        }
        _ => refused(404, "Not found"),
    }
}

fn view_comment(one: &Comment) -> Value {
    json!({ "id": one.id, "content": { "raw": one.body }, "user": { "nickname": one.author }, "deleted": false })
}
