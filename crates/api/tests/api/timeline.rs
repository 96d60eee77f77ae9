//! The timeline on a build's page.

use longshore_core::{Outcome, Timestamp};
use longshore_store::{
    jobs::{self, Preparing},
    steps,
};

use crate::world::World;

#[tokio::test]
async fn a_builds_page_shows_where_the_time_went_and_what_is_usual() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build(repo.id, "main", &["first <b>", "second"]).await;
    let page = format!("/builds/{}", build.id);
    let waiting = world.get(&page).await;
    assert!(waiting.text().contains("No estimate yet"), "{}", waiting.text());
    let running = world.claim().await;
    let after = |ms| Timestamp::from_millis(Timestamp::now().as_millis() + ms);
    let mut tx = world.store.write().await.unwrap();
    jobs::mark_preparing(&mut tx, running.id, 1, Preparing::Pulling, after(10)).await.unwrap();
    tx.commit().await.unwrap();
    let pulling = world.get(&page).await;
    assert!(pulling.text().contains("pulling the image"), "{}", pulling.text());
    let mut tx = world.store.write().await.unwrap();
    jobs::mark_preparing(&mut tx, running.id, 1, Preparing::Starting, after(30)).await.unwrap();
    jobs::mark_started(&mut tx, running.id, 1, after(50)).await.unwrap();
    steps::started(&mut tx, running.id, 1, 0, after(100)).await.unwrap();
    tx.commit().await.unwrap();
    let live = world.get(&page).await;
    assert!(live.text().contains("<rect class=\"step running\""), "{}", live.text());
    assert!(live.text().contains("data-grows"));
    running.end(Outcome::Success).await;
    let over = world.get(&page).await;
    for part in ["waiting", "image ", "start ", "checkout ", "first &lt;b&gt;", "Show as table"] {
        assert!(over.text().contains(part), "{part}: {}", over.text());
    }
    assert!(!over.text().contains("data-grows"));

    let next = world.build(repo.id, "main", &["one"]).await;
    world.claim().await;
    let next = world.get(&format!("/builds/{}", next.id)).await;
    assert!(next.text().contains("usually take"), "{}", next.text());
}

#[tokio::test]
async fn many_jobs_of_many_steps_fit_into_their_builds_page_and_each_has_its_bar() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let failure = Outcome::Failure { exit_code: 1, step: "last".to_owned(), out_of_memory: false };
    for (all, ends, least) in [(40, Outcome::Success, 160), (40, failure.clone(), 80), (80, failure, 80)] {
        let build = world
            .build_of_jobs(repo.id, all, |job| {
                let step = job.steps[0].clone();
                job.name = format!("{} (ubuntu-24.04, rust 1.95)", job.name);
                job.steps = (0..40)
                    .map(|n| longshore_core::StepPlan { name: format!("Step number {n}"), ..step.clone() })
                    .collect();
            })
            .await;
        for _ in 0..all {
            let mut running = world.claim().await;
            let start = Timestamp::now().as_millis();
            let at = |n: u16| Timestamp::from_millis(start + i64::from(n) * 1000);
            let mut tx = world.store.write().await.unwrap();
            jobs::mark_started(&mut tx, running.id, 1, at(0)).await.unwrap();
            for step in 0..40 {
                steps::started(&mut tx, running.id, 1, step, at(step)).await.unwrap();
            }
            tx.commit().await.unwrap();
            running.print(0, longshore_core::Stream::Stdout, "error: it broke <here>\n".repeat(30).as_bytes());
            running.end(ends.clone()).await;
        }
        let answer = world.get(&format!("/builds/{}", build.id)).await;
        assert!(answer.body.len() < 60 << 10, "{} bytes", answer.body.len());
        let text = answer.text();
        let (bars, parts) = (text.matches("preserveAspectRatio").count(), text.matches("<rect").count());
        assert!(bars == 40 && parts >= least, "{bars} bars, {parts} parts");
        assert!(text.contains(" more phases"), "{text}");
    }
}

#[tokio::test]
async fn jobs_of_several_pipelines_are_called_by_both_names_wherever_they_stand() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let two = world
        .build_of_jobs(repo.id, 2, |job| {
            if job.name == "test-1" {
                (job.pipeline, job.key) = ("docs".to_owned(), "docs/test-1".to_owned());
            }
        })
        .await;
    let one = world.build_of_jobs(repo.id, 2, |_| {}).await;
    let said = async |build: &longshore_store::builds::Build, name: &str| {
        let page = world.get(&format!("/builds/{}", build.id)).await;
        page.text().matches(&format!("<bdi>{name}</bdi>")).count()
    };
    // On its bar, in the table and in the list.
    assert_eq!((said(&two, "ci/test-0").await, said(&two, "docs/test-1").await), (3, 3));
    assert_eq!((said(&one, "test-0").await, said(&one, "ci/test-0").await), (3, 0));
}
