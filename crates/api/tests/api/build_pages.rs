//! The page of a build.

use std::collections::BTreeMap;

use longshore_core::{EventName, RecordKind, StepResult, StepStatus, Timestamp, event::PullRequest};
use longshore_store::{steps, tokens::Scope};

use crate::{
    pages::{page, send_form, signed_in},
    sign_in::sign_in,
    world::{Running, World},
};

#[tokio::test]
async fn a_pull_requests_build_says_what_is_to_be_merged_where_and_whence() {
    let world = World::new().await;
    let repo = world.repo("o/r", "gitea", false).await;
    let build = world
        .build_of_event(repo.id, |event| {
            (event.name, event.git_ref) = (EventName::PullRequest, "refs/pull/7/head".to_owned());
            event.url = Some("https://forge.example/o/r/pulls/7".to_owned());
            event.pull_request = Some(PullRequest {
                title: "Sort faster".to_owned(),
                fork: true,
                ..PullRequest::opened(7, "quick", "main")
            });
        })
        .await;
    let page_of_build = page(&world, &format!("/builds/{}", build.id)).await;
    let text = page_of_build.text();
    assert!(
        text.contains(
            "<a href=\"https://forge.example/o/r/pulls/7\" rel=\"noreferrer\">pull request #7</a> <bdi>opened</bdi>"
        ),
        "{text}"
    );
    assert!(text.contains("<bdi>quick</bdi> → <bdi>main</bdi>") && text.contains("from a fork"), "{text}");
    assert!(text.contains("<h1>#1 <bdi>Sort faster</bdi></h1>"), "{text}");
    for list in ["/".to_owned(), format!("/repos/{}", repo.id)] {
        let list = page(&world, &list).await;
        assert!(list.text().contains("<bdi>Sort faster</bdi>") && list.text().contains("<bdi>#7 quick</bdi>"));
    }
}

#[tokio::test]
async fn a_failed_build_says_why() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build(repo.id, "main", &["one"]).await;
    let mut running = world.claim().await;
    for n in 1..=100 {
        running.print(0, longshore_core::Stream::Stdout, format!("line {n}.\n").as_bytes());
    }
    let failure = longshore_core::Outcome::Failure { exit_code: 3, step: "one".to_owned(), out_of_memory: false };
    running.end(failure).await;
    let answer = page(&world, &format!("/builds/{}", build.id)).await;
    let text = answer.text();
    assert!(text.contains("<title>failure: o/r #1</title>"));
    assert!(text.contains("<span class=\"st failure\">failure</span>") && !text.contains("&lt;span"), "{text}");
    assert!(text.contains("step <code>one</code> failed with exit code 3"));
    // The end of its log; each line has its number, which links to it.
    assert!(text.contains("<span class=\"x\">line 81.</span>") && text.contains("<span class=\"x\">line 100.</span>"));
    assert!(!text.contains(">line 80.<"), "twenty lines");
    let job = world.job_of(&build).await;
    assert!(text.contains(&format!("href=\"/jobs/{}#L100\">line 100</a>", job.id)), "{text}");
}

#[tokio::test]
async fn a_step_that_failed_without_a_word_is_not_given_the_words_of_another() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build(repo.id, "main", &["install", "check"]).await;
    let mut running = world.claim().await;
    let exited = longshore_core::Outcome::Failure { exit_code: 3, step: "check".to_owned(), out_of_memory: false };
    running.record(0, RecordKind::StepStarted, b"");
    running.print(0, longshore_core::Stream::Stdout, b"installed\n");
    running.record(0, RecordKind::StepFinished, b"{}");
    running.record(1, RecordKind::StepStarted, b"");
    steps_ended(&world, &running, &[(0, StepStatus::Success), (1, StepStatus::Failure)]).await;
    running.end(exited).await;
    let answer = page(&world, &format!("/builds/{}", build.id)).await;
    let tail = answer.text().split_once("class=\"tail log\"").unwrap().1.split_once("</li>").unwrap().0;
    assert!(tail.contains("<b><bdi>check</bdi></b> <span class=\"quiet\">no output</span>"), "{tail}");
    assert!(!tail.contains("installed") && !tail.contains("#L"), "{tail}");
}

