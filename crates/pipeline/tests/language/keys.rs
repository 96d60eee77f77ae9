//! The keys of jobs and steps, one by one: the plan contains the value of each. The engine's tests check what a plan
//! does.

use longshore_core::{
    expression::Value,
    plan::{ArtifactWhen, CacheSave, Network, Probe, PullPolicy, Resources, RetryOn, Wait},
};
use longshore_pipeline as pipeline;
use longshore_pipeline::{Input, InputKind, SourceFile, TemplateFiles, report};

use super::{built, check, facts, job, push, sound};

fn texts(list: &[longshore_core::Template]) -> Vec<String> {
    list.iter().map(longshore_core::Template::shown).collect()
}

/// Fails if a key is added to the language and not to these tests.
#[test]
fn no_key_of_the_language_is_without_a_test_that_writes_it() {
    fn collect(schema: &serde_json::Value, keys: &mut Vec<String>) {
        match schema {
            serde_json::Value::Object(entries) => {
                if let Some(serde_json::Value::Object(properties)) = entries.get("properties") {
                    keys.extend(properties.keys().cloned());
                }
                entries.values().for_each(|value| collect(value, keys));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, keys)),
            _ => {}
        }
    }
    let mut keys = Vec::new();
    collect(&pipeline::json_schema(), &mut keys);
    assert!(keys.len() > 80, "{keys:?}");
    let tests = [
        include_str!("events.rs"),
        include_str!("keys.rs"),
        include_str!("main.rs"),
        include_str!("reuse.rs"),
        include_str!("variables.rs"),
        include_str!("workspaces.rs"),
    ]
    .concat();
    keys.retain(|key| !tests.contains(&format!("{key}:")));
    assert_eq!(keys, Vec::<String>::new());
}

#[test]
fn a_pipeline_is_called_by_its_name_or_by_its_file() {
    let names = |path: &str, text: &str| {
        let checked = pipeline::check(&[SourceFile::new(path, text)], &TemplateFiles::new());
        checked.pipelines[0].name().to_owned()
    };
    let job = "jobs: { a: { image: x, steps: [{ run: a }] } }";
    assert_eq!(names(".longshore/ci.yml", job), "ci");
    assert_eq!(names(".longshore/deploy.prod.yaml", job), "deploy.prod");
    assert_eq!(names(".longshore.yml", job), "longshore");
    assert_eq!(names(".longshore/ci.yml", &format!("name: all of it\n{job}")), "all of it");
}

#[test]
fn each_of_the_defaults_stands_in_where_a_job_or_step_says_nothing() {
    let text = "
defaults: { image: rust:1, shell: bash, timeout: 7m, working-directory: sub }
jobs:
  a: { steps: [{ run: a }] }
  b: { image: go:1, timeout: 1h30m, steps: [{ run: a, shell: python3 -u, working-directory: /tmp }] }
";
    let jobs = built(sound(text).plan(&push("main"), &facts())).jobs;
    let of = |at: usize| {
        let step = &jobs[at].steps[0];
        let directory = step.working_directory.as_ref().unwrap().shown();
        (jobs[at].image.shown(), jobs[at].timeout_ms / 60_000, step.shell.clone(), directory)
    };
    assert_eq!(of(0), ("rust:1".into(), 7, "bash".into(), "sub".into()));
    assert_eq!(of(1), ("go:1".into(), 90, "python3 -u".into(), "/tmp".into()));
    let plain = job("jobs: { a: { image: x, steps: [{ run: a }] } }", &push("main"));
    assert_eq!((plain.timeout_ms / 60_000, plain.steps[0].shell.as_str()), (60, "sh"));
    assert_eq!(plain.steps[0].working_directory, None);
}

#[test]
fn inputs_say_what_they_take_whether_they_must_be_given_and_what_they_are_for() {
    let text = "
on:
  manual:
    inputs:
      level: { type: choice, options: [patch, minor], default: patch, description: What to raise }
      count: { type: number, required: true }
      dry: { type: boolean, default: true }
      note:
jobs: { a: { image: x, steps: [{ run: a }] } }
";
    let checked = sound(text);
    let inputs: &[Input] = checked.pipelines[0].manual_inputs().unwrap();
    let of = |name: &str| inputs.iter().find(|input| input.name == name).unwrap();
    let level = of("level");
    assert_eq!(level.kind, InputKind::Choice(vec!["patch".to_owned(), "minor".to_owned()]));
    assert_eq!((level.default.clone(), level.description.as_deref()), (Some("patch".into()), Some("What to raise")));
    assert_eq!((of("count").kind.clone(), of("count").required), (InputKind::Number, true));
    assert_eq!((of("dry").kind.clone(), of("dry").default.clone()), (InputKind::Boolean, Some(Value::Bool(true))));
    assert_eq!((of("note").kind.clone(), of("note").required), (InputKind::String, false));
}

