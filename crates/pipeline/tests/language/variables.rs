//! The variables of steps and expressions: `CI_*`, Drone's for plugins, and every value of every context.

use std::collections::{BTreeMap, BTreeSet};

use longshore_core::{
    Event, EventName, JobPlan, Timestamp,
    expression::{Value, Values},
};
use longshore_pipeline::{BuildFacts, RepoFacts, build_variables};

use super::{built, pull_request, push, sound};

fn facts() -> RepoFacts {
    RepoFacts {
        name: "team/app".to_owned(),
        clone_url: "https://forge.example:3000/team/app.git".to_owned(),
        forge: "forgejo".to_owned(),
        default_branch: Some("main".to_owned()),
        changed_files: None,
    }
}

fn job(text: &str, event: &Event) -> JobPlan {
    built(sound(text).plan(event, &facts())).jobs.remove(0)
}

fn request() -> Event {
    Event {
        before: Some("0".repeat(40)),
        url: Some("https://forge.example:3000/team/app/pulls/7".to_owned()),
        ..pull_request("main", "opened")
    }
}

fn tag() -> Event {
    Event { name: EventName::Tag, git_ref: "refs/tags/v1".to_owned(), ..push("x") }
}

const PLAIN: &str = "jobs: { a: { image: x, steps: [{ name: one, run: a }] } }";

/// All variables of a step for an event.
fn found(event: &Event) -> BTreeMap<String, String> {
    let plan = job(PLAIN, event);
    let mut all: BTreeMap<String, String> =
        plan.env.iter().chain(&plan.steps[0].env).map(|(name, value)| (name.clone(), value.shown())).collect();
    all.extend(build_variables(&BuildFacts {
        number: 12,
        url: Some("https://ci.example/builds/b".to_owned()),
        created_at: Some(Timestamp::from_millis(1_700_000_000_000)),
        system_url: Some("https://ci.example".to_owned()),
    }));
    all
}

#[test]
fn every_variable_that_is_documented_is_set_and_every_one_that_is_set_is_documented() {
    let documented: BTreeSet<String> = include_str!("../../../../docs/pipeline.md")
        .lines()
        .filter(|line| line.starts_with("| `CI"))
        .flat_map(|line| line.split('|').nth(1).unwrap_or_default().split('`'))
        .filter(|word| word.starts_with("CI"))
        .map(str::to_owned)
        .collect();
    let set: BTreeSet<String> = found(&request()).into_keys().chain(found(&tag()).into_keys()).collect();
    assert_eq!(set, documented);
}