/// Returns how steps ended, by their position from 0.
async fn steps_ended(world: &World, running: &Running, ends: &[(u16, StepStatus)]) {
    let mut tx = world.store.write().await.unwrap();
    for (step, status) in ends {
        steps::started(&mut tx, running.id, 1, *step, Timestamp::now()).await.unwrap();
        let end = StepResult {
            status: *status,
            exit_code: Some(if *status == StepStatus::Success { 0 } else { 9 }),
            signal: None,
            wall_ms: 1,
            cpu_ms: 1,
            peak_memory_bytes: 1,
            out_of_memory: false,
            outputs: BTreeMap::new(),
            summary: String::new(),
        };
        steps::finished(&mut tx, running.id, 1, *step, &end, Timestamp::now()).await.unwrap();
    }
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn what_a_step_in_the_background_said_stands_under_its_name_and_tells_why_it_failed() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build(repo.id, "main", &["serve", "check"]).await;
    let mut running = world.claim().await;
    let (out, err) = (longshore_core::Stream::Stdout, longshore_core::Stream::Stderr);
    running.record(0, RecordKind::StepStarted, b"");
    running.print(0, out, b"listens\n");
    running.record(1, RecordKind::StepStarted, b"");
    running.print(1, out, b"still fine\n");
    running.print(0, err, b"error: bg dies\n");
    for n in 0..40 {
        running.print(1, out, format!("check {n}\n").as_bytes());
    }
    running.record(0, RecordKind::StepFinished, b"{}");
    running.print(1, out, b"done\n");
    running.record(1, RecordKind::StepFinished, b"{}");
    steps_ended(&world, &running, &[(0, StepStatus::Failure), (1, StepStatus::Success)]).await;
    let job = running.id;
    running
        .end(longshore_core::Outcome::Failure { exit_code: 9, step: "serve".to_owned(), out_of_memory: false })
        .await;
    let answer = page(&world, &format!("/builds/{}", build.id)).await;
    let tail = answer.text().split_once("class=\"tail log\"").unwrap().1.split_once("</li>").unwrap().0;
    assert!(tail.contains("<b><bdi>serve</bdi></b>") && tail.contains("#L3\">line 3</a>"), "{tail}");
    assert!(tail.contains(">listens<") && tail.contains("bg dies<") && !tail.contains("check "), "{tail}");

    let answer = page(&world, &format!("/jobs/{job}")).await;
    let line = |n: u64| {
        let (_, line) = answer.text().split_once(&format!("id=\"L{n}\"")).unwrap();
        line.split_once("</div>").unwrap().0.to_owned()
    };
    assert!(line(3).contains("<span class=\"of\">serve</span><span class=\"x\">"), "{}", line(3));
    assert!(!line(1).contains("class=\"of\"") && !line(2).contains("class=\"of\""), "{}", line(2));
    assert!(answer.text().contains("data-open-at=\"3\""), "{}", answer.text());
}

#[tokio::test]
async fn many_failed_jobs_with_long_logs_fit_into_their_builds_page() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build_of_jobs(repo.id, 40, |_| {}).await;
    for _ in 0..40 {
        let mut running = world.claim().await;
        for _ in 0..30 {
            running.print(0, longshore_core::Stream::Stdout, format!("{}\n", "<&\x1b[31m".repeat(2_000)).as_bytes());
        }
        running
            .end(longshore_core::Outcome::Failure { exit_code: 1, step: "one".to_owned(), out_of_memory: false })
            .await;
    }
    let answer = page(&world, &format!("/builds/{}", build.id)).await;
    assert!(answer.body.len() < 60 << 10, "{} bytes", answer.body.len());
    assert!(answer.text().contains("class=\"tail log\""));
}

#[tokio::test]
async fn a_job_that_waits_for_approval_is_approved_or_declined_by_whoever_may() {
    let world = World::with_dispatcher().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build_of_jobs(repo.id, 2, |job| job.approval = Some("deploy to <production>?".to_owned())).await;
    let jobs = longshore_store::jobs::of_build(&world.store, build.id).await.unwrap();
    let address = format!("/builds/{}", build.id);
    let reader = sign_in(&world, Scope::Read).await;
    let (shown, csrf) = signed_in(&world, &address, &reader).await;
    assert!(shown.text().contains("awaiting approval: deploy to &lt;production&gt;?"));
    assert!(!shown.text().contains("Approve</button>"));
    let approve = format!("/jobs/{}/approve", jobs[0].id);
    assert_eq!(send_form(&world, &approve, &reader, format!("csrf={csrf}")).await.status, 403);

    let builder = sign_in(&world, Scope::Build).await;
    let (shown, csrf) = signed_in(&world, &address, &builder).await;
    assert!(!shown.text().contains("Approve</button>"));
    assert_eq!(send_form(&world, &approve, &builder, format!("csrf={csrf}")).await.status, 403);

    let approver = sign_in(&world, Scope::Approve).await;
    let (shown, csrf) = signed_in(&world, &address, &approver).await;
    assert_eq!(shown.text().matches("Approve</button>").count(), 2);
    assert_eq!(send_form(&world, &approve, &approver, "csrf=wrong".to_owned()).await.status, 403);
    let done = send_form(&world, &approve, &approver, format!("csrf={csrf}")).await;
    assert_eq!((done.status, done.header("location")), (303, address.as_str()), "{}", done.text());
    let decline = format!("/jobs/{}/decline", jobs[1].id);
    assert_eq!(send_form(&world, &decline, &approver, format!("csrf={csrf}")).await.status, 303);
    let again = send_form(&world, &approve, &approver, format!("csrf={csrf}")).await;
    assert_eq!((again.status, again.header("content-type")), (409, "text/html; charset=utf-8"));
    let view = world.get(&format!("/api/v1/builds/{}", build.id)).await.json();
    assert_eq!((&view["jobs"][0]["status"], &view["jobs"][0]["asks"]), (&"queued".into(), &serde_json::Value::Null));
    assert_eq!(view["jobs"][1]["status"], "canceled");
    assert_eq!(view["jobs"][0]["approved_by"]["name"], "approve");
    assert_eq!(view["jobs"][1]["declined_by"]["name"], "approve");
    let (after, _) = signed_in(&world, &address, &approver).await;
    assert!(!after.text().contains("Approve</button>"));
    assert!(after.text().contains("test-0</bdi> approved by"), "{}", after.text());
    assert!(after.text().contains("test-1</bdi> declined by"));
}