#[test]
fn a_job_starts_by_its_own_needs_and_not_by_its_place() {
    let text = "
jobs:
  last: { image: x, needs: [left, right], steps: [{ run: a }] }
  left: { image: x, needs: first, steps: [{ run: a }] }
  right: { image: x, steps: [{ run: a }] }
  first: { image: x, steps: [{ run: a }] }
";
    let jobs = built(sound(text).plan(&push("main"), &facts())).jobs;
    let needs = |at: usize| jobs[at].needs.iter().map(|need| need.job.as_str()).collect::<Vec<_>>();
    assert_eq!([needs(0), needs(1), needs(2), needs(3)], [vec!["left", "right"], vec!["first"], vec![], vec![]]);
}

#[test]
fn a_matrix_is_its_axes_without_what_is_excluded_and_with_what_is_included() {
    let text = "
jobs:
  a:
    image: x
    matrix:
      rust: [1.94, '1.95']
      os: [slim, alpine]
      exclude: [{ rust: 1.94, os: alpine }]
      include: [{ os: slim, extra: more }, { rust: nightly, os: slim }]
      fail-fast: false
      max-parallel: 2
    steps: [{ run: a }]
";
    let jobs = built(sound(text).plan(&push("main"), &facts())).jobs;
    let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["a (1.94, slim, more)", "a (1.95, slim, more)", "a (1.95, alpine)", "a (nightly, slim)"]);
    assert!(jobs.iter().all(|job| job.matrix_group.unwrap().max_parallel == Some(2)));
}

#[test]
fn services_are_planned_as_written() {
    let plan = job(
        "
jobs:
  a:
    image: x
    services:
      db: { image: 'postgres:${{ event.sha-short }}', env: { PASSWORD: p }, ready: { exec: pg_isready, timeout: 30s } }
      cache: redis:8
      web: { image: nginx:1, ready: { http: ':8080/healthz' } }
      queue: { image: q:1, entrypoint: [/bin/q], command: [serve, --now], ready: { tcp: 5672 }, user: 'q:q', resources: { memory: 1GiB } }
    steps: [{ run: a }]
",
        &push("main"),
    );
    let [db, cache, web, queue] = plan.services.as_slice() else { panic!("{:?}", plan.services) };
    assert_eq!((db.name.as_str(), db.image.shown().as_str()), ("db", "postgres:1f0c2d3e"));
    assert_eq!(db.env["PASSWORD"], "p".into());
    let ready = db.ready.clone().unwrap();
    assert_eq!((ready.probe, ready.timeout_ms), (Probe::Exec("pg_isready".to_owned()), 30_000));
    assert_eq!((cache.image.shown().as_str(), &cache.ready), ("redis:8", &None));
    let ready = web.ready.clone().unwrap();
    assert_eq!((ready.probe, ready.timeout_ms), (Probe::Http(":8080/healthz".to_owned()), 60_000));
    assert_eq!(queue.ready.clone().unwrap().probe, Probe::Tcp(5672));
    assert_eq!(
        (texts(&queue.entrypoint), texts(&queue.command)),
        (vec!["/bin/q".into()], vec!["serve".into(), "--now".into()])
    );
    assert_eq!((queue.user.as_deref(), queue.resources.memory_bytes), (Some("q:q"), Some(1 << 30)));
}