#[test]
fn variables_mean_what_woodpecker_says_they_mean() {
    let of = found(&request());
    for (name, value) in [
        ("CI", "true"),
        ("CI_REPO", "team/app"),
        ("CI_REPO_OWNER", "team"),
        ("CI_REPO_NAME", "app"),
        ("CI_REPO_URL", "https://forge.example:3000/team/app"),
        ("CI_REPO_CLONE_URL", "https://forge.example:3000/team/app.git"),
        ("CI_REPO_DEFAULT_BRANCH", "main"),
        ("CI_FORGE_TYPE", "forgejo"),
        ("CI_FORGE_URL", "https://forge.example:3000"),
        ("CI_COMMIT_SHA", "1f0c2d3e4a5b6c7d8e9f00112233445566778899"),
        ("CI_COMMIT_REF", "refs/pull/7/head"),
        ("CI_COMMIT_REFSPEC", "topic:main"),
        ("CI_COMMIT_BRANCH", "main"),
        ("CI_COMMIT_SOURCE_BRANCH", "topic"),
        ("CI_COMMIT_TARGET_BRANCH", "main"),
        ("CI_COMMIT_PULL_REQUEST", "7"),
        ("CI_COMMIT_TITLE", "Ask for it"),
        ("CI_COMMIT_MESSAGE", "Change it\n\nFor good."),
        ("CI_COMMIT_AUTHOR", "Ada"),
        ("CI_COMMIT_AUTHOR_EMAIL", "ada@example.org"),
        ("CI_PREV_COMMIT_SHA", "0000000000000000000000000000000000000000"),
        ("CI_PIPELINE_EVENT", "pull_request"),
        ("CI_PIPELINE_EVENT_REASON", "opened"),
        ("CI_PIPELINE_AUTHOR", "ada"),
        ("CI_PIPELINE_FORGE_URL", "https://forge.example:3000/team/app/pulls/7"),
        ("CI_PIPELINE_NUMBER", "12"),
        ("CI_PIPELINE_URL", "https://ci.example/builds/b"),
        ("CI_PIPELINE_CREATED", "1700000000"),
        ("CI_SYSTEM_HOST", "ci.example"),
        ("CI_WORKFLOW_NAME", "longshore"),
        ("CI_STEP_NAME", "one"),
        ("CI_STEP_NUMBER", "1"),
    ] {
        assert_eq!(of.get(name).map(String::as_str), Some(value), "{name}");
    }
    let of = found(&tag());
    assert_eq!((of["CI_COMMIT_TAG"].as_str(), of["CI_PIPELINE_EVENT"].as_str()), ("v1", "tag"));
    assert!(!of.contains_key("CI_COMMIT_BRANCH") && !of.contains_key("CI_COMMIT_PULL_REQUEST"));
    let of = found(&push("next"));
    assert_eq!((of["CI_COMMIT_BRANCH"].as_str(), of["CI_COMMIT_TITLE"].as_str()), ("next", "Change it"));
    for (name, word) in [(EventName::Schedule, "cron"), (EventName::Manual, "manual")] {
        let text = "on: { manual: , schedule: [{ cron: '@daily' }] }\njobs: { a: { image: x, steps: [{ run: a }] } }";
        assert_eq!(job(text, &Event { name, ..push("main") }).env["CI_PIPELINE_EVENT"], word.into());
    }
}

#[test]
fn of_a_repository_that_only_git_knows_there_is_no_page() {
    let git = RepoFacts { forge: "git".to_owned(), ..facts() };
    let plan = built(sound(PLAIN).plan(&push("main"), &git)).jobs.remove(0);
    assert!(!plan.env.contains_key("CI_REPO_URL") && !plan.env.contains_key("CI_FORGE_URL"));
    let ssh = RepoFacts { clone_url: "ssh://git@forge.example/team/app.git".to_owned(), ..facts() };
    let plan = built(sound(PLAIN).plan(&push("main"), &ssh)).jobs.remove(0);
    assert!(!plan.env.contains_key("CI_REPO_URL"));
}

#[test]
fn a_plugin_finds_the_same_under_drones_names_and_no_other_step_does() {
    let text = "
jobs:
  a:
    image: x
    env: { CI_COMMIT_MESSAGE: other }
    steps: [{ run: a }, { image: p, run: a }, { name: publish, image: p, env: { DRONE_TAG: mine }, with: { a: b } }]
";
    let plan = job(text, &request());
    let drone = |at: usize| plan.steps[at].env.keys().filter(|name| name.starts_with("DRONE")).count();
    assert_eq!((drone(0), drone(1)), (0, 0));
    let env = &plan.steps[2].env;
    for (name, value) in [
        ("DRONE", "true"),
        ("DRONE_REPO", "team/app"),
        ("DRONE_REPO_LINK", "https://forge.example:3000/team/app"),
        ("DRONE_COMMIT_SHA", "1f0c2d3e4a5b6c7d8e9f00112233445566778899"),
        ("DRONE_COMMIT_BRANCH", "main"),
        ("DRONE_COMMIT_MESSAGE", "other"),
        ("DRONE_BUILD_EVENT", "pull_request"),
        ("DRONE_BUILD_ACTION", "opened"),
        ("DRONE_PULL_REQUEST", "7"),
        ("DRONE_PULL_REQUEST_TITLE", "Ask for it"),
        ("DRONE_SOURCE_BRANCH", "topic"),
        ("DRONE_STEP_NAME", "publish"),
        ("DRONE_STEP_NUMBER", "3"),
        ("DRONE_TAG", "mine"),
    ] {
        assert_eq!(env.get(name).map(longshore_core::Template::shown).as_deref(), Some(value), "{name}");
    }
    let build = Value::map([("number", Value::Number(12.0)), ("url", Value::from("https://ci.example/b"))]);
    let known = Values { contexts: [("build".to_owned(), build)].into(), progress: None };
    assert_eq!(env["DRONE_BUILD_NUMBER"].evaluate(&known).unwrap(), "12");
    assert_eq!(env["DRONE_BUILD_LINK"].evaluate(&known).unwrap(), "https://ci.example/b");
    let manual = Event { name: EventName::Manual, ..push("main") };
    assert_eq!(job(text, &manual).steps[2].env["DRONE_BUILD_EVENT"], "custom".into());
}

