//! GitHub's webhooks about check runs: requests to run one of them, or all of a commit, again.
//! <https://docs.github.com/en/webhooks/webhook-events-and-payloads#check_run>

use serde::Deserialize;

use crate::{CommitId, Forge, delivery::rerun_key, hook::PayloadError, read};

/// A rerun that somebody requests on GitHub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RerunRequest {
    /// GitHub's number of the repository.
    pub repository: String,
    /// The login of the person who requests it.
    pub sender: String,
    pub what: Rerun,
    /// Identifies the body of the request.
    pub key: String,
}

/// The check runs to run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rerun {
    /// A check run: its name, and what its maker calls it.
    Check { name: String, external_id: String },
    /// All of a commit.
    Commit(CommitId),
}

#[derive(Deserialize)]
struct Body {
    action: String,
    repository: Option<Numbered>,
    sender: Option<Sender>,
    check_run: Option<CheckRun>,
    check_suite: Option<CheckSuite>,
}

#[derive(Deserialize)]
struct Numbered {
    id: u64,
}

#[derive(Deserialize)]
struct Sender {
    login: String,
}

#[derive(Deserialize)]
struct CheckRun {
    name: String,
    external_id: Option<String>,
}

#[derive(Deserialize)]
struct CheckSuite {
    head_sha: String,
}

/// Reads a delivery of an App's webhook. `None` if it does not ask for a rerun: GitHub sends many other events.
///
/// # Errors
/// If the body does not have the event's shape.
pub fn parse(event: &str, body: &[u8]) -> Result<Option<RerunRequest>, PayloadError> {
    if !matches!(event, "check_run" | "check_suite") {
        return Ok(None);
    }
    let key = rerun_key(body);
    let body: Body = read::json(Forge::Github, event, body)?;
    if body.action != "rerequested" {
        return Ok(None);
    }
    let repository = body.repository.ok_or(PayloadError::Lacks { field: "repository" })?.id.to_string();
    let sender = body.sender.ok_or(PayloadError::Lacks { field: "sender" })?.login;
    let what = match (event, body.check_run, body.check_suite) {
        ("check_run", Some(run), _) => {
            Rerun::Check { name: run.name, external_id: run.external_id.unwrap_or_default() }
        }
        ("check_suite", _, Some(suite)) => Rerun::Commit(suite.head_sha.parse()?),
        ("check_run", None, _) => return Err(PayloadError::Lacks { field: "check_run" }),
        (_, _, _) => return Err(PayloadError::Lacks { field: "check_suite" }),
    };
    Ok(Some(RerunRequest { repository, sender, what, key }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_asks_for_a_rerun_is_one() {
        let read = |event: &str, body: &str| parse(event, body.as_bytes());
        let about = r#""repository":{"id":41},"sender":{"login":"ada"}"#;
        let check =
            format!(r#"{{"action":"rerequested",{about},"check_run":{{"name":"longshore/ci","external_id":"b"}}}}"#);
        let asked = read("check_run", &check).unwrap().unwrap();
        assert_eq!((asked.repository.as_str(), asked.sender.as_str()), ("41", "ada"));
        assert_eq!(asked.what, Rerun::Check { name: "longshore/ci".to_owned(), external_id: "b".to_owned() });
        let commit = "1".repeat(40);
        let suite = format!(r#"{{"action":"rerequested",{about},"check_suite":{{"head_sha":"{commit}"}}}}"#);
        assert_eq!(read("check_suite", &suite).unwrap().unwrap().what, Rerun::Commit(commit.parse().unwrap()));
        assert_eq!(read("check_run", &check.replace("rerequested", "completed")).unwrap(), None);
        assert_eq!(read("installation", "[]").unwrap(), None);
        for (event, broken) in [("check_run", suite.as_str()), ("check_suite", check.as_str()), ("check_run", "{}")] {
            assert!(read(event, broken).is_err(), "{event} {broken}");
        }
        assert!(read("check_suite", &suite.replace(&commit, "main")).is_err());
    }
}
