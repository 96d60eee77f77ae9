//! A job and its parts.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::NAME;
use super::step::Step;
use super::values::{Condition, Count, Duration, Env, Flag, OneOrMany, Text};

/// A job: one container on one workspace. Its steps are written here, or come from a template.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("anyOf" = [{ "required": ["steps"] }, { "required": ["use"] }]))]
pub(super) struct Job {
    /// The image that the steps run in.
    image: Option<Text>,
    /// When the registry is asked for the image, and for those of its services and steps; by default as the server says.
    pull: Option<Pull>,
    /// What its containers can reach.
    network: Option<Network>,
    /// Jobs of this pipeline that have to succeed first.
    needs: Option<OneOrMany<Need>>,
    /// Whether the job runs, such as `changed('src/**')`; evaluated when its needs have ended.
    r#if: Option<Condition>,
    /// Runs the job once for each combination of the values.
    matrix: Option<Matrix>,
    /// Environment variables of every step.
    env: Option<Env>,
    /// Secrets that the job gets. It gets no others.
    secrets: Option<OneOrMany<Secret>>,
    /// Containers beside the job, reachable at `localhost` and by their names.
    #[schemars(extend("propertyNames" = { "pattern": "^[a-z0-9][a-z0-9-]{0,63}$" }, "maxProperties" = 20))]
    services: Option<BTreeMap<String, Service>>,
    /// Paths that are kept between builds.
    cache: Option<OneOrMany<Cache>>,
    /// A guarded Docker API for the job (`true`), or the engine's own socket (`raw`), where an administrator grants it.
    docker: Option<Docker>,
    /// Capabilities of the kernel beyond those of every job, where an administrator allows them.
    capabilities: Option<OneOrMany<Capability>>,
    /// A question that somebody has to answer with yes before the job starts.
    approval: Option<String>,
    /// Labels of the servers that may run it.
    runs_on: Option<BTreeMap<String, Text>>,
    /// How the workspace gets the commit's files, or `false` for an empty workspace.
    checkout: Option<Checkout>,
    /// The files that the job depends on, as globs: an earlier success with the same files, image, definition and needs stands for it.
    reuse: Option<OneOrMany<Text>>,
    /// What its container may use.
    resources: Option<Resources>,
    /// How long the job may take: `90s`, `30m`, `1h30m`, at most `24h`; by default an hour.
    timeout: Option<Duration>,
    /// How often the job is attempted again.
    retry: Option<Retry>,
    /// Whether the build can succeed although this job failed.
    continue_on_error: Option<Flag>,
    /// Values that the jobs that need it get.
    outputs: Option<BTreeMap<String, Option<Text>>>,
    /// What the job does, in this order.
    #[schemars(length(min = 1, max = 200))]
    steps: Option<Vec<Step>>,
    /// Files that are kept after the job.
    artifacts: Option<OneOrMany<Artifact>>,
    /// Reports that are read after the job.
    reports: Option<Reports>,
    /// A template: a file of this repository, such as `./ci/test.yml`. Keys of this job win over the template's.
    r#use: Option<String>,
    /// Inputs of the template.
    with: Option<BTreeMap<String, Option<Text>>>,
}

/// A job that has to end first.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Need {
    Job(Text),
    With(NeedOptions),
}

/// A job that has to end first, whether its result matters, and what of its files is wanted.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct NeedOptions {
    /// The name of the job.
    job: Text,
    /// Whether this job runs whatever the result of the other is.
    optional: Option<bool>,
    /// Its artifacts whose files are put into this job's workspace, by their names; `*` for all of them.
    artifacts: Option<OneOrMany<Text>>,
    /// Whether this job begins on the workspace that the other leaves, instead of a checkout.
    workspace: Option<bool>,
}

/// Axes with their values, combinations to add and combinations to leave out.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", extend("propertyNames" = { "pattern": NAME }))]
pub(super) struct Matrix {
    /// Combinations to add, or values to add to the combinations that an entry matches.
    include: Option<Vec<BTreeMap<String, Text>>>,
    /// Combinations to leave out.
    exclude: Option<Vec<BTreeMap<String, Text>>>,
    /// Whether a failure of one job cancels the others; by default it does.
    fail_fast: Option<bool>,
    /// How many run in parallel.
    max_parallel: Option<Count>,
    /// An axis and its values.
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
    /// The secret's name in the store.
    name: String,
    /// The environment variable; by default the secret's name.
    r#as: Option<String>,
    /// Whether the variable holds the path of a file with the secret, instead of the secret itself.
    file: Option<bool>,
    /// `false`: no variable of every step holds it; only what refers to it as `secrets.<name>` has it.
    env: Option<bool>,
}

