//! How branches and pipelines stand, for pages of others and for desktop tools.

use longshore_core::Outcome;

use crate::{
    client::send,
    world::{ADMIN, World},
};

#[tokio::test]
async fn badges_are_of_a_branch_and_of_a_pipeline_and_cc_xml_of_what_the_caller_may_see() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    world.repo("o/open", "git", true).await;
    world
        .build_of_jobs(repo.id, 2, |job| {
            // The jobs' names are numbered.
            job.pipeline = if job.key.ends_with('0') { "lint".to_owned() } else { "test".to_owned() };
        })
        .await;
    world.claim().await.end(Outcome::Success).await;
    let running = world.claim().await;
    let cc = async || world.get("/cc.xml").await.text().to_owned();
    let of =
        |text: &str, name: &str| text.lines().find(|line| line.contains(&format!("\"{name}\""))).unwrap().to_owned();
    assert!(of(&cc().await, "o/r").contains("activity=\"Building\" lastBuildStatus=\"Unknown\""), "{}", cc().await);
    running.end(Outcome::Failure { exit_code: 1, step: "one".to_owned(), out_of_memory: false }).await;
    let badge = async |query: &str| world.get(&format!("/badges/{}.svg{query}", repo.id)).await.text().to_owned();
    assert!(badge("").await.contains("failure"));
    assert!(badge("?branch=main&pipeline=lint").await.contains("success"));
    assert!(badge("?pipeline=test").await.contains("failure"));
    assert!(badge("?pipeline=none").await.contains("no builds"));
    let page = world.get(&format!("/repos/{}?branch=main", repo.id)).await.text().to_owned();
    let markdown = |of: &str, query: &str| {
        format!(
            "[![{of}](https://ci.example/badges/{0}.svg?{query})](https://ci.example/repos/{0}?branch=main)",
            repo.id
        )
    };
    for expected in [markdown("main", "branch=main"), markdown("lint", "branch=main&#38;pipeline=lint")] {
        let plain = expected.replace("&#38;", "&amp;");
        assert!(page.contains(&expected) || page.contains(&plain), "{expected}\n{page}");
    }
    let line = of(&cc().await, "o/r");
    assert!(line.contains("activity=\"Sleeping\" lastBuildStatus=\"Failure\" lastBuildLabel=\"1\""), "{line}");
    let anybody = send(world.addr, "GET", "/cc.xml", &[], "").await;
    assert_eq!(anybody.header("content-type"), "text/xml; charset=utf-8");
    assert!(anybody.text().contains("o/open") && !anybody.text().contains("\"o/r\""), "{}", anybody.text());
    // A desktop tool sends the token as a password.
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let basic = format!("Basic {}", STANDARD.encode(format!("any:{ADMIN}")));
    let tool = send(world.addr, "GET", "/cc.xml", &[("authorization", &basic)], "").await;
    assert!(tool.text().contains("\"o/r\""), "{}", tool.text());
}
