//! The keys of the pipeline language on the real engine. `crates/pipeline/tests` tests how each key is planned; this
//! tests what it does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod guarantees;
#[path = "../support/mod.rs"]
mod support;

use std::process::Command;

use guarantees::GUARANTEES;
use serde_json::{Value, json};
use support::{
    api::{is_final, text},
    engine, server, until,
    world::{World, job},
};

/// Returns all guarantees as jobs of one pipeline.
fn pipeline() -> String {
    let mut text = format!(
        "env: {{ A: pipeline, B: pipeline, C: pipeline }}
defaults: {{ image: '{}', shell: sh, timeout: 5m, working-directory: sub }}
jobs:
  gives-outputs:
    outputs: {{ both: '${{{{ steps.first.outputs.version }}}} and ${{{{ steps.second.outputs.pair }}}}' }}
    steps:
      - {{ id: first, run: 'echo version=1.2 >> \"$LONGSHORE_OUTPUT\"' }}
      - {{ id: second, run: 'echo pair=x=y >> \"$LONGSHORE_OUTPUT\"' }}
  of-a-matrix:
    matrix: {{ a: [1, 2], b: [x], include: [{{ a: 2, c: more }}, {{ a: 3, b: y }}], exclude: [{{ a: 1 }}], max-parallel: 1 }}
    steps: [{{ run: 'echo ${{{{ matrix.a }}}}${{{{ matrix.b }}}}${{{{ matrix.c }}}}' }}]
",
        engine::BUSYBOX
    );
    for guarantee in GUARANTEES {
        text.push_str(&format!("  {}:\n", guarantee.name));
        text.extend(guarantee.keys.lines().map(|line| format!("    {line}\n")));
    }
    text
}

fn log_of(world: &World, job: &Value) -> String {
    String::from_utf8(world.api().raw_log(&text(job, "id"))).unwrap()
}

