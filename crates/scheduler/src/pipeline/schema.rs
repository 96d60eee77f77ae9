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
    /// What starts the pipeline. Every push and every manual start without it.
    on: Option<On>,
    /// Environment variables of every step of every job.
    env: Option<Env>,
    /// What jobs and steps take that say nothing themselves.
    defaults: Option<Defaults>,
    /// The jobs by name. They run at the same time, but for their `needs`.
    #[schemars(extend("propertyNames" = { "pattern": NAME }, "minProperties" = 1, "maxProperties" = 256))]
    jobs: BTreeMap<String, Job>,
}

/// An event, several of them, or events with filters.
#[derive(JsonSchema)]
#[schemars(untagged)]
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
    Manual,
}

/// Events with filters.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields, extend("minProperties" = 1))]
struct Events {
    /// Pushes of branches and tags: all, or those that the filters admit.
    push: Option<Push>,
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
}

/// Starts by hand.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct Manual {}

/// What jobs and steps take that say nothing themselves.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct Defaults {
    /// The image of jobs without one.
    image: Option<String>,
    /// The shell of steps without one.
    shell: Option<String>,
    /// The timeout of jobs without one.
    timeout: Option<Duration>,
    /// The working directory of steps without one.
    working_directory: Option<Text>,
}

/// One container on one workspace.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct Job {
    /// The image that the steps run in; `${{ matrix.name }}` may be part of it.
    image: Option<Text>,
    /// Jobs of this pipeline that have to succeed first.
    needs: Option<OneOrMore>,
    /// Environment variables of every step.
    env: Option<Env>,
    /// What the job does, in this order.
    #[schemars(length(min = 1, max = 200))]
    steps: Vec<Step>,
    /// How long the job may take: `90s`, `30m`, `1h30m`, at most `24h`; an hour without it.
    timeout: Option<Duration>,
    /// Runs the job once for each combination of the values.
    matrix: Option<Matrix>,
    /// Whether the workspace starts with the commit's files; it does without this.
    checkout: Option<bool>,
}

/// Axes with their values, combinations to add and combinations to leave out.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", extend("propertyNames" = { "pattern": NAME }))]
struct Matrix {
    /// Combinations to add, or values to add to those combinations that an entry fits.
    include: Option<Vec<BTreeMap<String, Text>>>,
    /// Combinations to leave out.
    exclude: Option<Vec<BTreeMap<String, Text>>>,
    /// An axis: its values.
    #[schemars(flatten)]
    axes: BTreeMap<String, Values>,
}

/// The values of an axis.
#[derive(JsonSchema)]
struct Values(#[schemars(length(min = 1))] Vec<Text>);

/// One script.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct Step {
    /// The script, run by the shell so that it ends at the first command that fails.
    run: Text,
    /// What people read; the script's first line without it.
    name: Option<Text>,
    /// Environment variables of this step.
    env: Option<Env>,
    /// Relative to the workspace, or absolute.
    working_directory: Option<Text>,
    /// `sh`, `bash`, or a program with its arguments, such as `python3 -u`.
    shell: Option<Text>,
    /// Whether the job goes on, and may succeed, when this step fails.
    continue_on_error: Option<bool>,
    /// How long the step may take.
    timeout: Option<Duration>,
    /// When the step runs: `success()` without it, `failure()`, `always()`.
    r#if: Option<Condition>,
}

/// Environment variables by name.
#[derive(JsonSchema)]
#[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" }))]
struct Env(BTreeMap<String, Option<Text>>);

/// A text, or a list of texts.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<Text>),
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
    Condition = { "type": "string", "pattern": "^\\s*(\\$\\{\\{)?\\s*(success|failure|always)\\s*\\(\\s*\\)\\s*(\\}\\})?\\s*$" };
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
