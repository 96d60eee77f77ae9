//! Check runs of a GitHub App.

use std::time::Duration;

use longshore_core::Timestamp;
use longshore_reports::{Annotation, Level};
use longshore_store::{
    jobs,
    reports::{self, JobReports, Reporter},
};

use crate::{
    forge,
    world::{World, claim, failure},
};

const COMMIT: &str = "1f0c2d3e4a5b6c7d8e9f00112233445566778899";

/// Runs the only job that waits, which fails and has these annotations.
async fn fail(world: &World, annotations: Vec<Annotation>) {
    let claimed = claim(&world.store).await;
    let (job, attempt) = (claimed.job.id, claimed.attempt);
    let reporter = Reporter {
        repo: world.repo,
        job,
        attempt,
        key: "ci/test".to_owned(),
        number: claimed.build.number,
        branch: Some("main".to_owned()),
        pull_request: None,
        default_branch: None,
        commit: COMMIT.to_owned(),
        tree: COMMIT.to_owned(),
        trusted: true,
    };
    let said = JobReports { annotations, ..JobReports::default() };
    let run = reports::write(&world.store, &reporter, &said, Timestamp::now()).await.unwrap();
    let mut tx = world.store.write().await.unwrap();
    reports::publish(&mut tx, job, attempt, run).await.unwrap();
    jobs::end_attempt(&mut tx, job, attempt, failure(101, "test"), Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
}

fn annotation(line: u32) -> Annotation {
    Annotation {
        level: Level::Error,
        file: Some("src/lib.rs".to_owned()),
        line: Some(line),
        end_line: None,
        column: Some(7),
        title: None,
        message: format!("broken at {line}"),
        tool: Some("clippy".to_owned()),
        rule: Some("unwrap_used".to_owned()),
    }
}

/// Findings without a file, and in files that are not the repository's.
fn elsewhere() -> Vec<Annotation> {
    let of = |file: Option<&str>| Annotation { file: file.map(str::to_owned), ..annotation(1) };
    vec![of(None), of(Some("/etc/passwd")), of(Some("a/../../b"))]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_shows_a_context_as_one_check_run_with_every_annotation_once() {
    let world = World::with_app(true).await;
    let _reporter = world.report();
    let build = world.push(COMMIT, "test").await;
    world.nothing_is_owed().await;
    let mut annotations = elsewhere();
    annotations.extend((1..=120).map(annotation));
    fail(&world, annotations).await;
    world.nothing_is_owed().await;
    let state = world.forge.state();
    assert!(state.statuses.is_empty() && state.refused.is_empty(), "{:?} {:?}", state.statuses, state.refused);
    let [run] = &state.check_runs[..] else { panic!("{:?}", state.check_runs) };
    assert_eq!((&run.body["name"], &run.body["head_sha"]), (&"longshore/ci".into(), &COMMIT.into()));
    assert_eq!(run.body["external_id"], build.id.to_string());
    assert_eq!(run.body["details_url"], format!("https://ci.example/builds/{}", build.id));
    assert_eq!(run.told.first().map(String::as_str), Some("queued"));
    // The conclusion comes with the last of them.
    assert_eq!(run.told.last().map(String::as_str), Some("failure"));
    assert_eq!(run.told.iter().filter(|told| *told == "failure").count(), 1, "{:?}", run.told);
    assert_eq!(run.body["output"]["title"], "test: step `test` failed with exit code 101");
    let summary = run.body["output"]["summary"].as_str().unwrap();
    assert!(summary.contains("/jobs/") && summary.contains("failed with exit code 101"), "{summary}");
    let lines: Vec<u64> = run.annotations.iter().map(|one| one["start_line"].as_u64().unwrap()).collect();
    assert_eq!(lines, (1..=120).collect::<Vec<_>>());
    let first = &run.annotations[0];
    assert_eq!((&first["path"], &first["annotation_level"]), (&"src/lib.rs".into(), &"failure".into()));
    assert_eq!((&first["title"], &first["start_column"]), (&"clippy: unwrap_used".into(), &7.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_kills_and_refusals_a_build_has_one_check_run_and_no_annotation_twice() {
    let world = World::with_app(true).await;
    for round in 0..6_u64 {
        let mut reporter = world.report();
        let build = world.push(COMMIT, "test").await;
        if round % 2 == 0 {
            world.nothing_is_owed().await;
        }
        fail(&world, (1..=180).map(annotation).collect()).await;
        // Somewhere in the middle of its calls.
        for kill in 0..3 {
            tokio::time::sleep(Duration::from_millis(3 + 4 * round + kill)).await;
            drop(reporter);
            world.forge.state().limited = u32::from(kill == 1);
            reporter = world.report();
        }
        world.nothing_is_owed().await;
        drop(reporter);
        let state = world.forge.state();
        let of_build = |run: &&forge::CheckRun| run.body["external_id"] == build.id.to_string();
        let runs: Vec<_> = state.check_runs.iter().filter(of_build).collect();
        let [run] = &runs[..] else { panic!("round {round}: {runs:?}") };
        let lines: Vec<u64> = run.annotations.iter().map(|one| one["start_line"].as_u64().unwrap()).collect();
        assert_eq!(lines, (1..=180).collect::<Vec<_>>(), "round {round}");
        assert_eq!(run.told.last().map(String::as_str), Some("failure"), "round {round}");
    }
    assert_eq!(world.forge.state().check_runs.len(), 6);
    assert!(world.forge.state().statuses.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shown_as_a_status_stays_one_and_the_next_commit_that_may_is_a_check_run() {
    let world = World::with_app(false).await;
    let reporter = world.report();
    world.push(COMMIT, "test").await;
    world.nothing_is_owed().await;
    // The permission is granted, and the token made anew.
    drop(reporter);
    {
        let mut state = world.forge.state();
        let app = state.app.as_mut().unwrap();
        (app.checks, app.tokens) = (true, Vec::new());
    }
    let _reporter = world.report();
    fail(&world, vec![annotation(1)]).await;
    world.nothing_is_owed().await;
    let state = world.forge.state();
    assert!(state.check_runs.is_empty(), "{:?}", state.check_runs);
    assert_eq!(state.statuses.last().unwrap().state, "failure");
}