/// The value of an expression in a job's `env`, planned for an event.
fn value(source: &str, event: &Event) -> String {
    let text = format!("jobs: {{ a: {{ image: x, env: {{ V: \"${{{{ {source} }}}}\" }}, steps: [{{ run: a }}] }} }}");
    let plan = job(&text, event);
    plan.env["V"].as_known().unwrap_or_else(|| panic!("{source} is not known")).to_owned()
}

#[test]
fn every_value_of_event_and_repo_is_there() {
    for (source, expected) in [
        ("event.name", "pull-request"),
        ("event.ref", "refs/pull/7/head"),
        ("event.branch", "main"),
        ("event.tag", ""),
        ("event.sha", "1f0c2d3e4a5b6c7d8e9f00112233445566778899"),
        ("event.sha-short", "1f0c2d3e"),
        ("event.before", "0000000000000000000000000000000000000000"),
        ("event.title", "Ask for it"),
        ("event.message", "Change it\n\nFor good."),
        ("event.author", "Ada"),
        ("event.author-email", "ada@example.org"),
        ("event.sender", "ada"),
        ("event.url", "https://forge.example:3000/team/app/pulls/7"),
        ("event.default-branch", "main"),
        ("event.number", "7"),
        ("event.action", "opened"),
        ("event.source-branch", "topic"),
        ("event.target-branch", "main"),
        ("event.fork", "true"),
        ("event.cron", ""),
        ("repo.name", "team/app"),
        ("repo.owner", "team"),
        ("repo.short-name", "app"),
        ("repo.clone-url", "https://forge.example:3000/team/app.git"),
        ("repo.forge", "forgejo"),
        ("repo.default-branch", "main"),
    ] {
        assert_eq!(value(source, &request()), expected, "{source}");
    }
    assert_eq!(value("event.tag", &tag()), "v1");
    assert_eq!(value("event.branch", &tag()), "");
}

#[test]
fn what_is_not_known_yet_is_asked_for_when_it_is() {
    let plan = job(
        "
jobs:
  a:
    image: x
    needs: [b]
    matrix: { v: ['1.10'] }
    secrets: [TOKEN]
    env: { N: '${{ needs.b.result }}${{ needs.b.outputs.o }}', B: '${{ build.number }}${{ build.id }}${{ build.url }}', S: '${{ secrets.TOKEN }}' }
    steps:
      - { id: s, run: 'a ${{ matrix.v }}' }
      - { run: 'echo ${{ steps.s.outcome }}${{ matrix.v || steps.s.conclusion }} ${{ env.FIX }}' , env: { FOO: '${{ hash-files(\"x\") }}${{ steps.s.outputs.x }}', FIX: fixed } }
  b: { image: x, outputs: { o: c }, steps: [{ run: a }] }
",
        &push("main"),
    );
    let refers = |text: &longshore_core::Template| {
        let of = text.refers().contexts;
        of.into_iter().map(|(context, _)| context).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(refers(&plan.env["N"]), ["needs"]);
    assert_eq!(refers(&plan.env["B"]), ["build"]);
    assert_eq!(refers(&plan.env["S"]), ["secrets"]);
    assert_eq!(plan.steps[0].run, Some("a 1.10".into()));
    let run = plan.steps[1].run.as_ref().unwrap();
    assert_eq!(refers(run), ["steps"]);
    assert_eq!(run.shown(), "echo ${{ steps.s.outcome }}${{ '1.10' || steps.s.conclusion }} fixed");
    assert!(plan.steps[1].env["FOO"].as_known().is_none());
}
