//! Reports of jobs, from the file in the workspace to the build's page: on the real engine, with files as tools write
//! them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::process::{Command, Output};

use serde_json::{Value, json};
use support::{
    api::text,
    engine::{self, BUSYBOX},
    server::{ADMIN_TOKEN, program},
    world::{World, job},
};

/// A job that writes these files, says a command in its log, and ends with this code.
fn pipeline(junit: &str, code: u8) -> String {
    format!(
        "jobs:
  one:
    image: {BUSYBOX}
    steps:
      - name: test
        run: |
          mkdir -p out
          cat > out/junit.xml <<'END'
          {junit}
          END
          printf 'SF:a.c\\nDA:1,1\\nDA:2,0\\nend_of_record\\n' > out/lcov.info
          printf '{{\"runs\": [{{\"tool\": {{\"driver\": {{\"name\": \"lint\"}}}}, \"results\": [{{\"level\": \"warning\", \"message\": {{\"text\": \"unused\"}}, \"locations\": [{{\"physicalLocation\": {{\"artifactLocation\": {{\"uri\": \"b.c\"}}, \"region\": {{\"startLine\": 7}}}}}}]}}]}}]}}' > out/lint.sarif
          echo '::error file=a.c,line=2,title=Broken::it broke'
          exit {code}
    reports: {{ junit: ['out/*.xml'], coverage: out/lcov.info, sarif: [out/*.sarif] }}
"
    )
}

const RED: &str = "<testsuite><testcase classname='shop' name='adds' time='0.25'/><testcase classname='shop' name='divides'><failure message='no luck'>assert 1 == 2</failure></testcase></testsuite>";
const GREEN: &str =
    "<testsuite><testcase classname='shop' name='adds'/><testcase classname='shop' name='divides'/></testsuite>";

fn tests_of(world: &World, build: &Value) -> Value {
    world.api().get(&format!("/api/v1/builds/{}/tests", text(build, "id")))
}

fn longshore(world: &World, args: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(args).env("LONGSHORE_URL", world.server.url()).env("LONGSHORE_TOKEN", ADMIN_TOKEN);
    command.output().expect("the program runs")
}

#[test]
fn what_a_failed_job_reports_is_there_with_its_end_and_is_compared_with_the_build_before() {
    let world = World::start();
    let first = world.run(&pipeline(GREEN, 0));
    assert_eq!(first["status"], "success", "{first}");
    assert_eq!(first["diagnostics"], json!([]), "the file is warned of");
    let build = world.run(&pipeline(RED, 1));
    assert_eq!(build["status"], "failure", "{build}");
    let id = text(&build, "id");
    let found = tests_of(&world, &build);
    assert_eq!(
        (&found["total"], &found["failed"], &found["new_failures"]),
        (&json!(2), &json!(1), &json!(1)),
        "{found}"
    );
    let failure = &found["items"][0];
    assert_eq!(
        (&failure["name"], &failure["message"], &failure["output"]),
        (&json!("divides"), &json!("no luck"), &json!("assert 1 == 2"))
    );
    assert_eq!(failure["first_failed"], 2);
    let coverage = world.api().get(&format!("/api/v1/builds/{id}/coverage"));
    assert_eq!((&coverage["lines"]["percent"], &coverage["change"]), (&json!(50.0), &json!(0.0)), "{coverage}");
    let annotations = world.api().get(&format!("/api/v1/builds/{id}/annotations"));
    let said: Vec<_> = annotations["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(one, "level"), text(one, "file"), one["line"].as_u64().unwrap(), text(one, "message")))
        .collect();
    let (error, warning) = ("error".to_owned(), "warning".to_owned());
    assert_eq!(
        said,
        [(error, "a.c".to_owned(), 2, "it broke".to_owned()), (warning, "b.c".to_owned(), 7, "unused".to_owned())]
    );

    let printed = longshore(&world, &["build", "tests", &id]);
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.starts_with("build #2: 2 tests, 1 failed (1 new), 1 passed"), "{printed}");
    assert!(printed.contains("failed   one: shop divides (new)\n         no luck"), "{printed}");
    let printed = longshore(&world, &["build", "tests", &id, "--status", "passed", "--json"]);
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(printed["items"].as_array().unwrap().len(), 1, "{printed}");

    // The same files again, and another result: it is flaky.
    let (status, again) = world.api().post(&format!("/api/v1/builds/{id}/rerun"), &json!({}));
    assert_eq!(status, 202, "{again}");
    let history = world.api().get(&format!("/api/v1/tests/{}/history", text(failure, "id")));
    assert!(history["items"].as_array().unwrap().len() >= 2, "{history}");
    world.api().wait_for_build(&text(&again, "id"));
    world.nothing_is_left();
}

#[test]
fn a_test_that_changes_its_mind_on_the_same_commit_is_flaky() {
    let world = World::start();
    // Fails in the first build of a commit, passes in the second.
    let flaky = format!(
        "jobs:
  one:
    image: {BUSYBOX}
    steps:
      - run: |
          if [ \"$CI_PIPELINE_NUMBER\" = 1 ]; then body='<failure message=\"no luck\"/>'; fi
          echo \"<testsuite><testcase classname='shop' name='guesses'>$body</testcase></testsuite>\" > junit.xml
    reports: {{ junit: junit.xml }}
"
    );
    let first = world.run(&flaky);
    assert_eq!(tests_of(&world, &first)["failed"], 1);
    assert_eq!(tests_of(&world, &first)["flaky"], 0);
    let second = world.start_build();
    world.api().wait_for_build(&text(&second, "id"));
    let found = tests_of(&world, &second);
    assert_eq!((&found["passed"], &found["flaky"]), (&json!(1), &json!(1)), "{found}");
}

#[test]
fn a_report_that_is_none_fails_no_job_and_is_said_on_the_build() {
    let world = World::start();
    let build = world.run(&format!(
        "jobs:
  one:
    image: {BUSYBOX}
    steps:
      - run: |
          echo '<testsuite><testcase name=\"a\"/><testcase' > cut.xml
          echo 'no XML' > none.xml
          head -c 70000000 /dev/zero > large.xml
    reports: {{ junit: ['*.xml'] }}
"
    ));
    assert_eq!(build["status"], "success", "{build}");
    let found = tests_of(&world, &build);
    assert_eq!(found["total"], 1, "{found}");
    let remarks: Vec<String> = found["remarks"].as_array().unwrap().iter().map(|one| text(one, "file")).collect();
    for file in ["cut.xml", "none.xml", "large.xml"] {
        assert!(remarks.iter().any(|remark| remark == file), "{file}: {found}");
    }
}

#[test]
fn a_run_without_a_server_says_which_tests_failed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".longshore.yml"), pipeline(RED, 1)).unwrap();
    let instance = dir.path().file_name().unwrap().to_string_lossy().replace('.', "t").to_lowercase();
    let output = Command::new(program())
        .arg("run")
        .current_dir(dir.path())
        .env("LONGSHORE_DOCKER_HOST", engine::docker_host())
        .env("LONGSHORE_INSTANCE", &instance)
        .output()
        .unwrap();
    engine::remove_all(&instance);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("tests: 1 failed, 1 passed, 0 skipped\n  failed shop divides: no luck\n"), "{printed}");
}

#[test]
fn jobs_that_a_rerun_carries_over_keep_their_reports() {
    let world = World::start();
    let build = world.run(&format!(
        "jobs:
  one:
    image: {BUSYBOX}
    steps: [{{ run: \"echo '<testsuite><testcase name=\\\"a\\\"/></testsuite>' > junit.xml\" }}]
    reports: {{ junit: junit.xml }}
  two:
    image: {BUSYBOX}
    steps: [{{ run: exit 1 }}]
"
    ));
    assert_eq!(job(&build, "one")["status"], "success", "{build}");
    let path = format!("/api/v1/builds/{}/rerun", text(&build, "id"));
    let (status, rerun) = world.api().post(&path, &json!({ "failed_only": true }));
    assert!(status == 201 || status == 202, "{rerun}");
    let rerun = world.api().wait_for_build(&text(&rerun, "id"));
    assert_eq!(tests_of(&world, &rerun)["total"], 1);
}
