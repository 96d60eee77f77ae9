//! Restricts what pull requests of strangers may do; `core::stranger` decides who is a stranger.
//!
//! A pull request from a fork brings commits of somebody who may not push here. `prepare` reads its pipeline files from
//! its target branch. This module makes its jobs wait until somebody approves that commit. Every build is made through
//! [`create`], a rerun too.

use std::collections::HashSet;

use longshore_core::{BuildPlan, Event, JobPlan, Strangers, Timestamp, stranger};
use longshore_store::{
    StoreError, WriteTx,
    builds::{self, Build, NewBuild},
    people, repos,
};

/// Creates a build, with the questions that its repository has for strangers at this moment.
pub(crate) async fn create(tx: &mut WriteTx, mut new: NewBuild, now: Timestamp) -> Result<Build, StoreError> {
    if stranger::brings(&new.event) {
        let repo = repos::get_now(tx, new.repo).await?.ok_or(StoreError::NotFound("repository"))?;
        let known = people::is_known_within(tx, new.repo, &new.event).await?;
        restrain(&mut new.plan, &new.event, repo.strangers, known);
    }
    builds::create(tx, &new, now).await
}

/// Adds to every job of a stranger's pull request the question that the repository wants answered. Gives the pull
/// request groups of its own: a stranger neither holds up nor cancels any of the repository's builds. Applied twice to
/// a plan, it changes nothing more.
fn restrain(plan: &mut BuildPlan, event: &Event, setting: Strangers, known: bool) {
    let Some(number) = stranger::pull_request(event) else { return };
    let own = format!("pull request {number}: ");
    for job in &mut plan.jobs {
        if let Some(concurrency) = &mut job.concurrency
            && !concurrency.group.starts_with(&own)
        {
            concurrency.group.insert_str(0, &own);
        }
        job.stranger = stranger::question(setting, known, event, job);
    }
    // A job that gets a secret takes files and outputs only from jobs that somebody approved.
    let mut asked: Vec<(String, String)> =
        plan.jobs.iter().filter(|job| stranger::gets_something(event, job)).flat_map(takes_from).collect();
    let mut seen: HashSet<String> = HashSet::new();
    while let Some((key, by)) = asked.pop() {
        if !seen.insert(key.clone()) {
            continue;
        }
        let Some(job) = plan.jobs.iter_mut().find(|job| job.key == key) else { continue };
        if job.stranger.is_none() {
            job.stranger = stranger::handing_on(event, &by);
        }
        asked.extend(takes_from(job));
    }
}

/// Returns the keys of the jobs that hand files or outputs to a job, each with the job's name.
fn takes_from(job: &JobPlan) -> Vec<(String, String)> {
    job.takes_from().map(|key| (key.to_owned(), job.name.clone())).collect()
}

#[cfg(test)]
mod tests {
    use longshore_core::{
        EventName, Person,
        docker::Docker,
        event::PullRequest,
        expression::Expression,
        plan::{Concurrency, Need, SecretUse},
        template::{Part, Template},
    };

    use super::*;

    fn event(fork: bool) -> Event {
        Event {
            pull_request: Some(PullRequest {
                fork,
                author: Some(Person { id: Some(42), account: None, name: "ada".to_owned() }),
                ..PullRequest::opened(7, "main", "main")
            }),
            ..Event::new(EventName::PullRequest, "refs/pull/7/head", "1f0c2d3e4a5b6c7d8e9f00112233445566778899")
        }
    }

    fn plan() -> BuildPlan {
        let secret = SecretUse { name: "TOKEN".to_owned(), variable: "TOKEN".to_owned(), file: false, by_name: false };
        let named = JobPlan { secrets: vec![secret], ..JobPlan::default() };
        let asked = JobPlan { docker: Docker::Guarded, approval: Some("Now?".to_owned()), ..JobPlan::default() };
        BuildPlan::new(vec![JobPlan::default(), named, asked])
    }

    #[test]
    fn a_forks_builds_have_groups_of_their_own() {
        let group = |plan: &BuildPlan| plan.jobs[0].concurrency.as_ref().unwrap().group.clone();
        let concurrency = Some(Concurrency { group: "deploy-main".to_owned(), cancel_in_progress: true });
        let mut of_fork = BuildPlan::new(vec![JobPlan { concurrency, ..JobPlan::default() }]);
        let mut of_ours = of_fork.clone();
        restrain(&mut of_fork, &event(true), Strangers::None, false);
        restrain(&mut of_fork, &event(true), Strangers::None, false);
        restrain(&mut of_ours, &event(false), Strangers::None, false);
        assert_eq!(
            (group(&of_fork).as_str(), group(&of_ours).as_str()),
            ("pull request 7: deploy-main", "deploy-main")
        );
    }

