//! A job, and what it may have.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::NAME;
use super::step::Step;
use super::values::{Condition, Count, Duration, Env, Flag, OneOrMany, OneOrMore, Text};

/// One container on one workspace: written out, or out of a template.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("anyOf" = [{ "required": ["steps"] }, { "required": ["use"] }]))]
pub(super) struct Job {
    /// The image that the steps run in.
    image: Option<Text>,
    /// Jobs of this pipeline that have to succeed first.
    needs: Option<OneOrMany<Need>>,
    /// Whether it runs, asked when its needs are over.
    r#if: Option<Condition>,
    /// Runs the job once for each combination of the values.
    matrix: Option<Matrix>,
    /// Environment variables of every step.
    env: Option<Env>,
    /// Secrets that it gets; no other leaves the store.
    secrets: Option<OneOrMany<Secret>>,
    /// Containers beside it, reached at `localhost` and by their names.
    #[schemars(extend("propertyNames" = { "pattern": "^[a-z0-9][a-z0-9-]{0,63}$" }, "maxProperties" = 20))]
    services: Option<BTreeMap<String, Service>>,
    /// Paths that are kept between builds.
    cache: Option<OneOrMany<Cache>>,
    /// Whether it gets a guarded Docker API.
    docker: Option<bool>,
    /// A question that somebody has to say yes to before it starts.
    approval: Option<String>,
    /// Labels of servers that may take it.
    runs_on: Option<BTreeMap<String, Text>>,
    /// How the workspace gets the commit's files, or `false` for none.
    checkout: Option<Checkout>,
    /// What its container may use.
    resources: Option<Resources>,
    /// How long the job may take: `90s`, `30m`, `1h30m`, at most `24h`; an hour without it.
    timeout: Option<Duration>,
    /// How often it is tried again.
    retry: Option<Retry>,
    /// Whether the build may succeed although this job did not.
    continue_on_error: Option<Flag>,
    /// What jobs that need it get from it.
    outputs: Option<BTreeMap<String, Option<Text>>>,
    /// What the job does, in this order.
    #[schemars(length(min = 1, max = 200))]
    steps: Option<Vec<Step>>,
    /// Files that are kept after it.
    artifacts: Option<OneOrMany<Artifact>>,
    /// Reports that are read after it.
    reports: Option<Reports>,
    /// A template: a file of this repository, such as `./ci/test.yml`. Keys beside it win over the template's.
    r#use: Option<String>,
    /// Inputs of the template.
    with: Option<BTreeMap<String, Option<Text>>>,
}

/// A job that has to be over first.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Need {
    Job(Text),
    With(NeedOptions),
}

/// A job that has to be over first, and whether what becomes of it matters.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct NeedOptions {
    /// Its name.
    job: Text,
    /// Whether this job runs whatever becomes of the other.
    optional: Option<bool>,
}

/// Axes with their values, combinations to add and combinations to leave out.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", extend("propertyNames" = { "pattern": NAME }))]
pub(super) struct Matrix {
    /// Combinations to add, or values to add to those combinations that an entry fits.
    include: Option<Vec<BTreeMap<String, Text>>>,
    /// Combinations to leave out.
    exclude: Option<Vec<BTreeMap<String, Text>>>,
    /// Whether one that fails ends the others; it does without this.
    fail_fast: Option<bool>,
    /// How many run at once.
    max_parallel: Option<Count>,
    /// An axis: its values.
    #[schemars(flatten)]
    axes: BTreeMap<String, Values>,
}

/// The values of an axis.
#[derive(JsonSchema)]
pub(super) struct Values(#[schemars(length(min = 1))] Vec<Text>);

/// A secret of the repository.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Secret {
    Name(String),
    Use(SecretUse),
}

/// A secret of the repository, and how the job gets it.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct SecretUse {
    /// Its name in the store.
    name: String,
    /// The environment variable; its name without this.
    r#as: Option<String>,
    /// Whether the variable has the path of a file that holds it.
    file: Option<bool>,
}

/// A container beside the job's.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Service {
    Image(String),
    Full(ServiceOptions),
}

/// A container beside the job's, in full.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ServiceOptions {
    /// Its image.
    image: Text,
    /// Its environment variables.
    env: Option<Env>,
    /// Instead of the image's.
    entrypoint: Option<OneOrMore>,
    /// Instead of the image's.
    command: Option<OneOrMore>,
    /// When it counts as ready; without it the image's HEALTHCHECK says so, or else its ports do.
    ready: Option<Ready>,
}

/// When a service counts as ready: one of `exec`, `tcp` and `http`.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["exec"] }, { "required": ["tcp"] }, { "required": ["http"] }]))]
pub(super) struct Ready {
    /// A command in its container that succeeds.
    exec: Option<Text>,
    /// A port that takes connections.
    tcp: Option<Count>,
    /// A port and a path that answer: `:8080/healthz`.
    http: Option<String>,
    /// How long it may take; a minute without it.
    timeout: Option<Duration>,
}

/// Paths that are kept between builds.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Cache {
    /// One or several: `~/.cargo/registry`.
    path: OneOrMore,
    /// Its name: `cargo-${{ hash-files('Cargo.lock') }}`.
    key: Text,
    /// Beginnings of other names that will do.
    fallback: Option<OneOrMore>,
}

/// Whether, and how, the workspace gets the commit's files.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Checkout {
    Whether(bool),
    How(CheckoutOptions),
}

/// How the workspace gets the commit's files.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct CheckoutOptions {
    /// Commits of history, 0 for all; 1 without it.
    depth: Option<Count>,
    /// Whether submodules are checked out.
    submodules: Option<bool>,
    /// Whether files of LFS are fetched.
    lfs: Option<bool>,
}

/// What a job's container may use.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Resources {
    /// `2`, `0.5`, `500m`.
    cpu: Option<Text>,
    /// `4GiB`.
    memory: Option<String>,
    /// Processes and threads.
    pids: Option<Count>,
    /// Of `/dev/shm`: `256MiB`.
    shm: Option<String>,
}

/// How often something is tried again.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Retry {
    Max(Count),
    Full(RetryOptions),
}

/// How often something is tried again, and after what.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RetryOptions {
    /// Tries after the first one.
    max: Count,
    /// After which ends: all without it.
    on: Option<OneOrMany<RetryOn>>,
}

/// An end after which another try may help.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum RetryOn {
    /// Ours: the engine, the image, the network.
    Error,
    /// The command's.
    Failure,
    Timeout,
}

/// Files that are kept after a job.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Artifact {
    /// `artifacts` without it.
    name: Option<Text>,
    /// Globs, relative to the workspace.
    paths: OneOrMore,
    /// `30d`, `2w`, `12h`.
    expire_in: Option<String>,
    /// After which end of the job; `success` without it.
    when: Option<ArtifactWhen>,
}

/// After which end of the job.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum ArtifactWhen {
    Success,
    Failure,
    Always,
}

/// Reports that are read after a job.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Reports {
    /// Globs, relative to the workspace.
    junit: Option<OneOrMore>,
}
