//! A job that is tried again.

use longshore_core::{
    JobId, Outcome, RecordKind, Stream,
    plan::{Retry, RetryOn},
};

use crate::{
    pages::{attribute, page},
    world::World,
};

/// Makes a job whose first attempt failed in its second step, each attempt having printed this.
pub(crate) async fn tried_twice(world: &World, first: &[u8], second: &[u8]) -> JobId {
    let repo = world.repo("o/r", "git", false).await;
    let twice = Some(Retry { max: 1, on: vec![RetryOn::Failure] });
    world.build_of_jobs(repo.id, 1, |job| job.retry.clone_from(&twice)).await;
    let mut running = world.claim().await;
    running.record(0, RecordKind::StepStarted, b"");
    running.print(0, Stream::Stdout, first);
    running.record(0, RecordKind::StepFinished, b"{\"status\":\"failure\",\"exit_code\":7}");
    running.end(Outcome::Failure { exit_code: 7, step: "one".to_owned(), out_of_memory: false }).await;
    let mut running = world.claim().await;
    running.print(0, Stream::Stdout, second);
    let id = running.id;
    running.end(Outcome::Success).await;
    id
}

#[tokio::test]
async fn every_try_of_a_job_is_named_on_its_page_and_its_log_is_one_link_away() {
    let world = World::new().await;
    let job = tried_twice(&world, b"of the <first>\n", b"of the second\n").await;
    let newest = page(&world, &format!("/jobs/{job}")).await;
    let text = newest.text();
    assert!(text.contains("of the second") && !text.contains("of the &lt;first"), "{text}");
    let tries = text.split_once("id=\"tries\"").unwrap().1.split_once("</ol>").unwrap().0;
    let link = attribute(
        tries,
        "id=\"try-1\"><span class=\"st failure\">failure</span><span class=\"cut\"><a class=\"name\" data-row href=\"",
    );
    assert_eq!(link, format!("/jobs/{job}?attempt=1"));
    assert!(tries.contains("step <code>one</code> failed with exit code 7"), "{tries}");
    assert!(tries.contains(&format!("href=\"/jobs/{job}\" aria-current=\"page\">Attempt 2</a>")), "{tries}");

    let first = page(&world, link).await;
    let text = first.text();
    assert!(text.contains("of the &lt;first&gt;") && !text.contains("of the second"), "{text}");
    assert!(text.contains("<title>failure: test-0 (attempt 1) · o/r</title>"), "{text}");
    assert!(text.contains(&format!("/api/v1/jobs/{job}/log?attempt=1\" download")), "{text}");
    assert!(
        text.contains("aria-current=\"page\">Attempt 1</a>") && text.contains("data-attempt=\"1\" data-over=\"true\"")
    );
    // The results of its steps, and where each begins in that log.
    let step = text.split_once("id=\"step-1\"").unwrap().1.split_once("</tr>").unwrap().0;
    assert!(
        step.contains("?attempt=1&amp;from=1#L1")
            && step.contains("class=\"st failure\"")
            && step.contains("<td>7</td>"),
        "{step}"
    );
    assert_eq!(page(&world, &format!("/jobs/{job}?attempt=2")).await.status, 200);
    for none in [0, 3] {
        assert_eq!(page(&world, &format!("/jobs/{job}?attempt={none}")).await.status, 404, "{none}");
    }
}

#[tokio::test]
async fn the_parts_of_an_earlier_tries_log_and_what_is_found_in_it_are_that_tries() {
    let world = World::new().await;
    let lines = |word: &str| (0..1_000).map(|n| format!("{word} {n}\n")).collect::<String>();
    let job = tried_twice(&world, lines("first").as_bytes(), lines("second").as_bytes()).await;
    let found = page(&world, &format!("/jobs/{job}?attempt=1&from=1&q=first+77")).await;
    let text = found.text();
    assert!(text.contains("?attempt=1&amp;from=58&amp;q=first+77#L78") && text.contains(">first 0<"), "{text}");
    assert!(text.contains("<input type=\"hidden\" name=\"attempt\" value=\"1\">"), "the next search is in it too");
    let after = attribute(text, "aria-label=\"Parts of the log\"><a href=\"").replace("&amp;", "&");
    let after = page(&world, &format!("/jobs/{job}{after}")).await;
    assert!(after.text().contains(">first 300<"), "{}", after.text());
    let log = format!("/api/v1/jobs/{job}/log");
    assert_eq!(world.get(&format!("{log}/lines?attempt=1&tail=1")).await.json()["items"][0]["text"], "first 999");
    assert_eq!(world.get(&format!("{log}/lines?tail=1")).await.json()["items"][0]["text"], "second 999");
    assert_eq!(world.get(&format!("{log}/search?attempt=1&q=second")).await.json()["count"], 0);
    assert_eq!(world.get(&format!("{log}/outline?attempt=1")).await.json()["steps"].as_array().unwrap().len(), 2);
    for path in ["lines?attempt=3", "outline?attempt=3", "search?q=a&attempt=3"] {
        assert_eq!(world.get(&format!("{log}/{path}")).await.status, 404, "{path}");
    }
}
