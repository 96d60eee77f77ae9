//! Summaries that steps wrote about themselves.

use std::collections::BTreeMap;

use longshore_core::{Outcome, StepResult, StepStatus, Timestamp};
use longshore_store::steps;

use crate::{
    pages::page,
    world::{Running, World},
};

/// Ends a running job of one step that wrote this summary.
pub(crate) async fn ended(world: &World, running: Running, summary: &str) {
    let end = StepResult {
        status: StepStatus::Success,
        exit_code: Some(0),
        signal: None,
        wall_ms: 1,
        cpu_ms: 1,
        peak_memory_bytes: 1,
        out_of_memory: false,
        outputs: BTreeMap::new(),
        summary: summary.to_owned(),
    };
    let mut tx = world.store.write().await.unwrap();
    steps::started(&mut tx, running.id, 1, 0, Timestamp::now()).await.unwrap();
    steps::finished(&mut tx, running.id, 1, 0, &end, Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
    running.end(Outcome::Success).await;
}

#[tokio::test]
async fn what_a_step_wrote_about_itself_stands_on_the_pages_of_its_job_and_its_build() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build(repo.id, "main", &["measure"]).await;
    let running = world.claim().await;
    let job = running.id;
    let summary = "### Coverage\n\n| file | % |\n|---|---|\n| a.rs | **93** |\n\n<script>alert(1)</script>\n\n\
                   [more](https://a.example/x) ![plot](https://a.example/plot.png) [no](javascript:alert(1))\n";
    ended(&world, running, summary).await;
    for path in [format!("/jobs/{job}"), format!("/builds/{}", build.id)] {
        let answer = page(&world, &path).await;
        let (_, words) = answer.text().split_once("<div class=\"markdown\">").unwrap_or_else(|| panic!("{path}"));
        assert!(words.starts_with("<h3>Coverage</h3>") && words.contains("<td><strong>93</strong></td>"), "{words}");
        assert!(words.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{words}");
        let link =
            |address: &str| format!("<a rel=\"nofollow noopener noreferrer\" href=\"https://a.example/{address}\">");
        assert!(words.contains(&link("x")) && words.contains(&link("plot.png")), "{words}");
        assert!(!answer.text().contains("<img") && !answer.text().contains("href=\"javascript"), "{words}");
    }
    let page_of_build = page(&world, &format!("/builds/{}", build.id)).await;
    assert!(page_of_build.text().contains(&format!("<a href=\"/jobs/{job}#summary\">")), "{}", page_of_build.text());
}

#[tokio::test]
async fn long_summaries_of_many_jobs_fit_into_the_pages_and_what_is_left_out_is_said() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build_of_jobs(repo.id, 60, |_| {}).await;
    let mut last = None;
    for _ in 0..60 {
        let mut running = world.claim().await;
        for n in 0..1_000 {
            running.print(0, longshore_core::Stream::Stdout, format!("line {n} <&\n").as_bytes());
        }
        last = Some(running.id);
        ended(&world, running, &"- **<&>** `\"`\n".repeat(6_000)).await;
    }
    let of_build = page(&world, &format!("/builds/{}", build.id)).await;
    assert!(of_build.body.len() < 60 << 10, "{} bytes", of_build.body.len());
    assert!(of_build.text().contains("more on the pages of their jobs"), "{}", of_build.text());
    let of_job = page(&world, &format!("/jobs/{}", last.unwrap())).await;
    assert!(of_job.body.len() < 60 << 10, "{} bytes", of_job.body.len());
    assert!(of_job.text().contains("Continues in the") && of_job.text().contains("id=\"L1\""), "{}", of_job.text());
}
