//! The JSON Schema of a pipeline file, for editors. Hand-kept types beside the readers: a test compares their keys with
//! those that the readers know, and `schema/longshore.schema.json` with what comes out here.
#![expect(dead_code, reason = "these types are only ever described, never made")]

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::Value;

/// The schema, draft 2020-12.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Pipeline>();
    schema.insert("$id".to_owned(), "https://longshore-ci.github.io/longshore/longshore.schema.json".into());
    schema.insert("title".to_owned(), "Longshore pipeline".into());
    schema.to_value()
}

/// A pipeline: one file, `.longshore.yml` or one of `.longshore/`.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct Pipeline {
    /// What people read; the file's name without it.
    name: Option<Name>,
    /// What starts the pipeline. Every push, every pull request and every start by hand do without it.
    on: Option<On>,
    /// Environment variables of every step of every job.
    env: Option<Env>,
    /// What jobs and steps take that say nothing themselves.
    defaults: Option<Defaults>,
    /// Of the builds of a repository, one at a time has the group.
    concurrency: Option<Concurrency>,
    /// The jobs by name. They run at the same time, but for their `needs`.
    #[schemars(extend("propertyNames" = { "pattern": NAME }, "minProperties" = 1))]
    jobs: BTreeMap<String, Job>,
}

/// An event, several of them, or events with filters.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(clippy::large_enum_variant, reason = "it is only ever described")]
enum On {
    One(Event),
    Several(#[schemars(length(min = 1))] Vec<Event>),
    Filtered(Events),
}

/// Something that starts a pipeline.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Event {
    Push,
    PullRequest,
    Manual,
}

