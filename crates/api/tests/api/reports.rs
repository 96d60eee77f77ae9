//! Reports of jobs, in the API and on pages.

use std::fmt::Write as _;

use longshore_core::{JobId, Outcome, Timestamp};
use longshore_reports::{Annotations, CoverageReader, Tests};
use longshore_store::{
    builds::Build,
    reports::{self, JobReports, Reporter},
    tests,
};

use crate::{pages::page, world::World};

fn read(junit: &str, lcov: &str, said: &[&str]) -> JobReports {
    let mut tests = Tests::default();
    tests.read_junit("target/junit.xml", junit.as_bytes());
    let mut coverage = CoverageReader::default();
    if !lcov.is_empty() {
        coverage.read("lcov.info", lcov.as_bytes());
    }
    let mut annotations = Annotations::default();
    for line in said {
        annotations.read_line(line);
    }
    let tests = tests.finish();
    JobReports {
        tests: tests.tests,
        coverage: coverage.finish().0,
        annotations: annotations.finish().items,
        remarks: tests.remarks,
    }
}

async fn write(world: &World, build: &Build, job: JobId, what: &JobReports) {
    let reporter = Reporter {
        repo: build.repo,
        job,
        attempt: 1,
        key: "ci/test".to_owned(),
        number: build.number,
        branch: build.event.branch().map(str::to_owned),
        pull_request: None,
        default_branch: None,
        commit: build.event.commit.clone(),
        tree: build.number.to_string(),
        trusted: true,
    };
    let run = reports::write(&world.store, &reporter, what, Timestamp::now()).await.unwrap();
    let mut tx = world.store.write().await.unwrap();
    reports::publish(&mut tx, job, 1, run).await.unwrap();
    tx.commit().await.unwrap();
}

/// Has a job of a build report this. Returns its first test.
pub(crate) async fn reported(world: &World, build: &Build, job: JobId, junit: &str) -> i64 {
    write(world, build, job, &read(junit, "", &[])).await;
    let runs = tests::of_build(&world.store, build.id).await.unwrap();
    tests::list(&world.store, &runs, None, None, 1).await.unwrap().items[0].test
}

/// A build on `main` whose only job reported this and is over.
async fn build(world: &World, repo: longshore_core::RepoId, what: &JobReports) -> Build {
    let build = world.build(repo, "main", &["test"]).await;
    let running = world.claim().await;
    let job = running.id;
    running.end(Outcome::Success).await;
    write(world, &build, job, what).await;
    build
}

const TWO: &str = "<testsuite>
    <testcase classname='shop' name='adds' time='0.5'/>
    <testcase classname='shop' name='divides &lt;by&gt; 0'><failure message='no &lt;luck&gt;'>assert 1 == 2</failure></testcase>
</testsuite>";

#[tokio::test]
async fn tests_come_failures_first_with_what_they_are_compared_with() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let green = TWO.replace("<failure message='no &lt;luck&gt;'>assert 1 == 2</failure>", "");
    build(&world, repo.id, &read(&green, "", &[])).await;
    let red = build(&world, repo.id, &read(TWO, "", &[])).await;
    let answer = world.get(&format!("/api/v1/builds/{}/tests", red.id)).await.json();
    assert_eq!(
        (&answer["total"], &answer["failed"], &answer["passed"], &answer["new_failures"]),
        (&2.into(), &1.into(), &1.into(), &1.into())
    );
    assert_eq!(answer["compared_with"], 1);
    let first = &answer["items"][0];
    assert_eq!((&first["name"], &first["status"]), (&"divides <by> 0".into(), &"failed".into()));
    assert_eq!((&first["message"], &first["output"]), (&"no <luck>".into(), &"assert 1 == 2".into()));
    assert_eq!((&first["first_failed"], &first["new"], &first["flaky"]), (&2.into(), &true.into(), &false.into()));
    assert_eq!(answer["items"][1]["duration_ms"], 500);

    let one = world.get(&format!("/api/v1/builds/{}/tests?limit=1", red.id)).await.json();
    let next = one["next"].as_str().unwrap();
    let two = world.get(&format!("/api/v1/builds/{}/tests?limit=1&before={next}", red.id)).await.json();
    assert_eq!((&two["items"][0]["name"], &two["next"]), (&"adds".into(), &serde_json::Value::Null));
    let passed = world.get(&format!("/api/v1/builds/{}/tests?status=passed", red.id)).await.json();
    assert_eq!(passed["items"].as_array().unwrap().len(), 1);
    for wrong in ["status=green", "before=x", "before=1-2", "limit=0"] {
        assert_eq!(world.get(&format!("/api/v1/builds/{}/tests?{wrong}", red.id)).await.status, 400, "{wrong}");
    }

    let history = world.get(&format!("/api/v1/tests/{}/history", first["id"].as_str().unwrap())).await.json();
    let statuses: Vec<_> = history["items"].as_array().unwrap().iter().map(|past| past["status"].clone()).collect();
    assert_eq!(statuses, ["failed", "passed"]);
}