#[test]
fn every_key_does_on_the_engine_what_it_promises() {
    let world = World::start();
    for (name, value) in
        [("ONE", "secret-one"), ("TWO", "secret-two"), ("THREE", "secret-three"), ("FOUR", "secret-four")]
    {
        let path = format!("/api/v1/repos/{}/secrets/{name}", world.repo);
        let (status, answer) = world.api().put(&path, &json!({ "value": value }));
        assert!(status < 300, "{answer}");
    }
    let template = format!(
        "inputs: {{ word: {{ type: string, required: true }} }}
job: {{ image: '{}', env: {{ WORD: '${{{{ inputs.word }}}}' }}, steps: [{{ run: 'echo $WORD $MORE' }}] }}
",
        engine::BUSYBOX
    );
    world.git.commit("before", &[("sub/file", "1"), ("ci/template.yml", &template)]);
    let build = world.run(&pipeline());
    let wrong: Vec<String> = GUARANTEES
        .iter()
        .filter_map(|guarantee| {
            let job = job(&build, guarantee.name);
            let log = if guarantee.status == "skipped" { String::new() } else { log_of(&world, job) };
            let kept = job["status"] == guarantee.status && log == guarantee.log;
            (!kept).then(|| format!("{}: {} {} {log:?}", guarantee.name, job["status"], job["reason"]))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", build["diagnostics"]);
    assert_eq!(build["status"], "success", "{build}");
    let of_matrix: Vec<(String, String)> = build["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|job| text(job, "name").starts_with("of-a-matrix"))
        .map(|job| (text(job, "name"), log_of(&world, job)))
        .collect();
    let expected = [("of-a-matrix (2, x, more)", "2xmore\n"), ("of-a-matrix (3, y)", "3y\n")];
    assert_eq!(of_matrix, expected.map(|(name, log)| (name.to_owned(), log.to_owned())));
    let services = &job(&build, "services-answer-by-their-names-once-they-are-ready")["services"];
    assert_eq!((&services[0]["name"], &services[0]["status"]), (&json!("web"), &json!("success")), "{services}");
    let wrote = job(&build, "variables-and-paths-that-a-step-adds-are-there-for-the-next");
    assert!(wrote["steps"][0].to_string().contains("All is well"), "{wrote}");
    world.nothing_is_left();
}

#[test]
fn whatever_did_not_run_or_ran_again_says_why_and_each_try_keeps_its_log() {
    let world = World::start();
    let build = world.run(&format!(
        "defaults: {{ image: '{}' }}
jobs:
  fails: {{ steps: [{{ run: exit 3 }}] }}
  after-it: {{ needs: fails, steps: [{{ run: 'true' }}] }}
  optional: {{ needs: [{{ job: fails, optional: true }}], steps: [{{ run: 'echo ${{{{ needs.fails.result }}}}' }}] }}
  not-asked-for: {{ if: event.branch == 'other', steps: [{{ run: 'true' }}] }}
  fast: {{ matrix: {{ n: [1, 2], max-parallel: 1 }}, steps: [{{ run: 'exit ${{{{ matrix.n }}}}' }}] }}
  retried: {{ retry: 1, steps: [{{ run: 'cat /proc/sys/kernel/random/uuid; exit 5' }}] }}
  late: {{ timeout: 1s, steps: [{{ run: sleep 60 }}] }}
  secret: {{ secrets: [ABSENT], steps: [{{ run: 'true' }}] }}
  cannot: {{ docker: true, steps: [{{ run: 'true' }}] }}
  stops: {{ matrix: {{ n: [1, 2], max-parallel: 2 }}, steps: [{{ run: 'test ${{{{ matrix.n }}}} = 1 || while :; do sleep 0.1; done; sleep 1; exit 6' }}] }}
",
        engine::BUSYBOX
    ));
    for (name, status, reason) in [
        ("fails", "failure", "exit code 3"),
        ("after-it", "skipped", "needs `fails`, which failed"),
        ("not-asked-for", "skipped", "`if: event.branch == 'other'` was false"),
        ("fast (1)", "failure", "exit code 1"),
        ("fast (2)", "skipped", "`fast (1)` in the same matrix failed"),
        ("retried", "failure", "exit code 5"),
        ("late", "timed-out", "timed out after 1.0 s"),
        ("secret", "error", "`ABSENT`"),
        ("cannot", "error", "`docker: true` is not granted to this repository"),
        ("stops (1)", "failure", "exit code 6"),
    ] {
        let job = job(&build, name);
        assert_eq!(job["status"], status, "{job}");
        assert!(job["reason"].as_str().is_some_and(|why| why.contains(reason)), "{name}: {}", job["reason"]);
    }
    assert_eq!(build["diagnostics"], json!([]));
    // If both ran, the other was canceled. If the other waited for capacity, it was skipped.
    let stopped = job(&build, "stops (2)");
    assert!(["canceled", "skipped"].contains(&stopped["status"].as_str().unwrap()), "{stopped}");
    assert_eq!(stopped["reason"], "`stops (1)` in the same matrix failed");
    assert_ne!(build["reason"], Value::Null, "{build}");
    assert_eq!(log_of(&world, job(&build, "optional")), "failure\n", "an optional need is waited for and may fail");

    let retried = job(&build, "retried");
    assert_eq!(retried["attempt"], 2);
    let tries = retried["attempts"].as_array().unwrap();
    assert!(tries[0]["attempt"] == 1 && text(&tries[0], "reason").contains("exit code 5"), "{tries:?}");
    let log =
        |attempt: &str| world.api().get_text(&format!("/api/v1/jobs/{}/log?format=raw{attempt}", text(retried, "id")));
    let (first, second) = (log("&attempt=1"), log("&attempt=2"));
    assert_eq!((first.0, second.0), (200, 200));
    assert!(first.1 != second.1 && first.1.len() == 37 && second.1.len() == 37, "{first:?} {second:?}");
    assert_eq!(log("").1, second.1);
    assert_eq!(log("&attempt=3").0, 404);
    world.nothing_is_left();
}

#[test]
fn a_broken_file_is_a_build_that_says_what_is_wrong_where() {
    let world = World::start();
    let build = world.run("jobs:\n  a: { imgae: x, steps: [{ run: 'true' }] }\n");
    assert_eq!((&build["status"], &build["reason"]), (&"error".into(), &"the pipeline has errors".into()));
    assert_eq!(build["jobs"], json!([]));
    let found = &build["diagnostics"][0];
    let said = (&found["code"], &found["message"], &found["help"]);
    assert_eq!(
        said,
        (&"LS012".into(), &"unknown key `imgae` in a job".into(), &"did you mean `image`?".into()),
        "{found}"
    );
    assert_eq!((&found["line"], &found["file"]), (&2.into(), &".longshore.yml".into()), "{found}");
}

/// Files of other systems, with keys that can be converted.
const OTHERS: [&str; 4] = ["github", "gitlab", "woodpecker", "drone"];

/// The expected output of the jobs of the converted files, and the status of those that do not succeed.
const CONVERTED: &[(&str, &str, &str)] = &[
    ("drone/one", "success", "drone main\n1.2\n"),
    ("drone/two", "success", "two\n"),
    ("github/never", "skipped", ""),
    ("github/prepare", "success", ""),
    ("github/test (2)", "success", "workflow job 2 1.2 main\nalways\n"),
    ("gitlab/allowed", "failure", ""),
    ("gitlab/build", "success", "before\ntop shared main\n/longshore/workspace/sub\n"),
    ("gitlab/never", "skipped", ""),
    ("gitlab/test (1)", "success", "n 1\nafter\n"),
    ("gitlab/test (2)", "success", "n 2\nafter\n"),
    ("woodpecker/build", "success", "said main\n1.2\nlast\n"),
];

#[test]
fn a_converted_file_of_each_other_system_does_what_it_did_there() {
    let world = World::start();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/converted");
    std::fs::create_dir(world.git.work().join(".longshore")).unwrap();
    for other in OTHERS {
        let written = world.git.work().join(format!(".longshore/{other}.yml"));
        let converted = Command::new(server::program())
            .args(["convert", "--from", other])
            .arg(folder.join(format!("{other}.yml")))
            .arg("--output")
            .arg(written)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&converted.stderr);
        assert!(converted.status.success() && said.contains("nothing left"), "{said}");
    }
    let commit = world.git.commit("converted", &[("VERSION", "1.2\n"), ("sub/file", "1")]);
    world.git.git(&["push", "-q", "origin", "HEAD:main"]);
    let build = world.api().wait_for_build(&text(&world.build_of(&commit), "id"));
    assert_eq!(build["status"], "success", "{build}");
    let mut did: Vec<(String, String, String)> = Vec::new();
    for job in build["jobs"].as_array().unwrap() {
        let log = if job["status"] == "skipped" { String::new() } else { log_of(&world, job) };
        did.push((text(job, "key"), text(job, "status"), log));
    }
    did.sort();
    let expected = CONVERTED.iter().map(|(key, status, log)| ((*key).into(), (*status).into(), (*log).into()));
    assert_eq!(did, expected.collect::<Vec<_>>());
    world.nothing_is_left();
}

#[test]
fn whatever_waits_says_for_what_and_goes_on_when_it_is_there() {
    let mut world = World::start();
    let commit = world.git.push(&format!(
        "concurrency: {{ group: deploy }}
defaults: {{ image: '{}' }}
jobs:
  first: {{ approval: 'Deploy ${{{{ event.branch }}}}?', steps: [{{ run: echo deployed }}] }}
  then: {{ needs: first, steps: [{{ run: 'true' }}] }}
",
        engine::BUSYBOX
    ));
    let build = world.build_of(&commit);
    let id = text(&build, "id");
    let api = world.api();
    let now = |id: &str| api.get(&format!("/api/v1/builds/{id}"));
    let build = now(&id);
    let first = job(&build, "first");
    assert_eq!((&first["status"], &first["reason"]), (&"blocked".into(), &"awaiting approval: Deploy main?".into()));
    assert!(text(&build, "reason").contains("awaiting approval"), "{build}");
    let (status, _) = world.api().post(&format!("/api/v1/jobs/{}/approve", text(first, "id")), &json!({}));
    assert_eq!(status, 202);
    assert_eq!(world.api().wait_for_build(&id)["status"], "success");

    // One build has the group, the next one waits for it and says so, and a third waits behind that.
    let long = format!(
        "concurrency: {{ group: deploy }}\njobs: {{ one: {{ image: '{}', steps: [{{ run: 'echo here; while :; do sleep 0.1; done' }}] }} }}\n",
        engine::BUSYBOX
    );
    let has_it = text(&world.build_of(&world.git.push(&long)), "id");
    let number = until("the group's build to run", || {
        let build = now(&has_it);
        (build["status"] == "running").then(|| build["number"].to_string())
    });
    let waits = text(&world.start_build(), "id");
    let waiting = now(&waits);
    let reason = format!("waiting for #{number} (concurrency group `deploy`)");
    assert_eq!(text(job(&waiting, "one"), "reason"), reason);
    assert!(!is_final(&waiting) && text(&waiting, "reason").contains(&reason), "{waiting}");
    for id in [&has_it, &waits] {
        let (status, _) = world.api().post(&format!("/api/v1/builds/{id}/cancel"), &json!({}));
        assert_eq!(status, 202);
        assert_eq!(world.api().wait_for_build(id)["status"], "canceled");
    }

    // A job whose labels the machine has starts at once. The other waits until a server has its label.
    let commit = world.git.push(&format!(
        "defaults: {{ image: '{}' }}
jobs:
  here: {{ runs-on: {{ os: linux }}, steps: [{{ run: 'true' }}] }}
  there: {{ runs-on: {{ os: linux, zone: dmz }}, steps: [{{ run: echo at last }}] }}
",
        engine::BUSYBOX
    ));
    let id = text(&world.build_of(&commit), "id");
    let build = until("the job that may run to end", || {
        let build = world.api().get(&format!("/api/v1/builds/{id}"));
        (job(&build, "here")["status"] == "success").then_some(build)
    });
    let there = job(&build, "there");
    let reason = text(there, "reason");
    assert_eq!(there["status"], "blocked", "{there}");
    assert!(
        reason.starts_with("waiting for a server with `os: linux`, `zone: dmz`; this server has `arch: "),
        "{reason}"
    );
    world.server.stop();
    world.server.set("LONGSHORE_LABELS", "disk=ssd, zone=dmz");
    world.server.launch();
    let build = world.api().wait_for_build(&id);
    assert_eq!(build["status"], "success", "{build}");
    assert_eq!(log_of(&world, job(&build, "there")), "at last\n");
    world.nothing_is_left();
}