#[test]
fn caches_artifacts_and_reports_are_planned_as_written() {
    let plan = job(
        "
jobs:
  a:
    image: x
    cache:
      - { path: target, key: 'k-${{ hash-files(\"Cargo.lock\") }}' }
      - { path: [~/.npm, node_modules], key: n, fallback: [n-, m-], save: always }
      - { path: ~/.ccache, key: cc, mode: shared }
    steps: [{ run: a }]
    artifacts:
      - { paths: [out/**] }
      - { name: logs, paths: ['*.log'], expire-in: 2w, when: always }
      - { name: core, paths: [core], when: failure }
    reports: { junit: ['**/junit.xml'], coverage: lcov.info, sarif: [a.sarif, b.sarif] }
",
        &push("main"),
    );
    let [one, two, three] = plan.cache.as_slice() else { panic!("{:?}", plan.cache) };
    assert_eq!((texts(&one.paths), one.key.as_known(), one.fallback.len()), (vec!["target".into()], None, 0));
    assert_eq!(
        (texts(&two.paths), texts(&two.fallback)),
        (vec!["~/.npm".into(), "node_modules".into()], vec!["n-".into(), "m-".into()])
    );
    assert_eq!((one.save, two.save, three.save), (CacheSave::Success, CacheSave::Always, CacheSave::Success));
    assert_eq!((one.shared, three.shared), (false, true));
    let kept: Vec<_> = plan
        .artifacts
        .iter()
        .map(|kept| (kept.name.shown(), texts(&kept.paths), kept.expire_in_ms, kept.when))
        .collect();
    assert_eq!(
        kept,
        [
            ("artifacts".to_owned(), vec!["out/**".to_owned()], None, ArtifactWhen::Success),
            ("logs".to_owned(), vec!["*.log".to_owned()], Some(14 * 24 * 60 * 60 * 1000), ArtifactWhen::Always),
            ("core".to_owned(), vec!["core".to_owned()], None, ArtifactWhen::Failure),
        ]
    );
    assert_eq!(texts(&plan.reports.junit), ["**/junit.xml"]);
    assert_eq!(texts(&plan.reports.coverage), ["lcov.info"]);
    assert_eq!(texts(&plan.reports.sarif), ["a.sarif", "b.sarif"]);
}

#[test]
fn docker_approval_labels_resources_and_checkout_are_planned_as_written() {
    let plan = job(
        "jobs: { a: { image: 'x:1', docker: true, approval: 'Deploy ${{ event.branch }}?', runs-on: { arch: amd64, zone: '${{ repo.owner }}' }, \
         resources: { cpu: 2, memory: 4GiB, pids: 2048, shm: 256MiB }, checkout: { depth: 3, submodules: true, lfs: true }, steps: [{ run: a }] } }",
        &push("main"),
    );
    assert_eq!(plan.docker, longshore_core::docker::Docker::Guarded);
    assert_eq!(plan.approval.as_deref(), Some("Deploy main?"));
    let labels: Vec<_> = plan.runs_on.iter().map(|(label, value)| (label.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("arch", "amd64"), ("zone", "team")]);
    let asked =
        Resources { cpu_millis: Some(2000), memory_bytes: Some(4 << 30), pids: Some(2048), shm_bytes: Some(256 << 20) };
    assert_eq!(plan.resources, asked);
    let checkout = plan.checkout.unwrap();
    assert_eq!((checkout.depth, checkout.submodules, checkout.lfs), (3, true, true));
    let checkout = |written: &str| {
        job(&format!("jobs: {{ a: {{ image: x, checkout: {written}, steps: [{{ run: a }}] }} }}"), &push("main"))
            .checkout
    };
    assert_eq!(checkout("false"), None);
    assert_eq!(checkout("true").unwrap(), Default::default());
    assert_eq!(checkout("{}").unwrap().depth, 1);
}

#[test]
fn tries_follow_the_ends_that_are_named_or_any() {
    let retry = |written: &str| {
        let text = format!("jobs: {{ a: {{ image: x, retry: {written}, steps: [{{ run: a }}] }} }}");
        job(&text, &push("main")).retry.map(|retry| (retry.max, retry.on))
    };
    let any = vec![RetryOn::Error, RetryOn::Failure, RetryOn::Timeout];
    assert_eq!(retry("2"), Some((2, any.clone())));
    assert_eq!(retry("{ max: 1 }"), Some((1, any)));
    assert_eq!(retry("{ max: 3, on: [error, timeout] }"), Some((3, vec![RetryOn::Error, RetryOn::Timeout])));
    assert_eq!(retry("{ max: 3, on: failure }"), Some((3, vec![RetryOn::Failure])));
}

#[test]
fn every_key_of_a_step_is_planned_as_written() {
    let plan = job(
        "
jobs:
  a:
    image: x
    steps:
      - name: 'all for ${{ event.name }}'
        id: all
        run: make
        if: event.branch == 'main'
        env: { A: b }
        shell: bash
        working-directory: sub
        timeout: 90s
        continue-on-error: true
        retry: { max: 1, on: [timeout] }
        user: '1000:1000'
        tty: true
        background: true
      - image: postgres:17
        entrypoint: docker-entrypoint.sh
        command: [postgres, -c, fsync=off]
      - { image: 'plugins/docker:20', with: { repo: a/b } }
      - { image: 'golang:1', run: go version }
      - { run: \"\\n\\n  make test\\nmake more\" }
      - { run: make, continue-on-error: \"${{ event.name == 'push' }}\" }
      - wait: true
      - { wait: [all] }
",
        &push("main"),
    );
    let [all, program, plugin, own, unnamed, asked, waits, for_one] = plan.steps.as_slice() else {
        panic!("{:?}", plan.steps)
    };
    assert_eq!((all.name.as_str(), all.id.as_deref()), ("all for push", Some("all")));
    assert_eq!((all.run.clone(), all.env["A"].as_known()), (Some("make".into()), Some("b")));
    assert_eq!(all.condition.as_ref().unwrap().source(), "event.branch == 'main'");
    assert_eq!((all.shell.as_str(), all.working_directory.clone()), ("bash", Some("sub".into())));
    assert_eq!((all.timeout_ms, all.continue_on_error), (Some(90_000), true));
    assert_eq!((waits.name.as_str(), waits.wait.clone()), ("Wait for all background steps", Some(Wait::All)));
    assert_eq!(
        (for_one.name.as_str(), for_one.wait.clone()),
        ("Wait for all", Some(Wait::Steps(vec!["all".to_owned()])))
    );
    let retry = all.retry.clone().unwrap();
    assert_eq!((retry.max, retry.on), (1, vec![RetryOn::Timeout]));
    assert_eq!((all.user.as_deref(), all.tty, all.background), (Some("1000:1000"), true, true));
    assert_eq!((program.run.clone(), program.image.clone()), (None, Some("postgres:17".into())));
    assert_eq!(texts(&program.entrypoint), ["docker-entrypoint.sh"]);
    assert_eq!(texts(&program.command), ["postgres", "-c", "fsync=off"]);
    assert_eq!((plugin.name.as_str(), plugin.with["repo"].as_known()), ("plugins/docker:20", Some("a/b")));
    assert_eq!((own.run.clone(), own.image.clone()), (Some("go version".into()), Some("golang:1".into())));
    assert_eq!(unnamed.name, "make test");
    assert!(asked.continue_on_error);
}

#[test]
fn a_need_without_a_word_about_success_runs_after_it_and_one_that_asks_runs_when_it_says() {
    let text = "
jobs:
  a: { image: x, outputs: { v: '${{ steps.s.outputs.v }}' }, steps: [{ run: a, id: s }] }
  plain: { image: x, needs: a, if: \"needs.a.outputs.v == '1'\", steps: [{ run: a }] }
  always: { image: x, needs: a, if: always(), steps: [{ run: a }] }
  failed: { image: x, needs: a, if: \"${{ failure() || cancelled() }}\", steps: [{ run: a }] }
";
    let jobs = built(sound(text).plan(&push("main"), &facts())).jobs;
    let condition = |at: usize| jobs[at].condition.as_ref().map(|condition| condition.source().to_owned());
    assert_eq!(condition(0), None);
    assert_eq!(condition(1).as_deref(), Some("needs.a.outputs.v == '1'"));
    assert_eq!(
        (condition(2).as_deref(), condition(3).as_deref()),
        (Some("always()"), Some("failure() || cancelled()"))
    );
    assert_eq!(jobs[0].outputs["v"].refers().contexts.len(), 1);
}

#[test]
fn a_template_gives_all_that_a_job_has_and_does_not_reach_beyond_its_repository() {
    let template = "
inputs: { n: { type: number, required: true } }
job: { image: 'a:1', needs: [first], timeout: 3m, retry: 2, env: { A: template, B: template }, matrix: { v: [1, 2] }, steps: [{ run: 'echo ${{ inputs.n }}${{ matrix.v }}' }] }
";
    let text = "
jobs:
  first: { image: x, steps: [{ run: a }] }
  second: { use: ./ci/t.yml, with: { n: 7 }, env: { B: ours }, image: 'b:2' }
";
    let checked = check(text, &[("ci/t.yml", template)]);
    assert_eq!(report::human(&checked.diagnostics), "");
    let jobs = built(checked.plan(&push("main"), &facts())).jobs;
    assert_eq!(jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["first", "second (1)", "second (2)"]);
    let second = &jobs[2];
    assert_eq!(
        (second.image.shown().as_str(), second.timeout_ms, second.retry.as_ref().unwrap().max),
        ("b:2", 180_000, 2)
    );
    assert_eq!((second.env["A"].as_known(), second.env["B"].as_known()), (Some("template"), Some("ours")));
    assert_eq!(second.steps[0].run, Some("echo 72".into()));
    assert_eq!(second.needs[0].job, "first");

    let found = |text: &str, template: &str| {
        let found = check(text, &[("ci/t.yml", template)]).diagnostics;
        found.into_iter().map(|one| (one.file, one.code, one.message)).collect::<Vec<_>>()
    };
    // Findings point into the template and name the job that uses it; a template uses no other; its path stays in the
    // repository.
    let one = found("jobs: { a: { use: ./ci/t.yml } }", "job: { image: x, imgae: y, steps: [{ run: a }] }");
    assert_eq!((one[0].0.as_str(), one[0].1.as_str()), ("ci/t.yml", "LS012"));
    assert!(one[0].2.contains("`a`"), "{one:?}");
    let one = found("jobs: { a: { use: ./ci/t.yml } }", "job: { use: ./ci/u.yml }");
    assert_eq!(one[0].0, "ci/t.yml", "{one:?}");
    let one = found("jobs: { a: { use: ../t.yml } }", template);
    assert_eq!(one[0].0, ".longshore.yml", "{one:?}");
}

#[test]
fn what_a_job_reaches_is_said_by_its_network_and_one_without_has_no_services() {
    let network = |word: &str| {
        job(&format!("jobs: {{ a: {{ image: x, network: {word}, steps: [{{ run: a }}] }} }}"), &push("main"))
    };
    let words = [("default", Network::Default), ("internal", Network::Internal), ("none", Network::None)];
    for (word, meaning) in words {
        assert_eq!(network(word).network, meaning);
    }
    for (bad, words) in [
        ("jobs: { a: { image: x, network: host, steps: [{ run: a }] } }", "internal"),
        ("jobs: { a: { image: x, network: none, services: { db: y }, steps: [{ run: a }] } }", "network: internal"),
    ] {
        let said = report::human(&check(bad, &[]).diagnostics);
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_job_may_ask_for_the_capabilities_that_an_administrator_can_allow_and_for_no_others() {
    let text = |words: &str| format!("jobs: {{ a: {{ image: x, capabilities: {words}, steps: [{{ run: a }}] }} }}");
    assert_eq!(job(&text("[SYS_CHROOT, NET_RAW]"), &push("main")).capabilities, ["SYS_CHROOT", "NET_RAW"]);
    assert_eq!(job(&text("MKNOD"), &push("main")).capabilities, ["MKNOD"]);
    for (bad, words) in
        [("[SYS_ADMIN]", "SYS_CHROOT"), ("[SYS_CHROT]", "did you mean `SYS_CHROOT`?"), ("[]", "is empty")]
    {
        let said = report::human(&check(&text(bad), &[]).diagnostics);
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn when_an_image_is_pulled_is_said_by_jobs_services_and_steps_with_an_image() {
    let job = job(
        "jobs: { a: { image: x, pull: always, services: { db: { image: db, pull: never } }, \
         steps: [{ run: a }, { image: y, pull: if-missing }] } }",
        &push("main"),
    );
    assert_eq!((job.pull, job.services[0].pull), (Some(PullPolicy::Always), Some(PullPolicy::Never)));
    assert_eq!((job.steps[0].pull, job.steps[1].pull), (None, Some(PullPolicy::Missing)));
    for (bad, words) in [
        ("jobs: { a: { image: x, pull: sometimes, steps: [{ run: a }] } }", "if-missing"),
        ("jobs: { a: { image: x, steps: [{ run: a, pull: always }] } }", "`pull` needs an `image`"),
    ] {
        let checked = check(bad, &[]);
        let said = report::human(&checked.diagnostics);
        assert!(said.contains(words), "{said}");
    }
}
