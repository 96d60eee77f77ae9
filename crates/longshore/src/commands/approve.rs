//! `longshore approve` and `longshore decline`: answer a job that is awaiting approval.

use std::{io::Write as _, process::ExitCode};

use longshore_core::percent;
use serde_json::{Value, json};

use super::{
    ExitError, build, print_json, repo,
    table::{self, text},
};
use crate::{args::Approval, client::Client};

/// The answer to the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Approve,
    Decline,
}

impl Answer {
    const fn verb(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Decline => "decline",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Decline => "declined",
        }
    }
}

pub(crate) fn run(args: Approval, answer: Answer) -> super::Result {
    let client = args.server.client()?;
    let job = find(&client, &args.job)?;
    let standing = client.post(&format!("/api/v1/jobs/{}/{}", text(&job, "id"), answer.verb()), &json!({}))?;
    if args.server.json {
        print_json(&standing)?;
    } else {
        let line = format!("`{}` is {}: {}", text(&job, "name"), answer.done(), table::status(&standing));
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Finds a job of a build by its name or its key.
pub(super) fn job_of<'b>(build: &'b Value, name: &str) -> anyhow::Result<&'b Value> {
    let mut jobs = build["jobs"].as_array().into_iter().flatten();
    jobs.find(|job| text(job, "key") == name || text(job, "name") == name)
        .ok_or_else(|| ExitError::new(1, format!("build #{} has no job `{name}`", build["number"])).into())
}

/// Finds a job by its id or by `repo#number/job`; `repo#number` means the one job that is awaiting approval.
fn find(client: &Client, job: &str) -> anyhow::Result<Value> {
    let Some((repo, rest)) = job.split_once('#') else {
        if !repo::looks_like_an_id(job) {
            let message = format!("`{job}` is not a job: write `repo#number/job`, or a job's ID");
            return Err(ExitError::new(2, message).into());
        }
        return client.get(&format!("/api/v1/jobs/{}", percent::encode(job)));
    };
    let (number, name) = rest.split_once('/').map_or((rest, None), |(number, name)| (number, Some(name)));
    let build = build::find(client, &format!("{repo}#{number}"))?;
    let jobs = build["jobs"].as_array().into_iter().flatten();
    let asked: Vec<&Value> = jobs
        .filter(|job| name.map_or(!job["asks"].is_null(), |name| text(job, "name") == name || text(job, "key") == name))
        .collect();
    match (asked.as_slice(), name) {
        ([job], _) => Ok((*job).clone()),
        ([], Some(name)) => Err(ExitError::new(1, format!("build #{number} has no job `{name}`")).into()),
        ([], None) => Err(ExitError::new(1, format!("no job of build #{number} is awaiting approval")).into()),
        (several, _) => {
            let keys = several.iter().map(|job| format!("{repo}#{number}/{}", text(job, "key"))).collect::<Vec<_>>();
            Err(ExitError::new(2, format!("several jobs are awaiting approval: name one of {}", keys.join(", ")))
                .into())
        }
    }
}
