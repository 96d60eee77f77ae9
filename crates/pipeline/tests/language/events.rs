//! Which events start a pipeline, and what it is then built of.

use longshore_core::{Event, EventName, Severity, event::Release};
use longshore_pipeline as pipeline;
use longshore_pipeline::{OptionalEvent, Planned, SourceFile, TemplateFiles};

use super::{by_hand, facts, job, pull_request, push, sound};

#[test]
fn what_is_started_by_hand_gets_defaults_and_what_is_not_gets_nothing_that_is_required() {
    let text = "
on: { push: , manual: { inputs: { level: { type: choice, options: [a, b], default: b }, must: { required: true } } } }
jobs: { a: { image: x, env: { L: '${{ inputs.level }}-${{ inputs.must }}' }, steps: [{ run: a }] } }
";
    assert_eq!(job(text, &by_hand(&[("must", "m")])).env["L"], "b-m".into());
    assert_eq!(job(text, &push("main")).env["L"], "b-".into());
    assert!(matches!(sound(text).plan(&by_hand(&[]), &facts()), Planned::Refused(_)));
}

#[test]
fn releases_and_merge_groups_start_what_names_them_and_closed_pull_requests_are_merged_or_declined() {
    let jobs = "\njobs: { a: { image: x, steps: [{ run: a }] } }";
    let starts =
        |on: &str, event: &Event| matches!(sound(&format!("on: {on}{jobs}")).plan(event, &facts()), Planned::Build(_));
    let of_release = |action: &str| Event {
        release: Some(Release { action: action.to_owned(), name: "One".to_owned(), prerelease: false }),
        ..Event::new(EventName::Release, "refs/tags/v1", "1f0c2d3e4a5b6c7d8e9f00112233445566778899")
    };
    let group = Event { name: EventName::MergeGroup, ..push("gh-readonly-queue/main/pr-7") };
    for (on, event, started) in [
        ("release", &of_release("published"), true),
        ("release", &of_release("edited"), false),
        ("{ release: { types: [edited, deleted] } }", &of_release("edited"), true),
        ("[push, release]", &of_release("published"), true),
        ("push", &of_release("published"), false),
        ("merge-group", &group, true),
        ("{ merge-group: , push: }", &group, true),
        ("push", &group, false),
    ] {
        assert_eq!(starts(on, event), started, "{on} {:?}", event.name);
    }
    let closed = |merged: bool| {
        let mut event = pull_request("main", "closed");
        if let Some(request) = &mut event.pull_request {
            request.merged = merged;
        }
        event
    };
    for (types, of_merged, of_declined) in
        [("closed", true, true), ("merged", true, false), ("declined", false, true), ("opened", false, false)]
    {
        let on = format!("{{ pull-request: {{ types: [{types}] }} }}");
        assert_eq!((starts(&on, &closed(true)), starts(&on, &closed(false))), (of_merged, of_declined), "{types}");
    }
}

#[test]
fn what_merging_would_give_is_built_where_all_pipelines_say_so() {
    let text = |build: &str| {
        format!("on: {{ pull-request: {{ build: {build} }} }}\njobs: {{ a: {{ image: x, steps: [{{ run: a }}] }} }}")
    };
    assert!(sound(&text("merge")).merges_pull_requests() && !sound(&text("head")).merges_pull_requests());
    let files = [SourceFile::new(".longshore/a.yml", text("merge")), SourceFile::new(".longshore/b.yml", text("head"))];
    let found = pipeline::check(&files, &TemplateFiles::new()).diagnostics;
    assert_eq!(found.iter().map(|found| found.code.as_str()).collect::<Vec<_>>(), ["LS064"]);
    let refused = sound(&text("merge")).not_mergeable("conflicts in `a`").unwrap();
    assert_eq!((refused.code.as_str(), refused.severity), ("LS063", Severity::Error));
}

#[test]
fn a_filter_that_a_forge_never_fulfils_is_a_warning() {
    let words = |on: &str, missing: &[OptionalEvent]| {
        let checked = sound(&format!("on: {on}\njobs: {{ a: {{ image: x, steps: [{{ run: a }}] }} }}"));
        let found = checked.never_sent("This forge", |kind| !missing.contains(&kind));
        assert!(found.iter().all(|found| found.code == "LS062" && found.severity == Severity::Warning));
        found.iter().map(|found| found.message.split('`').nth(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = [
        OptionalEvent::PullRequests,
        OptionalEvent::Labels,
        OptionalEvent::Drafts,
        OptionalEvent::Reopened,
        OptionalEvent::Releases,
        OptionalEvent::MergeGroups,
    ];
    assert_eq!(words("[release, merge-group]", &all), ["release", "merge-group"]);
    assert_eq!(words("pull-request", &all), ["pull-request"]);
    // Pushes start it.
    assert_eq!(words("[push, pull-request]", &all), Vec::<String>::new());
    let labeled = "{ push: , pull-request: { types: [opened, unlabeled, ready-for-review] } }";
    assert_eq!(words(labeled, &[OptionalEvent::Labels]), ["unlabeled"]);
    assert_eq!(words(labeled, &[OptionalEvent::Drafts]), ["ready-for-review"]);
    assert_eq!(words("{ push: , pull-request: { types: [reopened] } }", &[OptionalEvent::Reopened]), ["reopened"]);
    assert_eq!(words(labeled, &[OptionalEvent::Releases]), Vec::<String>::new());
}
