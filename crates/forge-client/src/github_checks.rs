//! Check runs at GitHub: <https://docs.github.com/en/rest/checks/runs>. Tokens of people cannot make them.

use longshore_core::commit_status::CommitState;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    CallError,
    checks::{CheckAnnotation, CheckRun, Grade},
    connection::percent_encoded,
    github::Github,
};

/// Annotations that GitHub takes in one call.
const ANNOTATIONS_PER_CALL: usize = 50;
/// Characters of an annotation's title, and bytes of a summary, that GitHub takes at most.
const MAX_TITLE_CHARS: usize = 255;
const MAX_SUMMARY_BYTES: usize = 65_535;

#[derive(Deserialize)]
struct ShownCheckRun {
    id: u64,
    external_id: Option<String>,
    output: Output,
}

#[derive(Deserialize)]
struct Output {
    annotations_count: usize,
}

#[derive(Deserialize)]
struct CheckRunList {
    check_runs: Vec<ShownCheckRun>,
}

impl Github {
    /// Shows a check run as it is now. Returns its id. GitHub adds the annotations of a call to those that it has, so
    /// the missing ones are sent, and the conclusion with the last of them.
    pub(crate) fn show_check(&self, repo: &str, check: &CheckRun) -> Result<String, CallError> {
        let runs = format!("/repositories/{repo}/check-runs");
        let mut id = check.id.clone();
        let mut missing = check.annotations.as_slice();
        let there = match &id {
            None if check.may_be_there => self.find_check(repo, check)?,
            Some(id) if !missing.is_empty() => Some(self.read_check(self.0.get(&format!("{runs}/{id}"))?)?),
            None | Some(_) => None,
        };
        if let Some(there) = there {
            missing = missing.get(there.output.annotations_count..).unwrap_or_default();
            id = Some(there.id.to_string());
        }
        loop {
            let (batch, rest) = missing.split_at(missing.len().min(ANNOTATIONS_PER_CALL));
            let body = body(check, batch, rest.is_empty());
            let answer = match &id {
                Some(id) => self.0.patch(&format!("{runs}/{id}"), &body)?,
                None => self.0.post(&runs, &with_commit(body, check))?,
            };
            let made = self.read_check(answer)?.id.to_string();
            if rest.is_empty() {
                return Ok(made);
            }
            (id, missing) = (Some(made), rest);
        }
    }

    /// Finds the check run of this build, if an answer did not arrive in which its id was.
    fn find_check(&self, repo: &str, check: &CheckRun) -> Result<Option<ShownCheckRun>, CallError> {
        let name = percent_encoded(&check.name);
        let path = format!("/repositories/{repo}/commits/{}/check-runs?check_name={name}&filter=all", check.commit);
        let found: CheckRunList =
            self.0.get(&format!("{path}&per_page=100"))?.read().ok_or_else(|| self.0.not_understood())?;
        let is_own = |made: &ShownCheckRun| made.external_id.as_deref() == Some(check.external_id.as_str());
        Ok(found.check_runs.into_iter().find(is_own))
    }

    fn read_check(&self, answer: crate::answer::Answer) -> Result<ShownCheckRun, CallError> {
        answer.read().ok_or_else(|| self.0.not_understood())
    }
}

fn with_commit(mut body: Value, check: &CheckRun) -> Value {
    body["name"] = check.name.as_str().into();
    body["head_sha"] = check.commit.as_str().into();
    body
}

fn body(check: &CheckRun, annotations: &[CheckAnnotation], is_last: bool) -> Value {
    let end = check.summary.floor_char_boundary(MAX_SUMMARY_BYTES);
    let mut body = json!({
        "external_id": check.external_id,
        "output": {
            "title": check.title,
            "summary": &check.summary[..end],
            "annotations": annotations.iter().map(annotation).collect::<Vec<_>>(),
        },
    });
    if !check.details_url.is_empty() {
        body["details_url"] = check.details_url.as_str().into();
    }
    match conclusion(check.state) {
        Ok(conclusion) if is_last => (body["status"], body["conclusion"]) = ("completed".into(), conclusion.into()),
        Ok(_) => body["status"] = "in_progress".into(),
        Err(status) => body["status"] = status.into(),
    }
    body
}

/// Returns the conclusion of a final state, or the status of another one.
const fn conclusion(state: CommitState) -> Result<&'static str, &'static str> {
    match state {
        CommitState::Pending => Err("queued"),
        CommitState::Running => Err("in_progress"),
        CommitState::Success => Ok("success"),
        CommitState::Skipped => Ok("skipped"),
        CommitState::Failure | CommitState::Error => Ok("failure"),
        CommitState::Canceled => Ok("cancelled"),
    }
}

fn annotation(found: &CheckAnnotation) -> Value {
    let level = match found.grade {
        Grade::Notice => "notice",
        Grade::Warning => "warning",
        Grade::Failure => "failure",
    };
    let mut body = json!({
        "path": found.path,
        "start_line": found.line,
        "end_line": found.end_line.max(found.line),
        "annotation_level": level,
        "message": found.message,
    });
    // GitHub takes columns only where it is one line.
    if let Some(column) = found.column.filter(|column| *column > 0 && found.end_line <= found.line) {
        (body["start_column"], body["end_column"]) = (column.into(), column.into());
    }
    if let Some(title) = &found.title {
        body["title"] = title.chars().take(MAX_TITLE_CHARS).collect::<String>().into();
    }
    body
}
