//! Variables that other systems set in every step, and what Longshore has in their place.

use super::Language;

/// Variables of Woodpecker that Longshore sets too, each with an expression for the same value.
const OURS: &[(&str, &str)] = &[
    ("CI", "'true'"),
    ("CI_WORKSPACE", "'/longshore/workspace'"),
    ("CI_SYSTEM_NAME", "'longshore'"),
    ("CI_FORGE_TYPE", "repo.forge"),
    ("CI_REPO", "repo.name"),
    ("CI_REPO_OWNER", "repo.owner"),
    ("CI_REPO_NAME", "repo.short-name"),
    ("CI_REPO_SCM", "'git'"),
    ("CI_REPO_CLONE_URL", "repo.clone-url"),
    ("CI_REPO_DEFAULT_BRANCH", "repo.default-branch"),
    ("CI_PIPELINE_NUMBER", "build.number"),
    ("CI_PIPELINE_URL", "build.url"),
    ("CI_PIPELINE_AUTHOR", "event.sender"),
    ("CI_PIPELINE_FORGE_URL", "event.url"),
    ("CI_COMMIT_SHA", "event.sha"),
    ("CI_COMMIT_REF", "event.ref"),
    ("CI_COMMIT_BRANCH", "event.branch"),
    ("CI_COMMIT_TAG", "event.tag"),
    ("CI_COMMIT_MESSAGE", "event.message"),
    ("CI_COMMIT_TITLE", "event.title"),
    ("CI_COMMIT_PULL_REQUEST", "event.number"),
    ("CI_COMMIT_SOURCE_BRANCH", "event.source-branch"),
    ("CI_COMMIT_TARGET_BRANCH", "event.target-branch"),
    ("CI_COMMIT_AUTHOR", "event.author"),
    ("CI_COMMIT_AUTHOR_EMAIL", "event.author-email"),
    ("CI_PREV_COMMIT_SHA", "event.before"),
];

/// Variables that Longshore sets under the same name, but for which there is no expression.
const OURS_ONLY: &[&str] = &[
    "CI_SYSTEM_VERSION",
    "CI_SYSTEM_URL",
    "CI_SYSTEM_HOST",
    "CI_PIPELINE_CREATED",
    "CI_PIPELINE_EVENT",
    "CI_WORKFLOW_NAME",
    "CI_STEP_NAME",
    "CI_STEP_NUMBER",
];

const WOODPECKER: &[(&str, &str)] = &[
    ("CI_REPO_URL", "repo.clone-url"),
    ("CI_REPO_REMOTE_URL", "repo.clone-url"),
    ("CI_BUILD_NUMBER", "build.number"),
    ("CI_BUILD_LINK", "build.url"),
    ("CI_PIPELINE_LINK", "build.url"),
];

const DRONE: &[(&str, &str)] = &[
    ("DRONE", "'true'"),
    ("DRONE_BRANCH", "event.branch"),
    (
        "DRONE_BUILD_EVENT",
        "event.name == 'pull-request' && 'pull_request' || event.name == 'schedule' && 'cron' || event.name",
    ),
    ("DRONE_BUILD_LINK", "build.url"),
    ("DRONE_BUILD_NUMBER", "build.number"),
    ("DRONE_COMMIT", "event.sha"),
    ("DRONE_COMMIT_AFTER", "event.sha"),
    ("DRONE_COMMIT_AUTHOR", "event.sender"),
    ("DRONE_COMMIT_AUTHOR_EMAIL", "event.author-email"),
    ("DRONE_COMMIT_AUTHOR_NAME", "event.author"),
    ("DRONE_COMMIT_BEFORE", "event.before"),
    ("DRONE_COMMIT_BRANCH", "event.branch"),
    ("DRONE_COMMIT_LINK", "event.url"),
    ("DRONE_COMMIT_MESSAGE", "event.message"),
    ("DRONE_COMMIT_REF", "event.ref"),
    ("DRONE_COMMIT_SHA", "event.sha"),
    ("DRONE_GIT_HTTP_URL", "repo.clone-url"),
    ("DRONE_PULL_REQUEST", "event.number"),
    ("DRONE_PULL_REQUEST_TITLE", "event.title"),
    ("DRONE_REMOTE_URL", "repo.clone-url"),
    ("DRONE_REPO", "repo.name"),
    ("DRONE_REPO_BRANCH", "repo.default-branch"),
    ("DRONE_REPO_NAME", "repo.short-name"),
    ("DRONE_REPO_NAMESPACE", "repo.owner"),
    ("DRONE_REPO_OWNER", "repo.owner"),
    ("DRONE_REPO_SCM", "'git'"),
    ("DRONE_SOURCE_BRANCH", "event.source-branch || event.branch"),
    ("DRONE_TAG", "event.tag"),
    ("DRONE_TARGET_BRANCH", "event.branch"),
    ("DRONE_WORKSPACE", "'/longshore/workspace'"),
];