#[tokio::test]
async fn coverage_and_annotations_are_answered_with_their_places() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    build(&world, repo.id, &read(TWO, "SF:a.c\nDA:1,1\nDA:2,0\nend_of_record\n", &[])).await;
    let said = ["::error file=a.c,line=2,col=3::broken", "::warning::beware"];
    let now =
        build(&world, repo.id, &read(TWO, "SF:a.c\nDA:1,1\nDA:2,1\nDA:3,1\nDA:4,0\nend_of_record\n", &said)).await;
    let answer = world.get(&format!("/api/v1/builds/{}/coverage", now.id)).await.json();
    assert_eq!(
        (&answer["lines"]["percent"], &answer["change"], &answer["compared_with"]),
        (&75.0.into(), &25.0.into(), &1.into())
    );
    assert_eq!((&answer["items"][0]["path"], &answer["items"][0]["missed"]), (&"a.c".into(), &"4".into()));
    let answer = world.get(&format!("/api/v1/builds/{}/annotations?limit=1", now.id)).await.json();
    let first = &answer["items"][0];
    assert_eq!(
        (&first["file"], &first["line"], &first["column"], &first["level"]),
        (&"a.c".into(), &2.into(), &3.into(), &"error".into())
    );
    let next = answer["next"].as_str().unwrap();
    let answer = world.get(&format!("/api/v1/builds/{}/annotations?limit=1&before={next}", now.id)).await.json();
    assert_eq!((&answer["items"][0]["message"], &answer["next"]), (&"beware".into(), &serde_json::Value::Null));

    let page_of_build = page(&world, &format!("/builds/{}", now.id)).await;
    for words in ["75.00 %", "+25.00", "compared with #1", "a.c</bdi>:2:3", "broken"] {
        assert!(page_of_build.text().contains(words), "{words}: {}", page_of_build.text());
    }
    let coverage = page(&world, &format!("/builds/{}/coverage", now.id)).await;
    assert!(coverage.text().contains("75.00 %"), "{}", coverage.text());
    let annotations = page(&world, &format!("/builds/{}/annotations", now.id)).await;
    assert!(annotations.text().contains("beware"), "{}", annotations.text());
}

#[tokio::test]
async fn a_builds_page_shows_failures_with_their_output_as_text() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let red = build(&world, repo.id, &read(TWO, "", &[])).await;
    let answer = page(&world, &format!("/builds/{}", red.id)).await;
    assert!(answer.text().contains("<pre>assert 1 == 2</pre>"), "{}", answer.text());
    assert!(answer.text().contains("divides &lt;by&gt; 0"), "{}", answer.text());
    let all = page(&world, &format!("/builds/{}/tests", red.id)).await;
    assert!(all.text().contains("adds") && all.text().contains("Failed 1"), "{}", all.text());
    let listed = world.get(&format!("/api/v1/builds/{}/tests", red.id)).await.json();
    let history = page(&world, &format!("/tests/{}", listed["items"][0]["id"].as_str().unwrap())).await;
    assert!(history.text().contains("#1</a>") && history.text().contains("st failed"), "{}", history.text());
    assert_eq!(world.get("/tests/12345").await.status, 404);
}

#[tokio::test]
async fn a_report_that_cannot_be_read_is_said_on_the_builds_page() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let red = build(&world, repo.id, &read("<html/>", "", &[])).await;
    let answer = page(&world, &format!("/builds/{}", red.id)).await;
    assert!(
        answer.text().contains("target/junit.xml") && answer.text().contains("not a report of tests"),
        "{}",
        answer.text()
    );
    let listed = world.get(&format!("/api/v1/builds/{}/tests", red.id)).await.json();
    assert_eq!(listed["remarks"][0]["file"], "target/junit.xml");
}

#[tokio::test]
async fn pages_stay_small_whatever_tests_are_called_and_print() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let mut junit = String::from("<testsuite>");
    for n in 0..300 {
        let long = "&lt;'\"".repeat(2_000);
        write!(
            junit,
            "<testcase classname='{n}{long}' name='{n} {}' time='{n}'><failure message='{}'>{}</failure></testcase>",
            "\u{202e}".repeat(300),
            "&lt;".repeat(2_000),
            "&lt;&amp;".repeat(4_000),
        )
        .unwrap();
    }
    let said: Vec<String> =
        (0..300).map(|n| format!("::error file={},line=1::{n}{}", "<".repeat(600), "<".repeat(3_000))).collect();
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    let lcov: String = (0..300).map(|n| format!("SF:{n}{}\nDA:1,0\nend_of_record\n", "<".repeat(500))).collect();
    let red = build(&world, repo.id, &read(&(junit + "</testsuite>"), &lcov, &said)).await;
    for path in ["", "/tests", "/coverage", "/annotations"] {
        let answer = page(&world, &format!("/builds/{}{path}", red.id)).await;
        assert!(answer.body.len() <= 60 << 10, "{path}: {}", answer.body.len());
    }
}
