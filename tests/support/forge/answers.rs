//! The parts that the forges' answers share.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Hook, Repo, Request, State, Status};

pub(super) type Answer = (u16, String, Value);

pub(super) fn answer(status: u16, body: Value) -> Answer {
    (status, String::new(), body)
}

pub(super) fn no(status: u16, message: &str) -> Answer {
    answer(status, json!({ "message": message }))
}

pub(super) fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        let hex = (*byte == b'%').then(|| std::str::from_utf8(tail.get(..2)?).ok()).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(one) => (bytes.push(one), rest = &tail[2..]).1,
            None => (bytes.push(*byte), rest = tail).1,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One page of a list. Like the real ones, it gives no more than fifty at once, whatever is asked for.
pub(super) fn page<T: Clone>(all: &[T], request: &Request, size_parameter: &str) -> Vec<T> {
    let number = |name: &str| {
        request
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)?
            .1
            .parse::<usize>()
            .ok()
    };
    let (size, page) = (number(size_parameter).unwrap_or(30).min(50), number("page").unwrap_or(1));
    all.iter().skip((page - 1) * size).take(size).cloned().collect()
}

pub(super) fn is_commit(commit: &str, state: &State) -> bool {
    commit.len() == 40
        && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
        && (state.commits.is_empty() || state.commits.iter().any(|one| one == commit))
}

pub(super) fn record(state: &mut State, repo: u64, commit: &str, [context, url]: [&str; 2], body: &Value) {
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    state.statuses.push(Status {
        repo,
        commit: commit.to_owned(),
        context: text(context),
        state: text("state"),
        description: text("description"),
        target_url: text(url),
        body: body.clone(),
        at_ms: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(0)),
    });
}

pub(super) fn add_hook(state: &mut State, repo: u64, body: &Value) -> u64 {
    state.next += 1;
    let id = state.next;
    state.hooks.push(Hook { id, repo, body: body.clone() });
    id
}

pub(super) fn remove_hook(state: &mut State, repo: u64, id: Option<u64>) -> Answer {
    let before = state.hooks.len();
    state.hooks.retain(|hook| hook.repo != repo || Some(hook.id) != id);
    if state.hooks.len() == before { no(404, "Not Found") } else { answer(204, Value::Null) }
}

pub(super) fn by_id(state: &State, id: &str) -> Option<Repo> {
    let id: u64 = id.parse().ok()?;
    state.repos.iter().find(|repo| repo.id == id).cloned()
}

pub(super) fn by_name(state: &State, owner: &str, name: &str) -> Option<Repo> {
    state.repos.iter().find(|repo| repo.name == format!("{owner}/{name}")).cloned()
}

pub(super) fn of_hub(repo: &Repo) -> Value {
    json!({
        "id": repo.id, "full_name": repo.name, "private": true, "default_branch": "main",
        // As servers do that are set up with another address than the one that they are reached by.
        "clone_url": format!("http://localhost:1/{}.git", repo.name),
        "permissions": { "admin": repo.admin, "push": true, "pull": true },
    })
}