const GITLAB: &[(&str, &str)] = &[
    ("GITLAB_CI", "'true'"),
    ("CI_BUILDS_DIR", "'/longshore'"),
    ("CI_COMMIT_BEFORE_SHA", "event.before"),
    ("CI_COMMIT_DESCRIPTION", "event.message"),
    ("CI_COMMIT_REF_NAME", "event.source-branch || event.branch || event.tag"),
    ("CI_COMMIT_SHORT_SHA", "event.sha-short"),
    ("CI_DEFAULT_BRANCH", "repo.default-branch"),
    ("CI_JOB_URL", "build.url"),
    ("CI_MERGE_REQUEST_IID", "event.number"),
    ("CI_MERGE_REQUEST_ID", "event.number"),
    ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "event.source-branch"),
    ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "event.target-branch"),
    ("CI_MERGE_REQUEST_TITLE", "event.title"),
    ("CI_PIPELINE_ID", "build.id"),
    ("CI_PIPELINE_IID", "build.number"),
    (
        "CI_PIPELINE_SOURCE",
        "event.name == 'pull-request' && 'merge_request_event' || event.name == 'manual' && 'web' || event.name == 'tag' && 'push' || event.name",
    ),
    ("CI_PROJECT_DIR", "'/longshore/workspace'"),
    ("CI_PROJECT_NAME", "repo.short-name"),
    ("CI_PROJECT_NAMESPACE", "repo.owner"),
    ("CI_PROJECT_PATH", "repo.name"),
    ("CI_PROJECT_ROOT_NAMESPACE", "repo.owner"),
    ("CI_REPOSITORY_URL", "repo.clone-url"),
    ("GITLAB_USER_LOGIN", "event.sender"),
    ("GITLAB_USER_NAME", "event.author"),
    ("GITLAB_USER_EMAIL", "event.author-email"),
];

const GITHUB: &[(&str, &str)] = &[
    ("GITHUB_ACTIONS", "'true'"),
    ("GITHUB_ACTOR", "event.sender"),
    ("GITHUB_BASE_REF", "event.target-branch"),
    ("GITHUB_HEAD_REF", "event.source-branch"),
    (
        "GITHUB_EVENT_NAME",
        "event.name == 'pull-request' && 'pull_request' || event.name == 'manual' && 'workflow_dispatch' || event.name == 'tag' && 'push' || event.name",
    ),
    ("GITHUB_REF", "event.ref"),
    (
        "GITHUB_REF_NAME",
        "event.name == 'pull-request' && format('{0}/merge', event.number) || event.branch || event.tag",
    ),
    ("GITHUB_REF_TYPE", "event.name == 'tag' && 'tag' || 'branch'"),
    ("GITHUB_REPOSITORY", "repo.name"),
    ("GITHUB_REPOSITORY_OWNER", "repo.owner"),
    ("GITHUB_RUN_ID", "build.id"),
    ("GITHUB_RUN_NUMBER", "build.number"),
    ("GITHUB_SHA", "event.sha"),
    ("GITHUB_WORKSPACE", "'/longshore/workspace'"),
    ("RUNNER_OS", "'Linux'"),
    ("RUNNER_TEMP", "'/tmp'"),
];

/// The counterpart of a variable of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Every step has it under the same name.
    Given,
    /// An expression has its value.
    Expression(&'static str),
    /// The source's system sets it, and Longshore has no counterpart.
    Missing,
    /// The source's system does not set it.
    NotSet,
}

/// Returns the counterpart of a variable that a script uses.
pub(super) fn known(language: Language, name: &str) -> Known {
    let find = |table: &[(&str, &'static str)]| table.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let (own, prefixes): (_, &[&str]) = match language {
        Language::Woodpecker => (find(WOODPECKER), &["CI_"]),
        Language::Drone => (find(DRONE), &["DRONE_", "CI_"]),
        Language::GitLab => (find(GITLAB), &["CI_", "GITLAB_"]),
        Language::GitHub => (find(GITHUB), &["GITHUB_", "RUNNER_", "ACTIONS_"]),
    };
    if let Some(expression) = own {
        return Known::Expression(expression);
    }
    // A name that means something else in the source's system is not treated as ours.
    let differs = language == Language::GitLab && matches!(name, "CI_PIPELINE_CREATED" | "CI_REPO" | "CI_STEP_NAME");
    if !differs && (find(OURS).is_some() || OURS_ONLY.contains(&name)) {
        return Known::Given;
    }
    if prefixes.iter().any(|prefix| name.starts_with(prefix)) { Known::Missing } else { Known::NotSet }
}

/// Returns an expression for a variable's value, wherever the value comes from.
pub(super) fn expression(language: Language, name: &str) -> Option<&'static str> {
    match known(language, name) {
        Known::Expression(expression) => Some(expression),
        Known::Given => OURS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value),
        Known::Missing | Known::NotSet => None,
    }
}

/// Writes the value of an expression into a text: a literal as it is.
pub(super) fn written(expression: &str) -> String {
    match expression.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(literal) if !literal.contains('\'') => literal.to_owned(),
        _ => format!("${{{{ {expression} }}}}"),
    }
}

/// Whether the value is known when the build is planned, so that the pipeline's `env` can have it.
pub(super) fn is_planned(expression: &str) -> bool {
    !expression.contains("build.")
}
