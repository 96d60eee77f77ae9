//! The `CI_*` environment variables, with the names and meanings that Woodpecker documents, so that existing scripts
//! work. A variable whose value is not known is absent, never empty. Plugins also get the values under Drone's names.

use std::collections::BTreeMap;

use longshore_core::{Event, EventName, Template, Timestamp, expression::Expression, plan::WORKSPACE, template::Part};

use super::{limits, plan::RepoFacts};

/// Values of a build that are known only after its plan is frozen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildFacts {
    pub number: u64,
    /// The build's page on this server.
    pub url: Option<String>,
    pub created_at: Option<Timestamp>,
    /// This server's own address.
    pub system_url: Option<String>,
}

/// Returns the `CI_*` variables that a plan cannot contain. They are added to a job's environment when it is sent to
/// run; variables that the job already has win.
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

/// Returns the variables of every job of a pipeline.
pub(super) fn of_pipeline(pipeline: &str, event: &Event, facts: &RepoFacts) -> BTreeMap<String, String> {
    let mut all = Variables::default();
    all.set("CI", "true");
    all.set("CI_WORKSPACE", WORKSPACE);

    all.set("CI_SYSTEM_NAME", "longshore");
    all.set("CI_SYSTEM_VERSION", env!("CARGO_PKG_VERSION"));

    let page = page_of(facts);
    all.set("CI_FORGE_TYPE", &facts.forge);
    all.set_known("CI_FORGE_URL", page.map(origin));

    all.set("CI_REPO", &facts.name);
    let (owner, name) = match facts.name.rsplit_once('/') {
        Some((owner, name)) => (Some(owner), name),
        None => (None, facts.name.as_str()),
    };
    all.set("CI_REPO_NAME", name);
    all.set_known("CI_REPO_OWNER", owner);
    all.set("CI_REPO_SCM", "git");
    all.set("CI_REPO_CLONE_URL", &facts.clone_url);
    all.set_known("CI_REPO_URL", page);
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
        all.set("CI_PIPELINE_EVENT_REASON", &pull_request.action);
        all.set("CI_COMMIT_REFSPEC", &format!("{}:{}", pull_request.source_branch, pull_request.target_branch));
        all.set("CI_COMMIT_SOURCE_BRANCH", &pull_request.source_branch);
        all.set("CI_COMMIT_TARGET_BRANCH", &pull_request.target_branch);
    }
    if let Some(release) = &event.release {
        all.set("CI_PIPELINE_EVENT_REASON", &release.action);
    }
    all.variables
}

/// Returns the variables that differ from build to build although nothing changed. A job with `reuse` does not have
/// them: what it does cannot depend on them unseen.
pub(super) fn is_passing(name: &str) -> bool {
    let of_build = ["CI_COMMIT_", "CI_PIPELINE_", "CI_PREV_"].iter().any(|prefix| name.starts_with(prefix));
    of_build || matches!(name, "CI_SYSTEM_URL" | "CI_SYSTEM_HOST")
}

/// Returns the variables of one step; `at` counts from 0, the variable from 1.
pub(super) fn of_step(at: usize, name: &str) -> BTreeMap<String, String> {
    let mut all = Variables::default();
    all.set("CI_STEP_NAME", name);
    all.set("CI_STEP_NUMBER", &(at + 1).to_string());
    all.variables
}