/// Events with filters.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields, extend("minProperties" = 1))]
struct Events {
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
struct Push {
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
struct PullRequest {
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
enum PullRequestType {
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
struct Schedule {
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
struct Manual {
    /// What may be said with it.
    #[schemars(extend("propertyNames" = { "pattern": NAME }, "maxProperties" = 50))]
    inputs: Option<BTreeMap<String, Option<Input>>>,
}

/// A typed value that a person, or the job that uses a template, gives.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct Input {
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
enum InputType {
    String,
    Number,
    Boolean,
    Choice,
}

/// A group that one build at a time has.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Concurrency {
    Name(Text),
    Group(Group),
}

/// A group that one build at a time has, and what becomes of the one that has it.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct Group {
    /// Its name: `deploy-${{ event.branch }}`.
    group: Text,
    /// Whether a newer build cancels the one that has the group; it waits without this.
    cancel_in_progress: Option<Flag>,
}

/// What jobs and steps take that say nothing themselves.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct Defaults {
    /// The image of jobs without one.
    image: Option<Text>,
    /// The shell of steps without one.
    shell: Option<Text>,
    /// The timeout of jobs without one.
    timeout: Option<Duration>,
    /// The working directory of steps without one.
    working_directory: Option<Text>,
}

/// One container on one workspace: written out, or out of a template.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("anyOf" = [{ "required": ["steps"] }, { "required": ["use"] }]))]
struct Job {
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
enum Need {
    Job(Text),
    With(NeedOptions),
}

/// A job that has to be over first, and whether what becomes of it matters.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct NeedOptions {
    /// Its name.
    job: Text,
    /// Whether this job runs whatever becomes of the other.
    optional: Option<bool>,
}

/// Axes with their values, combinations to add and combinations to leave out.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", extend("propertyNames" = { "pattern": NAME }))]
struct Matrix {
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
struct Values(#[schemars(length(min = 1))] Vec<Text>);

/// A secret of the repository.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Secret {
    Name(String),
    Use(SecretUse),
}

/// A secret of the repository, and how the job gets it.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct SecretUse {
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
enum Service {
    Image(String),
    Full(ServiceOptions),
}

/// A container beside the job's, in full.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct ServiceOptions {
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
struct Ready {
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
struct Cache {
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
enum Checkout {
    Whether(bool),
    How(CheckoutOptions),
}

/// How the workspace gets the commit's files.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct CheckoutOptions {
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
struct Resources {
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
enum Retry {
    Max(Count),
    Full(RetryOptions),
}

/// How often something is tried again, and after what.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct RetryOptions {
    /// Tries after the first one.
    max: Count,
    /// After which ends: all without it.
    on: Option<OneOrMany<RetryOn>>,
}

/// An end after which another try may help.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum RetryOn {
    /// Ours: the engine, the image, the network.
    Error,
    /// The command's.
    Failure,
    Timeout,
}

/// Files that are kept after a job.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct Artifact {
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
enum ArtifactWhen {
    Success,
    Failure,
    Always,
}

/// Reports that are read after a job.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct Reports {
    /// Globs, relative to the workspace.
    junit: Option<OneOrMore>,
}

/// One script, or one container on the same workspace.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("anyOf" = [{ "required": ["run"] }, { "required": ["image"] }]))]
struct Step {
    /// What people read; the script's first line without it.
    name: Option<Text>,
    /// Its name in `steps.<id>`.
    id: Option<String>,
    /// The script, run by the shell so that it ends at the first command that fails.
    run: Option<Text>,
    /// When the step runs: `success()` without it.
    r#if: Option<Condition>,
    /// Environment variables of this step.
    env: Option<Env>,
    /// `sh`, `bash`, or a program with its arguments, such as `python3 -u`.
    shell: Option<Text>,
    /// Relative to the workspace, or absolute.
    working_directory: Option<Text>,
    /// How long the step may take.
    timeout: Option<Duration>,
    /// Whether the job goes on, and may succeed, when this step fails.
    continue_on_error: Option<Flag>,
    /// How often it is tried again.
    retry: Option<Retry>,
    /// A container of its own; without `run` the image's own program runs.
    image: Option<Text>,
    /// Settings of a plugin: `PLUGIN_*`.
    with: Option<BTreeMap<String, Value>>,
    /// Instead of the image's.
    entrypoint: Option<OneOrMore>,
    /// Instead of the image's.
    command: Option<OneOrMore>,
    /// Who it runs as.
    user: Option<Text>,
    /// Whether it has a terminal.
    tty: Option<bool>,
    /// Whether the next step starts at once; it ends with the job.
    background: Option<bool>,
}

/// Environment variables by name.
#[derive(JsonSchema)]
#[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" }))]
struct Env(BTreeMap<String, Option<Text>>);

/// A text, or a list of texts.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum OneOrMore {
    One(Text),
    More(Vec<Text>),
}

/// One, or a list.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$";

/// A text that is described in its own words instead of by Rust's types.
macro_rules! described {
    ($($name:ident = $schema:tt;)*) => {
        $(struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })*
    };
}

described! {
    // Numbers and booleans are taken as they are written.
    Text = { "type": ["string", "number", "boolean"] };
    Name = { "type": ["string", "number", "boolean"], "pattern": "^[^/]{1,64}$" };
    Duration = { "type": "string", "pattern": "^(?=.)([0-9]+h)?([0-9]+m)?([0-9]+s)?$" };
    // An expression, with or without the braces around it.
    Condition = { "type": ["string", "boolean"] };
    Flag = { "type": ["boolean", "string"], "pattern": "^\\s*\\$\\{\\{[\\s\\S]*\\}\\}\\s*$" };
    Count = { "type": "integer", "minimum": 0 };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::keys;

    #[test]
    fn the_committed_schema_is_the_one_that_the_types_make() {
        let committed: Value =
            serde_json::from_str(include_str!("../../../../schema/longshore.schema.json")).unwrap_or_default();
        let made = super::json_schema();
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schema/longshore.schema.json");
            std::fs::write(path, format!("{made:#}\n")).unwrap();
        } else {
            assert_eq!(committed, made, "run the scheduler's tests with UPDATE_SCHEMA=1");
        }
    }

    #[test]
    fn the_schema_and_the_readers_know_the_same_keys() {
        let schema = super::json_schema();
        let properties = |schema: &Value| -> BTreeSet<String> {
            schema["properties"].as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
        };
        let mut in_schema: BTreeSet<BTreeSet<String>> =
            schema["$defs"].as_object().unwrap().values().map(&properties).filter(|keys| !keys.is_empty()).collect();
        in_schema.insert(properties(&schema));
        let in_readers: BTreeSet<BTreeSet<String>> = keys::ALL
            .iter()
            .map(|keys| keys.known.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>())
            .filter(|keys| !keys.is_empty())
            .collect();
        assert_eq!(in_schema, in_readers);
    }
}
