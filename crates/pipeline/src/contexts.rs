//! The values of the contexts that are known when a build is planned.

use std::collections::BTreeMap;

use longshore_core::{
    Event, JobPlan,
    expression::{CHANGED, Refers, Value, Values, changed_key},
};

use super::{
    limits,
    model::{Combination, Pipeline},
    plan::RepoFacts,
};

/// Returns the contexts that every job of a pipeline can use: `event`, `repo`, and the `inputs` of a manual start.
pub(super) fn of_pipeline(event: &Event, facts: &RepoFacts, inputs: BTreeMap<String, Value>) -> Values {
    let mut contexts = BTreeMap::new();
    contexts.insert("event".to_owned(), of_event(event));
    contexts.insert("repo".to_owned(), of_repo(facts, event));
    contexts.insert("inputs".to_owned(), Value::Map(inputs));
    Values { contexts, progress: None }
}

/// Returns the contexts of a pipeline and the `matrix` of one job.
pub(super) fn of_job(around: &Values, combination: &Combination) -> Values {
    let mut values = around.clone();
    values.contexts.insert("matrix".to_owned(), combination.value());
    values
}

fn of_event(event: &Event) -> Value {
    let cut = |text: &str| Value::from(&text[..text.floor_char_boundary(limits::MESSAGE_BYTES)]);
    // These two may become part of a script, so anything but a hexadecimal id becomes an empty value.
    let id =
        |text: &str| if text.bytes().all(|b| b.is_ascii_hexdigit()) { Value::from(text) } else { Value::default() };
    let short: String = event.commit.chars().take(8).collect();
    let pull_request = event.pull_request.as_ref();
    Value::map([
        ("name", Value::from(event.name.as_str())),
        ("ref", Value::from(event.git_ref.as_str())),
        ("branch", Value::from(event.branch())),
        ("tag", Value::from(event.tag())),
        ("sha", id(&event.commit)),
        ("sha-short", id(&short)),
        ("before", event.before.as_deref().map(id).unwrap_or_default()),
        ("title", cut(event.title())),
        ("message", cut(&event.message)),
        ("author", cut(&event.author)),
        ("author-email", cut(&event.author_email)),
        ("sender", cut(&event.sender)),
        ("url", Value::from(event.url.as_deref())),
        ("default-branch", Value::from(event.default_branch.as_deref())),
        ("action", Value::from(event.action())),
        ("merged", Value::from(pull_request.map(|pull_request| pull_request.merged))),
        ("draft", Value::from(pull_request.map(|pull_request| pull_request.draft))),
        ("source-branch", Value::from(pull_request.map(|pull_request| pull_request.source_branch.as_str()))),
        ("target-branch", Value::from(pull_request.map(|pull_request| pull_request.target_branch.as_str()))),
        ("number", pull_request.map_or(Value::Null, |pull_request| number(pull_request.number))),
        ("fork", Value::from(pull_request.map(|pull_request| pull_request.fork))),
        ("cron", Value::from(event.schedule.as_ref().map(|due| due.cron.as_str()))),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "no forge has so many pull requests")]
fn number(number: u64) -> Value {
    Value::Number(number as f64)
}

fn of_repo(facts: &RepoFacts, event: &Event) -> Value {
    let (owner, short) = match facts.name.rsplit_once('/') {
        Some((owner, name)) => (Some(owner), name),
        None => (None, facts.name.as_str()),
    };
    Value::map([
        ("name", Value::from(facts.name.as_str())),
        ("owner", Value::from(owner)),
        ("short-name", Value::from(short)),
        ("clone-url", Value::from(facts.clone_url.as_str())),
        ("forge", Value::from(facts.forge.as_str())),
        ("default-branch", Value::from(facts.default_branch.as_deref().or(event.default_branch.as_deref()))),
    ])
}

/// Returns the known values that the remaining expressions of a planned job refer to, and what its `changed()` are; the
/// plan carries them.
pub(super) fn referenced_values(job: &mut JobPlan, known: &Values) -> BTreeMap<String, Value> {
    let mut refers = Refers::default();
    // This closure changes nothing. It only collects references.
    let _ = job.change::<std::convert::Infallible>(&mut |text| {
        if text.as_known().is_none() {
            refers.extend(text.refers());
        }
        Ok(())
    });
    let conditions = job.condition.iter().chain(job.steps.iter().filter_map(|step| step.condition.as_ref()));
    for condition in conditions {
        refers.extend(condition.refers());
    }
    let mut asked: BTreeMap<String, Value> = BTreeMap::new();
    if !refers.changes.is_empty()
        && let Some(answers) = known.contexts.get(CHANGED)
    {
        let keys = refers.changes.iter().map(|patterns| changed_key(patterns));
        let answers = keys.map(|key| (key.clone(), answers.property(&key))).collect();
        asked.insert(CHANGED.to_owned(), Value::Map(answers));
    }
    for (context, property) in &refers.contexts {
        let Some(value) = known.contexts.get(context) else { continue };
        match property {
            None => {
                asked.insert(context.clone(), value.clone());
            }
            Some(key) => {
                let slot = asked.entry(context.clone()).or_insert_with(|| Value::Map(BTreeMap::new()));
                if let Value::Map(entries) = slot {
                    entries.insert(key.clone(), value.property(key));
                }
            }
        }
    }
    asked
}

/// Returns the names of the inputs that pipelines declare under `on: manual`.
pub(super) fn declared<'p>(pipelines: impl Iterator<Item = &'p Pipeline>) -> Vec<&'p str> {
    pipelines.flat_map(|pipeline| pipeline.on.manual.iter().flatten()).map(|input| input.name.as_str()).collect()
}