/// Drone's names for Woodpecker's variables, which many plugins read.
const DRONE: &[(&str, &str)] = &[
    ("DRONE", "CI"),
    ("DRONE_BRANCH", "CI_COMMIT_BRANCH"),
    ("DRONE_BUILD_ACTION", "CI_PIPELINE_EVENT_REASON"),
    ("DRONE_BUILD_TRIGGER", "CI_PIPELINE_AUTHOR"),
    ("DRONE_COMMIT", "CI_COMMIT_SHA"),
    ("DRONE_COMMIT_AFTER", "CI_COMMIT_SHA"),
    ("DRONE_COMMIT_AUTHOR", "CI_PIPELINE_AUTHOR"),
    ("DRONE_COMMIT_AUTHOR_EMAIL", "CI_COMMIT_AUTHOR_EMAIL"),
    ("DRONE_COMMIT_AUTHOR_NAME", "CI_COMMIT_AUTHOR"),
    ("DRONE_COMMIT_BEFORE", "CI_PREV_COMMIT_SHA"),
    ("DRONE_COMMIT_BRANCH", "CI_COMMIT_BRANCH"),
    ("DRONE_COMMIT_LINK", "CI_PIPELINE_FORGE_URL"),
    ("DRONE_COMMIT_MESSAGE", "CI_COMMIT_MESSAGE"),
    ("DRONE_COMMIT_REF", "CI_COMMIT_REF"),
    ("DRONE_COMMIT_SHA", "CI_COMMIT_SHA"),
    ("DRONE_GIT_HTTP_URL", "CI_REPO_CLONE_URL"),
    ("DRONE_PULL_REQUEST", "CI_COMMIT_PULL_REQUEST"),
    ("DRONE_REMOTE_URL", "CI_REPO_CLONE_URL"),
    ("DRONE_REPO", "CI_REPO"),
    ("DRONE_REPO_BRANCH", "CI_REPO_DEFAULT_BRANCH"),
    ("DRONE_REPO_LINK", "CI_REPO_URL"),
    ("DRONE_REPO_NAME", "CI_REPO_NAME"),
    ("DRONE_REPO_NAMESPACE", "CI_REPO_OWNER"),
    ("DRONE_REPO_OWNER", "CI_REPO_OWNER"),
    ("DRONE_REPO_SCM", "CI_REPO_SCM"),
    ("DRONE_SOURCE_BRANCH", "CI_COMMIT_SOURCE_BRANCH"),
    ("DRONE_STAGE_NAME", "CI_WORKFLOW_NAME"),
    ("DRONE_STEP_NAME", "CI_STEP_NAME"),
    ("DRONE_STEP_NUMBER", "CI_STEP_NUMBER"),
    ("DRONE_TAG", "CI_COMMIT_TAG"),
    ("DRONE_TARGET_BRANCH", "CI_COMMIT_TARGET_BRANCH"),
    ("DRONE_WORKSPACE", "CI_WORKSPACE"),
];

/// Returns the `DRONE_*` variables of a plugin; `job` and `step` are the variables with Woodpecker's names.
pub(super) fn of_plugin(
    job: &BTreeMap<String, Template>,
    step: &BTreeMap<String, Template>,
    reuses: bool,
) -> BTreeMap<String, Template> {
    let find = |name: &str| step.get(name).or_else(|| job.get(name)).cloned();
    let mut all: BTreeMap<String, Template> =
        DRONE.iter().filter_map(|(drone, ours)| Some(((*drone).to_owned(), find(ours)?))).collect();
    if let Some(event) = find("CI_PIPELINE_EVENT") {
        // Woodpecker and Drone name events the same, except for this one.
        let event = if event.as_known() == Some("manual") { "custom".into() } else { event };
        all.insert("DRONE_BUILD_EVENT".to_owned(), event);
    }
    if let (Some(title), true) = (find("CI_COMMIT_TITLE"), all.contains_key("DRONE_PULL_REQUEST")) {
        all.insert("DRONE_PULL_REQUEST_TITLE".to_owned(), title);
    }
    for (name, source) in [("DRONE_BUILD_NUMBER", "build.number"), ("DRONE_BUILD_LINK", "build.url")] {
        if reuses {
            continue;
        }
        if let Ok(expression) = Expression::parse(source) {
            all.insert(name.to_owned(), Template::new([Part::Expression(expression)]));
        }
    }
    all
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
        // An environment variable cannot contain a zero byte, nor be longer than 128 KiB.
        let cut = &value[..value.floor_char_boundary(limits::MESSAGE_BYTES)];
        self.variables.insert(name.to_owned(), cut.replace('\0', ""));
    }

    fn set_known(&mut self, name: &str, value: Option<&str>) {
        self.set(name, value.unwrap_or(""));
    }
}

/// Woodpecker's name for an event.
const fn event_word(event: EventName) -> &'static str {
    match event {
        EventName::Push => "push",
        EventName::Tag => "tag",
        EventName::PullRequest => "pull_request",
        EventName::Schedule => "cron",
        EventName::Manual => "manual",
        EventName::Release => "release",
        EventName::MergeGroup => "merge_group",
    }
}

/// Returns the repository's page. Forges serve it at the clone URL; with plain git there is none.
fn page_of(facts: &RepoFacts) -> Option<&str> {
    let url = facts.clone_url.trim_end_matches('/');
    let is_page = facts.forge != "git" && (url.starts_with("https://") || url.starts_with("http://"));
    is_page.then(|| url.strip_suffix(".git").unwrap_or(url))
}

/// Returns `https://forge.example` for `https://forge.example/team/app`.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |at| &url[..host + at])
}

/// Returns `ci.example:8080` for `https://ci.example:8080/x`.
fn host(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    rest.split(['/', '?', '#']).next()
}
