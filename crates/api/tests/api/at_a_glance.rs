//! A glance at the pages shows how a repository stands, which job of many failed and in which line, what a build
//! waits for, and what its waits do not spoil.

use longshore_core::{EventName, Outcome, RecordKind, Stream, Timestamp, event::PullRequest, plan::Need};
use longshore_store::{builds, jobs};

use crate::{
    pages::page,
    tries::tried_twice,
    world::{Running, World},
};

fn failure(step: &str) -> Outcome {
    Outcome::Failure { exit_code: 3, step: step.to_owned(), out_of_memory: false }
}

/// Runs the claimed job to its end as one step that printed this.
async fn fail(mut running: Running, printed: &[u8]) {
    running.record(0, RecordKind::StepStarted, b"");
    running.print(0, Stream::Stdout, printed);
    running.record(0, RecordKind::StepFinished, b"{\"status\":\"failure\",\"exit_code\":3}");
    running.end(failure("one")).await;
}

#[tokio::test]
async fn a_pull_request_is_not_how_its_repository_stands() {
    let world = World::new().await;
    let repo = world.repo("o/r", "gitea", false).await;
    let main = world.build(repo.id, "main", &["one"]).await;
    world.claim().await.end(Outcome::Success).await;
    for fork in [true, false] {
        world
            .build_of_event(repo.id, |event| {
                event.name = EventName::PullRequest;
                event.git_ref = "refs/pull/7/head".to_owned();
                event.pull_request = Some(PullRequest {
                    title: "From elsewhere".to_owned(),
                    fork,
                    ..PullRequest::opened(7, "main", "main")
                });
            })
            .await;
        world.claim().await.end(failure("one")).await;
    }
    let text = page(&world, "/").await.text().to_owned();
    let row = text.split_once(&format!("id=\"repo-{}\"", repo.id)).unwrap().1.split_once("</li>").unwrap().0;
    assert!(row.contains("st success") && row.contains(&format!("/builds/{}\">#1</a>", main.id)), "{row}");
    assert!(!row.contains("failure") && !row.contains("From elsewhere"), "{row}");
    assert_eq!(row.matches("<path class=").count(), 1, "{row}");
}

#[tokio::test]
async fn every_job_of_a_large_build_is_on_a_page_and_the_one_that_failed_is_first() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build_of_jobs(repo.id, 130, |_| {}).await;
    for n in 0..130 {
        let running = world.claim().await;
        if n == 128 { fail(running, b"error: only here\n").await } else { running.end(Outcome::Success).await }
    }
    let address = format!("/builds/{}", build.id);
    let first = page(&world, &address).await.text().to_owned();
    assert!(first.len() < 60 << 10, "{}", first.len());
    let jobs = first.split_once("id=\"jobs\"").unwrap().1;
    let name = jobs.split_once("data-row").unwrap().1.split_once("</bdi>").unwrap().0;
    assert!(name.ends_with("<bdi>test-128"), "{name}");
    let timeline = first.split_once("id=\"timeline\"").unwrap().1.split_once("</ol>").unwrap().0;
    assert!(timeline.contains("<bdi>test-128</bdi>"), "{timeline}");
    let mut names = std::collections::BTreeSet::new();
    for number in 1..=3 {
        let text = page(&world, &format!("{address}?page={number}")).await.text().to_owned();
        let listed = text.split_once("id=\"jobs\"").unwrap().1.split_once("</ol>").unwrap().0;
        names.extend(
            listed
                .split("data-row")
                .skip(1)
                .map(|row| row.split_once("<bdi>").unwrap().1.split_once("</bdi>").unwrap().0.to_owned()),
        );
        assert_eq!(text.contains("rel=\"next\""), number < 3, "{number}");
        assert_eq!(text.contains("rel=\"prev\""), number > 1, "{number}");
    }
    assert_eq!(names.len(), 130);
}

#[tokio::test]
async fn the_box_of_a_failed_build_has_the_first_error_of_each_failed_job_and_the_log_opens_there() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build_of_jobs(repo.id, 3, |_| {}).await;
    let mut failed = Vec::new();
    for printed in [
        "fine\n\x1b[31merror: no <such> file\x1b[0m\nerror: a later one\n".to_owned(),
        "error: of the second\n".to_owned(),
    ] {
        let running = world.claim().await;
        failed.push(running.id);
        fail(running, format!("{printed}{}", "after it\n".repeat(400)).as_bytes()).await;
    }
    world.claim().await.end(Outcome::Success).await;
    let text = page(&world, &format!("/builds/{}", build.id)).await.text().to_owned();
    let note = text.split_once("id=\"note\"").unwrap().1.split_once("</div>").unwrap().0;
    assert!(note.contains(&format!("href=\"/jobs/{}#L2\"", failed[0])), "{note}");
    assert!(note.contains("<code><bdi>error: no &lt;such&gt; file</bdi></code>"), "{note}");
    assert!(
        note.contains(&format!("href=\"/jobs/{}#L1\"", failed[1])) && note.contains("error: of the second"),
        "{note}"
    );
    assert!(!note.contains("a later one"), "{note}");
    // The reason names both.
    assert!(note.contains("test-0: step") && note.contains("test-1: step"), "{note}");
    let log = page(&world, &format!("/jobs/{}", failed[0])).await.text().to_owned();
    assert!(log.contains("data-open-at=\"2\" data-open-align=\"center\"") && log.contains("id=\"L2\""), "{log}");
}

