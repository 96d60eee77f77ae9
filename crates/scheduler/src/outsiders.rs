//! What pull requests of strangers may do.
//!
//! A pull request from a fork brings commits of somebody who may not push here. `prepare` takes its pipeline files from the branch that
//! it asks to change; here its jobs are kept from what is not theirs until somebody says yes, to this job of this commit.

use longshore_core::{BuildPlan, Event};

/// Whether an event brings commits of somebody who may not push to the repository.
pub(crate) fn is_from_one(event: &Event) -> bool {
    event.pull_request.as_ref().is_some_and(|pull_request| pull_request.fork)
}

/// Makes every job of a fork's pull request that would get secrets or an engine wait for approval. The others run. Groups of builds are
/// the pull request's own: a stranger keeps none of the repository's builds waiting, and cancels none.
pub(crate) fn restrain(plan: &mut BuildPlan, event: &Event) {
    let Some(pull_request) = event.pull_request.as_ref().filter(|_| is_from_one(event)) else { return };
    let commit: String = event.commit.chars().take(10).collect();
    for job in &mut plan.jobs {
        if let Some(concurrency) = &mut job.concurrency {
            concurrency.group = format!("pull request {}: {}", pull_request.number, concurrency.group);
        }
        let mut gets: Vec<String> = job.secrets.iter().map(|secret| format!("`{}`", secret.name)).collect();
        if job.docker {
            gets.push("a Docker API".to_owned());
        }
        if gets.is_empty() {
            continue;
        }
        let question = format!(
            "the commit {commit} of pull request {}, which comes from a fork, would get {}",
            pull_request.number,
            gets.join(", ")
        );
        job.approval = Some(match job.approval.take() {
            Some(asked) => format!("{asked} ({question})"),
            None => question,
        });
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::{
        EventName, JobPlan,
        event::PullRequest,
        plan::{Concurrency, SecretUse},
    };

    use super::*;

    fn event(fork: bool) -> Event {
        Event {
            name: EventName::PullRequest,
            git_ref: "refs/pull/7/head".to_owned(),
            commit: "1f0c2d3e4a5b6c7d8e9f00112233445566778899".to_owned(),
            before: None,
            message: String::new(),
            author: String::new(),
            author_email: String::new(),
            sender: String::new(),
            url: None,
            default_branch: None,
            inputs: std::collections::BTreeMap::new(),
            pull_request: Some(PullRequest {
                number: 7,
                title: String::new(),
                action: "opened".to_owned(),
                source_branch: "main".to_owned(),
                target_branch: "main".to_owned(),
                fork,
            }),
            schedule: None,
        }
    }

    fn plan() -> BuildPlan {
        let secret = SecretUse { name: "TOKEN".to_owned(), variable: "TOKEN".to_owned(), file: false };
        let named = JobPlan { secrets: vec![secret], ..JobPlan::default() };
        let asked = JobPlan { docker: true, approval: Some("Now?".to_owned()), ..JobPlan::default() };
        BuildPlan::new(vec![JobPlan::default(), named, asked])
    }

    #[test]
    fn a_forks_builds_have_groups_of_their_own() {
        let group = |plan: &BuildPlan| plan.jobs[0].concurrency.as_ref().unwrap().group.clone();
        let concurrency = Some(Concurrency { group: "deploy-main".to_owned(), cancel_in_progress: true });
        let mut of_fork = BuildPlan::new(vec![JobPlan { concurrency, ..JobPlan::default() }]);
        let mut of_ours = of_fork.clone();
        restrain(&mut of_fork, &event(true));
        restrain(&mut of_ours, &event(false));
        assert_eq!(
            (group(&of_fork).as_str(), group(&of_ours).as_str()),
            ("pull request 7: deploy-main", "deploy-main")
        );
    }

    #[test]
    fn a_forks_job_that_would_get_secrets_or_an_engine_waits_for_approval_and_no_other_does() {
        let mut restrained = plan();
        restrain(&mut restrained, &event(true));
        let asked: Vec<Option<&str>> = restrained.jobs.iter().map(|job| job.approval.as_deref()).collect();
        let of_fork = "the commit 1f0c2d3e4a of pull request 7, which comes from a fork, would get";
        assert_eq!(asked[0], None);
        assert_eq!(asked[1], Some(format!("{of_fork} `TOKEN`").as_str()));
        assert_eq!(asked[2], Some(format!("Now? ({of_fork} a Docker API)").as_str()));
        let mut of_ours = plan();
        restrain(&mut of_ours, &event(false));
        assert_eq!(of_ours, plan());
    }
}
