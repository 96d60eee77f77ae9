//! The `CI_*` environment variables, with the names and meanings that Woodpecker documents, so that existing scripts work.
//! A variable whose value is not known is absent, never empty.

use std::collections::BTreeMap;

use longshore_core::{Event, EventName, Timestamp, plan::WORKSPACE};

use super::{limits, plan::RepoFacts};

/// What is known of a build only once it exists, after its plan is frozen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildFacts {
    pub number: u64,
    /// The build's page on this server.
    pub url: Option<String>,
    pub created_at: Option<Timestamp>,
    /// This server's own address.
    pub system_url: Option<String>,
}

/// The `CI_*` variables of a build that its plan cannot have. They go under a job's environment when it is sent to run:
/// what the job already has wins.
#[must_use]
pub fn build_variables(facts: &BuildFacts) -> BTreeMap<String, String> {
    let mut all = Variables::default();
    all.set("CI_PIPELINE_NUMBER", &facts.number.to_string());
    all.set_known("CI_PIPELINE_URL", facts.url.as_deref());
    all.set_known("CI_PIPELINE_CREATED", facts.created_at.map(|at| (at.as_millis() / 1000).to_string()).as_deref());
    all.set_known("CI_SYSTEM_URL", facts.system_url.as_deref());
    all.set_known("CI_SYSTEM_HOST", facts.system_url.as_deref().and_then(host));
    all.variables
}

/// The variables of every job of a pipeline.
pub(super) fn of_pipeline(pipeline: &str, event: &Event, facts: &RepoFacts) -> BTreeMap<String, String> {
    let mut all = Variables::default();
    all.set("CI", "true");
    all.set("CI_WORKSPACE", WORKSPACE);

    all.set("CI_SYSTEM_NAME", "longshore");
    all.set("CI_SYSTEM_VERSION", env!("CARGO_PKG_VERSION"));

    all.set("CI_FORGE_TYPE", &facts.forge);

    all.set("CI_REPO", &facts.name);
    let (owner, name) = match facts.name.rsplit_once('/') {
        Some((owner, name)) => (Some(owner), name),
        None => (None, facts.name.as_str()),
    };
    all.set("CI_REPO_NAME", name);
    all.set_known("CI_REPO_OWNER", owner);
    all.set("CI_REPO_SCM", "git");
    all.set("CI_REPO_CLONE_URL", &facts.clone_url);
    all.set_known("CI_REPO_DEFAULT_BRANCH", facts.default_branch.as_deref().or(event.default_branch.as_deref()));

    all.set("CI_PIPELINE_EVENT", event_word(event.name));
    all.set_known("CI_PIPELINE_FORGE_URL", event.url.as_deref());
    all.set("CI_WORKFLOW_NAME", pipeline);

    all.set("CI_COMMIT_SHA", &event.commit);
    all.set("CI_COMMIT_REF", &event.git_ref);
    all.set_known("CI_COMMIT_BRANCH", event.branch());
    all.set_known("CI_COMMIT_TAG", event.tag());
    all.set("CI_COMMIT_MESSAGE", &event.message);
    all.set("CI_COMMIT_TITLE", event.title());
    all.set("CI_COMMIT_AUTHOR", &event.author);
    all.set("CI_COMMIT_AUTHOR_EMAIL", &event.author_email);
    all.set_known("CI_PREV_COMMIT_SHA", event.before.as_deref());
    all.set("CI_PIPELINE_AUTHOR", &event.sender);
    if let Some(pull_request) = &event.pull_request {
        all.set("CI_COMMIT_PULL_REQUEST", &pull_request.number.to_string());
        all.set("CI_COMMIT_SOURCE_BRANCH", &pull_request.source_branch);
        all.set("CI_COMMIT_TARGET_BRANCH", &pull_request.target_branch);
    }
    all.variables
}

/// The variables of one step; `at` counts from 0, the variable from 1.
pub(super) fn of_step(at: usize, name: &str) -> BTreeMap<String, String> {
    let mut all = Variables::default();
    all.set("CI_STEP_NAME", name);
    all.set("CI_STEP_NUMBER", &(at + 1).to_string());
    all.variables
}

#[derive(Default)]
struct Variables {
    variables: BTreeMap<String, String>,
}

impl Variables {
    fn set(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        // An environment cannot carry the character of number 0, and no more than 128 KiB in one variable.
        let cut = &value[..value.floor_char_boundary(limits::MESSAGE_BYTES)];
        self.variables.insert(name.to_owned(), cut.replace('\0', ""));
    }

    fn set_known(&mut self, name: &str, value: Option<&str>) {
        self.set(name, value.unwrap_or(""));
    }
}

/// Woodpecker's word for an event.
const fn event_word(event: EventName) -> &'static str {
    match event {
        EventName::Push => "push",
        EventName::Tag => "tag",
        EventName::PullRequest => "pull_request",
        EventName::Schedule => "cron",
        EventName::Manual => "manual",
    }
}

/// `ci.example:8080` of `https://ci.example:8080/x`.
fn host(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    rest.split(['/', '?', '#']).next()
}
