//! `changed()` in `if`: whether the event changes a file that the patterns admit.

use longshore_core::{
    Event, EventName, JobPlan,
    expression::{Expression, Progress, Values, runs},
};
use longshore_pipeline::RepoFacts;

use super::{built, facts, pull_request, push, sound, started_by};

/// Whether a job with this `if` runs, and the step with the same `if` in it.
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
fn asks(condition: &str, event: &Event, changed: Option<&[&str]>) -> bool {
    let text = format!(
        "on: {{ push: , pull-request: , schedule: {{ cron: '@daily' }}, manual: }}\n\
         jobs: {{ a: {{ image: x, matrix: {{ app: [api, web] }}, if: \"{condition}\", steps: [{{ run: a, if: \"{condition}\" }}] }} }}\n"
    );
    let checked = sound(&text);
    assert_eq!(checked.asks_for_changes(), condition.contains("changed("), "{condition}");
    let changed_files = changed.map(|files| files.iter().map(|file| (*file).to_owned()).collect());
    let job = built(checked.plan(event, &RepoFacts { changed_files, ..facts() })).jobs.remove(0);
    // What is written is kept for people.
    assert_eq!(job.condition.as_ref().map(Expression::source), Some(condition));
    // A plan is kept as JSON until the job starts.
    let job: JobPlan = serde_json::from_str(&serde_json::to_string(&job).unwrap()).unwrap();
    let values = Values { contexts: job.known.clone(), progress: Some(Progress::default()) };
    let of_job = runs(job.condition.as_ref(), &values).unwrap();
    assert_eq!(runs(job.steps[0].condition.as_ref(), &values).unwrap(), of_job, "{condition}");
    of_job
}

#[test]
fn a_condition_asks_which_files_the_event_changes() {
    let docs: Option<&[&str]> = Some(&["docs/a.md", "src/README.md"]);
    assert!(asks("changed('docs/**')", &push("main"), docs));
    assert!(!asks("changed('web/**')", &push("main"), docs));
    assert!(asks("changed('web/**', 'docs/*.md')", &push("main"), docs));
    assert!(!asks("changed('src/**', '!**/*.md')", &push("main"), docs));
    assert!(asks("changed('!docs/**')", &pull_request("main", "opened"), docs));
    assert!(!asks("changed('**')", &push("main"), Some(&[])));
    assert!(asks("matrix.app == 'api' && !changed('web/**') || changed('web/**')", &push("main"), docs));
    // Unknown changes, and a tag, which changes no file: better to run once too often.
    assert!(asks("changed('web/**')", &push("main"), None));
    let tag = Event { name: EventName::Tag, git_ref: "refs/tags/v1".to_owned(), ..push("x") };
    assert!(asks("changed('web/**')", &tag, docs));
    for name in [EventName::Manual, EventName::Schedule] {
        assert!(asks("changed('web/**')", &Event { name, ..push("main") }, None), "{name:?}");
    }
    assert!(asks("event.branch == 'main'", &push("main"), docs));
}

#[test]
fn a_job_carries_only_the_answers_that_it_asks_for() {
    let text =
        "jobs: { a: { image: x, if: changed('a/**'), steps: [{ run: a }] }, b: { image: x, steps: [{ run: b }] } }\n";
    let jobs = built(sound(text).plan(&push("main"), &facts())).jobs;
    assert_eq!(serde_json::to_string(&jobs[0].known).unwrap(), r#"{"changed":{"[\"a/**\"]":true}}"#);
    assert!(jobs[1].known.is_empty());
}

#[test]
fn a_build_says_that_its_changes_are_not_known_if_a_condition_asks_for_them() {
    let note = |text: &str| Some(sound(text).changes_not_known(EventName::Push, "it is so")?.message);
    let asks = "jobs: { a: { image: x, steps: [{ run: a, if: changed('a/**') }] } }\n";
    assert_eq!(note(asks).unwrap(), "`changed()` is true whatever the event changes: it is so");
    assert_eq!(note(&started_by("push")), None);
}
