//! The guarantees of the language's keys, each in a test named after it. `pipelines-examples/` shows what is reported
//! for wrong files.

mod changed;
mod events;
mod keys;
mod places;
mod reuse;
mod scripts;
mod variables;
mod workspaces;

use longshore_core::{
    BuildPlan, DueSchedule, Event, EventName, JobPlan, Timestamp,
    event::PullRequest,
    expression::{Value, Values, runs},
    plan::{Need, RetryOn},
};
use longshore_pipeline as pipeline;
use longshore_pipeline::{Checked, Planned, RepoFacts, SourceFile, TemplateFiles, report};

fn push(branch: &str) -> Event {
    Event {
        message: "Change it\n\nFor good.".to_owned(),
        author: "Ada".to_owned(),
        author_email: "ada@example.org".to_owned(),
        sender: "ada".to_owned(),
        default_branch: Some("main".to_owned()),
        ..Event::new(EventName::Push, format!("refs/heads/{branch}"), "1f0c2d3e4a5b6c7d8e9f00112233445566778899")
    }
}

fn by_hand(inputs: &[(&str, &str)]) -> Event {
    let inputs = inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Event { name: EventName::Manual, inputs, ..push("main") }
}

fn pull_request(target: &str, action: &str) -> Event {
    Event {
        name: EventName::PullRequest,
        git_ref: "refs/pull/7/head".to_owned(),
        pull_request: Some(PullRequest {
            title: "Ask for it".to_owned(),
            action: action.to_owned(),
            fork: true,
            ..PullRequest::opened(7, "topic", target)
        }),
        ..push("topic")
    }
}

fn check(text: &str, templates: &[(&str, &str)]) -> Checked {
    let templates = templates.iter().map(|(path, text)| ((*path).to_owned(), Ok(SourceFile::new(*path, *text))));
    pipeline::check(&[SourceFile::new(".longshore.yml", text)], &templates.collect::<TemplateFiles>())
}

/// Checks a file that has no findings.
fn sound(text: &str) -> Checked {
    let checked = check(text, &[]);
    assert_eq!(report::human(&checked.diagnostics), "", "{text}");
    checked
}

fn facts() -> RepoFacts {
    RepoFacts { name: "team/app".to_owned(), forge: "git".to_owned(), ..RepoFacts::default() }
}

fn built(planned: Planned) -> BuildPlan {
    match planned {
        Planned::Build(plan) => plan,
        other => panic!("{other:?}"),
    }
}

fn job(text: &str, event: &Event) -> JobPlan {
    built(sound(text).plan(event, &facts())).jobs.remove(0)
}

/// A minimal job, started by `on`.
fn started_by(on: &str) -> String {
    format!("on: {on}\njobs: {{ a: {{ image: x, steps: [{{ run: a }}] }} }}\n")
}

