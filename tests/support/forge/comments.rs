//! Comments on pull requests.

use serde_json::{Value, json};

use super::{ACCOUNT, Answer, Comment, State, answer, no};

/// Adds a comment on a pull request, or changes one. Returns it if it is there.
pub(super) fn comment(state: &mut State, repo: u64, place: Place, body: &Value) -> Option<Comment> {
    let text = body["body"].as_str().filter(|text| !text.is_empty())?.to_owned();
    match place {
        Place::New(number) => {
            state.next += 1;
            let (id, author) = (state.next, ACCOUNT.to_owned());
            state.comments.push(Comment { id, repo, number, author, body: text, edits: 0 });
        }
        Place::At(id) => {
            let one = state.comments.iter_mut().find(|one| one.id == id && one.repo == repo)?;
            (one.body, one.edits) = (text, one.edits + 1);
            return Some(one.clone());
        }
    }
    state.comments.last().cloned()
}

/// Where a comment is written.
pub(super) enum Place {
    New(u64),
    At(u64),
}

pub(super) fn comments_on(state: &State, repo: u64, number: &str) -> Vec<Comment> {
    state.comments.iter().filter(|one| one.repo == repo && one.number.to_string() == number).cloned().collect()
}

pub(super) fn of_hub_comment(one: &Comment) -> Value {
    json!({ "id": one.id, "body": one.body, "user": { "login": one.author, "id": 7 } })
}

/// Answers with a comment as GitHub and Gitea do.
pub(super) fn hub_commented(status: u16, written: Option<Comment>) -> Answer {
    written.map_or_else(|| no(404, "Not Found"), |one| answer(status, of_hub_comment(&one)))
}
