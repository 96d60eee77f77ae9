//! GitHub's answers.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{
    ACCOUNT, APP_ID, Answer, Hook, Place, Request, State, Status, add_hook, answer, by_id, by_name, check_runs,
    comment, comments_on, decode_base64, hub_commented, is_commit, no, of_hub, of_hub_comment, page, record,
    remove_hook,
};

pub(super) fn github(request: &Request, path: &[&str], body: &Value, state: &mut State) -> Answer {
    let hook = |hook: &Hook| json!({ "id": hook.id, "active": hook.body["active"], "events": hook.body["events"], "config": { "url": hook.body["config"]["url"] } });
    match (request.method.as_str(), path) {
        ("GET", ["app"]) => {
            let permissions =
                json!({ "contents": "read", "statuses": "write", "repository_hooks": "write", "metadata": "read" });
            answer(200, json!({ "id": 4711, "slug": "longshore-ci", "permissions": permissions }))
        }
        ("GET", ["app", "hook", "config"]) => {
            answer(200, state.app.as_ref().map_or(Value::Null, |app| app.hook.clone()))
        }
        ("PATCH", ["app", "hook", "config"]) => match &mut state.app {
            Some(app) => {
                app.hook = body.clone();
                answer(200, json!({ "url": body["url"], "content_type": body["content_type"], "secret": "********" }))
            }
            None => no(404, "Not Found"),
        },
        ("GET", ["app", "installations"]) => answer(
            200,
            json!([
                { "id": 98, "account": { "login": "asleep" }, "suspended_at": "2026-01-01T00:00:00Z" },
                { "id": 99, "account": { "login": "team" }, "suspended_at": null },
            ]),
        ),
        ("POST", ["app", "installations", "98", "access_tokens"]) => no(403, "This installation has been suspended"),
        ("POST", ["app", "installations", "99", "access_tokens"]) => match &mut state.app {
            Some(app) => {
                app.minted += 1;
                let token = format!("ghs_installation_{}", app.minted);
                app.tokens.push(token.clone());
                let until = time_in(app.seconds);
                let mut permissions = json!({ "contents": "read", "statuses": "write", "repository_hooks": "write" });
                if app.checks {
                    permissions["checks"] = "write".into();
                }
                answer(201, json!({ "token": token, "expires_at": until, "permissions": permissions }))
            }
            None => no(404, "Not Found"),
        },
        ("GET", ["installation", "repositories"]) => {
            let all: Vec<Value> = page(&state.repos, request, "per_page").iter().map(of_hub).collect();
            answer(200, json!({ "total_count": state.repos.len(), "repositories": all }))
        }
        ("GET", ["repos", owner, name, "installation"]) => match by_name(state, owner, name) {
            Some(_) => answer(200, json!({ "id": 99 })),
            None => no(404, "Not Found"),
        },
        ("GET", ["repositories", id, "installation"]) => match by_id(state, id) {
            Some(_) => answer(200, json!({ "id": 99 })),
            None => no(404, "Not Found"),
        },
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
                    let is_there = |hook: &Hook| hook.repo == repo.id && hook.body["config"]["url"] == config["url"];
                    if state.hooks.iter().any(is_there) {
                        return no(422, "Hook already exists on this repository");
                    }
                    let id = add_hook(state, repo.id, body);
                    answer(201, json!({ "id": id, "config": { "url": config["url"] } }))
                }
                ("PATCH", ["hooks", id]) => {
                    let found = state.hooks.iter_mut().find(|hook| hook.repo == repo.id && hook.id.to_string() == **id);
                    let Some(found) = found else { return no(404, "Not Found") };
                    found.body = body.clone();
                    answer(200, hook(found))
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
                ("GET", ["collaborators", login, "permission"]) => {
                    let permission = if state.writers.contains(login) { "write" } else { "read" };
                    answer(
                        200,
                        json!({ "permission": permission, "role_name": permission, "user": { "login": login } }),
                    )
                }
                (_, ["check-runs", ..] | ["commits", _, "check-runs"]) => {
                    check_runs::answer(request, repo.id, rest, body, state)
                }
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

/// Whether a request brings what GitHub wants of an App: a token that the App signed where it acts for itself, and one
/// of an installation everywhere else.
pub(super) fn is_app(authorization: &str, path: &str, state: &State) -> bool {
    let (Some(app), Some(token)) = (&state.app, authorization.strip_prefix("Bearer ")) else { return false };
    let for_itself = path.starts_with("/api/v3/app") || path.ends_with("/installation");
    match for_itself {
        true => is_signed(token, &app.public_key, state.calls).unwrap_or(false),
        false => app.tokens.iter().any(|one| one == token),
    }
}

/// Verifies a JWT with another program than the one that signed it.
fn is_signed(jwt: &str, public_key: &Path, call: usize) -> Option<bool> {
    let [head, claims, signature] = jwt.split('.').collect::<Vec<_>>().try_into().ok()?;
    let decoded = |text: &str| decode_base64(&text.replace('-', "+").replace('_', "/"));
    let head: Value = serde_json::from_slice(&decoded(head)).ok()?;
    let claims_read: Value = serde_json::from_slice(&decoded(claims)).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let (issued, until) = (claims_read["iat"].as_u64()?, claims_read["exp"].as_u64()?);
    if head["alg"] != "RS256" || claims_read["iss"] != APP_ID || issued > now || until <= now || until > now + 600 {
        return Some(false);
    }
    let folder = public_key.parent()?;
    let (signed, file) = (folder.join(format!("{call}.signed")), folder.join(format!("{call}.signature")));
    std::fs::write(&signed, jwt.rsplit_once('.')?.0).ok()?;
    std::fs::write(&file, decoded(signature)).ok()?;
    let verified = std::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-verify"])
        .arg(public_key)
        .arg("-signature")
        .args([&file, &signed])
        .output()
        .ok()?;
    Some(verified.status.success())
}

/// Returns the time so many seconds from now, as GitHub writes it.
fn time_in(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(0));
    longshore_core::Timestamp::from_millis((now + seconds) * 1000).to_string()
}
