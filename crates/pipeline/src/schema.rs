//! The JSON Schema of a pipeline file, for editors. Its types are written by hand beside the readers: one test compares
//! their keys with those that the readers know, another compares `schema/longshore.schema.json` with the output of this
//! module.
#![expect(dead_code, reason = "these types are only ever described, never made")]

mod job;
mod on;
mod step;
mod values;

use std::collections::BTreeMap;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use job::Job;
use on::On;
use values::{Duration, Env, Flag, Name, Text};

/// Returns the schema, draft 2020-12.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Pipeline>();
    schema.insert("$id".to_owned(), "https://longshore-ci.github.io/longshore/longshore.schema.json".into());
    schema.insert("title".to_owned(), "Longshore pipeline".into());
    schema.to_value()
}

/// A pipeline: one file, `.longshore.yml` or one in `.longshore/`.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct Pipeline {
    /// The name that people read; by default the file's name.
    name: Option<Name>,
    /// The events that start the pipeline; by default every push, every pull request and every manual start.
    on: Option<On>,
    /// Environment variables of every step of every job.
    env: Option<Env>,
    /// Defaults for the jobs and steps of this file.
    defaults: Option<Defaults>,
    /// Lets one build of the repository at a time have the group.
    concurrency: Option<Concurrency>,
    /// The jobs by name. They run in parallel, except for their `needs`.
    #[schemars(extend("propertyNames" = { "pattern": NAME }, "minProperties" = 1))]
    jobs: BTreeMap<String, Job>,
}

/// A group that one build at a time can have.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Concurrency {
    Name(Text),
    Group(Group),
}

/// A group that one build at a time can have, and what happens to the build that has it.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct Group {
    /// The group's name: `deploy-${{ event.branch }}`.
    group: Text,
    /// Whether a newer build cancels the build that has the group; by default it waits.
    cancel_in_progress: Option<Flag>,
}

/// Defaults for the jobs and steps of this file.
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

const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::keys;

    #[test]
    fn the_committed_schema_is_the_one_that_the_types_make() {
        let committed: Value =
            serde_json::from_str(include_str!("../../../schema/longshore.schema.json")).unwrap_or_default();
        let made = super::json_schema();
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schema/longshore.schema.json");
            std::fs::write(path, format!("{made:#}\n")).unwrap();
        } else {
            assert_eq!(committed, made, "run the tests of longshore-pipeline with UPDATE_SCHEMA=1");
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
        // The schema describes pipeline files; template files have none.
        let in_readers: BTreeSet<BTreeSet<String>> = keys::ALL
            .iter()
            .filter(|keys| keys.subject != keys::TEMPLATE.subject)
            .map(|keys| keys.known.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>())
            .filter(|keys| !keys.is_empty())
            .collect();
        assert_eq!(in_schema, in_readers);
    }
}