    #[test]
    fn a_forks_job_that_hands_files_or_outputs_to_one_that_gets_a_secret_asks_whatever_the_setting() {
        let secret = SecretUse { name: "TOKEN".to_owned(), variable: "TOKEN".to_owned(), file: false, by_name: false };
        let job = |key: &str| JobPlan { key: key.to_owned(), name: key.to_owned(), ..JobPlan::default() };
        let on = |base: &str, key: &str| JobPlan { workspace_of: Some(base.to_owned()), ..job(key) };
        let with = |artifacts: &[&str], of: &str, key: &str| {
            let artifacts = artifacts.iter().map(|name| (*name).to_owned()).collect();
            let need = Need { key: of.to_owned(), job: of.to_owned(), artifacts, ..Need::default() };
            JobPlan { needs: vec![need], ..job(key) }
        };
        let named = |of: &str, key: &str| {
            let text = Template::new([Part::Expression(Expression::parse(&format!("needs.{of}.outputs.v")).unwrap())]);
            let env = [("V".to_owned(), text.clone())].into();
            let outputs = [("v".to_owned(), text)].into();
            JobPlan { env, outputs, ..with(&[], of, key) }
        };
        let all: &[&str] = &["*"];
        for (pack, publish) in [
            (named("build", "pack"), named("pack", "publish")),
            (on("build", "pack"), named("pack", "publish")),
            (named("build", "pack"), with(&["app"], "pack", "publish")),
            (on("build", "pack"), on("pack", "publish")),
            (with(&["app"], "build", "pack"), on("pack", "publish")),
            (on("build", "pack"), with(all, "pack", "publish")),
            (with(all, "build", "pack"), with(&["app"], "pack", "publish")),
        ] {
            let mut plan = BuildPlan::new(vec![
                job("build"),
                pack,
                JobPlan { secrets: vec![secret.clone()], ..publish },
                on("build", "test"),
                with(all, "build", "measure"),
                named("build", "show"),
                JobPlan { secrets: vec![secret.clone()], ..with(&[], "lint", "tell") },
                job("lint"),
            ]);
            restrain(&mut plan, &event(true), Strangers::None, true);
            let once = plan.clone();
            restrain(&mut plan, &event(true), Strangers::None, true);
            assert_eq!(plan, once);
            let asks: Vec<bool> = plan.jobs.iter().map(|job| job.stranger.is_some()).collect();
            assert_eq!(asks, [true, true, true, false, false, false, true, false]);
            let of_pack = plan.jobs[1].stranger.as_deref();
            assert_eq!(
                of_pack,
                Some("commit 1f0c2d3e4a of pull request #7 from a fork, whose files or outputs go to `publish`")
            );
        }
    }

    #[test]
    fn every_job_of_a_forks_pull_request_asks_and_with_the_setting_none_only_those_that_would_get_something() {
        let questions = |setting, known| {
            let mut restrained = plan();
            restrain(&mut restrained, &event(true), setting, known);
            let once = restrained.clone();
            restrain(&mut restrained, &event(true), setting, known);
            assert_eq!(restrained, once, "a build that is made once more asks no more");
            restrained.jobs.iter().map(JobPlan::question).collect::<Vec<_>>()
        };
        let of_fork = "commit 1f0c2d3e4a of pull request #7 from a fork";
        let token = Some(format!("{of_fork}, which would get `TOKEN`"));
        let docker = Some(format!("Now? ({of_fork}, which would get a Docker API)"));
        assert_eq!(questions(Strangers::All, true), [Some(of_fork.to_owned()), token.clone(), docker.clone()]);
        assert_eq!(questions(Strangers::None, false), [None, token.clone(), docker.clone()]);
        assert_eq!(questions(Strangers::FirstTime, true), [None, token, docker]);
        assert!(questions(Strangers::FirstTime, false).iter().all(Option::is_some));
        let mut of_ours = plan();
        restrain(&mut of_ours, &event(false), Strangers::All, false);
        assert_eq!(of_ours, plan());
    }
}