fn starts(on: &str, event: &Event, changed: Option<&[&str]>) -> bool {
    let changed_files = changed.map(|files| files.iter().map(|file| (*file).to_owned()).collect());
    match sound(&started_by(on)).plan(event, &RepoFacts { changed_files, ..facts() }) {
        Planned::Build(_) => true,
        Planned::Nothing(_) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn filters_of_paths_look_at_what_was_changed() {
    let only = "{ push: { paths: ['src/**', '!**.md'] } }";
    assert!(starts(only, &push("main"), Some(&["src/a.rs", "README.md"])));
    assert!(!starts(only, &push("main"), Some(&["src/a.md", "docs/x"])));
    assert!(!starts(only, &push("main"), Some(&[])));
    let ignore = "{ push: { paths-ignore: ['docs/**', '**.md'] } }";
    assert!(starts(ignore, &push("main"), Some(&["docs/a", "Makefile"])));
    assert!(!starts(ignore, &push("main"), Some(&["docs/a", "x/README.md"])));
    let both = "{ pull-request: { paths: ['src/**'], paths-ignore: ['**.md'] } }";
    assert!(!starts(both, &pull_request("main", "opened"), Some(&["src/a.md", "b.rs"])));
    assert!(starts(both, &pull_request("main", "opened"), Some(&["src/b.rs"])));
    // Unknown changes, and a tag, which changes no file: better to run once too often.
    assert!(starts(only, &push("main"), None));
    let tag = Event { name: EventName::Tag, git_ref: "refs/tags/v1".to_owned(), ..push("x") };
    assert!(starts(only, &tag, Some(&["docs/x"])));
    assert!(sound(&started_by(only)).asks_for_changes());
    assert!(!sound(&started_by("push")).asks_for_changes());
}

#[test]
fn pull_requests_are_told_apart_by_target_and_by_what_happened() {
    let on = "{ pull-request: { branches: ['release/**'] } }";
    assert!(starts(on, &pull_request("release/1", "synchronize"), None));
    assert!(!starts(on, &pull_request("main", "opened"), None));
    assert!(!starts(on, &pull_request("release/1", "closed"), None));
    assert!(starts("{ pull-request: { types: closed } }", &pull_request("main", "closed"), None));
    assert!(!starts("push", &pull_request("main", "opened"), None));
    let plan = job(
        "jobs: { a: { image: x, if: event.fork && event.number == 7, env: { T: '${{ event.title }} ${{ event.branch }} ${{ event.source-branch }}' }, steps: [{ run: a }] } }",
        &pull_request("main", "opened"),
    );
    assert_eq!(plan.env["T"], "Ask for it main topic".into());
    assert_eq!(plan.env["CI_COMMIT_SOURCE_BRANCH"], "topic".into());
    assert_eq!(plan.env["CI_COMMIT_PULL_REQUEST"], "7".into());
}

#[test]
fn a_schedule_starts_its_own_pipeline_and_knows_its_next_moment() {
    let on = "{ schedule: [{ cron: '0 3 * * *', timezone: Europe/Madrid, branch: next }, { cron: '@daily' }] }";
    let due = |cron: &str, timezone: &str, branch: &str| {
        let (cron, timezone) = (cron.to_owned(), timezone.to_owned());
        let schedule = Some(DueSchedule { cron, timezone, due_at: Timestamp::from_millis(0) });
        Event { name: EventName::Schedule, schedule, default_branch: Some("main".to_owned()), ..push(branch) }
    };
    assert!(starts(on, &due("0 3 * * *", "Europe/Madrid", "next"), None));
    assert!(starts(on, &due("@daily", "UTC", "main"), None));
    for (cron, timezone, branch) in [
        ("0 4 * * *", "Europe/Madrid", "next"),
        ("0 3 * * *", "UTC", "next"),
        ("0 3 * * *", "Europe/Madrid", "main"),
        ("@daily", "UTC", "next"),
    ] {
        assert!(!starts(on, &due(cron, timezone, branch), None), "{cron} {timezone} {branch}");
    }
    assert!(!starts(on, &push("main"), None));
    let checked = sound(&started_by(on));
    let [first, second] = checked.pipelines[0].schedules() else { panic!("two schedules") };
    assert_eq!((first.cron(), first.branch(), second.branch()), ("0 3 * * *", Some("next"), None));
    let noon = Timestamp::from_millis(1_782_907_200_000);
    assert_eq!(first.next_after(noon).unwrap().since(noon), 13 * 60 * 60 * 1000);
    assert_eq!(second.next_after(noon).unwrap().since(noon), 12 * 60 * 60 * 1000);
}

#[test]
fn inputs_of_a_start_by_hand_are_typed() {
    let text = "
on: { manual: { inputs: { level: { type: choice, options: [a, b], required: true }, n: { type: number, default: 2 }, dry: { type: boolean } } } }
jobs: { a: { image: x, env: { L: '${{ inputs.level }}', N: '${{ inputs.n }}' }, if: inputs.n > 1, steps: [{ run: a, if: '!inputs.dry' }] } }
";
    let plan = job(text, &by_hand(&[("level", "b"), ("dry", "true")]));
    assert_eq!((plan.env["L"].as_known(), plan.env["N"].as_known()), (Some("b"), Some("2")));
    let Value::Map(inputs) = &plan.known["inputs"] else { panic!("{:?}", plan.known) };
    assert_eq!((&inputs["dry"], &inputs["n"]), (&Value::Bool(true), &Value::Number(2.0)));
    for (inputs, reason) in [
        (vec![], "the input `level` is required"),
        (vec![("level", "c")], "the input `level` must be one of `a` and `b`"),
        (vec![("level", "a"), ("n", "many")], "the input `n` must be a number"),
        (vec![("level", "a"), ("dry", "yes")], "the input `dry` must be `true` or `false`"),
        (vec![("level", "a"), ("lvl", "b")], "unknown input `lvl`"),
    ] {
        let Planned::Refused(found) = sound(text).plan(&by_hand(&inputs), &facts()) else { panic!("{inputs:?}") };
        assert!(found.contains(reason), "{found}");
    }
}

#[test]
fn what_an_outsider_writes_is_never_read_as_an_expression() {
    let hostile = "${{ secrets.TOKEN }}";
    let mut event = push(hostile);
    event.message = format!("{hostile}\n\"}}, {{\"expression\": \"secrets.TOKEN\"}}");
    let plan = job(
        "jobs: { a: { image: x, env: { A: '${{ event.branch }}-${{ needs.b.result }}', B: '${{ event.message }}' }, needs: [b], steps: [{ run: echo, env: { C: \"${{ event.title }}${{ steps.x.outputs.y || 'z' }}\" }, id: q }, { run: b, id: x }] }, b: { image: x, steps: [{ run: a }] } }"
            .replace("${{ steps.x.outputs.y || 'z' }}", "${{ build.number }}")
            .as_str(),
        &event,
    );
    let json = serde_json::to_string(&plan).unwrap();
    let read: JobPlan = serde_json::from_str(&json).unwrap();
    assert_eq!(read, plan);
    let needs = Value::map([("b", Value::map([("result", "success")]))]);
    let build = Value::map([("number", Value::Number(3.0))]);
    let known = Values { contexts: [("needs".to_owned(), needs), ("build".to_owned(), build)].into(), progress: None };
    assert_eq!(read.env["A"].evaluate(&known).unwrap(), format!("{hostile}-success"));
    assert_eq!(read.env["B"].as_known(), Some(event.message.as_str()));
    assert_eq!(read.steps[0].env["C"].evaluate(&known).unwrap(), format!("{hostile}3"));
}

#[test]
fn needs_may_be_optional_and_a_matrix_counts_as_a_whole() {
    let text = "
jobs:
  a: { image: x, matrix: { v: [1, 2], fail-fast: false, max-parallel: 1 }, steps: [{ run: a }] }
  b: { image: x, needs: [{ job: a, optional: true }], if: needs.a.result != 'success', steps: [{ run: a }] }
";
    let plan = built(sound(text).plan(&push("main"), &facts()));
    let need = |key: &str| Need { key: key.to_owned(), job: "a".to_owned(), optional: true, ..Need::default() };
    assert_eq!(plan.jobs[2].needs, [need("longshore/a (1)"), need("longshore/a (2)")]);
    let group = plan.jobs[0].matrix_group.unwrap();
    assert_eq!((group.fail_fast, group.max_parallel), (false, Some(1)));
    assert!(plan.jobs[2].matrix_group.is_none());
}

#[test]
fn env_of_a_job_sees_the_pipelines_and_later_levels_win() {
    let plan = job(
        "env: { A: one, B: one }\njobs: { a: { image: 'x:${{ env.C }}', env: { B: two, C: '${{ env.A }}-${{ env.B }}' }, steps: [{ run: a, env: { B: three } }] } }",
        &push("main"),
    );
    assert_eq!(plan.image, "x:one-one".into());
    assert_eq!(plan.env["B"], "two".into());
    assert_eq!(plan.steps[0].env["B"], "three".into());
}

#[test]
fn concurrency_is_the_groups_name_for_this_event() {
    let text = "concurrency: { group: 'deploy-${{ event.branch }}', cancel-in-progress: \"${{ event.branch != 'main' }}\" }\njobs: { a: { image: x, steps: [{ run: a }] } }";
    let group = job(text, &push("topic")).concurrency.unwrap();
    assert_eq!((group.group.as_str(), group.cancel_in_progress), ("deploy-topic", true));
    assert!(!job(text, &push("main")).concurrency.unwrap().cancel_in_progress);
}

#[test]
fn retries_secrets_and_resources_are_planned_as_written() {
    let plan = job(
        "jobs: { a: { image: x, retry: { max: 2, on: timeout }, secrets: [A, { name: B, as: C, file: true }], resources: { cpu: 0.5, memory: 1GiB }, continue-on-error: true, checkout: { depth: 0, lfs: true }, steps: [{ run: a, retry: 1 }] } }",
        &push("main"),
    );
    let retry = plan.retry.clone().unwrap();
    assert_eq!((retry.max, retry.on.as_slice()), (2, [RetryOn::Timeout].as_slice()));
    assert_eq!(plan.steps[0].retry.as_ref().unwrap().on, [RetryOn::Failure, RetryOn::Timeout]);
    assert_eq!(
        (plan.secrets[1].name.as_str(), plan.secrets[1].variable.as_str(), plan.secrets[1].file),
        ("B", "C", true)
    );
    assert_eq!((plan.resources.cpu_millis, plan.resources.memory_bytes), (Some(500), Some(1 << 30)));
    assert!(plan.continue_on_error);
    let checkout = plan.checkout.unwrap();
    assert_eq!((checkout.depth, checkout.lfs), (0, true));
}

#[test]
fn a_secret_that_every_step_hides_is_warned_of_unless_the_job_asks_for_it_by_its_name() {
    let codes = |keys: &str| {
        let text = format!("jobs: {{ a: {{ image: x, secrets: [T, {{ name: K, as: KEY }}], {keys} }} }}");
        check(&text, &[]).diagnostics.into_iter().map(|found| found.code).collect::<Vec<_>>()
    };
    assert_eq!(codes("steps: [{ run: a, env: { T: mine } }]"), ["LS055"]);
    assert_eq!(codes("steps: [{ run: a, env: { T: '${{ secrets.K }}' } }]"), ["LS055"]);
    for seen in [
        "steps: [{ run: a, env: { T: '${{ secrets.T }}' } }]",
        "steps: [{ run: a, env: { T: 'x-${{ secrets.T }}', KEY: \"${{ secrets.K || '' }}\" } }]",
        "env: { OTHER: '${{ secrets.T }}' }, steps: [{ run: a, env: { T: mine } }]",
        "steps: [{ run: a, env: { T: mine } }, { run: b }]",
    ] {
        assert_eq!(codes(seen), [""; 0], "{seen}");
    }
}

#[test]
fn a_secret_without_a_variable_is_only_what_refers_to_it() {
    let text = |secrets: &str, env: &str| {
        format!("jobs: {{ a: {{ image: x, secrets: [{secrets}], steps: [{{ run: make, env: {{ {env} }} }}] }} }}")
    };
    let plan = job(&text("{ name: T, env: false }, { name: U, env: true }", "A: '${{ secrets.T }}'"), &push("main"));
    assert_eq!((plan.secrets[0].by_name, plan.secrets[1].by_name), (true, false));
    let codes = |secrets: &str, env: &str| {
        let found = check(&text(secrets, env), &[]).diagnostics;
        found.into_iter().map(|found| found.code).collect::<Vec<_>>()
    };
    assert_eq!(codes("{ name: T, env: false }", "A: b"), ["LS055"]);
    // No variable is the same as another.
    assert_eq!(codes("{ name: T, env: false }, { name: U, as: T }", "A: '${{ secrets.T }}'"), [""; 0]);
    for contradiction in ["as: B", "file: true"] {
        assert_eq!(codes(&format!("{{ name: T, env: false, {contradiction} }}"), ""), ["LS053"]);
    }
}

#[test]
fn a_templates_inputs_are_its_own_and_keys_beside_use_win() {
    let template = r#"
inputs: { package: { type: string, required: true }, level: { type: number, default: 1 } }
job:
  image: rust:${{ inputs.level }}
  timeout: 5m
  env: { PACKAGE: '${{ inputs.package }}', KEPT: yes }
  steps: [{ run: 'cargo test -p "$PACKAGE" -j ${{ inputs.level }}' }]
"#;
    let text = "
on: { manual: { inputs: { package: {} } } }
jobs: { a: { use: ./ci/t.yml, with: { package: 'x-${{ inputs.package }}', level: 3 }, timeout: 9m, env: { PACKAGE: mine } } }
";
    let files = [SourceFile::new(".longshore.yml", text)];
    assert_eq!(pipeline::wanted_templates(&files), ["ci/t.yml"]);
    let checked = check(text, &[("ci/t.yml", template)]);
    assert_eq!(report::human(&checked.diagnostics), "");
    let plan = built(checked.plan(&by_hand(&[("package", "api")]), &facts())).jobs.remove(0);
    assert_eq!(plan.image, "rust:3".into());
    assert_eq!(plan.steps[0].run, Some("cargo test -p \"$PACKAGE\" -j 3".into()));
    assert_eq!(
        (plan.timeout_ms, plan.env["PACKAGE"].as_known(), plan.env["KEPT"].as_known()),
        (540_000, Some("mine"), Some("yes"))
    );
}

#[test]
fn an_expression_that_turns_out_to_have_no_value_is_a_finding_of_the_build() {
    let text = "jobs: { a: { image: x, env: { A: '${{ from-json(event.title).x }}' }, steps: [{ run: a }] } }";
    let Planned::Broken(found) = sound(text).plan(&push("main"), &facts()) else { panic!("planned") };
    assert_eq!((found[0].code.as_str(), found[0].span.line), ("LS046", 1));
    let text = "jobs: { a: { image: 'x:${{ event.number }}', steps: [{ run: a }] } }";
    let Planned::Broken(found) = sound(text).plan(&push("main"), &facts()) else { panic!("planned") };
    assert_eq!(found[0].code, "LS020");
}

#[test]
fn a_plugins_settings_are_texts_lists_and_json() {
    let plan = job(
        "jobs: { a: { image: x, secrets: [T], steps: [{ image: 'p:1', with: { a: 1, tags: [x, '${{ event.sha-short }}', y], map: { k: [1, true, 'v'] }, t: '${{ secrets.T }}' } }] } }",
        &push("main"),
    );
    let step = &plan.steps[0];
    assert_eq!(step.name, "p:1");
    assert_eq!(step.with["tags"], "x,1f0c2d3e,y".into());
    assert_eq!(step.with["map"], r#"{"k":[1,true,"v"]}"#.into());
    assert_eq!(step.with["t"].as_known(), None);
}

#[test]
fn conditions_are_asked_with_what_the_plan_brings_along() {
    let plan = job(
        "jobs: { a: { image: x, if: \"event.branch == 'main' && repo.owner == 'team'\", steps: [{ run: a }, { run: b, if: success() }] } }",
        &push("main"),
    );
    let Value::Map(event) = &plan.known["event"] else { panic!("{:?}", plan.known) };
    assert_eq!(event.len(), 1, "only what is asked for goes along");
    let known = Values { contexts: plan.known.clone(), progress: Some(Default::default()) };
    assert!(runs(plan.condition.as_ref(), &known).unwrap());
    assert_eq!(plan.steps[1].condition, None);
}