#[tokio::test]
async fn a_job_that_may_fail_does_not_look_like_a_failure() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build_of_jobs(repo.id, 2, |job| job.continue_on_error = job.name == "test-0").await;
    fail(world.claim().await, b"error: allowed\n").await;
    world.claim().await.end(Outcome::Success).await;
    let address = format!("/builds/{}", build.id);
    assert_eq!(world.get(&format!("/api/v1{address}")).await.json()["jobs"][0]["continue_on_error"], true);
    let text = page(&world, &address).await.text().to_owned();
    assert!(text.contains("<title>success: o/r #1</title>"), "{text}");
    assert!(
        text.contains("<span class=\"st ignored\">failure</span>") && text.contains("allowed to fail: step"),
        "{text}"
    );
    assert!(
        !text.contains("st failure") && !text.contains("class=\"tail log\"") && !text.contains("Rerun failed"),
        "{text}"
    );
    assert!(text.contains("rect class=\"step ignored\"") || !text.contains("step failure"), "{text}");
}

#[tokio::test]
async fn an_earlier_attempt_is_no_wait() {
    let world = World::new().await;
    let job = tried_twice(&world, b"first\n", b"second\n").await;
    let build = world.get(&format!("/api/v1/jobs/{job}")).await.json()["build"].as_str().unwrap().to_owned();
    let text = page(&world, &format!("/builds/{build}")).await.text().to_owned();
    assert!(text.contains("<rect class=\"step failure\"") && text.contains("<title>attempt 1: "), "{text}");
    assert_eq!(text.matches("<rect class=\"wait\" x=").count(), 3, "two waits, and the legend's: {text}");
}

#[tokio::test]
async fn a_wait_for_people_stretches_no_timeline_and_spoils_no_estimate() {
    let world = World::with_dispatcher().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world
        .build_of_jobs(repo.id, 2, |job| {
            if job.name == "test-1" {
                job.approval = Some("Deploy?".to_owned());
                job.needs = vec![Need {
                    key: "ci/test-0".to_owned(),
                    job: "test-0".to_owned(),
                    optional: false,
                    ..longshore_core::plan::Need::default()
                }];
            }
        })
        .await;
    world.claim().await.end(Outcome::Success).await;
    let asked = jobs::of_build(&world.store, build.id).await.unwrap().remove(1);
    // Three hours later.
    let later = |minutes: i64| Timestamp::from_millis(Timestamp::now().as_millis() + minutes * 60_000);
    let by =
        longshore_core::access::Actor { name: "ada".to_owned(), via: longshore_core::access::Via::Token, token: None };
    let mut tx = world.store.write().await.unwrap();
    jobs::approve(&mut tx, asked.id, &by, later(180)).await.unwrap();
    let claimed = jobs::claim_next(&mut tx, later(180)).await.unwrap().unwrap();
    jobs::end_attempt(&mut tx, claimed.job.id, claimed.attempt, Outcome::Success, later(181)).await.unwrap();
    tx.commit().await.unwrap();
    let text = page(&world, &format!("/builds/{}", build.id)).await.text().to_owned();
    let span = text.split_once("data-span=\"").unwrap().1.split_once('"').unwrap().0.parse::<u64>().unwrap();
    assert!((60_000..90_000).contains(&span), "{span}: {text}");
    assert!(
        text.contains("awaiting approval 3 h")
            || text.contains("2 h 59 min awaiting approval")
            || text.contains("3 h awaiting approval"),
        "{text}"
    );
    assert!(text.contains("took 1 min"), "{text}");
    assert_eq!(builds::usual_ms(&world.store, repo.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_job_says_on_its_own_page_and_its_builds_why_it_waits() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world
        .build_of_jobs(repo.id, 2, |job| {
            if job.name == "test-1" {
                let (key, job_name) = ("ci/test-0".to_owned(), "test-0".to_owned());
                job.needs = vec![Need { key, job: job_name, optional: false, artifacts: Vec::new() }];
            }
        })
        .await;
    let of_build = page(&world, &format!("/builds/{}", build.id)).await.text().to_owned();
    let all = jobs::of_build(&world.store, build.id).await.unwrap();
    for (name, why) in
        [("test-0", "waiting for capacity (2 concurrent jobs)"), ("test-1", "waiting for <code>test-0</code>")]
    {
        let job = all.iter().find(|job| job.name == name).unwrap();
        let own = page(&world, &format!("/jobs/{}", job.id)).await.text().to_owned();
        for text in [&of_build, &own] {
            assert!(text.contains(why), "{why}: {text}");
        }
    }
}

#[tokio::test]
async fn what_was_searched_for_takes_the_place_of_all_other_lists() {
    let world = World::new().await;
    let (one, other) = (world.repo("o/one", "git", false).await, world.repo("o/other", "git", false).await);
    world.build(one.id, "main", &["one"]).await;
    world.build(other.id, "main", &["one"]).await;
    let all = page(&world, "/").await.text().to_owned();
    assert!(all.contains("id=\"busy\""), "{all}");
    let place = |words: &str| all.find(words).unwrap();
    assert!(place("id=\"repos\"") < place("id=\"busy\""), "the repositories stay where they are when builds start");
    let found = page(&world, "/?q=other").await.text().to_owned();
    assert!(found.contains("o/other") && !found.contains("o/one") && !found.contains("id=\"busy\""), "{found}");
}