/// A container beside the job's.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Service {
    Image(String),
    Full(ServiceOptions),
}

/// When a registry is asked for an image.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum Pull {
    /// If the engine does not have it.
    IfMissing,
    Always,
    Never,
}

/// What a job's containers can reach.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum Network {
    /// What the server lets every job reach.
    Default,
    /// The job's services, and nothing else.
    Internal,
    /// Nothing.
    None,
}

/// A container beside the job's, in full.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ServiceOptions {
    /// The image of the service.
    image: Text,
    /// When the registry is asked for the image; by default as for the job's.
    pull: Option<Pull>,
    /// Environment variables of the service.
    env: Option<Env>,
    /// Replaces the image's entrypoint.
    entrypoint: Option<OneOrMany<Text>>,
    /// Replaces the image's command.
    command: Option<OneOrMany<Text>>,
    /// Who it runs as: a name or a number of the image.
    user: Option<Text>,
    /// What its container may use.
    resources: Option<Resources>,
    /// When the service is ready; by default the image's HEALTHCHECK decides, or else its ports.
    ready: Option<Ready>,
}

/// When a service is ready: one of `exec`, `tcp` and `http`.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["exec"] }, { "required": ["tcp"] }, { "required": ["http"] }]))]
pub(super) struct Ready {
    /// A command that has to succeed in its container.
    exec: Option<Text>,
    /// A port that has to accept connections.
    tcp: Option<Count>,
    /// A port and a path that have to answer: `:8080/healthz`.
    http: Option<String>,
    /// How long it may take to become ready; by default a minute.
    timeout: Option<Duration>,
}

/// Paths that are kept between builds.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Cache {
    /// One path or several: `~/.cargo/registry`.
    path: OneOrMany<Text>,
    /// The key of the cache: `cargo-${{ hash-files('Cargo.lock') }}`.
    key: Text,
    /// Prefixes of other keys that are good enough.
    fallback: Option<OneOrMany<Text>>,
    /// After which results of the job it is saved; by default `success`.
    save: Option<CacheSave>,
    /// `shared`: one folder that all jobs write into, for tools that lock by themselves.
    mode: Option<CacheMode>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum CacheSave {
    Success,
    Always,
    Never,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum CacheMode {
    Shared,
}

/// What the job has of Docker.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Docker {
    Whether(bool),
    Raw(RawDocker),
}

/// The engine's own socket.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum RawDocker {
    Raw,
}

/// Whether and how the workspace gets the commit's files.
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
    /// Commits of history, 0 for all; by default 1.
    depth: Option<Count>,
    /// Whether submodules are checked out.
    submodules: Option<bool>,
    /// Whether LFS files are fetched.
    lfs: Option<bool>,
}

/// What a job's container may use.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Resources {
    /// CPUs: `2`, `0.5`, `500m`.
    cpu: Option<Text>,
    /// Memory: `4GiB`.
    memory: Option<String>,
    /// Number of processes and threads.
    pids: Option<Count>,
    /// Size of `/dev/shm`: `256MiB`.
    shm: Option<String>,
}

/// How often something is attempted again.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Retry {
    Max(Count),
    Full(RetryOptions),
}

/// How often something is attempted again, and after which results.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RetryOptions {
    /// Attempts after the first one.
    max: Count,
    /// The results after which it is attempted again; by default all.
    on: Option<OneOrMany<RetryOn>>,
}

/// A result after which another attempt may help.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum RetryOn {
    /// An error of the engine, the image or the network.
    Error,
    /// A failure of the command.
    Failure,
    Timeout,
}

/// Files that are kept after a job.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Artifact {
    /// The artifact's name; by default `artifacts`.
    name: Option<Text>,
    /// Globs, relative to the workspace.
    paths: OneOrMany<Text>,
    /// How long it is kept: `30d`, `2w`, `12h`.
    expire_in: Option<String>,
    /// The result of the job after which it is kept; by default `success`.
    when: Option<ArtifactWhen>,
}

/// A result of the job.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum ArtifactWhen {
    Success,
    Failure,
    Always,
}

/// Reports that are read after a job, whatever its result: globs, relative to the workspace.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Reports {
    /// Results of tests: JUnit's XML.
    junit: Option<OneOrMany<Text>>,
    /// Coverage: Cobertura's XML, or lcov.
    coverage: Option<OneOrMany<Text>>,
    /// Findings of tools: SARIF.
    sarif: Option<OneOrMany<Text>>,
}

/// A capability that a job may ask for.
#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "only the schema is made of it")]
pub(super) enum Capability {
    AuditWrite,
    IpcLock,
    Mknod,
    NetRaw,
    Setfcap,
    SysChroot,
    SysNice,
}
