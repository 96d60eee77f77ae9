//! The events that start a pipeline.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::NAME;
use super::values::{OneOrMany, Text};

/// An event, several events, or events with filters.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(clippy::large_enum_variant, reason = "no value is ever made: only its schema is used")]
pub(super) enum On {
    One(Event),
    Several(#[schemars(length(min = 1))] Vec<Event>),
    Filtered(Events),
}

// `schedule` is missing: it needs a `cron`, so it is only in `Events`.
/// An event that starts a pipeline.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum Event {
    Push,
    PullRequest,
    Manual,
    Release,
    MergeGroup,
}

/// Events with filters.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields, extend("minProperties" = 1))]
pub(super) struct Events {
    /// Pushes of branches and tags: all, or those that match the filters.
    push: Option<Push>,
    /// Pull requests: opened, changed and reopened ones, or those that match the filters.
    pull_request: Option<PullRequest>,
    /// When the pipeline starts on a schedule.
    schedule: Option<OneOrMany<Schedule>>,
    /// Manual starts, from the web page, the command line or the API.
    manual: Option<Manual>,
    /// Releases on the forge: published ones, or those that match the filters. The build uses the release's tag.
    release: Option<Release>,
    /// Merge queues: the commit that is about to be merged.
    merge_group: Option<MergeGroup>,
}

/// Filters for releases.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Release {
    /// Actions of the release; by default `published`.
    types: Option<OneOrMany<ReleaseType>>,
}

/// Actions of a release.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum ReleaseType {
    Published,
    Edited,
    Deleted,
    Created,
    Released,
    Prereleased,
    Unpublished,
}

/// Merge queues. There are no filters.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct MergeGroup {}

/// Filters for pushes. With only `branches`, tags start nothing; with only `tags`, branches start nothing.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Push {
    /// Globs: `main`, `release/**`; `!wip/**` excludes. The last glob that matches decides.
    branches: Option<OneOrMany<Text>>,
    /// Globs, as in `branches`.
    tags: Option<OneOrMany<Text>>,
    /// Globs; at least one changed file has to match. Does not apply to tags, which change no files.
    paths: Option<OneOrMany<Text>>,
    /// Globs; at least one changed file has to match none of them.
    paths_ignore: Option<OneOrMany<Text>>,
}

/// Filters for pull requests.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct PullRequest {
    /// Globs for the target branch.
    branches: Option<OneOrMany<Text>>,
    /// Actions of the pull request; by default `opened`, `synchronize` and `reopened`.
    types: Option<OneOrMany<PullRequestType>>,
    /// The commit to build: the pull request's newest one (`head`, the default), or the merge result (`merge`).
    build: Option<PullRequestBuild>,
    /// Globs; at least one changed file has to match.
    paths: Option<OneOrMany<Text>>,
    /// Globs; at least one changed file has to match none of them.
    paths_ignore: Option<OneOrMany<Text>>,
}

/// Actions of a pull request.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum PullRequestType {
    Opened,
    Synchronize,
    Reopened,
    Closed,
    Edited,
    Labeled,
    Unlabeled,
    ReadyForReview,
    ConvertedToDraft,
    /// Closed by being merged.
    Merged,
    /// Closed without being merged.
    Declined,
}

/// The commit of a pull request that is built.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum PullRequestBuild {
    Head,
    Merge,
}

/// A scheduled start.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Schedule {
    /// Minute, hour, day of the month, month, day of the week: `0 3 * * *`.
    cron: String,
    /// The time zone: `Europe/Madrid`; by default UTC.
    timezone: Option<String>,
    /// The branch to build; by default the repository's default branch.
    branch: Option<String>,
}

/// Manual starts.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Manual {
    /// Inputs that a manual start takes.
    #[schemars(extend("propertyNames" = { "pattern": NAME }, "maxProperties" = 50))]
    inputs: Option<BTreeMap<String, Option<Input>>>,
}

/// A typed value, given by the person who starts the pipeline or by the job that uses a template.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Input {
    /// The type of the value; by default `string`, or `choice` if there are `options`.
    r#type: Option<InputType>,
    /// Whether the value has to be given.
    required: Option<bool>,
    /// The value if none is given.
    default: Option<Text>,
    /// The options of a choice.
    options: Option<OneOrMany<Text>>,
    /// A text that explains the input.
    description: Option<Text>,
}

/// The type of an input.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum InputType {
    String,
    Number,
    Boolean,
    Choice,
}
