//! What starts a pipeline.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::NAME;
use super::values::{OneOrMany, OneOrMore, Text};

/// An event, several of them, or events with filters.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(clippy::large_enum_variant, reason = "it is only ever described")]
pub(super) enum On {
    One(Event),
    Several(#[schemars(length(min = 1))] Vec<Event>),
    Filtered(Events),
}

/// Something that starts a pipeline.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum Event {
    Push,
    PullRequest,
    Manual,
}

/// Events with filters.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields, extend("minProperties" = 1))]
pub(super) struct Events {
    /// Pushes of branches and tags: all, or those that the filters admit.
    push: Option<Push>,
    /// Pull requests: opened, changed and reopened ones, or those that the filters admit.
    pull_request: Option<PullRequest>,
    /// Times at which it starts by itself.
    schedule: Option<OneOrMany<Schedule>>,
    /// Starts by hand, on the page, the command line or the API.
    manual: Option<Manual>,
}

/// Which pushes. With only `branches` no tag starts the pipeline, and the other way round.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Push {
    /// Globs: `main`, `release/**`; `!wip/**` excludes; the last one that fits decides.
    branches: Option<OneOrMore>,
    /// Globs, as in `branches`.
    tags: Option<OneOrMore>,
    /// Globs: one of the changed files has to fit. Tags change none.
    paths: Option<OneOrMore>,
    /// Globs: one of the changed files has to fit none of them.
    paths_ignore: Option<OneOrMore>,
}

/// Which pull requests.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct PullRequest {
    /// Globs for the branch to merge into.
    branches: Option<OneOrMore>,
    /// What happened to it: `opened`, `synchronize` and `reopened` without it.
    types: Option<OneOrMany<PullRequestType>>,
    /// Globs: one of the changed files has to fit.
    paths: Option<OneOrMore>,
    /// Globs: one of the changed files has to fit none of them.
    paths_ignore: Option<OneOrMore>,
}

/// What may happen to a pull request.
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
}

/// A time at which the pipeline starts by itself.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Schedule {
    /// Minute, hour, day of the month, month, day of the week: `0 3 * * *`.
    cron: String,
    /// By whose clocks: `Europe/Madrid`; UTC without it.
    timezone: Option<String>,
    /// The branch to build; the default branch without it.
    branch: Option<String>,
}

/// Starts by hand.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Manual {
    /// What may be said with it.
    #[schemars(extend("propertyNames" = { "pattern": NAME }, "maxProperties" = 50))]
    inputs: Option<BTreeMap<String, Option<Input>>>,
}

/// A typed value that a person, or the job that uses a template, gives.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Input {
    /// A text without it; a choice where there are `options`.
    r#type: Option<InputType>,
    /// Whether it has to be given.
    required: Option<bool>,
    /// What it is where nobody gives it.
    default: Option<Text>,
    /// Of a choice: what may be chosen.
    options: Option<OneOrMore>,
    /// For people.
    description: Option<Text>,
}

/// What an input takes.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum InputType {
    String,
    Number,
    Boolean,
    Choice,
}
