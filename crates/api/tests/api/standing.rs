//! How pages describe builds: waiting and for what, canceled, or with a broken file; and what became of a delivery.

use longshore_core::{Diagnostic, Outcome, Severity, Span, Timestamp};
use longshore_store::{
    builds,
    deliveries::{self, DeliveryEnd},
};

use crate::{pages::page, world::World};

#[tokio::test]
async fn a_build_of_which_nothing_is_under_way_says_that_it_waits_and_for_what() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world
        .build_of_jobs(repo.id, 2, |job| {
            if job.name == "test-1" {
                job.approval = Some("Deploy?".to_owned());
            }
        })
        .await;
    let of_build = format!("/builds/{}", build.id);
    let lists = ["/".to_owned(), format!("/repos/{}", repo.id)];
    let running = world.claim().await;
    let shown = page(&world, &of_build).await;
    assert!(shown.text().contains("<title>running: o/r #1</title>") && shown.text().contains("running "));
    assert!(!shown.text().contains("id=\"waits\""));

    running.end(Outcome::Success).await;
    let view = world.get(&format!("/api/v1{of_build}")).await.json();
    assert_eq!((&view["status"], &view["reason"]), (&"running".into(), &"test-1: awaiting approval: Deploy?".into()));
    let shown = page(&world, &of_build).await;
    for words in [
        "<title>waiting: o/r #1</title>",
        "href=\"/assets/blocked.",
        "<span class=\"st blocked\">waiting</span>",
        "id=\"waits\"",
        "<bdi>awaiting approval: Deploy?</bdi>",
        "awaiting approval ",
        "<rect class=\"wait\"",
    ] {
        assert!(shown.text().contains(words), "{words}: {}", shown.text());
    }
    // The finished part fills most of the timeline, however long the build waits.
    let axis = shown.text().split("id=\"timeline\"").nth(1).unwrap().split('>').next().unwrap().to_owned();
    assert!(!axis.contains("data-grows"), "{axis}");
    assert_eq!(page(&world, &of_build).await.text().matches(&axis).count(), 1, "{axis}");
    for list in &lists {
        let shown = page(&world, list).await;
        assert!(shown.text().contains("<span class=\"st blocked\">waiting</span>"), "{}", shown.text());
        assert!(shown.text().contains("test-1: awaiting approval: Deploy?"), "{}", shown.text());
        assert!(!shown.text().contains("st running"), "{}", shown.text());
    }
    let rows = async |status: &str| {
        let found = page(&world, &format!("/repos/{}?status={status}", repo.id)).await;
        found.text().matches("<li id=\"build-").count()
    };
    assert_eq!((rows("blocked").await, rows("running").await), (1, 0));
}

#[tokio::test]
async fn a_canceled_build_says_what_the_cancel_met_and_is_no_failure() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    for claims in 0..3 {
        let build = world.build_of_jobs(repo.id, 2, |_| {}).await;
        let mut running = Vec::new();
        for _ in 0..claims {
            running.push(world.claim().await);
        }
        let mut tx = world.store.write().await.unwrap();
        builds::cancel(&mut tx, build.id, Timestamp::now()).await.unwrap();
        tx.commit().await.unwrap();
        for running in running {
            running.end(Outcome::Canceled).await;
        }
        let shown = page(&world, &format!("/builds/{}", build.id)).await;
        let (note, clock) = match claims {
            0 => ("Canceled before any job started", "queued "),
            1 => ("Canceled while <code>test-0</code> was running", "ran "),
            _ => ("Canceled while <code>test-0</code>, <code>test-1</code> were running", "ran "),
        };
        assert!(shown.text().contains(note) && shown.text().contains(clock), "{}", shown.text());
        assert!(!shown.text().contains("note bad") && !shown.text().contains("took "), "{}", shown.text());
    }
}

fn finding(severity: Severity, message: &str) -> Diagnostic {
    Diagnostic {
        code: "LS099".to_owned(),
        severity,
        file: ".longshore.yml".to_owned(),
        span: Span { line: 3, column: 5, length: 6 },
        message: message.to_owned(),
        help: Some("write `image`".to_owned()),
        source: Some("    imagee: <b>".to_owned()),
    }
}

#[tokio::test]
async fn errors_of_a_pipeline_stand_first_and_warnings_last_and_folded() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let good = world.build_with(repo.id, |new| new.diagnostics = vec![finding(Severity::Warning, "odd")]).await;
    let shown = page(&world, &format!("/builds/{}", good.id)).await;
    let place = |words: &str| shown.text().find(words).unwrap_or_else(|| panic!("no {words}: {}", shown.text()));
    assert!(place("id=\"jobs\"") < place("<details id=\"warnings\">"));
    assert!(place("1 pipeline warning") < place("warning[LS099]"));
    assert!(!shown.text().contains("finding error"));

    let both = vec![finding(Severity::Warning, "odd"), finding(Severity::Error, "wrong")];
    let broken = world.build_with(repo.id, |new| new.diagnostics = both).await;
    let shown = page(&world, &format!("/builds/{}", broken.id)).await;
    let place = |words: &str| shown.text().find(words).unwrap_or_else(|| panic!("no {words}: {}", shown.text()));
    assert!(place("error[LS099]") < place("<details id=\"warnings\">"));
    place("    <mark>imagee</mark>: &lt;b&gt;</pre>");
    place("write <code>image</code>");
}

#[tokio::test]
async fn a_delivery_says_which_builds_it_became() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let id = world.deliver(repo.id, "k").await;
    let build = world.build_with(repo.id, |new| new.delivery = Some(id)).await;
    let mut tx = world.store.write().await.unwrap();
    deliveries::finish(&mut tx, id, &DeliveryEnd::Done { note: None }, Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
    let shown = page(&world, &format!("/repos/{}/deliveries", repo.id)).await;
    assert!(shown.text().contains(&format!("<a href=\"/builds/{}\">build #1</a>", build.id)), "{}", shown.text());
}
